package redis_test

import (
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/campaign"
	"gavel/internal/testenv"
	"gavel/targeting/redis"
)

const days30 = 30 * 24 * time.Hour

// names numbers impressions, so that no two are one.
var names atomic.Uint32

// seen is an impression of its own.
func seen(user int64, group campaign.AdGroupID, at time.Time, limit int) redis.Impression {
	imp := redis.Impression{UserHash: user, AdGroupID: group, Cap: limit}
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(imp.ID[:6], ms[2:])
	binary.BigEndian.PutUint32(imp.ID[12:], names.Add(1))
	return imp
}

// viewer counts the views of one ad group, 7, by one user, 1, with a cap of 2.
type viewer struct {
	*testing.T
	*clock
	users *redis.Users
}

func newViewer(t *testing.T) *viewer {
	t.Helper()
	client := open(t, testenv.Redis(t))
	withUsers(t, client)
	v := &viewer{T: t, clock: newClock(noon)}
	v.users = redis.NewUsers(client, v.now)
	return v
}

func (v *viewer) record(impressions ...redis.Impression) []redis.Counted {
	v.Helper()
	counted, err := v.users.RecordImpressions(v.Context(), impressions)
	require.NoError(v, err)
	return counted
}

func (v *viewer) see() redis.Counted {
	v.Helper()
	return v.record(seen(1, 7, v.now(), 2))[0]
}

func (v *viewer) views() int {
	v.Helper()
	got, err := v.users.LoadUser(v.Context(), 1)
	require.NoError(v, err)
	return got.Views[7]
}

func TestTheCapIsCheckedAndCounted(t *testing.T) {
	t.Parallel()
	v := newViewer(t)
	require.Equal(t, redis.WithinCap, v.see())
	require.Equal(t, redis.WithinCap, v.see(), "two of one millisecond are two")
	require.Equal(t, redis.OverCap, v.see())
	require.Equal(t, 3, v.views(), "one over the cap has happened, too")
	require.Equal(t, redis.WithinCap, v.record(seen(1, 7, v.now(), 0))[0], "no cap, no check")
	require.Equal(t, redis.WithinCap, v.record(seen(1, 8, v.now(), 1))[0], "another ad group")
	require.Equal(t, redis.WithinCap, v.record(seen(2, 7, v.now(), 1))[0], "another user")
	require.Empty(t, v.record())
}

func TestTheWindowRollsExactly(t *testing.T) {
	t.Parallel()
	v := newViewer(t)
	require.Equal(t, redis.WithinCap, v.see())
	v.advance(time.Hour)
	require.Equal(t, redis.WithinCap, v.see())
	v.advance(days30 - time.Hour - time.Millisecond)
	require.Equal(t, 2, v.views(), "a millisecond before 30 days are over")
	require.Equal(t, redis.OverCap, v.see())
	v.advance(time.Millisecond)
	require.Equal(t, 2, v.views(), "at exactly 30 days the first is out")
	v.advance(-time.Millisecond)
	require.Equal(t, 3, v.views(), "clocks step back")
	require.Equal(t, redis.OverCap, v.see())
	v.advance(time.Hour + time.Millisecond)
	require.Equal(t, 2, v.views(), "the two over the cap are left")
	v.advance(days30)
	require.Zero(t, v.views())
	require.Equal(t, redis.WithinCap, v.see())
}

// TestNothingKeepsAWindowOpen shows one impression a day: each renews the key, none may keep an older one.
func TestNothingKeepsAWindowOpen(t *testing.T) {
	t.Parallel()
	v := newViewer(t)
	client := open(t, testenv.Redis(t))
	v.users = redis.NewUsers(client, v.now)
	withUsers(t, client)
	const key = "{u:00000}:v:00000000001"
	for day := range 100 {
		v.see()
		require.Equal(t, min(day+1, 30), v.views())
		require.LessOrEqual(t, client.HStrLen(t.Context(), key, redis.GroupField(7)).Val(), int64(31*8), "old ones are dropped")
		require.InDelta(t, days30+time.Hour, client.PTTL(t.Context(), key).Val(), float64(time.Minute))
		v.advance(24 * time.Hour)
	}
	// An old one that comes late does not renew the key.
	v.record(seen(1, 7, v.now().Add(-20*24*time.Hour), 0))
	require.InDelta(t, days30+time.Hour, client.PTTL(t.Context(), key).Val(), float64(time.Minute))
	require.Equal(t, []redis.Counted{redis.TooOld}, v.record(seen(2, 7, v.now().Add(-days30), 1)))
	require.Zero(t, client.Exists(t.Context(), "{u:00000}:v:00000000002").Val(), "what is too old leaves nothing")
}

func TestARetriedBatchCountsNothingTwice(t *testing.T) {
	t.Parallel()
	v := newViewer(t)
	batch := []redis.Impression{
		seen(1, 7, noon.Add(-time.Minute), 2), seen(1, 7, noon.Add(-time.Hour), 2), seen(1, 8, noon, 2), seen(1, 7, noon, 2),
	}
	batch = append(batch, batch[0]) // twice in one batch
	first := v.record(batch...)
	require.Equal(t, []redis.Counted{redis.WithinCap, redis.WithinCap, redis.WithinCap, redis.OverCap, redis.CountedBefore}, first)
	for _, c := range v.record(batch...) {
		require.Equal(t, redis.CountedBefore, c)
	}
	require.Equal(t, 3, v.views())
}

// TestTwoAtOnce counts from several sides: as many as the cap are within it, whoever comes first.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	v := newViewer(t)
	counted := make([]redis.Counted, 40)
	var running sync.WaitGroup
	for i := range counted {
		running.Go(func() {
			got, err := v.users.RecordImpressions(context.Background(), []redis.Impression{seen(1, 7, noon, 5)})
			if err == nil {
				counted[i] = got[0]
			}
		})
	}
	running.Wait()
	within := 0
	for _, c := range counted {
		if c == redis.WithinCap {
			within++
		}
	}
	require.Equal(t, 5, within)
	require.Equal(t, len(counted), v.views())
}

// TestTimeZonesHaveNoPart crosses the two nights in which Berlin changes its clocks: 30 days are 720 hours.
func TestTimeZonesHaveNoPart(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	for _, at := range []time.Time{time.Date(2026, 3, 15, 12, 0, 0, 0, berlin), time.Date(2026, 10, 10, 12, 0, 0, 0, berlin)} {
		v := newViewer(t)
		v.nanos.Store(at.UnixNano())
		v.see()
		v.advance(720*time.Hour - time.Millisecond)
		require.Equal(t, 1, v.views())
		v.advance(time.Millisecond)
		require.Zero(t, v.views())
	}
}

func TestAUserStaysSmall(t *testing.T) {
	t.Parallel()
	v := newViewer(t)
	var batch []redis.Impression
	for i := range 700 {
		batch = append(batch, seen(1, campaign.AdGroupID(i), noon.Add(time.Duration(i)*time.Millisecond), 1))
	}
	for i := range 400 {
		batch = append(batch, seen(1, 1000, noon.Add(time.Duration(700+i)*time.Millisecond), 3))
	}
	v.record(batch...)
	got, err := v.users.LoadUser(t.Context(), 1)
	require.NoError(t, err)
	require.Len(t, got.Views, 512)
	require.Equal(t, 256, got.Views[1000], "the newest ones are enough to be over any cap")
	require.NotContains(t, got.Views, campaign.AdGroupID(0), "the oldest were forgotten")
	require.Contains(t, got.Views, campaign.AdGroupID(699))
	// Ad groups that nobody sees any more go when new ones come.
	v.advance(days30 + 2*time.Hour)
	for i := range 16 {
		v.record(seen(1, campaign.AdGroupID(2000+i), v.now(), 1))
	}
	got, err = v.users.LoadUser(t.Context(), 1)
	require.NoError(t, err)
	require.Len(t, got.Views, 16)
}

// TestTheCountIsThatOfTheDefinition holds the script to a plain list of times, with impressions that come late and twice and
// a clock that steps back.
func TestTheCountIsThatOfTheDefinition(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	withUsers(t, client)
	user := int64(0)
	rapid.Check(t, func(t *rapid.T) {
		user++
		c := newClock(noon)
		users := redis.NewUsers(client, c.now)
		limit := rapid.IntRange(1, 5).Draw(t, "cap")
		var before []redis.Impression
		var shown []time.Time
		latest := c.nanos.Load()
		inWindow := func() (n int) {
			for _, at := range shown {
				if c.now().Sub(at) < days30 {
					n++
				}
			}
			return n
		}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			c.advance(time.Duration(rapid.IntRange(-1, 20*24).Draw(t, "hours")) * time.Hour / 2)
			latest = max(latest, c.nanos.Load())
			c.nanos.Store(max(c.nanos.Load(), latest-int64(time.Hour))) // as far back as clocks may step
			imp := seen(user, 7, c.now().Add(-time.Duration(rapid.SampledFrom([]int{0, 0, 1, 24, 700, 719, 720}).Draw(t, "late"))*time.Hour), limit)
			want := redis.WithinCap
			again := len(before) > 0 && rapid.IntRange(0, 4).Draw(t, "again") == 0
			if again {
				imp = before[len(before)-1]
			}
			at := time.UnixMilli(int64(binary.BigEndian.Uint64(append([]byte{0, 0}, imp.ID[:6]...))))
			switch known := slices.ContainsFunc(before, func(b redis.Impression) bool { return b.ID == imp.ID }); {
			case known && latest-at.UnixNano() < int64(days30+time.Hour):
				want = redis.CountedBefore
			case c.now().Sub(at) >= days30:
				want = redis.TooOld
			case inWindow() >= limit:
				want = redis.OverCap
			}
			counted, err := users.RecordImpressions(context.Background(), []redis.Impression{imp})
			require.NoError(t, err)
			require.Equal(t, want, counted[0])
			if want == redis.WithinCap || want == redis.OverCap {
				shown, before = append(shown, at), append(before, imp)
			}
			got, err := users.LoadUser(context.Background(), user)
			require.NoError(t, err)
			require.Equal(t, inWindow(), got.Views[7])
		}
	})
}

func FuzzDecodeLists(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{1, 1, 0x80, 1})
	f.Add([]byte{0x80, 0})
	f.Add(redis.AppendLists(nil, []campaign.ListID{1, 300, 1 << 40}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		lists, err := redis.DecodeLists(string(raw))
		if err != nil {
			require.ErrorIs(t, err, redis.ErrDamaged)
			return
		}
		require.True(t, slices.IsSorted(lists))
		require.Equal(t, string(raw), string(redis.AppendLists(nil, lists)), "one set of lists has one record")
	})
}

func FuzzCountViews(f *testing.F) {
	at := redis.Entry(seen(1, 7, noon, 0))
	f.Add(redis.GroupField(7), at)
	f.Add(redis.GroupField(7), at+redis.Entry(seen(1, 7, noon.Add(time.Second), 0)))
	f.Add("7", at)
	f.Add(redis.GroupField(7), at[:7])
	f.Fuzz(func(t *testing.T, group, list string) {
		views, err := redis.CountViews(map[string]string{group: list}, noon)
		if err != nil {
			require.ErrorIs(t, err, redis.ErrDamaged)
			return
		}
		for _, n := range views {
			require.Positive(t, n)
			require.LessOrEqual(t, n, len(list)/8)
		}
	})
}

func TestListsSurviveTheirRecord(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		lists := rapid.SliceOfDistinct(rapid.Int64Range(1, 1<<53), rapid.ID[int64]).Draw(t, "lists")
		slices.Sort(lists)
		var want []campaign.ListID
		for _, id := range lists {
			want = append(want, campaign.ListID(id))
		}
		got, err := redis.DecodeLists(string(redis.AppendLists(nil, want)))
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
	small := redis.AppendLists(nil, []campaign.ListID{900, 901, 950, 1100})
	require.LessOrEqual(t, len(small), 2*4, strconv.Quote(string(small)))
}

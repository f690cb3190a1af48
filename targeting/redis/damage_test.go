package redis_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/money"
	"gavel/internal/testenv"
	"gavel/targeting"
	"gavel/targeting/redis"
)

// TestDamageIsFoundAtBoot damages an index in every place. A node that starts does not serve it and asks for a rebuild; one that serves
// goes on with what it has.
func TestDamageIsFoundAtBoot(t *testing.T) {
	t.Parallel()
	const chunk = "{gavel:index:g1.0}:1"
	for name, damage := range map[string]func(t *testing.T, e *env) error{
		"a chunk is missing": func(t *testing.T, e *env) error { t.Helper(); return e.client.Del(t.Context(), chunk).Err() },
		"a byte of a chunk": func(t *testing.T, e *env) error {
			t.Helper()
			return e.client.SetRange(t.Context(), chunk, 1000, "\xff\x00").Err()
		},
		"a chunk is cut": func(t *testing.T, e *env) error { t.Helper(); return e.client.Set(t.Context(), chunk, "x", 0).Err() },
		"a chunk is too long": func(t *testing.T, e *env) error {
			t.Helper()
			return e.client.Append(t.Context(), chunk, strings.Repeat("x", 1<<20)).Err()
		},
		"a chunk is no text": func(t *testing.T, e *env) error {
			t.Helper()
			require.NoError(t, e.client.Del(t.Context(), chunk).Err())
			return e.client.SAdd(t.Context(), chunk, "x").Err()
		},
		"the tables": func(t *testing.T, e *env) error {
			t.Helper()
			return e.client.Set(t.Context(), "{gavel:index:g1.tables}:0", "x", 0).Err()
		},
		"no manifest": func(t *testing.T, e *env) error {
			t.Helper()
			return e.client.Del(t.Context(), "{gavel:index}:manifest").Err()
		},
		"a byte of the manifest": func(t *testing.T, e *env) error {
			t.Helper()
			return e.client.SetRange(t.Context(), "{gavel:index}:manifest", 30, "~").Err()
		},
		"another's manifest": func(t *testing.T, e *env) error {
			t.Helper()
			return e.client.HSet(t.Context(), "{gavel:index}:meta", "base_seq", 1).Err()
		},
		"the log is cut": func(t *testing.T, e *env) error {
			t.Helper()
			return e.client.XTrimMinID(t.Context(), "{gavel:index}:g1:log", "2-0").Err()
		},
		"the log is gone": func(t *testing.T, e *env) error {
			t.Helper()
			return e.client.Del(t.Context(), "{gavel:index}:g1:log").Err()
		},
		"the log is none": func(t *testing.T, e *env) error {
			t.Helper()
			return e.client.Set(t.Context(), "{gavel:index}:g1:log", "x", 0).Err()
		},
		"the log has no changes": func(t *testing.T, e *env) error {
			t.Helper()
			require.NoError(t, e.client.Del(t.Context(), "{gavel:index}:g1:log").Err())
			for i := range 3 {
				require.NoError(t, e.client.Do(t.Context(), "XADD", "{gavel:index}:g1:log", fmt.Sprintf("%d-0", i+1), "change", "x").Err())
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := testenv.Redis(t)
			e := follow(t, open(t, url))
			e.publish(t, 1, "g1", rowsOf(5000)) // several chunks
			for i := range 3 {
				e.apply(t, 1, "g1", nil, campaign.AdID(i+1))
			}
			e.serves(t, "g1", 3, 4997)
			require.NoError(t, damage(t, e))

			late := follow(t, open(t, url))
			s := late.eventually(t, "damage", func(s redis.Status) bool { return s.Err != nil })
			require.ErrorIs(t, s.Err, redis.ErrDamaged)
			require.Error(t, late.follower.Ready(t.Context()))
			st := e.state(t)
			require.NotEmpty(t, st.Rebuild)
			require.Equal(t, 4997, e.replica.Current().Len(), "served all along")

			e.publish(t, 1, "g2", someAds(4998))
			late.serves(t, "g2", 0, 4998)
			e.serves(t, "g2", 0, 4998)
		})
	}
}

// TestWhatIsMissingShowsWithoutReadingAll: the indexer looks every half second.
func TestWhatIsMissingShowsWithoutReadingAll(t *testing.T) {
	t.Parallel()
	e := newStore(t)
	e.publish(t, 1, "g1", rowsOf(5000))
	e.apply(t, 1, "g1", nil, 1)
	e.apply(t, 1, "g1", nil, 2)
	require.Empty(t, e.state(t).Damage)
	ctx := t.Context()
	dump := e.client.Dump(ctx, "{gavel:index}:g1:log").Val()
	restore := func() { require.NoError(t, e.client.RestoreReplace(ctx, "{gavel:index}:g1:log", 0, dump).Err()) }

	require.NoError(t, e.client.XTrimMinID(ctx, "{gavel:index}:g1:log", "2-0").Err())
	require.Contains(t, e.state(t).Damage, "the log has 1 entries")
	require.NoError(t, e.client.Del(ctx, "{gavel:index}:g1:log").Err())
	require.Contains(t, e.state(t).Damage, "the log has 0 entries")
	require.NoError(t, e.client.Set(ctx, "{gavel:index}:g1:log", "x", 0).Err())
	require.Contains(t, e.state(t).Damage, "the log is none")
	restore()
	require.Empty(t, e.state(t).Damage)
	require.NoError(t, e.client.Del(ctx, "{gavel:index:g1.0}:0").Err())
	require.Contains(t, e.state(t).Damage, "blob g1.0")
	require.NoError(t, e.client.Set(ctx, "{gavel:index}:manifest", "x", 0).Err())
	require.Contains(t, e.state(t).Damage, "manifest")
}

// TestADamagedChangeIsNotServed: what comes before it is.
func TestADamagedChangeIsNotServed(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.publish(t, 1, "g1", someAds(10))
	e.serves(t, "g1", 0, 10)
	ctx := t.Context()
	good := targeting.AppendChange(nil, targeting.Change{Removals: []campaign.AdID{1}})
	bad := append([]byte{}, good...)
	bad[len(bad)/2] ^= 1
	pipe := e.client.TxPipeline()
	for i, c := range [][]byte{good, bad, good} {
		pipe.Do(ctx, "XADD", "{gavel:index}:g1:log", fmt.Sprintf("%d-0", i+1), "change", c)
	}
	pipe.HSet(ctx, "{gavel:index}:meta", "seq", 3)
	_, err := pipe.Exec(ctx)
	require.NoError(t, err)
	s := e.eventually(t, "damage", func(s redis.Status) bool { return s.Err != nil })
	require.ErrorIs(t, s.Err, redis.ErrDamaged)
	require.Equal(t, int64(1), s.Seq)
	require.Equal(t, 9, s.Ads)
	require.NotEmpty(t, e.state(t).Rebuild)
	e.publish(t, 1, "g2", someAds(10))
	e.serves(t, "g2", 0, 10)
}

// TestWhoFallsBehindTheLogLoads: two checkpoints on, the changes that it missed are gone.
func TestWhoFallsBehindTheLogLoads(t *testing.T) {
	t.Parallel()
	url := testenv.Redis(t)
	client := open(t, url)
	first := &env{client: client, store: redis.NewStore(client)}
	first.publish(t, 1, "g1", someAds(10))

	gate := newGate()
	followed := open(t, url)
	followed.AddHook(gate)
	e := follow(t, followed)
	e.serves(t, "g1", 0, 10)
	gate.shut()
	for i := range 4000 {
		first.apply(t, 1, "g1", []campaign.ServingAd{anAd(campaign.AdID(11+i), 1)})
		if i%1000 == 999 {
			first.checkpoint(t, 1, fmt.Sprintf("c%d", i))
			require.NoError(t, first.store.Sweep(t.Context(), 1))
		}
	}
	require.Less(t, client.XLen(t.Context(), "{gavel:index}:g1:log").Val(), int64(2200), "the log is kept short")
	require.Equal(t, 10, e.replica.Current().Len(), "it serves what it has")
	gate.open()
	e.serves(t, "g1", 4000, 4010)
	require.Equal(t, 2, e.follower.Status().Loads)
}

// TestBootWhileCheckpointsArePublished: what a node is reading goes away under its hands.
func TestBootWhileCheckpointsArePublished(t *testing.T) {
	t.Parallel()
	url := testenv.Redis(t)
	client := open(t, url)
	first := &env{client: client, store: redis.NewStore(client)}
	first.publish(t, 1, "g1", rowsOf(3000))
	booted := make(chan error, 1)
	go func() {
		for range 60 {
			if _, err := redis.Load(t.Context(), client, bounds); err != nil {
				booted <- err
				return
			}
		}
		booted <- nil
	}()
	for i := 0; ; i++ {
		select {
		case err := <-booted:
			require.NoError(t, err)
			require.Greater(t, i, 3)
			require.Empty(t, first.state(t).Rebuild)
			return
		default:
		}
		first.apply(t, 1, "g1", []campaign.ServingAd{anAd(1, money.Micros(1000+i))})
		require.NoError(t, first.store.Sweep(t.Context(), 1))
		first.checkpoint(t, 1, fmt.Sprintf("c%d", i))
	}
}

// TestOtherBounds: a node whose ranking model promises something else serves the same ads in its own order.
func TestOtherBounds(t *testing.T) {
	t.Parallel()
	e := newStore(t)
	ads := someAds(100)
	for i := range ads {
		if i%2 == 0 {
			ads[i].BillableEvent, ads[i].BidMicros = campaign.BillClickthrough, 10 // worth more than all others at 0.5, less at 0.05
		}
	}
	e.publish(t, 1, "g1", ads)
	e.apply(t, 1, "g1", nil, 3)
	for _, maxCTR := range []float64{0.05, 0.1, 0.5} {
		mine := targeting.Bounds{MaxCTR: maxCTR, MaxCVR: 0.5}
		s, err := redis.Load(t.Context(), e.client, mine)
		require.NoError(t, err)
		require.Equal(t, 99, s.Index.Len())
		last := -1.0
		for ad := range s.Index.Ads() {
			require.True(t, last < 0 || ad.Bound <= last)
			last = ad.Bound
		}
		requireSame(t, e.load(t).Index, s.Index)
	}
}

// TestLoadAt compares nodes at one change.
func TestLoadAt(t *testing.T) {
	t.Parallel()
	e := newStore(t)
	e.publish(t, 1, "g1", someAds(10))
	for i := range 5 {
		e.apply(t, 1, "g1", nil, campaign.AdID(i+1))
	}
	for seq := range int64(6) {
		s, err := redis.LoadAt(t.Context(), e.client, bounds, seq)
		require.NoError(t, err)
		require.Equal(t, seq, s.Seq)
		require.Equal(t, 10-int(seq), s.Index.Len())
	}
	_, err := redis.LoadAt(t.Context(), e.client, bounds, 6)
	require.ErrorIs(t, err, targeting.ErrGeneration)
	e.checkpoint(t, 1, "c1")
	_, err = redis.LoadAt(t.Context(), e.client, bounds, 4)
	require.ErrorIs(t, err, targeting.ErrGeneration)
}

package redis_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/money"
	"gavel/internal/testenv"
	"gavel/targeting"
	"gavel/targeting/redis"
)

func newStore(t *testing.T) *env {
	t.Helper()
	client := open(t, testenv.Redis(t))
	return &env{client: client, store: redis.NewStore(client)}
}

func (e *env) state(t *testing.T) targeting.StoreState {
	t.Helper()
	st, err := e.store.State(t.Context())
	require.NoError(t, err)
	return st
}

// load boots an index as a node does that starts.
func (e *env) load(t *testing.T) targeting.Snapshot {
	t.Helper()
	s, err := redis.Load(t.Context(), e.client, bounds)
	require.NoError(t, err)
	return s
}

func TestStoreKeepsAGeneration(t *testing.T) {
	t.Parallel()
	e := newStore(t)
	require.Equal(t, targeting.StoreState{}, e.state(t))
	_, err := redis.Load(t.Context(), e.client, bounds)
	require.ErrorIs(t, err, redis.ErrNoIndex)

	e.publish(t, 1, "g1", someAds(700))
	require.Equal(t, int64(1), e.apply(t, 1, "g1", []campaign.ServingAd{anAd(700, 2), anAd(701, 1)}, 1, 999))
	st := e.state(t)
	require.Positive(t, st.LogBytes)
	st.LogBytes = 0
	require.Equal(t, targeting.StoreState{Schema: "3", Readable: true, Generation: "g1", Seq: 1, Ads: 700, Bounds: bounds}, st)

	s := e.load(t)
	require.Equal(t, "g1", s.Generation)
	require.Equal(t, int64(1), s.Seq)
	require.Equal(t, 700, s.Index.Len())
	_, found := s.Index.Ad(1)
	require.False(t, found)
	ad, found := s.Index.Ad(700)
	require.True(t, found)
	require.Equal(t, money.Micros(2), ad.BidMicros)
}

func TestPublishingLeavesNothingOfOtherGenerations(t *testing.T) {
	t.Parallel()
	e := newStore(t)
	e.publish(t, 1, "g1", someAds(200))
	e.apply(t, 1, "g1", someAds(1))
	before, err := e.client.DBSize(t.Context()).Result()
	require.NoError(t, err)

	// One that was never finished, and the next one.
	require.NoError(t, e.store.WriteBlob(t.Context(), 1, "g2.0", make([]byte, 600_000)))
	e.publish(t, 2, "g3", someAds(200))
	e.apply(t, 2, "g3", someAds(1))
	after, err := e.client.DBSize(t.Context()).Result()
	require.NoError(t, err)
	require.Equal(t, before, after)
	left, err := e.client.Keys(t.Context(), "*g[12]*").Result()
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestWhatWasNeverPublishedGoesByItself: a writer that was succeeded may write chunks after its successor has swept.
func TestWhatWasNeverPublishedGoesByItself(t *testing.T) {
	t.Parallel()
	e := newStore(t)
	e.publish(t, 1, "g1", someAds(10))
	require.NoError(t, e.store.WriteBlob(t.Context(), 1, "g2.0", make([]byte, 600_000)))
	for _, key := range e.client.Keys(t.Context(), "*").Val() {
		ttl := e.client.TTL(t.Context(), key).Val()
		if strings.HasPrefix(key, "{gavel:index:g2.0}:") {
			require.Greater(t, ttl, 50*time.Minute, key)
		} else {
			require.Equal(t, time.Duration(-1), ttl, "%s stays", key)
		}
	}
}

// TestWhatIsPublishedStays: whoever published it may have died before it took the time limit away.
func TestWhatIsPublishedStays(t *testing.T) {
	t.Parallel()
	e := newStore(t)
	e.publish(t, 1, "g1", someAds(10))
	const chunk = "{gavel:index:g1.0}:0"
	require.NoError(t, e.client.Expire(t.Context(), chunk, time.Minute).Err())
	require.NoError(t, e.store.Claim(t.Context(), 2, source))
	require.NoError(t, e.store.Sweep(t.Context(), 2))
	require.Equal(t, time.Duration(-1), e.client.TTL(t.Context(), chunk).Val())
}

func TestACheckpointKeepsEverything(t *testing.T) {
	t.Parallel()
	e := newStore(t)
	const n = 70_000 // more than a segment
	e.publish(t, 1, "g1", rowsOf(n))
	blobs := e.describe(t)
	behind := follow(t, open(t, e.url(t)))
	behind.serves(t, "g1", 0, n)

	e.apply(t, 1, "g1", []campaign.ServingAd{anAd(n+1, 1), anAd(1, 999)}, 5, 6)
	e.apply(t, 1, "g1", nil, 7)
	before := e.load(t)
	made := e.checkpoint(t, 1, "c1")
	require.Equal(t, int64(2), made.Seq)
	st := e.state(t)
	require.Equal(t, int64(2), st.BaseSeq)
	require.Equal(t, int64(n-2), st.Ads)
	require.Zero(t, st.LogBytes)
	require.Empty(t, st.Damage)
	requireSame(t, before.Index, e.load(t).Index)
	require.Equal(t, int64(2), e.client.XLen(t.Context(), "{gavel:index}:g1:log").Val(), "those who are a little behind go on")

	e.apply(t, 1, "g1", []campaign.ServingAd{anAd(n+2, 1)}, 8)
	after := e.load(t)
	require.Equal(t, int64(3), after.Seq)
	require.NoError(t, e.store.Sweep(t.Context(), 1))
	requireSame(t, after.Index, e.load(t).Index)
	behind.serves(t, "g1", 3, n-2)
	require.Equal(t, 1, behind.follower.Status().Loads, "nobody has to load")
	requireSame(t, after.Index, behind.replica.Current())
	require.NotEqual(t, blobs.Segments, e.describe(t).Segments)
}

func TestACheckpointOfWhatIsNotPublishedIsRefused(t *testing.T) {
	t.Parallel()
	e := newStore(t)
	e.publish(t, 1, "g1", someAds(10))
	e.apply(t, 1, "g1", nil, 1)
	ctx, p := t.Context(), publication(t, "c1", someAds(9))
	require.ErrorIs(t, e.store.Checkpoint(ctx, 1, p, "g0", 1), targeting.ErrGeneration)
	p.Name = "c2"
	require.ErrorIs(t, e.store.Checkpoint(ctx, 1, p, "g1", 2), targeting.ErrGeneration, "the log has no change 2")
	e.checkpoint(t, 1, "c3")
	p.Name = "c4"
	require.ErrorIs(t, e.store.Checkpoint(ctx, 1, p, "g1", 0), targeting.ErrGeneration, "the manifest is past it")
	require.NoError(t, e.client.FlushDB(ctx).Err())
	p.Name = "c5"
	require.Error(t, e.store.Checkpoint(ctx, 1, p, "g1", 1))
	require.NoError(t, e.store.Claim(ctx, 1, source))
	require.Empty(t, e.state(t).Generation)
}

// TestSegmentsThatAreThereAreNotWrittenAgain makes a checkpoint after a change that only the last segment can show.
func TestSegmentsThatAreThereAreNotWrittenAgain(t *testing.T) {
	t.Parallel()
	e := newStore(t)
	e.publish(t, 1, "g1", rowsOf(70_000))
	before := e.describe(t).Segments
	require.Greater(t, len(before), 1)
	e.apply(t, 1, "g1", []campaign.ServingAd{anAd(70_001, 1)}) // worth the least
	e.checkpoint(t, 1, "c1")
	after := e.describe(t).Segments
	require.Equal(t, before[0], after[0])
	require.NotEqual(t, before[len(before)-1], after[len(after)-1])
	require.NoError(t, e.store.Sweep(t.Context(), 1))
	require.Equal(t, 70_001, e.load(t).Index.Len())
}

func TestALargeChangeIsAppendedInPieces(t *testing.T) {
	t.Parallel()
	e := newStore(t)
	e.publish(t, 1, "g1", someAds(2000))
	ads := someAds(1200)
	for i := range ads {
		ads[i].BidMicros = 77
		ads[i].Creative.Description = strings.Repeat(strconv.Itoa(i), 200)
	}
	removals := make([]campaign.AdID, 700)
	for i := range removals {
		removals[i] = campaign.AdID(1300 + i)
	}
	c := targeting.Change{Upserts: parsed(t, ads), Removals: removals, Lists: map[campaign.AudienceID]campaign.ListID{5: 6}}
	seq, err := e.store.Append(t.Context(), 1, "g1", c)
	require.NoError(t, err)
	entries := e.client.XRange(t.Context(), "{gavel:index}:g1:log", "-", "+").Val()
	require.Len(t, entries, int(seq))
	require.Greater(t, len(entries), 4)
	for _, entry := range entries {
		require.LessOrEqual(t, len(entry.Values["change"].(string)), redis.EntryBytes)
	}
	s := e.load(t)
	require.Equal(t, 1300, s.Index.Len())
	require.Equal(t, campaign.AudienceID(5), s.Index.Tables().Lists[6])
	for _, want := range ads {
		ad, found := s.Index.Ad(want.AdID)
		require.True(t, found)
		require.Equal(t, want.Creative, ad.Creative())
	}
}

func TestTablesAreKept(t *testing.T) {
	t.Parallel()
	e := newStore(t)
	ctx := t.Context()
	require.NoError(t, e.store.Claim(ctx, 1, source))
	interests := []campaign.Interest{{ID: "1", Name: "Animals"}, {ID: "2", ParentID: "1", Name: "Cats"}}
	taxonomy, err := targeting.NewTaxonomy(interests)
	require.NoError(t, err)
	lists := map[campaign.ListID]campaign.AudienceID{7: 70, 8: 80}
	p := targeting.Publication{Name: "g1", Index: targeting.Build(nil, targeting.Tables{Lists: lists, Interests: taxonomy}), Bounds: bounds}
	require.NoError(t, e.store.Publish(ctx, 1, p, noon))
	require.Equal(t, lists, e.load(t).Index.Tables().Lists)
	require.Equal(t, interests, e.load(t).Index.Tables().Interests.All())

	// An audience is replaced: one entry of the log.
	_, err = e.store.Append(ctx, 1, "g1", targeting.Change{Lists: map[campaign.AudienceID]campaign.ListID{70: 9, 80: 0}})
	require.NoError(t, err)
	want := map[campaign.ListID]campaign.AudienceID{9: 70}
	require.Equal(t, want, e.load(t).Index.Tables().Lists)
	e.checkpoint(t, 1, "c1")
	require.Equal(t, want, e.load(t).Index.Tables().Lists)
	require.Equal(t, interests, e.load(t).Index.Tables().Interests.All())
}

func TestRefusedAdsAreNoted(t *testing.T) {
	t.Parallel()
	e := newStore(t)
	ctx := t.Context()
	e.publish(t, 1, "g1", nil)
	many := map[campaign.AdID]string{}
	for i := range 1200 {
		many[campaign.AdID(i+1)] = "why"
	}
	require.NoError(t, e.store.Refuse(ctx, 1, true, many))
	got, err := e.store.Refused(ctx)
	require.NoError(t, err)
	require.Equal(t, many, got)
	require.NoError(t, e.store.Refuse(ctx, 1, false, map[campaign.AdID]string{1: "", 2000: "new"}))
	d := e.describe(t)
	require.Equal(t, int64(1200), d.Refused)
	require.Len(t, d.RefusedAds, 100)
	require.NoError(t, e.store.Refuse(ctx, 1, true, nil))
	got, err = e.store.Refused(ctx)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestAStaleWriterIsRefused(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	e := &env{client: client, store: redis.NewStore(client)}
	ctx := t.Context()
	e.publish(t, 5, "g1", someAds(10))
	require.NoError(t, e.store.BeginUsers(ctx, 5, "u1"))
	require.NoError(t, e.store.SetMembers(ctx, 5, "u1", []campaign.Membership{member(1, 11)}))
	require.NoError(t, e.store.Claim(ctx, 6, source))
	require.NoError(t, e.store.SetMembers(ctx, 6, "u1", []campaign.Membership{member(1, 12), member(2)}))

	p := publication(t, "g2", someAds(1))
	_, appended := e.store.Append(ctx, 5, "g1", targeting.Change{Removals: []campaign.AdID{1}})
	for name, err := range map[string]error{
		"claim":      e.store.Claim(ctx, 5, source),
		"blob":       e.store.WriteBlob(ctx, 5, "b", []byte("x")),
		"publish":    e.store.Publish(ctx, 5, p, noon),
		"checkpoint": e.store.Checkpoint(ctx, 5, p, "g1", 0),
		"append":     appended,
		"trim":       e.store.Trim(ctx, 5, "g1", 0),
		"sweep":      e.store.Sweep(ctx, 5),
		"forget":     e.store.Forget(ctx, 5, "b"),
		"refuse":     e.store.Refuse(ctx, 5, true, nil),
		"discard":    e.store.Discard(ctx, 5),
		"begin":      e.store.BeginUsers(ctx, 5, "u2"),
		"complete":   e.store.CompleteUsers(ctx, 5, "u1"),
		"members":    e.store.SetMembers(ctx, 5, "u1", []campaign.Membership{member(1, 11)}),
		"leaver":     e.store.SetMembers(ctx, 5, "u1", []campaign.Membership{member(2, 11)}),
	} {
		require.ErrorIs(t, err, targeting.ErrStale, name)
	}
	st := e.state(t)
	require.Equal(t, "g1", st.Generation)
	require.Zero(t, st.Seq, "nothing was written")
	require.Empty(t, st.Damage)

	// The successor may, also into what its predecessor published.
	e.apply(t, 6, "g1", someAds(1))
	require.NoError(t, e.store.CompleteUsers(ctx, 6, "u1"))
}

func TestNothingIsWrittenToAnEmptiedStore(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	e := &env{client: client, store: redis.NewStore(client)}
	ctx := t.Context()
	e.publish(t, 5, "g1", someAds(10))
	require.NoError(t, e.store.BeginUsers(ctx, 5, "u1"))
	require.NoError(t, client.FlushDB(ctx).Err())

	remove := targeting.Change{Removals: []campaign.AdID{1}}
	_, err := e.store.Append(ctx, 5, "g1", remove)
	require.ErrorIs(t, err, targeting.ErrGeneration)
	require.ErrorIs(t, e.store.WriteBlob(ctx, 5, "g2.0", []byte("x")), targeting.ErrGeneration)
	require.ErrorIs(t, e.store.Publish(ctx, 5, publication(t, "g2", nil), noon), targeting.ErrGeneration)

	require.NoError(t, e.store.Claim(ctx, 5, source))
	_, err = e.store.Append(ctx, 5, "g1", remove)
	require.ErrorIs(t, err, targeting.ErrGeneration)
	require.ErrorIs(t, e.store.CompleteUsers(ctx, 5, "u1"), targeting.ErrGeneration)
	st, err := e.store.State(ctx)
	require.NoError(t, err)
	require.Equal(t, targeting.StoreState{}, st)
}

func TestAnotherDatabasesIndexIsNotAdopted(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	e := &env{client: client, store: redis.NewStore(client)}
	ctx := t.Context()
	e.publish(t, 1000, "g1", someAds(10))
	require.NoError(t, e.store.BeginUsers(ctx, 1000, "one-u"))
	require.NoError(t, e.store.SetMembers(ctx, 1000, "one-u", []campaign.Membership{member(1, 11)}))
	require.NoError(t, e.store.CompleteUsers(ctx, 1000, "one-u"))

	// A new database counts its epochs from 1 again.
	require.NoError(t, e.store.Claim(ctx, 1, "another database"))
	st, err := e.store.State(ctx)
	require.NoError(t, err)
	require.Empty(t, st.Generation)
	require.Empty(t, st.Users)
	require.NoError(t, e.store.SetMembers(ctx, 1, "two-u", []campaign.Membership{member(1, 12)}))
}

func TestRebuildRequest(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	store := redis.NewStore(client)
	require.NoError(t, store.RequestRebuild(t.Context(), "first"))
	require.NoError(t, store.RequestRebuild(t.Context(), "second"))
	st, err := store.State(t.Context())
	require.NoError(t, err)
	require.Equal(t, "first", st.Rebuild)
	require.NoError(t, store.TakeRebuildRequest(t.Context()))
	st, err = store.State(t.Context())
	require.NoError(t, err)
	require.Empty(t, st.Rebuild)
}

func TestARestartIsSeen(t *testing.T) {
	t.Parallel()
	server := testenv.RedisProcess(t)
	client := open(t, server.URL)
	e := &env{client: client, store: redis.NewStore(client)}
	e.publish(t, 1, "g1", someAds(3))
	dump := map[string]string{}
	for _, key := range client.Keys(t.Context(), "*").Val() {
		dump[key] = client.Dump(t.Context(), key).Val()
	}
	server.Restart()
	// As if Redis had come back from a snapshot of its own.
	for key, value := range dump {
		require.Eventually(t, func() bool { return client.RestoreReplace(t.Context(), key, 0, value).Err() == nil }, waitFor, tick)
	}
	st, err := e.store.State(t.Context())
	require.NoError(t, err)
	require.Empty(t, st.Damage)
	require.True(t, st.Restarted)
}

func TestOptions(t *testing.T) {
	t.Parallel()
	o, err := redis.Options("redis://u:secret@localhost:1234/3")
	require.NoError(t, err)
	require.Equal(t, "localhost:1234", o.Addr)
	require.Equal(t, 3, o.DB)
	require.True(t, o.ContextTimeoutEnabled)
	for i, url := range []string{"http://u:secret@localhost", "redis://u:secret@localhost:1234/x", "redis://u:secret@local host", ""} {
		_, err := redis.Open(url)
		require.Error(t, err, strconv.Itoa(i))
		require.NotContains(t, err.Error(), "secret")
	}
	cluster, err := redis.Open("redis://localhost:1?addr=localhost:2")
	require.NoError(t, err)
	require.NoError(t, cluster.Close())
}

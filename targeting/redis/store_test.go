package redis_test

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/testenv"
	"gavel/targeting"
	"gavel/targeting/redis"
)

func TestStoreKeepsAGeneration(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	e := &env{client: client, store: redis.NewStore(client)}
	ctx := t.Context()

	st, err := e.store.State(ctx)
	require.NoError(t, err)
	require.Equal(t, targeting.StoreState{}, st)
	_, err = e.store.IDs(ctx)
	require.ErrorIs(t, err, targeting.ErrGeneration)

	e.publish(t, 1, "g1", someAds(700))
	require.Equal(t, int64(1), e.apply(t, 1, "g1", []campaign.ServingAd{anAd(700, 2), anAd(701, 1)}, 1, 999))
	st, err = e.store.State(ctx)
	require.NoError(t, err)
	require.Equal(t, targeting.StoreState{Schema: "1", Readable: true, Generation: "g1", Seq: 1, Ads: 700, Held: 700}, st)

	ids, err := e.store.IDs(ctx)
	require.NoError(t, err)
	require.Len(t, ids, 700)
	require.Equal(t, campaign.AdID(2), ids[0])
	require.Equal(t, campaign.AdID(701), ids[699])

	different, err := e.store.Different(ctx, []campaign.ServingAd{anAd(1, 1000), anAd(2, 1000), anAd(700, 1000), anAd(701, 1)})
	require.NoError(t, err)
	require.Equal(t, []campaign.AdID{1, 700}, different)
	different, err = e.store.Different(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, different)
}

func TestPublishingLeavesNothingOfOtherGenerations(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	e := &env{client: client, store: redis.NewStore(client)}
	e.publish(t, 1, "g1", someAds(200))
	e.apply(t, 1, "g1", someAds(1))
	before, err := client.DBSize(t.Context()).Result()
	require.NoError(t, err)

	// One that was never finished, and the next one.
	_, err = e.store.Stage(t.Context(), 1, "g2", someAds(100))
	require.NoError(t, err)
	e.publish(t, 2, "g3", someAds(200))
	e.apply(t, 2, "g3", someAds(1))
	after, err := client.DBSize(t.Context()).Result()
	require.NoError(t, err)
	require.Equal(t, before, after)
	left, err := client.Keys(t.Context(), "*g[12]*").Result()
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestAStaleWriterIsRefused(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	e := &env{client: client, store: redis.NewStore(client)}
	ctx := t.Context()
	e.publish(t, 5, "g1", someAds(10))
	require.NoError(t, e.store.BeginUsers(ctx, 5, "u1"))
	require.NoError(t, e.store.SetMembers(ctx, 5, "u1", map[int64][]campaign.AudienceID{1: {11}}))
	require.NoError(t, e.store.Claim(ctx, 6, source))
	require.NoError(t, e.store.SetMembers(ctx, 6, "u1", map[int64][]campaign.AudienceID{1: {12}, 2: nil}))

	_, stage := e.store.Stage(ctx, 5, "g2", someAds(1))
	_, apply := e.store.Apply(ctx, 5, "g1", someAds(1), nil)
	for name, err := range map[string]error{
		"claim":    e.store.Claim(ctx, 5, source),
		"stage":    stage,
		"publish":  e.store.Publish(ctx, 5, "g2", 0, noon),
		"apply":    apply,
		"discard":  e.store.Discard(ctx, 5),
		"begin":    e.store.BeginUsers(ctx, 5, "u2"),
		"complete": e.store.CompleteUsers(ctx, 5, "u1"),
		"members":  e.store.SetMembers(ctx, 5, "u1", map[int64][]campaign.AudienceID{1: {11}}),
		"leaver":   e.store.SetMembers(ctx, 5, "u1", map[int64][]campaign.AudienceID{2: {11}}),
	} {
		require.ErrorIs(t, err, targeting.ErrStale, name)
	}
	st, err := e.store.State(ctx)
	require.NoError(t, err)
	require.Equal(t, int64(10), st.Held)
	require.Zero(t, st.Seq, "nothing was written")

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

	_, err := e.store.Apply(ctx, 5, "g1", someAds(1), nil)
	require.ErrorIs(t, err, targeting.ErrGeneration)
	_, err = e.store.Stage(ctx, 5, "g2", someAds(1))
	require.ErrorIs(t, err, targeting.ErrGeneration)
	require.ErrorIs(t, e.store.Publish(ctx, 5, "g2", 1, noon), targeting.ErrGeneration)

	require.NoError(t, e.store.Claim(ctx, 5, source))
	_, err = e.store.Apply(ctx, 5, "g1", someAds(1), nil)
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
	require.NoError(t, e.store.SetMembers(ctx, 1000, "one-u", map[int64][]campaign.AudienceID{1: {11}}))
	require.NoError(t, e.store.CompleteUsers(ctx, 1000, "one-u"))

	// A new database counts its epochs from 1 again.
	require.NoError(t, e.store.Claim(ctx, 1, "another database"))
	st, err := e.store.State(ctx)
	require.NoError(t, err)
	require.Empty(t, st.Generation)
	require.Empty(t, st.Users)
	require.NoError(t, e.store.SetMembers(ctx, 1, "two-u", map[int64][]campaign.AudienceID{1: {12}}))
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
	require.Equal(t, int64(3), st.Held)
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

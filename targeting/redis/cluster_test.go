package redis_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/testenv"
	"gavel/targeting"
	"gavel/targeting/redis"
)

// TestOnACluster does what a node does on a Redis Cluster, where every script and transaction must keep to one slot.
func TestOnACluster(t *testing.T) {
	t.Parallel()
	cluster := testenv.RedisCluster(t)
	e := follow(t, open(t, cluster.URL))
	ctx := t.Context()
	e.publish(t, 1, "g1", rowsOf(70_000)) // several blobs of many chunks, in several slots
	e.serves(t, "g1", 0, 70_000)
	e.apply(t, 1, "g1", someAds(3), 9, 10)
	e.serves(t, "g1", 1, 69_998)
	made := e.checkpoint(t, 1, "c1")
	e.apply(t, 1, "g1", nil, 11)
	e.serves(t, "g1", 2, 69_997)
	require.Equal(t, 1, e.follower.Status().Loads)
	require.NoError(t, e.store.Refuse(ctx, 1, true, map[campaign.AdID]string{5: "why"}))
	require.NoError(t, e.store.Sweep(ctx, 1))
	require.NoError(t, e.store.Discard(ctx, 1))
	d := e.describe(t)
	require.Empty(t, d.Damage)
	require.Equal(t, made.Index.Len(), d.Ads)
	require.Equal(t, int64(1), d.Refused)
	late := follow(t, open(t, cluster.URL))
	late.serves(t, "g1", 2, 69_997)
	requireSame(t, e.replica.Current(), late.replica.Current())
	require.NoError(t, e.store.Claim(ctx, 2, source))
	_, err := e.store.Append(ctx, 1, "g1", targeting.Change{Removals: []campaign.AdID{1}})
	require.ErrorIs(t, err, targeting.ErrStale)

	e.publish(t, 2, "g2", someAds(4))
	e.serves(t, "g2", 0, 4)
}

// TestAMasterIsLost kills each of the masters of a cluster. What it had is gone when it is back; nobody serves less meanwhile, and the
// indexer sees that the index must be built anew.
func TestAMasterIsLost(t *testing.T) {
	t.Parallel()
	cluster := testenv.RedisCluster(t)
	e := follow(t, open(t, cluster.URL))
	e.publish(t, 1, "g0", someAds(10))
	e.serves(t, "g0", 0, 10)
	for master := range cluster.Masters() {
		before := e.follower.Status().Generation
		cluster.Kill(master)
		e.eventually(t, "an error", func(s redis.Status) bool {
			st, err := e.store.State(t.Context())
			return s.Err != nil || err != nil || st.Damage != ""
		})
		require.Equal(t, 10, e.replica.Current().Len())
		cluster.Restart(master)
		cluster.AwaitWhole()
		var st targeting.StoreState
		require.Eventually(t, func() (ok bool) {
			var err error
			st, err = e.store.State(t.Context())
			return err == nil
		}, waitFor, tick)
		require.True(t, st.Generation == "" || st.Restarted, "%+v", st)
		generation := before + "x"
		require.Eventually(t, func() bool { return e.store.Claim(t.Context(), 1, source) == nil }, waitFor, 50*time.Millisecond)
		e.publish(t, 1, generation, someAds(10))
		e.serves(t, generation, 0, 10)
	}
}

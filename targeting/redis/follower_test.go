package redis_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/money"
	"gavel/internal/testenv"
	"gavel/targeting"
	"gavel/targeting/redis"
)

func TestFollowerBootsFromRedisAlone(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	first := &env{client: client, store: redis.NewStore(client)}
	first.publish(t, 1, "g1", someAds(2000))
	first.apply(t, 1, "g1", []campaign.ServingAd{anAd(2001, 9)}, 1)

	e := follow(t, client)
	e.serves(t, "g1", 1, 2000)
	require.NoError(t, e.follower.Ready(t.Context()))
	ix := e.replica.Current()
	_, found := ix.Ad(1)
	require.False(t, found)
	ad, found := ix.Ad(2001)
	require.True(t, found)
	require.Equal(t, money.Micros(9), ad.BidMicros)
	require.Equal(t, []string{"US"}, ad.Rule().Locations)
	require.Equal(t, "Europe/Berlin", ad.Zone.String())
	require.True(t, ad.Rule().StartMicros == noon.UnixMicro())
}

func TestAChangeIsServedWithinASecond(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.publish(t, 1, "g1", someAds(500))
	e.serves(t, "g1", 0, 500)
	worst := time.Duration(0)
	for i := range 20 {
		start := time.Now()
		e.apply(t, 1, "g1", []campaign.ServingAd{anAd(1, money.Micros(2000+i))}, campaign.AdID(100+i))
		require.Eventually(t, func() bool {
			ad, found := e.replica.Current().Ad(1)
			return found && ad.BidMicros == money.Micros(2000+i)
		}, time.Second, time.Millisecond)
		worst = max(worst, time.Since(start))
	}
	e.serves(t, "g1", 20, 480)
	t.Logf("slowest of 20: %v", worst)
}

func TestFollowerWaitsForAnIndex(t *testing.T) {
	t.Parallel()
	e := setup(t)
	s := e.eventually(t, "an error", func(s redis.Status) bool { return s.Err != nil })
	require.ErrorIs(t, s.Err, redis.ErrNoIndex)
	require.Equal(t, int64(-1), s.LagMS)
	require.ErrorIs(t, e.follower.Ready(t.Context()), redis.ErrNoIndex)

	e.publish(t, 1, "g1", nil)
	e.serves(t, "g1", 0, 0)
	require.NoError(t, e.follower.Ready(t.Context()))
}

func TestFlushedRedisKeepsServingAndComesBack(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.publish(t, 1, "g1", someAds(10))
	e.serves(t, "g1", 0, 10)

	require.NoError(t, e.client.FlushDB(t.Context()).Err())
	s := e.eventually(t, "an error", func(s redis.Status) bool { return s.Err != nil })
	require.ErrorIs(t, s.Err, redis.ErrNoIndex)
	require.Equal(t, 10, e.replica.Current().Len())
	require.NoError(t, e.follower.Ready(t.Context()))

	// A generation that is being written is not loaded.
	require.NoError(t, e.store.Claim(t.Context(), 1, source))
	require.NoError(t, e.store.WriteBlob(t.Context(), 1, "g2.0", []byte("half of it")))
	require.Equal(t, 10, e.replica.Current().Len())
	e.publish(t, 1, "g3", someAds(12))
	e.serves(t, "g3", 0, 12)
}

func TestALogThatIsNoneIsDamage(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.publish(t, 1, "g1", someAds(3))
	e.serves(t, "g1", 0, 3)
	require.NoError(t, e.client.Set(t.Context(), "{gavel:index}:g1:log", "text", 0).Err())
	s := e.eventually(t, "an error", func(s redis.Status) bool { return s.Err != nil })
	require.ErrorIs(t, s.Err, redis.ErrDamaged)
	require.Equal(t, 3, e.replica.Current().Len())
	e.publish(t, 1, "g2", someAds(4))
	e.serves(t, "g2", 0, 4)
}

func TestAnotherSchemaIsNotLoaded(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.publish(t, 1, "g1", someAds(3))
	e.serves(t, "g1", 0, 3)
	require.NoError(t, e.client.HSet(t.Context(), "{gavel:index}:meta", "schema", "4", "generation", "g2").Err())
	s := e.eventually(t, "an error", func(s redis.Status) bool { return s.Err != nil })
	require.ErrorContains(t, s.Err, `schema "4"`)
	require.Equal(t, 3, e.replica.Current().Len())
}

func TestRedisIsKilledAndRestarted(t *testing.T) {
	t.Parallel()
	server := testenv.RedisProcess(t)
	e := follow(t, open(t, server.URL))
	e.publish(t, 1, "g1", someAds(10))
	e.serves(t, "g1", 0, 10)

	server.Kill()
	e.eventually(t, "an error", func(s redis.Status) bool { return s.Err != nil })
	require.Equal(t, 10, e.replica.Current().Len())
	require.NoError(t, e.follower.Ready(t.Context()))

	server.Restart() // comes back empty
	e.eventually(t, "no index", func(s redis.Status) bool { return s.Err != nil && s.Generation == "g1" })
	require.Eventually(t, func() bool { return e.store.Claim(t.Context(), 1, source) == nil }, waitFor, tick)
	e.publish(t, 1, "g2", someAds(11))
	e.serves(t, "g2", 0, 11)
}

func TestAPausedRedisDoesNotHoldTheEndUp(t *testing.T) {
	t.Parallel()
	server := testenv.RedisProcess(t)
	client := open(t, server.URL)
	e := &env{client: client, store: redis.NewStore(client), replica: &targeting.Replica{}}
	e.publish(t, 1, "g1", someAds(10))
	server.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := e.store.State(ctx)
	require.Error(t, err)
	require.Less(t, time.Since(start), time.Second)
}

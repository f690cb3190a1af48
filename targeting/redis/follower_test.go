package redis_test

import (
	"context"
	"fmt"
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
	e.serves(t, "g1", "1-0", 2000)
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
	e.serves(t, "g1", "0-0", 500)
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
	e.serves(t, "g1", "20-0", 480)
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
	e.serves(t, "g1", "0-0", 0)
	require.NoError(t, e.follower.Ready(t.Context()))
}

func TestFlushedRedisKeepsServingAndComesBack(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.publish(t, 1, "g1", someAds(10))
	e.serves(t, "g1", "0-0", 10)

	require.NoError(t, e.client.FlushDB(t.Context()).Err())
	s := e.eventually(t, "an error", func(s redis.Status) bool { return s.Err != nil })
	require.ErrorIs(t, s.Err, redis.ErrNoIndex)
	require.Equal(t, 10, e.replica.Current().Len())
	require.NoError(t, e.follower.Ready(t.Context()))

	// A generation that is being written is not loaded.
	require.NoError(t, e.store.Claim(t.Context(), 1, source))
	_, err := e.store.Stage(t.Context(), 1, "g2", someAds(5))
	require.NoError(t, err)
	require.Equal(t, 10, e.replica.Current().Len())
	e.publish(t, 1, "g3", someAds(12))
	e.serves(t, "g3", "0-0", 12)
}

func TestATrimmedLogIsNoticed(t *testing.T) {
	t.Parallel()
	for name, trim := range map[string]func(t *testing.T, e *env, key string){
		"in the middle": func(t *testing.T, e *env, key string) {
			t.Helper()
			require.NoError(t, e.client.XTrimMinID(t.Context(), key, "3-0").Err())
		},
		"all of it": func(t *testing.T, e *env, key string) {
			t.Helper()
			require.NoError(t, e.client.XTrimMaxLen(t.Context(), key, 0).Err())
		},
		"gone": func(t *testing.T, e *env, key string) {
			t.Helper()
			require.NoError(t, e.client.Del(t.Context(), key).Err())
		},
		"not ids": func(t *testing.T, e *env, key string) {
			t.Helper()
			require.NoError(t, e.client.Del(t.Context(), key).Err())
			for i := range 4 {
				require.NoError(t, e.client.Do(t.Context(), "XADD", key, fmt.Sprintf("%d-0", i+1), "ads", "x").Err())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := testenv.Redis(t)
			client := open(t, url)
			first := &env{client: client, store: redis.NewStore(client)}
			first.publish(t, 1, "g1", someAds(10))

			// The follower's Redis answers late: it has seen change 0 when the log has gone on and was trimmed.
			gate := newGate()
			followed := open(t, url)
			followed.AddHook(gate)
			e := follow(t, followed)
			e.serves(t, "g1", "0-0", 10)
			gate.shut()
			for i := range 4 {
				first.apply(t, 1, "g1", []campaign.ServingAd{anAd(campaign.AdID(11+i), 1)})
			}
			trim(t, first, "{gavel:index}:g1:log")
			gate.open()
			e.serves(t, "g1", "4-0", 14)
		})
	}
}

func TestADamagedRecordIsNotServedAndAskedFor(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.publish(t, 1, "g1", someAds(10))
	e.serves(t, "g1", "0-0", 10)
	ctx := t.Context()
	segment := func(id int) string { return fmt.Sprintf("{gavel:index}:g1:seg:%d", id%64) }

	// Ad 3 is changed and its record damaged before the follower reads it: the log names it once more.
	e.apply(t, 1, "g1", []campaign.ServingAd{anAd(3, 77)})
	require.NoError(t, e.client.HSet(ctx, segment(3), "3", "0123456789abcdef{}").Err())
	e.apply(t, 1, "g1", []campaign.ServingAd{anAd(4, 77)}, 5)
	require.NoError(t, e.client.HSet(ctx, segment(3), "3", "0123456789abcdef{}").Err())
	require.NoError(t, e.client.Do(ctx, "XADD", "{gavel:index}:g1:log", "3-0", "ads", "3").Err())
	require.NoError(t, e.client.HSet(ctx, "{gavel:index}:meta", "seq", "3").Err())

	s := e.eventually(t, "damage", func(s redis.Status) bool { return s.Damaged == 1 && s.Err != nil })
	require.ErrorIs(t, s.Err, redis.ErrDamaged)
	_, found := e.replica.Current().Ad(3)
	require.False(t, found)
	require.Equal(t, 8, e.replica.Current().Len(), "all others are served")
	st, err := e.store.State(ctx)
	require.NoError(t, err)
	require.Contains(t, st.Rebuild, "damaged")

	e.publish(t, 1, "g2", someAds(10))
	e.serves(t, "g2", "0-0", 10)
}

func TestALogThatIsNoneIsDamage(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.publish(t, 1, "g1", someAds(3))
	e.serves(t, "g1", "0-0", 3)
	require.NoError(t, e.client.Set(t.Context(), "{gavel:index}:g1:log", "text", 0).Err())
	s := e.eventually(t, "an error", func(s redis.Status) bool { return s.Err != nil })
	require.ErrorIs(t, s.Err, redis.ErrDamaged)
	require.Equal(t, 3, e.replica.Current().Len())
	e.publish(t, 1, "g2", someAds(4))
	e.serves(t, "g2", "0-0", 4)
}

func TestALostSegmentIsNoticedAtBoot(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	first := &env{client: client, store: redis.NewStore(client)}
	first.publish(t, 1, "g1", someAds(128))
	require.NoError(t, client.Del(t.Context(), "{gavel:index}:g1:seg:5").Err())

	e := follow(t, client)
	s := e.eventually(t, "damage", func(s redis.Status) bool { return s.Err != nil && s.Ads > 0 })
	require.ErrorIs(t, s.Err, redis.ErrDamaged)
	require.Equal(t, 126, e.replica.Current().Len(), "what is there is served")
	st, err := first.store.State(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(128), st.Ads)
	require.Equal(t, int64(126), st.Held)
	require.NotEmpty(t, st.Rebuild)
}

func TestAnAdThatIsNotUnderstoodIsRefusedAlone(t *testing.T) {
	t.Parallel()
	e := setup(t)
	strange := anAd(2, 1)
	strange.Targeting = []byte(`{"SHOE_SIZE":["42"]}`)
	e.publish(t, 1, "g1", []campaign.ServingAd{anAd(1, 1), strange})
	e.serves(t, "g1", "0-0", 1)
	require.Equal(t, 1, e.follower.Status().Refused)
	st, err := e.store.State(t.Context())
	require.NoError(t, err)
	require.Empty(t, st.Rebuild, "a rebuild would not help")

	e.apply(t, 1, "g1", []campaign.ServingAd{anAd(2, 1)})
	e.serves(t, "g1", "1-0", 2)
	require.Zero(t, e.follower.Status().Refused)
}

func TestAnotherSchemaIsNotLoaded(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.publish(t, 1, "g1", someAds(3))
	e.serves(t, "g1", "0-0", 3)
	require.NoError(t, e.client.HSet(t.Context(), "{gavel:index}:meta", "schema", "2", "generation", "g2").Err())
	s := e.eventually(t, "an error", func(s redis.Status) bool { return s.Err != nil })
	require.ErrorContains(t, s.Err, `schema "2"`)
	require.Equal(t, 3, e.replica.Current().Len())
}

func TestRedisIsKilledAndRestarted(t *testing.T) {
	t.Parallel()
	server := testenv.RedisProcess(t)
	e := follow(t, open(t, server.URL))
	e.publish(t, 1, "g1", someAds(10))
	e.serves(t, "g1", "0-0", 10)

	server.Kill()
	e.eventually(t, "an error", func(s redis.Status) bool { return s.Err != nil })
	require.Equal(t, 10, e.replica.Current().Len())
	require.NoError(t, e.follower.Ready(t.Context()))

	server.Restart() // comes back empty
	e.eventually(t, "no index", func(s redis.Status) bool { return s.Err != nil && s.Generation == "g1" })
	require.Eventually(t, func() bool { return e.store.Claim(t.Context(), 1, source) == nil }, waitFor, tick)
	e.publish(t, 1, "g2", someAds(11))
	e.serves(t, "g2", "0-0", 11)
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

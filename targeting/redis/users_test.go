package redis_test

import (
	"context"
	"net"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/campaign"
	"gavel/internal/testenv"
	"gavel/targeting"
	"gavel/targeting/redis"
)

// withUsers is a Redis whose memberships are complete.
func withUsers(t testing.TB, client goredis.UniversalClient, members map[int64][]campaign.AudienceID) *redis.Store {
	t.Helper()
	store := redis.NewStore(client)
	require.NoError(t, store.Claim(t.Context(), 1, source))
	require.NoError(t, store.BeginUsers(t.Context(), 1, "u1"))
	require.NoError(t, store.SetMembers(t.Context(), 1, "u1", members))
	require.NoError(t, store.CompleteUsers(t.Context(), 1, "u1"))
	return store
}

func TestLoadUser(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	user, other := campaign.UserHash("u42"), campaign.UserHash("u43")
	withUsers(t, client, map[int64][]campaign.AudienceID{user: {11, 2542620905475}, -1: {12}})
	users := redis.NewUsers(client, func() time.Time { return noon })
	require.NoError(t, users.RecordImpressions(t.Context(), []redis.Impression{
		{UserHash: user, AdGroupID: 7, At: noon},
		{UserHash: user, AdGroupID: 7, At: noon},
		{UserHash: user, AdGroupID: 8, At: noon.Add(-24 * time.Hour)},
		{UserHash: other, AdGroupID: 7, At: noon},
	}))

	got, err := users.LoadUser(t.Context(), user)
	require.NoError(t, err)
	require.Equal(t, targeting.UserState{
		Audiences: []campaign.AudienceID{11, 2542620905475}, Views: map[campaign.AdGroupID]int{7: 2, 8: 1},
	}, got)
	got, err = users.LoadUser(t.Context(), other)
	require.NoError(t, err)
	require.Equal(t, targeting.UserState{Views: map[campaign.AdGroupID]int{7: 1}}, got)
	got, err = users.LoadUser(t.Context(), -1)
	require.NoError(t, err)
	require.Equal(t, targeting.UserState{Audiences: []campaign.AudienceID{12}}, got)
	got, err = users.LoadUser(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, targeting.UserState{}, got)
}

func TestAudiencesAreNotKnownUntilAllAreWritten(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	users := redis.NewUsers(client, time.Now)
	incomplete := func(when string) {
		t.Helper()
		_, err := users.LoadUser(t.Context(), 1)
		require.ErrorIs(t, err, redis.ErrUsersIncomplete, when)
	}
	incomplete("an empty Redis")
	store := withUsers(t, client, map[int64][]campaign.AudienceID{1: {11}})
	got, err := users.LoadUser(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, []campaign.AudienceID{11}, got.Audiences)

	require.NoError(t, store.BeginUsers(t.Context(), 1, "u2"))
	incomplete("while they are written again")
	require.ErrorIs(t, store.CompleteUsers(t.Context(), 1, "u1"), targeting.ErrGeneration)
	require.NoError(t, store.CompleteUsers(t.Context(), 1, "u2"))
	got, err = users.LoadUser(t.Context(), 1)
	require.NoError(t, err)
	require.Empty(t, got.Audiences, "the memberships of an older generation do not count")

	require.NoError(t, client.FlushDB(t.Context()).Err())
	incomplete("a flushed Redis")
}

func TestTheWindowRolls(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	withUsers(t, client, nil)
	c := newClock(noon)
	users := redis.NewUsers(client, c.now)
	views := func() int {
		t.Helper()
		got, err := users.LoadUser(t.Context(), 1)
		require.NoError(t, err)
		return got.Views[7]
	}
	// One impression a day, for 100 days: each renews the key, none may keep an older one alive.
	for day := range 100 {
		require.NoError(t, users.RecordImpressions(t.Context(), []redis.Impression{{UserHash: 1, AdGroupID: 7, At: c.now()}}))
		require.Equal(t, min(day+1, 31), views())
		fields, err := client.HLen(t.Context(), "{u:0000000000000001}:v").Result()
		require.NoError(t, err)
		require.LessOrEqual(t, fields, int64(32), "old fields are dropped")
		c.advance(24 * time.Hour)
	}
	ttl, err := client.TTL(t.Context(), "{u:0000000000000001}:v").Result()
	require.NoError(t, err)
	require.InDelta(t, 31*24*time.Hour, ttl, float64(time.Minute))

	c.advance(29 * 24 * time.Hour)
	require.Equal(t, 1, views(), "the last one was 30 days ago")
	c.advance(24 * time.Hour)
	require.Zero(t, views())

	// Too old to count: nothing is written.
	require.NoError(t, users.RecordImpressions(t.Context(), []redis.Impression{{UserHash: 2, AdGroupID: 7, At: noon}}))
	require.Zero(t, client.Exists(t.Context(), "{u:0000000000000002}:v").Val())
}

// TestNoImpressionOfTheLast30DaysIsMissed holds the count to the definition, at any time of day.
func TestNoImpressionOfTheLast30DaysIsMissed(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	withUsers(t, client, nil)
	user := int64(0)
	rapid.Check(t, func(t *rapid.T) {
		user++
		c := newClock(noon)
		users := redis.NewUsers(client, c.now)
		var shown []time.Time
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			c.advance(time.Duration(rapid.IntRange(0, 20*24).Draw(t, "hours")) * time.Hour)
			require.NoError(t, users.RecordImpressions(context.Background(), []redis.Impression{{UserHash: user, AdGroupID: 7, At: c.now()}}))
			shown = append(shown, c.now())
			recent, atMost := 0, 0
			for _, at := range shown {
				if at.After(c.now().Add(-30 * 24 * time.Hour)) {
					recent++
				}
				if at.After(c.now().Add(-31 * 24 * time.Hour)) {
					atMost++
				}
			}
			got, err := users.LoadUser(context.Background(), user)
			require.NoError(t, err)
			require.GreaterOrEqual(t, got.Views[7], recent)
			require.LessOrEqual(t, got.Views[7], atMost)
		}
	})
}

func TestDamagedUsersAreNotKnown(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	withUsers(t, client, nil)
	users := redis.NewUsers(client, func() time.Time { return noon })
	ctx := t.Context()
	for name, damage := range map[string]func(){
		"members":        func() { client.Set(ctx, "{u:0000000000000001}:a", "u1 1 11,x", 0) },
		"members, short": func() { client.Set(ctx, "{u:0000000000000001}:a", "u1", 0) },
		"views":          func() { client.HSet(ctx, "{u:0000000000000001}:v", "7:x", "1") },
		"views, text":    func() { client.HSet(ctx, "{u:0000000000000001}:v", "7:20000", "many") },
	} {
		require.NoError(t, client.Del(ctx, "{u:0000000000000001}:a", "{u:0000000000000001}:v").Err())
		damage()
		_, err := users.LoadUser(ctx, 1)
		require.ErrorIs(t, err, redis.ErrDamaged, name)
	}
	require.NoError(t, client.Set(ctx, "{u:0000000000000001}:v", "another type", 0).Err())
	_, err := users.LoadUser(ctx, 1)
	require.ErrorContains(t, err, "WRONGTYPE")
}

func TestLoadUserKeepsItsDeadline(t *testing.T) {
	t.Parallel()
	const deadline = 30 * time.Millisecond
	late := func(t *testing.T, client goredis.UniversalClient) {
		t.Helper()
		users := redis.NewUsers(client, time.Now)
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			start := time.Now()
			_, err := users.LoadUser(ctx, 1)
			took := time.Since(start)
			cancel()
			require.Error(t, err)
			require.Less(t, took, deadline+250*time.Millisecond) // the machine may be busy
		}
	}
	t.Run("paused, connected before", func(t *testing.T) {
		t.Parallel()
		server := testenv.RedisProcess(t)
		client := open(t, server.URL)
		require.NoError(t, client.Ping(t.Context()).Err())
		server.Pause()
		late(t, client)
	})
	t.Run("paused, never connected", func(t *testing.T) {
		t.Parallel()
		server := testenv.RedisProcess(t)
		server.Pause()
		late(t, open(t, server.URL))
	})
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		server := testenv.RedisProcess(t)
		client := open(t, server.URL)
		require.NoError(t, client.Ping(t.Context()).Err())
		server.Kill()
		late(t, client)
	})
	t.Run("nobody accepts", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, listener.Close()) })
		late(t, open(t, "redis://"+listener.Addr().String()))
	})
}

func BenchmarkLoadUser(b *testing.B) {
	client := open(b, testenv.Redis(b))
	withUsers(b, client, map[int64][]campaign.AudienceID{1: {11, 12, 13}})
	users := redis.NewUsers(client, time.Now)
	for id := range 10 {
		imp := redis.Impression{UserHash: 1, AdGroupID: campaign.AdGroupID(id), At: time.Now()}
		require.NoError(b, users.RecordImpressions(b.Context(), []redis.Impression{imp}))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := users.LoadUser(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
	}
}

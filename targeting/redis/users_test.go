package redis_test

import (
	"context"
	"math"
	"net"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/testenv"
	"gavel/targeting"
	"gavel/targeting/redis"
)

// withUsers is a Redis whose memberships are complete.
func withUsers(t testing.TB, client goredis.UniversalClient, members ...campaign.Membership) *redis.Store {
	t.Helper()
	store := redis.NewStore(client)
	require.NoError(t, store.Claim(t.Context(), 1, source))
	require.NoError(t, store.BeginUsers(t.Context(), 1, "u1"))
	require.NoError(t, store.SetMembers(t.Context(), 1, "u1", members))
	require.NoError(t, store.CompleteUsers(t.Context(), 1, "u1"))
	return store
}

func member(user int64, lists ...campaign.ListID) campaign.Membership {
	return campaign.Membership{User: user, Lists: lists}
}

func TestLoadUser(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	user, other := campaign.UserHash("u42"), campaign.UserHash("u43")
	withUsers(t, client, member(user, 11, 2542620905475), member(-1, 12), member(math.MinInt64, 1), member(math.MaxInt64, 127, 128, 129))
	users := redis.NewUsers(client, func() time.Time { return noon })
	_, err := users.RecordImpressions(t.Context(), []redis.Impression{
		seen(user, 7, noon, 0), seen(user, 7, noon, 0), seen(user, 8, noon.Add(-24*time.Hour), 0), seen(other, 7, noon, 0),
	})
	require.NoError(t, err)
	for _, tt := range []struct {
		user int64
		want targeting.UserState
	}{
		{user, targeting.UserState{Lists: []campaign.ListID{11, 2542620905475}, Views: map[campaign.AdGroupID]int{7: 2, 8: 1}}},
		{other, targeting.UserState{Views: map[campaign.AdGroupID]int{7: 1}}},
		{-1, targeting.UserState{Lists: []campaign.ListID{12}}},
		{math.MinInt64, targeting.UserState{Lists: []campaign.ListID{1}}},
		{math.MaxInt64, targeting.UserState{Lists: []campaign.ListID{127, 128, 129}}},
		{0, targeting.UserState{}},
		{-2, targeting.UserState{}}, // the bucket of -1
	} {
		got, err := users.LoadUser(t.Context(), tt.user)
		require.NoError(t, err)
		require.Equal(t, tt.want, got, tt.user)
	}
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
	store := withUsers(t, client, member(1, 11))
	got, err := users.LoadUser(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, []campaign.ListID{11}, got.Lists)

	require.NoError(t, store.BeginUsers(t.Context(), 1, "u2"))
	incomplete("while they are written again")
	require.ErrorIs(t, store.CompleteUsers(t.Context(), 1, "u1"), targeting.ErrGeneration)
	require.NoError(t, store.CompleteUsers(t.Context(), 1, "u2"))
	got, err = users.LoadUser(t.Context(), 1)
	require.NoError(t, err)
	require.Empty(t, got.Lists, "the memberships of an older generation do not count")

	require.NoError(t, client.FlushDB(t.Context()).Err())
	incomplete("a flushed Redis")
}

// TestAnOlderGenerationLeavesNothingBehind writes one user of a bucket in a new generation: the others of the old one are gone.
func TestAnOlderGenerationLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	store := withUsers(t, client, member(1, 11), member(2, 12))
	users := redis.NewUsers(client, time.Now)
	require.NoError(t, store.BeginUsers(t.Context(), 1, "u2"))
	require.NoError(t, store.SetMembers(t.Context(), 1, "u2", []campaign.Membership{member(2, 13)}))
	require.NoError(t, store.CompleteUsers(t.Context(), 1, "u2"))
	got, err := users.LoadUser(t.Context(), 1)
	require.NoError(t, err)
	require.Empty(t, got.Lists)
	got, err = users.LoadUser(t.Context(), 2)
	require.NoError(t, err)
	require.Equal(t, []campaign.ListID{13}, got.Lists)
	require.Equal(t, int64(2), client.HLen(t.Context(), "{u:00000}:a").Val())
}

func TestASucceededIndexerCannotBringMembershipsBack(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	ctx := t.Context()
	store := withUsers(t, client)
	users := redis.NewUsers(client, time.Now)
	lists := func() []campaign.ListID {
		t.Helper()
		got, err := users.LoadUser(ctx, 1)
		require.NoError(t, err)
		return got.Lists
	}
	set := func(epoch int64, generation string, lists ...campaign.ListID) error {
		return store.SetMembers(ctx, epoch, generation, []campaign.Membership{member(1, lists...)})
	}
	require.NoError(t, set(9, "u1", 11))
	require.NoError(t, set(10, "u1", 12)) // "10" < "9" as texts
	require.ErrorIs(t, set(9, "u1", 11), targeting.ErrStale)
	require.Equal(t, []campaign.ListID{12}, lists())
	require.NoError(t, set(10, "u1"))
	require.Empty(t, lists())
	require.ErrorIs(t, set(9, "u1", 11), targeting.ErrStale, "an empty bucket remembers")
	require.InDelta(t, 24*time.Hour, client.TTL(ctx, "{u:00000}:a").Val(), float64(time.Minute))
	require.NoError(t, set(11, "u1", 13))
	require.Equal(t, time.Duration(-1), client.TTL(ctx, "{u:00000}:a").Val(), "and stays once it has users")
	require.Equal(t, []campaign.ListID{13}, lists())
	// Another database counts its epochs anew.
	require.NoError(t, set(1, "v1", 14))
	require.Empty(t, lists(), "it is not complete")
}

// TestBucketsStayCompact holds the form that docs/redis-keys.md promises: a hundred users in a listpack.
func TestBucketsStayCompact(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	var members []campaign.Membership
	for user := range int64(120) {
		members = append(members, member(user, 1000, 1001, 1002+campaign.ListID(user)))
	}
	withUsers(t, client, members...)
	require.Equal(t, "listpack", client.ObjectEncoding(t.Context(), "{u:00000}:a").Val())
	require.Less(t, client.MemoryUsage(t.Context(), "{u:00000}:a").Val(), int64(120*20))
}

func TestDamagedUsersAreNotKnown(t *testing.T) {
	t.Parallel()
	client := open(t, testenv.Redis(t))
	store := withUsers(t, client)
	users := redis.NewUsers(client, func() time.Time { return noon })
	ctx := t.Context()
	const bucket, views, field = "{u:00000}:a", "{u:00000}:v:00000000001", "\x00\x00\x00\x00\x00\x01"
	one, two := redis.Entry(seen(1, 7, noon, 0)), redis.Entry(seen(1, 7, noon.Add(-time.Hour), 0))
	for name, damage := range map[string]func(){
		"no end":         func() { client.HSet(ctx, bucket, field, "\x80") },
		"twice the same": func() { client.HSet(ctx, bucket, field, "\x01\x00") },
		"too long":       func() { client.HSet(ctx, bucket, field, "\x81\x00") },
		"too large":      func() { client.HSet(ctx, bucket, field, "\xff\xff\xff\xff\xff\xff\xff\x7f\x01") },
		"mark":           func() { client.HSet(ctx, bucket, "g", "short") },
		"no mark":        func() { client.HDel(ctx, bucket, "g") },
		"views, short":   func() { client.HSet(ctx, views, redis.GroupField(7), "1234567") },
		"views, empty":   func() { client.HSet(ctx, views, redis.GroupField(7), "") },
		"views, field":   func() { client.HSet(ctx, views, "7", one) },
		"views, order":   func() { client.HSet(ctx, views, redis.GroupField(7), one+two) },
		"views, twice":   func() { client.HSet(ctx, views, redis.GroupField(7), one+one) },
	} {
		require.NoError(t, client.Del(ctx, bucket, views).Err())
		require.NoError(t, store.SetMembers(ctx, 1, "u1", []campaign.Membership{member(1, 11)}))
		damage()
		_, err := users.LoadUser(ctx, 1)
		require.ErrorIs(t, err, redis.ErrDamaged, name)
	}
	require.NoError(t, client.HSet(ctx, views, redis.GroupField(7), "1234567").Err())
	_, err := users.RecordImpressions(ctx, []redis.Impression{seen(1, 7, noon, 1)})
	require.ErrorIs(t, err, redis.ErrDamaged)
	require.NoError(t, client.Set(ctx, views, "another type", 0).Err())
	_, err = users.LoadUser(ctx, 1)
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
	withUsers(b, client, member(1, 11, 12, 13))
	users := redis.NewUsers(client, time.Now)
	for id := range 10 {
		_, err := users.RecordImpressions(b.Context(), []redis.Impression{seen(1, campaign.AdGroupID(id), time.Now(), 3)})
		require.NoError(b, err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := users.LoadUser(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
	}
}

package redis_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/targeting"
	"gavel/targeting/redis"
)

// TestOnTheStandIn holds the scripts to what the in-process stand-in of `gavel dev` can do.
func TestOnTheStandIn(t *testing.T) {
	t.Parallel()
	server := miniredis.NewMiniRedis()
	require.NoError(t, server.Start())
	t.Cleanup(server.Close)
	e := follow(t, open(t, "redis://"+server.Addr()))
	ctx := t.Context()

	e.publish(t, 1, "g1", someAds(700))
	e.serves(t, "g1", 0, 700)
	e.apply(t, 1, "g1", []campaign.ServingAd{anAd(701, 1), anAd(1, 2)}, 2, 3)
	e.serves(t, "g1", 1, 699)
	st, err := e.store.State(ctx)
	require.NoError(t, err)
	require.Empty(t, st.Damage)
	require.Equal(t, int64(1), st.Seq)
	require.Equal(t, int64(700), st.Ads)
	e.checkpoint(t, 1, "c1")
	e.apply(t, 1, "g1", nil, 4)
	e.serves(t, "g1", 2, 698)
	require.NoError(t, e.store.Sweep(ctx, 1))
	require.NoError(t, e.store.Claim(ctx, 2, source))
	_, err = e.store.Append(ctx, 1, "g1", targeting.Change{Removals: []campaign.AdID{1}})
	require.ErrorIs(t, err, targeting.ErrStale)

	users := redis.NewUsers(e.client, time.Now)
	require.NoError(t, e.store.BeginUsers(ctx, 2, "u1"))
	require.NoError(t, e.store.SetMembers(ctx, 2, "u1", []campaign.Membership{member(5, 11), member(6)}))
	_, err = users.LoadUser(ctx, 5)
	require.ErrorIs(t, err, redis.ErrUsersIncomplete)
	require.NoError(t, e.store.CompleteUsers(ctx, 2, "u1"))
	counted, err := users.RecordImpressions(ctx, []redis.Impression{seen(5, 7, time.Now(), 1), seen(5, 7, time.Now(), 1)})
	require.NoError(t, err)
	require.Equal(t, []redis.Counted{redis.WithinCap, redis.OverCap}, counted)
	got, err := users.LoadUser(ctx, 5)
	require.NoError(t, err)
	require.Equal(t, targeting.UserState{Lists: []campaign.ListID{11}, Views: map[campaign.AdGroupID]int{7: 2}}, got)

	server.FlushAll()
	s := e.eventually(t, "an error", func(s redis.Status) bool { return s.Err != nil })
	require.ErrorIs(t, s.Err, redis.ErrNoIndex)
	e.publish(t, 2, "g2", someAds(3))
	e.serves(t, "g2", 0, 3)
}

package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/event"
	"gavel/internal/testenv"
	"gavel/targeting"
	index "gavel/targeting/redis"
)

// TestViewsKnowTheCapsOfAds counts impressions of ads with a cap, without one, and of one that is no longer served.
func TestViewsKnowTheCapsOfAds(t *testing.T) {
	t.Parallel()
	client, err := index.Open(testenv.Redis(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	ad := func(id campaign.AdID, limit int) *targeting.Ad {
		a, err := targeting.NewAd(campaign.ServingAd{
			AdID: id, AdGroupID: campaign.AdGroupID(10 * id), Currency: "USD", TimeZone: "UTC", BillableEvent: campaign.BillImpression, BidMicros: 1000,
			PlacementGroup: "ALL", Targeting: []byte("{}"), FrequencyCap: limit,
		}, targeting.Bounds{MaxCTR: 0.1, MaxCVR: 0.5})
		require.NoError(t, err)
		return a
	}
	replica := &targeting.Replica{}
	replica.Store(targeting.Build([]*targeting.Ad{ad(1, 1), ad(2, 0)}, targeting.Tables{}))
	users := index.NewUsers(client, time.Now)
	var counted []index.Counted
	v := views{users, replica, func(c []index.Counted) { counted = append(counted, c...) }}
	view := func(id campaign.AdID) event.View {
		return event.View{UserHash: 7, AdID: id, AdGroupID: campaign.AdGroupID(10 * id), ImpressionID: event.NewImpressionID(time.Now())}
	}
	first := view(1)
	require.NoError(t, v.CountViews(t.Context(), []event.View{first, view(1), view(2), view(3)}))
	require.NoError(t, v.CountViews(t.Context(), []event.View{first}))
	require.Equal(t, []index.Counted{index.WithinCap, index.OverCap, index.WithinCap, index.CountedBefore}, counted)
	require.NoError(t, v.CountViews(t.Context(), []event.View{view(2)}), "nothing to count is nothing to ask")

	store := index.NewStore(client)
	require.NoError(t, store.Claim(t.Context(), 1, "s"))
	require.NoError(t, store.BeginUsers(t.Context(), 1, "u"))
	require.NoError(t, store.CompleteUsers(t.Context(), 1, "u"))
	got, err := users.LoadUser(t.Context(), 7)
	require.NoError(t, err)
	require.Equal(t, map[campaign.AdGroupID]int{10: 2, 30: 1}, got.Views)
}

// someUser is a store that knows everybody.
type someUser struct{ state targeting.UserState }

func (u someUser) LoadUser(context.Context, int64) (targeting.UserState, error) { return u.state, nil }

func TestUsersAreUnknownToANodeThatIsBehind(t *testing.T) {
	t.Parallel()
	const most = int64(30_000) // half of the minute after which a list that was replaced is cleaned away
	state := targeting.UserState{Lists: []campaign.ListID{3}}
	for _, tt := range []struct {
		lagMS int64
		known bool
	}{{0, true}, {most, true}, {most + 1, false}, {-1, false}} {
		users := knownUsers{someUser{state}, func() index.Status { return index.Status{LagMS: tt.lagMS} }}
		got, err := users.LoadUser(t.Context(), 7)
		if tt.known {
			require.NoError(t, err)
			require.Equal(t, state, got)
			continue
		}
		require.ErrorIs(t, err, errBehind, "%d ms behind", tt.lagMS)
		require.Empty(t, got)
	}
}

// TestAskingWhetherANodeIsBehindAllocatesNothing is not parallel: what is counted is of the whole program.
func TestAskingWhetherANodeIsBehindAllocatesNothing(t *testing.T) { //nolint:paralleltest // see above
	users := knownUsers{someUser{}, index.NewFollower(index.FollowerConfig{Replica: &targeting.Replica{}, Now: time.Now}).Status}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, err := users.LoadUser(t.Context(), 7); !errors.Is(err, errBehind) {
			t.Error("a follower that has loaded nothing is behind")
		}
	}))
}

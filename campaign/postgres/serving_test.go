package postgres_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/money"
)

func (b *bundle) resolve(changes ...change) campaign.Delta {
	b.Helper()
	in := make([]campaign.Change, len(changes))
	for i, c := range changes {
		in[i] = campaign.Change{Entity: c.entity, EntityID: c.id}
	}
	delta, err := b.serving.Resolve(b.Context(), in)
	require.NoError(b, err)
	return delta
}

func adIDs(ads []campaign.ServingAd) []campaign.AdID {
	var ids []campaign.AdID
	for _, ad := range ads {
		ids = append(ids, ad.AdID)
	}
	return ids
}

func TestServingAdHasAllThatAnAuctionNeeds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("Asia/Tokyo")
	c := b.campaign(a.ID, func(in *campaign.CampaignInput) {
		in.StartTime, in.EndTime = campaign.Some(time.Unix(1_000, 0)), campaign.Some(time.Unix(9_000_000_000, 0))
	})
	g := b.adGroup(c, func(in *campaign.AdGroupInput) {
		in.StartTime, in.EndTime = campaign.Some(time.Unix(2_000, 0)), campaign.Some(time.Unix(8_000_000_000, 0))
		in.FrequencyCap, in.PlacementGroup = campaign.Some[int64](3), campaign.Some(campaign.PlacementBrowse)
		in.TargetingSpec = campaign.Some(json.RawMessage(`{"GENDER":["female"]}`))
	})
	ad := b.ad(g)
	keywords := items(campaign.KeywordInput{MatchType: campaign.Some(campaign.MatchExactNegative), Value: campaign.Some("red shoes")},
		campaign.KeywordInput{MatchType: campaign.Some(campaign.MatchBroad), Value: campaign.Some("shoes")})
	_, err := b.svc.CreateKeywords(t.Context(), a.ID, campaign.Some(g.ID), nil, keywords)
	require.NoError(t, err)

	got, err := b.serving.Serving(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.JSONEq(t, `{"GENDER":["female"]}`, string(got[0].Targeting))
	got[0].Targeting, got[0].StartTime, got[0].EndTime = nil, got[0].StartTime.UTC(), got[0].EndTime.UTC()
	require.Equal(t, campaign.ServingAd{
		AdID: ad.ID, AdGroupID: g.ID, CampaignID: c.ID, AdAccountID: a.ID, Currency: "USD", TimeZone: "Asia/Tokyo",
		Objective: campaign.Awareness, BidStrategy: campaign.MaxBid,
		BillableEvent: campaign.BillImpression, BidMicros: 2_000_000, PlacementGroup: "BROWSE", FrequencyCap: 3,
		Keywords:  []campaign.Keyword{{MatchType: campaign.MatchExactNegative, Value: "red shoes"}, {MatchType: campaign.MatchBroad, Value: "shoes"}},
		StartTime: time.Unix(2_000, 0).UTC(), EndTime: time.Unix(8_000_000_000, 0).UTC(),
		Creative: campaign.Creative{Type: "REGULAR", DestinationURL: "https://shop.example/"},
	}, got[0])

	url, ok, err := b.serving.Destination(t.Context(), ad.ID)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "https://shop.example/", url)
	_, ok, err = b.serving.Destination(t.Context(), 5)
	require.NoError(t, err)
	require.False(t, ok)
}

func TestServingHasTheTermsOfTheBid(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, err := b.svc.CreateAdAccount(t.Context(), campaign.Item[campaign.AdAccountInput]{Input: campaign.AdAccountInput{
		Name: campaign.Some("a"), Country: campaign.Some("US"), Currency: campaign.Some("USD"), Category: campaign.Some("IAB22"),
	}})
	require.NoError(t, err)
	c := b.campaign(a.ID, func(in *campaign.CampaignInput) {
		in.Objective = campaign.Some(campaign.WebConversion)
		in.BidOptions = campaign.Some(campaign.BidOptionsInput{AppTypes: campaign.Some([]campaign.Multiplier{{Key: "ipad", Value: 1200}})})
	})
	g := b.adGroup(c, func(in *campaign.AdGroupInput) {
		in.BidStrategy, in.Bid, in.BidMultiplier = campaign.Some(campaign.AutomaticBid), campaign.Null[money.Micros](), campaign.Some(campaign.PerMille(500))
	})
	ad := b.ad(g)
	b.drain()
	served := func() campaign.ServingAd {
		got, err := b.serving.Serving(t.Context(), ad.ID-1, 1)
		require.NoError(t, err)
		require.Len(t, got, 1)
		return got[0]
	}
	multipliers := func(v campaign.PerMille) campaign.BidMultipliers {
		m, err := campaign.NewBidMultipliers(campaign.BidOptions{AppTypes: map[string]campaign.PerMille{"ipad": v}}, 500)
		require.NoError(t, err)
		return m
	}
	got := served()
	require.Equal(t, campaign.WebConversion, got.Objective)
	require.Equal(t, "IAB22", got.Category)
	require.Equal(t, campaign.AutomaticBid, got.BidStrategy)
	require.Equal(t, campaign.DefaultCapPerMille, got.BidMicros, "an automatic bid without a cap")
	require.Equal(t, multipliers(1200), got.Multipliers)

	// A changed multiplier, floor and goal are told to the indexer.
	_, err = b.svc.UpdateCampaigns(t.Context(), a.ID, items(campaign.CampaignUpdate{ID: c.ID, CampaignInput: campaign.CampaignInput{
		BidOptions: campaign.Some(campaign.BidOptionsInput{
			Mask: campaign.Some([]string{campaign.MaskAppType}), AppTypes: campaign.Some([]campaign.Multiplier{{Key: "ipad", Value: 1300}}),
		}),
	}}))
	require.NoError(t, err)
	require.Equal(t, []change{{"CAMPAIGN", int64(c.ID)}}, b.drain())
	require.Equal(t, multipliers(1300), served().Multipliers)
	_, err = b.svc.UpdateAdGroups(t.Context(), a.ID, items(campaign.AdGroupUpdate{ID: g.ID, AdGroupInput: campaign.AdGroupInput{
		CPAGoal: campaign.Some(money.Micros(7_000_000)), BidFloor: campaign.Some(money.Micros(9)), Bid: campaign.Some(money.Micros(10)),
	}}))
	require.NoError(t, err)
	require.Equal(t, []change{{"AD_GROUP", int64(g.ID)}}, b.drain())
	got = served()
	require.Equal(t, []money.Micros{10, 9, 7_000_000}, []money.Micros{got.BidMicros, got.BidFloorMicros, got.CPAGoalMicros})
	_, err = b.svc.UpdateAdGroups(t.Context(), a.ID, items(campaign.AdGroupUpdate{ID: g.ID, AdGroupInput: campaign.AdGroupInput{
		BidFloor: campaign.Null[money.Micros](), Bid: campaign.Null[money.Micros](),
	}}))
	require.NoError(t, err)
	require.Equal(t, money.Micros(7_000_000_000), served().BidMicros, "a goal without a bid is capped by all that an impression can be worth")
}

func TestServingIsWhatIsActiveAllTheWayUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, c, g, ad := b.tree()
	sibling := b.ad(g)
	g2 := b.adGroup(c)
	third := b.ad(g2)
	all := []campaign.AdID{ad.ID, sibling.ID, third.ID}
	served := func() []campaign.AdID {
		var ids []campaign.AdID
		for after := campaign.AdID(0); ; { // page by page: a page of ads that are not served is not the end
			page, err := b.serving.Serving(t.Context(), after, 1)
			require.NoError(t, err)
			ids = append(ids, adIDs(page)...)
			if len(page) == 0 {
				return ids
			}
			after = page[len(page)-1].AdID
		}
	}
	require.Equal(t, all, served())
	delta := b.resolve(change{"AD_ACCOUNT", int64(a.ID)}, change{"AD", int64(ad.ID)})
	require.Equal(t, all, adIDs(delta.Upserts))
	require.Empty(t, delta.Removals)

	paused := campaign.Some(campaign.Paused)
	ads, err := b.svc.UpdateAds(t.Context(), a.ID, items(campaign.AdUpdate{ID: ad.ID, AdInput: campaign.AdInput{Status: paused}}))
	written(b, ads, err)
	require.Equal(t, []campaign.AdID{sibling.ID, third.ID}, served())
	delta = b.resolve(change{"AD_GROUP", int64(g.ID)})
	require.Equal(t, []campaign.AdID{sibling.ID}, adIDs(delta.Upserts))
	require.Equal(t, []campaign.AdID{ad.ID}, delta.Removals)

	groups, err := b.svc.UpdateAdGroups(t.Context(), a.ID, items(campaign.AdGroupUpdate{ID: g.ID, AdGroupInput: campaign.AdGroupInput{Status: paused}}))
	written(b, groups, err)
	require.Equal(t, []campaign.AdID{third.ID}, served())
	campaigns, err := b.svc.UpdateCampaigns(t.Context(), a.ID, items(campaign.CampaignUpdate{ID: c.ID, CampaignInput: campaign.CampaignInput{Status: campaign.Some(campaign.Archived)}}))
	written(b, campaigns, err)
	require.Empty(t, served())
	delta = b.resolve(change{"CAMPAIGN", int64(c.ID)}, change{"AD", 5})
	require.Empty(t, delta.Upserts)
	require.Equal(t, sorted(append(all, 5)), delta.Removals, "an ad that is not there must not be served either")
}

// TestServingReadsAnAdInOnePiece changes an ad, its ad group and its keyword together, while it is read.
func TestServingReadsAnAdInOnePiece(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, _, g, ad := b.tree()
	_, err := b.svc.CreateKeywords(t.Context(), a.ID, campaign.Some(g.ID), nil, items(campaign.KeywordInput{
		MatchType: campaign.Some(campaign.MatchBroad), Value: campaign.Some("1"),
	}))
	require.NoError(t, err)
	set := func(n int) error {
		tx, err := b.db.BeginTxx(t.Context(), nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		for _, text := range []string{`UPDATE ads SET title = $1::text`, `UPDATE ad_groups SET bid_micros = $1::text::bigint`, `UPDATE keywords SET value = $1::text`} {
			if _, err := tx.ExecContext(t.Context(), text, strconv.Itoa(n)); err != nil {
				return err
			}
		}
		return tx.Commit()
	}
	require.NoError(t, set(1))
	const changes = 300
	done := make(chan error, 1)
	go func() {
		for n := range changes {
			if err := set(n + 2); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	whole := func(ads []campaign.ServingAd) {
		require.Len(t, ads, 1)
		n := strconv.Itoa(int(ads[0].BidMicros))
		require.Equal(t, n, ads[0].Creative.Title)
		require.Equal(t, []campaign.Keyword{{MatchType: campaign.MatchBroad, Value: n}}, ads[0].Keywords)
	}
	for {
		page, err := b.serving.Serving(t.Context(), 0, 10)
		require.NoError(t, err)
		whole(page)
		whole(b.resolve(change{"AD", int64(ad.ID)}).Upserts)
		select {
		case err := <-done:
			require.NoError(t, err)
			return
		default:
		}
	}
}

func TestAudiences(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, c, _, _ := b.tree()
	create := func(account campaign.AdAccountID) campaign.Audience {
		audience, err := b.svc.CreateAudience(t.Context(), account, items(campaign.AudienceInput{Name: campaign.Some("buyers"), Type: campaign.Some(campaign.CustomerList)})[0])
		require.NoError(t, err)
		return audience
	}
	x, y := create(a.ID), create(a.ID)
	users := func(audience campaign.AudienceID, operation string, ids ...string) int {
		n, err := b.svc.ChangeAudienceUsers(t.Context(), a.ID, audience, items(campaign.AudienceUsersInput{Operation: campaign.Some(operation), UserIDs: campaign.Some(ids)})[0])
		require.NoError(t, err)
		return n
	}
	u1, u2, u3 := campaign.UserHash("u1"), campaign.UserHash("u2"), campaign.UserHash("u3")
	b.drain()
	require.Equal(t, 2, users(x.ID, campaign.AddUsers, "u1", "u2", "u1"))
	require.ElementsMatch(t, []change{{"USER", u1}, {"USER", u2}}, b.drain())
	require.Equal(t, 1, users(x.ID, campaign.AddUsers, "u2", "u3"))
	require.Equal(t, []change{{"USER", u3}}, b.drain(), "only whose membership changed")
	require.Equal(t, 1, users(y.ID, campaign.AddUsers, "u1"))
	require.Equal(t, 1, users(x.ID, campaign.RemoveUsers, "u3", "u4"))
	b.drain()
	require.Zero(t, users(x.ID, campaign.RemoveUsers, "u3"))
	require.Empty(t, b.drain())

	lists, err := b.serving.AudienceLists(t.Context())
	require.NoError(t, err)
	require.Len(t, lists, 2)
	delta := b.resolve(change{"USER", u1}, change{"USER", u3}, change{"USER", u1}, change{"AUDIENCE", int64(x.ID)}, change{"AUDIENCE", 5})
	require.Equal(t, campaign.Delta{
		Users: sorted([]int64{u1, u3}), Lists: map[campaign.AudienceID]campaign.ListID{x.ID: lists[x.ID], 5: 0},
	}, delta)
	members, err := b.serving.MembersOf(t.Context(), delta.Users)
	require.NoError(t, err)
	of := map[int64][]campaign.ListID{}
	for _, m := range members {
		of[m.User] = m.Lists
	}
	require.Equal(t, map[int64][]campaign.ListID{u1: sorted([]campaign.ListID{lists[x.ID], lists[y.ID]}), u3: nil}, of)
	all := map[int64][]campaign.ListID{}
	require.NoError(t, b.serving.AllMembers(t.Context(), func(user int64, lists []campaign.ListID) error {
		all[user] = slices.Clone(lists)
		return nil
	}))
	require.Equal(t, map[int64][]campaign.ListID{u1: sorted([]campaign.ListID{lists[x.ID], lists[y.ID]}), u2: {lists[x.ID]}}, all)
	broken := errors.New("broken")
	require.ErrorIs(t, b.serving.AllMembers(t.Context(), func(int64, []campaign.ListID) error { return broken }), broken)

	got, err := b.svc.Audience(t.Context(), a.ID, x.ID)
	require.NoError(t, err)
	require.Equal(t, int64(2), got.Size)
	other := b.account("UTC")
	_, err = b.svc.ChangeAudienceUsers(t.Context(), other.ID, x.ID, items(campaign.AudienceUsersInput{Operation: campaign.Some("ADD"), UserIDs: campaign.Some([]string{"u"})})[0])
	require.ErrorIs(t, err, campaign.ErrAudienceNotFound)

	foreign := create(other.ID)
	spec, err := json.Marshal(map[string][]string{"AUDIENCE_INCLUDE": {idText(x.ID)}, "AUDIENCE_EXCLUDE": {idText(foreign.ID)}})
	require.NoError(t, err)
	results, err := b.svc.CreateAdGroups(t.Context(), a.ID, items(campaign.AdGroupInput{
		CampaignID: campaign.Some(c.ID), Name: campaign.Some("g"), BillableEvent: campaign.Some(campaign.BillImpression),
		Bid: campaign.Some[money.Micros](1), Budget: campaign.Some[money.Micros](1), TargetingSpec: campaign.Some(json.RawMessage(spec)),
	}))
	require.Equal(t, []string{"targeting_spec.AUDIENCE_EXCLUDE"}, refused(b, results, err), "another account's audience cannot be targeted")
}

func TestKeywords(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, _, g, _ := b.tree()
	in := items(campaign.KeywordInput{MatchType: campaign.Some(campaign.MatchBroad), Value: campaign.Some("a")}, campaign.KeywordInput{Value: campaign.Some("b")})
	first, err := b.svc.CreateKeywords(t.Context(), a.ID, campaign.Some(g.ID), nil, in)
	require.NoError(t, err)
	require.Equal(t, "match_type", first[1].Err.Fields[0].Name)
	again, err := b.svc.CreateKeywords(t.Context(), a.ID, campaign.Some(g.ID), nil, in[:1])
	require.NoError(t, err)
	require.Equal(t, first[0].Value, again[0].Value, "a keyword exists once")
	list, err := b.svc.Keywords(t.Context(), a.ID, campaign.KeywordFilter{AdGroups: []campaign.AdGroupID{g.ID}}, campaign.Page{Size: 5})
	require.NoError(t, err)
	require.Len(t, list, 1)
	none, err := b.svc.Keywords(t.Context(), a.ID, campaign.KeywordFilter{MatchTypes: []campaign.MatchType{campaign.MatchExact}}, campaign.Page{Size: 5, Descending: true})
	require.NoError(t, err)
	require.Empty(t, none)
	_, err = b.svc.CreateKeywords(t.Context(), b.account("UTC").ID, campaign.Some(g.ID), nil, in[:1])
	require.ErrorContains(t, err, "parent_id")
}

// TestAnAdGroupHasAtMostMaxKeywords: over the limit its ads could not be served, so the API must say so.
func TestAnAdGroupHasAtMostMaxKeywords(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, _, g, _ := b.tree()
	var all []campaign.KeywordInput
	for i := range campaign.MaxKeywords {
		all = append(all, campaign.KeywordInput{MatchType: campaign.Some(campaign.MatchBroad), Value: campaign.Some(fmt.Sprint("word ", i))})
	}
	_, err := b.svc.CreateKeywords(t.Context(), a.ID, campaign.Some(g.ID), nil, items(all...))
	require.NoError(t, err)
	_, err = b.svc.CreateKeywords(t.Context(), a.ID, campaign.Some(g.ID), nil, items(all[:10]...))
	require.NoError(t, err, "they are there already")
	one := campaign.KeywordInput{MatchType: campaign.Some(campaign.MatchBroad), Value: campaign.Some("one more")}
	_, err = b.svc.CreateKeywords(t.Context(), a.ID, campaign.Some(g.ID), nil, items(one))
	require.ErrorContains(t, err, "keywords: the ad group would have 1001, at most 1000 are allowed")
}

func TestChangesOfAdsAreReadFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.drain()
	_, err := b.db.ExecContext(t.Context(), `INSERT INTO outbox (entity, entity_id) SELECT 'USER', i FROM generate_series(1, 1000) i`)
	require.NoError(t, err)
	_, err = b.db.ExecContext(t.Context(), `INSERT INTO outbox (entity, entity_id) VALUES ('AD', 1), ('AUDIENCE', 2)`)
	require.NoError(t, err)
	changes, err := b.serving.NextChanges(t.Context(), 100)
	require.NoError(t, err)
	require.Len(t, changes, 100)
	require.Equal(t, []string{campaign.EntityAd, campaign.EntityAudience, campaign.EntityUser}, []string{changes[0].Entity, changes[1].Entity, changes[2].Entity})
	require.Equal(t, int64(98), changes[99].EntityID, "then users, in their order")
}

package campaign_test

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/campaign"
	"gavel/internal/money"
)

func multipliers(t require.TestingT, o campaign.BidOptions, adGroup campaign.PerMille) campaign.BidMultipliers {
	m, err := campaign.NewBidMultipliers(o, adGroup)
	require.NoError(t, err)
	return m
}

func TestEffectiveBid(t *testing.T) {
	t.Parallel()
	m := multipliers(t, campaign.BidOptions{
		AppTypes:   map[string]campaign.PerMille{"iphone": 1200, "web": 0, "ipad": 1000},
		Placements: map[string]campaign.PerMille{"search": 900, "related_pins": 3000},
		Audiences:  map[campaign.AudienceID]campaign.PerMille{7: 500, 8: 2000},
	}, 1500)
	ids := func(n ...campaign.AudienceID) []campaign.AudienceID { return n }
	for name, c := range map[string]struct {
		bid                money.Nanos
		appType, placement string
		audiences          []campaign.AudienceID
		known              bool
		want               money.Nanos
	}{
		"the ad group's alone":         {1000, "", "", nil, true, 1500},
		"all four":                     {1000, "iphone", "SEARCH", ids(7), true, 810},
		"related pins are OTHER":       {1000, "ipad", "OTHER", nil, true, 4500},
		"rounded down once":            {7, "iphone", "SEARCH", ids(7), true, 5},
		"0 never bids":                 {1000, "web", "OTHER", ids(8), true, 0},
		"the highest of the user's":    {1000, "", "", ids(8, 7), true, 3000},
		"the user is in the low one":   {1000, "", "", ids(7, 99), true, 750},
		"audiences that are not known": {1000, "", "", ids(7), false, 1500},
		"never negative":               {-5, "", "", nil, true, 0},
		"saturates":                    {math.MaxInt64, "", "OTHER", nil, true, math.MaxInt64},
	} {
		require.Equal(t, c.want, m.Effective(c.bid, c.appType, c.placement, c.audiences, c.known), name)
	}
	require.Equal(t, money.Nanos(1000*15*12*30*20/10_000), m.Most(1000))
	require.Equal(t, money.Nanos(5), campaign.BidMultipliers{}.Effective(5, "web", "SEARCH", nil, true))

	excluding := multipliers(t, campaign.BidOptions{Audiences: map[campaign.AudienceID]campaign.PerMille{7: 0, 8: 2000}}, 0)
	require.Equal(t, money.Nanos(2000), excluding.Effective(1000, "", "", ids(8), true))
	require.Zero(t, excluding.Effective(1000, "", "", ids(8, 7), true), "0 always wins")
	require.Zero(t, excluding.Effective(1000, "", "", ids(8), false), "the user may be in the one that is not to see the ad")
}

func TestMultipliersThatMeanNothingAreRefused(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]campaign.BidOptions{
		"app type":  {AppTypes: map[string]campaign.PerMille{"toaster": 1200}},
		"placement": {Placements: map[string]campaign.PerMille{"SEARCH": 1200}},
		"audience":  {Audiences: map[campaign.AudienceID]campaign.PerMille{-7: 1200}},
		"too large": {AppTypes: map[string]campaign.PerMille{"web": 10_001}},
		"negative":  {AppTypes: map[string]campaign.PerMille{"web": -1}},
	} {
		_, err := campaign.NewBidMultipliers(o, 0)
		require.Error(t, err, name)
	}
	_, err := campaign.NewBidMultipliers(campaign.BidOptions{}, 99)
	require.Error(t, err)
}

var (
	someAppTypes   = []string{"android_mobile", "android_tablet", "ipad", "iphone", "web", "web_mobile"}
	somePlacements = []string{"search", "browse", "related_pins"}
)

func TestEffectiveIsTheExactProduct(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Map(rapid.Int64Range(0, 10_000), func(v int64) campaign.PerMille { return campaign.PerMille(v) })
		o := campaign.BidOptions{
			AppTypes:   rapid.MapOfN(rapid.SampledFrom(someAppTypes), value, 0, 6).Draw(t, "app types"),
			Placements: rapid.MapOfN(rapid.SampledFrom(somePlacements), value, 0, 3).Draw(t, "placements"),
			Audiences:  rapid.MapOfN(rapid.Map(rapid.Int64Range(1, 9), func(v int64) campaign.AudienceID { return campaign.AudienceID(v) }), value, 0, 5).Draw(t, "audiences"),
		}
		adGroup := campaign.PerMille(rapid.Int64Range(100, 10_000).Draw(t, "ad group"))
		m := multipliers(t, o, adGroup)
		decoded, ok := campaign.DecodeBidMultipliers(m.Code())
		require.True(t, ok)
		require.Equal(t, m, decoded)

		i := rapid.IntRange(0, 2).Draw(t, "placement")
		appType, placement, asked := rapid.SampledFrom(someAppTypes).Draw(t, "app type"), somePlacements[i], []string{"SEARCH", "BROWSE", "OTHER"}[i]
		audience := campaign.AudienceID(rapid.Int64Range(1, 9).Draw(t, "audience"))
		of := func(v campaign.PerMille, there bool) int64 {
			if !there {
				return 1000
			}
			return int64(v)
		}
		a, ak := o.AppTypes[appType]
		p, pk := o.Placements[placement]
		u, uk := o.Audiences[audience]
		bid := rapid.Int64Range(0, math.MaxInt64).Draw(t, "bid")
		want := big.NewInt(bid)
		for _, f := range []int64{int64(adGroup), of(a, ak), of(p, pk), of(u, uk)} {
			want.Mul(want, big.NewInt(f))
		}
		want.Div(want, big.NewInt(1_000_000_000_000))
		if !want.IsInt64() {
			want = big.NewInt(math.MaxInt64)
		}
		got := m.Effective(money.Nanos(bid), appType, asked, []campaign.AudienceID{audience, 99}, true)
		require.Equal(t, money.Nanos(want.Int64()), got)
		require.LessOrEqual(t, got, m.Most(money.Nanos(bid)))
	})
}

func FuzzDecodeBidMultipliers(f *testing.F) {
	f.Add(multipliers(f, campaign.BidOptions{Placements: map[string]campaign.PerMille{"search": 900}, Audiences: map[campaign.AudienceID]campaign.PerMille{7: 0}}, 2000).Code())
	f.Add("x")
	f.Fuzz(func(t *testing.T, code string) {
		m, ok := campaign.DecodeBidMultipliers(code)
		if !ok {
			return
		}
		require.Equal(t, code, m.Code())
		require.LessOrEqual(t, m.Effective(1000, "web", "SEARCH", []campaign.AudienceID{7}, true), m.Most(1000))
		text, err := m.MarshalText()
		require.NoError(t, err)
		var again campaign.BidMultipliers
		require.NoError(t, again.UnmarshalText(text))
		require.Equal(t, m, again)
	})
}

func TestOfferBase(t *testing.T) {
	t.Parallel()
	const cpm, cpc = campaign.BillImpression, campaign.BillClickthrough
	for name, c := range map[string]struct {
		offer              campaign.Offer
		pacing, pCTR, pCVR float64
		want               money.Nanos
	}{
		"per impression":            {campaign.Offer{Event: cpm, Strategy: campaign.MaxBid, Bid: 2_000_001}, 0.5, 0.1, 0.1, 2_000_001},
		"per click":                 {campaign.Offer{Event: cpc, Strategy: campaign.MaxBid, Bid: 7}, 0.5, 0.1, 0.1, 7_000},
		"automatic":                 {campaign.Offer{Event: cpm, Strategy: campaign.AutomaticBid, Bid: 1001}, 0.5, 0, 0, 500},
		"automatic, not known":      {campaign.Offer{Event: cpm, Strategy: campaign.AutomaticBid, Bid: 1000}, 0, 0, 0, 100},
		"automatic, not a number":   {campaign.Offer{Event: cpm, Strategy: campaign.AutomaticBid, Bid: 1000}, math.NaN(), 0, 0, 100},
		"automatic, above its cap":  {campaign.Offer{Event: cpm, Strategy: campaign.AutomaticBid, Bid: 1000}, 2.5, 0, 0, 1000},
		"automatic, near nothing":   {campaign.Offer{Event: cpm, Strategy: campaign.AutomaticBid, Bid: 1_000_000}, 1e-9, 0, 0, 1000},
		"average, above the target": {campaign.Offer{Event: cpm, Strategy: campaign.TargetAvg, Bid: 1000}, 2.5, 0, 0, 2500},
		"average, far above":        {campaign.Offer{Event: cpm, Strategy: campaign.TargetAvg, Bid: 1000}, 250, 0, 0, 3000},
		"average, not known":        {campaign.Offer{Event: cpm, Strategy: campaign.TargetAvg, Bid: 1000}, 0, 0, 0, 1000},
		"goal, per impression":      {campaign.Offer{Event: cpm, Bid: 1 << 40, CPAGoal: 5_000_000}, 1, 0.01, 0.125, 6_250_000},
		"goal, per click":           {campaign.Offer{Event: cpc, Bid: 1 << 40, CPAGoal: 5_000_000}, 1, 0.01, 0.125, 625_000_000},
		"goal, capped":              {campaign.Offer{Event: cpc, Bid: 600_000, CPAGoal: 5_000_000}, 1, 0.01, 0.125, 600_000_000},
		"too large":                 {campaign.Offer{Event: cpc, Bid: 1 << 62}, 1, 0.01, 0.1, 0},
	} {
		require.Equal(t, c.want, c.offer.Base(c.pacing, c.pCTR, c.pCVR), name)
	}
}

func TestCaps(t *testing.T) {
	t.Parallel()
	require.Equal(t, money.Micros(50_000_000), campaign.CapMicros(campaign.BillImpression, "EUR", 0))
	require.Equal(t, money.Micros(500_000_000), campaign.CapMicros(campaign.BillClickthrough, "JPY", 0))
	require.Equal(t, money.Micros(7), campaign.CapMicros(campaign.BillClickthrough, "JPY", 7))
	require.Equal(t, money.Micros(7000), campaign.CapMicros(campaign.BillImpression, "EUR", 7))
}

func TestCategories(t *testing.T) {
	t.Parallel()
	require.Equal(t, "IAB26", campaign.CategoryOf(26))
	require.Equal(t, 2, campaign.CategoryCode("IAB2"))
	for _, none := range []string{"", "IAB0", "IAB27", "IAB02", "IAB2-1", "iab2"} {
		require.Zero(t, campaign.CategoryCode(none), none)
	}
	require.Empty(t, campaign.CategoryOf(0))
	require.Empty(t, campaign.CategoryOf(27))
}

package targeting_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/targeting"
)

func multipliers(t require.TestingT, o campaign.BidOptions, adGroup campaign.PerMille) campaign.BidMultipliers {
	m, err := campaign.NewBidMultipliers(o, adGroup)
	require.NoError(t, err)
	return m
}

// TestParserSharesOnlyEqualGroups parses ads of one ad group one after the other, each with something changed, also in place.
func TestParserSharesOnlyEqualGroups(t *testing.T) {
	t.Parallel()
	bounds := targeting.Bounds{MaxCTR: 0.5, MaxCVR: 0.5}
	p := targeting.NewParser(bounds)
	ad := campaign.ServingAd{
		AdID: 1, AdGroupID: 2, CampaignID: 3, AdAccountID: 4, Currency: "USD", TimeZone: "UTC", BillableEvent: campaign.BillImpression,
		BidMicros: 5_000_000, PlacementGroup: "ALL", Targeting: []byte(`{"GENDER":["female"]}`),
		Keywords: []campaign.Keyword{{MatchType: campaign.MatchBroad, Value: "shoes"}},
	}
	first, err := p.Parse(ad)
	require.NoError(t, err)
	ad.AdID, ad.Creative.Title = 6, "another"
	second, err := p.Parse(ad)
	require.NoError(t, err)
	require.Same(t, first.Group, second.Group)
	require.Equal(t, "another", second.Creative().Title)

	for name, change := range map[string]func(){
		"ad group":  func() { ad.AdGroupID++ },
		"campaign":  func() { ad.CampaignID++ },
		"account":   func() { ad.AdAccountID++ },
		"currency":  func() { ad.Currency = "EUR" },
		"zone":      func() { ad.TimeZone = "Asia/Tokyo" },
		"event":     func() { ad.BillableEvent = campaign.BillClickthrough },
		"bid":       func() { ad.BidMicros++ },
		"objective": func() { ad.Objective = campaign.WebConversion },
		"category":  func() { ad.Category = "IAB2" },
		"strategy":  func() { ad.BidStrategy = campaign.TargetAvg },
		"floor":     func() { ad.BidFloorMicros = 9 },
		"CPA goal":  func() { ad.CPAGoalMicros = 9 },
		"multiplier": func() {
			ad.Multipliers = multipliers(t, campaign.BidOptions{Placements: map[string]campaign.PerMille{"search": 1200}}, 0)
		},
		"placement":  func() { ad.PlacementGroup = "BROWSE" },
		"cap":        func() { ad.FrequencyCap = 7 },
		"start":      func() { ad.StartTime = time.Unix(2_000_000_000, 0) },
		"end":        func() { ad.EndTime = time.Unix(2_000_000_000, 0) },
		"hours":      func() { ad.Hours[0] = 1 },
		"spec":       func() { copy(ad.Targeting, `{"GENDER":["male"]}  `) },
		"keyword":    func() { ad.Keywords[0].Value = "boots" },
		"match type": func() { ad.Keywords[0].MatchType = campaign.MatchExact },
	} {
		change()
		got, err := p.Parse(ad)
		require.NoError(t, err, name)
		want, err := targeting.NewAd(ad, bounds)
		require.NoError(t, err, name)
		require.Equal(t, targeting.AppendAd(nil, want), targeting.AppendAd(nil, got), name)
		require.NotSame(t, first.Group, got.Group, name)
	}
}

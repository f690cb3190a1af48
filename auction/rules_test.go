package auction_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/auction"
	"gavel/campaign"
	"gavel/internal/money"
	"gavel/targeting"
)

func TestRulesFile(t *testing.T) {
	t.Parallel()
	r, err := auction.ParseRules([]byte(`{"SEARCH": {"pricing": "GSP", "slot_factors": [1, 0.5], "estimate_slot_factors": false, "max_ads": 3, "min_gap": 2,
		"floor_cpm_micros": 200000, "floor_cpm_micros_by_country": {"US": 900000}, "max_per_account": 2, "max_per_campaign": 1, "separate_categories": false,
		"organic_cpm_micros": 50000, "relevance_micros_per_click": 7}}`))
	require.NoError(t, err)
	require.Equal(t, auction.DefaultRules().Browse, r.Browse, "what a file leaves out is as without it")
	require.NotEqual(t, auction.DefaultRules().Version, r.Version)
	require.Equal(t, money.Micros(900_000), r.Floor(targeting.PlacementSearch, "US"))
	require.Equal(t, money.Micros(200_000), r.Floor(targeting.PlacementSearch, "DE"))
	require.Equal(t, money.Micros(100_000), r.Floor("ELSEWHERE", "US"), "as OTHER")

	page := r.Page(targeting.PlacementSearch, []auction.Slot{{Position: 3}, {Position: 9}, {Position: 12}}, []float64{1, 0.9, 0.8})
	require.Equal(t, auction.Page{
		Slots:  []auction.PageSlot{{Position: 3, Factor: 1}, {Position: 9, Factor: 0.5}, {Position: 12, Factor: 0.5}},
		MaxAds: 3, MinGap: 2, MaxPerAccount: 2, MaxPerCampaign: 1, Organic: 50_000, Pricing: auction.GSP,
	}, page)
	page = r.Page(targeting.PlacementBrowse, make([]auction.Slot, 25), []float64{1, 0.9})
	require.Len(t, page.Slots, auction.MaxPageSlots)
	require.Equal(t, auction.PageSlot{Position: 19, Factor: 0.9}, page.Slots[19], "the order counts without positions")
	page = r.Page(targeting.PlacementBrowse, make([]auction.Slot, 2), []float64{1, 1.1})
	require.InDelta(t, 0.63, page.Slots[1].Factor, 0, "factors that rise are not used")

	text, err := json.Marshal(r)
	require.NoError(t, err)
	var again auction.Rules
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, r, &again)
	empty, err := auction.ParseRules([]byte(`{}`))
	require.NoError(t, err)
	require.Equal(t, auction.DefaultRules(), empty)
	require.NoError(t, empty.Validate())
}

func TestRulesTellEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := auction.ParseRules([]byte(`{"FEED": {}, "BROWSE": {"colour": 1, "pricing": "FIRST", "max_ads": "three", "min_gap": -1, "slot_factors": [0.9, 1]},
		"OTHER": {"floor_cpm_micros": 0, "floor_cpm_micros_by_country": {"usa": 5, "DE": -1}, "max_per_account": 21, "organic_cpm_micros": -1}, "SEARCH": 3}`))
	for _, problem := range []string{
		"FEED is not a placement", "BROWSE.colour is not known", `BROWSE.pricing is "FIRST"`, "BROWSE.max_ads: ", "BROWSE.min_gap is -1", "BROWSE.slot_factors must be",
		"OTHER.floor_cpm_micros is 0", `OTHER.floor_cpm_micros_by_country["usa"]: a country`, `["DE"] is -1`, "OTHER.max_per_account is 21",
		"OTHER.organic_cpm_micros is -1", "SEARCH: ",
	} {
		require.ErrorContains(t, err, problem)
	}
	for _, text := range []string{"", "[]", "{} {}", `{"BROWSE": {"slot_factors": []}}`} {
		_, err := auction.ParseRules([]byte(text))
		require.Error(t, err, text)
	}
}

func TestBidFloor(t *testing.T) {
	t.Parallel()
	r, err := auction.ParseRules([]byte(`{"BROWSE": {"floor_cpm_micros": 300000, "floor_cpm_micros_by_country": {"US": 900000, "DE": 400000}},
		"SEARCH": {"floor_cpm_micros": 600000}, "OTHER": {"floor_cpm_micros": 700000}}`))
	require.NoError(t, err)
	ctr := func(p targeting.Placement) float64 {
		return map[targeting.Placement]float64{targeting.PlacementBrowse: 0.007, targeting.PlacementSearch: 0.03, targeting.PlacementOther: 0.01}[p]
	}
	require.Equal(t, money.Micros(300_000), r.BidFloor(campaign.BillImpression, nil, ctr))
	require.Equal(t, money.Micros(400_000), r.BidFloor(campaign.BillImpression, []string{"FR", "DE"}, ctr), "enough in both")
	require.Equal(t, money.Micros(600_000), r.BidFloor(campaign.BillImpression, []string{"US"}, ctr), "on SEARCH")
	require.Equal(t, money.Micros(20_000), r.BidFloor(campaign.BillClickthrough, nil, ctr), "600 micros an impression ÷ 0.03")
	require.Equal(t, money.Micros(42_858), auction.DefaultRules().BidFloor(campaign.BillClickthrough, nil, func(targeting.Placement) float64 { return 7.0 / 3000 }),
		"100 micros an impression ÷ 0.002333… = 42,857.14…")
}

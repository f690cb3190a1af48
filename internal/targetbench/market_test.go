package targetbench_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/targetbench"
	"gavel/targeting"
)

func TestASeedIsAMarket(t *testing.T) {
	t.Parallel()
	m := targetbench.NewMarket(7)
	some := slices.Collect(m.Ads(1000))
	require.Equal(t, some, slices.Collect(targetbench.NewMarket(7).Ads(5000))[:1000], "a larger market begins with the smaller one")
	require.NotEqual(t, some, slices.Collect(targetbench.NewMarket(8).Ads(1000)))
	require.Equal(t, m.Queries(50), targetbench.NewMarket(7).Queries(80)[:50])
}

// The market must have every part of targeting, or an engine could get one wrong and nobody would see it.
func TestTheMarketHasEverything(t *testing.T) {
	t.Parallel()
	const ads, queries = 20_000, 100
	m := targetbench.NewMarket(1)
	taxonomy, err := targeting.NewTaxonomy(m.Interests())
	require.NoError(t, err)
	require.Greater(t, taxonomy.Len(), 500)
	parser, tables := targeting.NewParser(targeting.Bounds{MaxCTR: 0.25, MaxCVR: 0.5}), &targeting.Tables{Interests: taxonomy}
	var all []*targeting.Ad
	types, groups := map[campaign.MatchType]int{}, map[campaign.AdGroupID]int{}
	hours := 0
	for s := range m.Ads(ads) {
		ad, err := parser.Parse(s)
		require.NoError(t, err)
		all = append(all, ad)
		groups[s.AdGroupID]++
		for _, k := range s.Keywords {
			types[k.MatchType]++
		}
		if !s.Hours.IsZero() {
			hours++
		}
	}
	require.Len(t, all, ads)
	require.Len(t, types, 5)
	require.Greater(t, hours, ads/20)
	require.InDelta(t, 2.5, float64(ads)/float64(len(groups)), 0.2)

	misses, excluded := map[targeting.Miss]int{}, 0
	rules := make([]*targeting.Rule, 2000)
	for i := range rules {
		rules[i] = all[i].Rule()
	}
	for _, q := range m.Queries(queries) {
		if len(q.ExcludeAdAccounts) > 0 && slices.ContainsFunc(all, func(ad *targeting.Ad) bool { return slices.Contains(q.ExcludeAdAccounts, ad.AdAccountID) }) {
			excluded++
		}
		for _, rule := range rules {
			misses[rule.Miss(q, tables)]++
		}
	}
	for miss := targeting.Matched; miss <= targeting.MissAudience; miss++ {
		if miss != targeting.MissExcluded {
			require.NotZero(t, misses[miss], miss.String())
		}
	}
	require.Positive(t, excluded)
	rate := float64(misses[targeting.Matched]) / float64(queries*len(rules))
	require.Greater(t, rate, 0.001)
	require.Less(t, rate, 0.02)
}

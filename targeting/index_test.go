package targeting_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/campaign"
	"gavel/targeting"
)

// byRule is the answer of a plain loop.
func byRule(ads []*targeting.Ad, q *targeting.Query, k int) []campaign.AdID {
	ids := []campaign.AdID{}
	for _, a := range slices.SortedFunc(slices.Values(ads), targeting.Compare) {
		if len(ids) != k && targeting.Match(a, q, &tables) == targeting.Matched {
			ids = append(ids, a.AdID)
		}
	}
	return ids
}

func idsOf(ads []*targeting.Ad) []campaign.AdID {
	ids := []campaign.AdID{}
	for _, a := range ads {
		ids = append(ids, a.AdID)
	}
	return ids
}

func TestIndexAnswersWhatTheRuleAnswers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := rapidDraws{t}
		var ads []*targeting.Ad
		for id := range d.n(40) {
			ads = append(ads, anAd(t, d, campaign.AdID(id+1)))
		}
		ix := targeting.Build(ads, tables)
		require.Equal(t, len(ads), ix.Len())
		for range 5 {
			q, k := aQuery(d), d.n(12)-1
			require.Equal(t, byRule(ads, q, k), idsOf(ix.Match(q, k, nil)))
		}
	})
}

// TestIndexAnswersWhatTheRuleAnswersOnManyAds has columns of both kinds and several blocks, which the shrinkable cases are too
// small for: 300,000 pairs of an ad and a query.
func TestIndexAnswersWhatTheRuleAnswersOnManyAds(t *testing.T) {
	t.Parallel()
	d := randDraws{rand.New(rand.NewPCG(1, 2))}
	var ads []*targeting.Ad
	for id := range 3000 {
		ads = append(ads, anAd(t, d, campaign.AdID(id+1)))
	}
	ix := targeting.Build(ads, tables)
	hits := 0
	for range 100 {
		q, k := aQuery(d), d.n(100)-1
		want := byRule(ads, q, k)
		require.Equal(t, want, idsOf(ix.Match(q, k, nil)), "%+v", *q)
		hits += len(want)
	}
	require.Greater(t, hits, 1000, "the cases hardly ever match")
}

func TestApplyEqualsBuild(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := rapidDraws{t}
		ix := targeting.Build(nil, tables)
		now := map[campaign.AdID]*targeting.Ad{}
		for range 4 {
			var upserts []*targeting.Ad
			var removals []campaign.AdID
			for range d.n(8) {
				a := anAd(t, d, campaign.AdID(1+d.n(12)))
				upserts = append(upserts, a)
				now[a.AdID] = a
			}
			for range d.n(4) {
				id := campaign.AdID(1 + d.n(12))
				removals = append(removals, id)
				delete(now, id)
			}
			before, was := ix, idsOf(slices.Collect(ix.Ads()))
			var err error
			ix, err = ix.Apply(targeting.Change{Upserts: upserts, Removals: removals})
			require.NoError(t, err)
			require.Equal(t, was, idsOf(slices.Collect(before.Ads())), "the old snapshot changed")

			var ads []*targeting.Ad
			for _, a := range now {
				ads = append(ads, a)
				got, ok := ix.Ad(a.AdID)
				require.True(t, ok)
				require.Equal(t, *a, *got)
			}
			require.Equal(t, len(now), ix.Len())
			q := aQuery(d)
			require.Equal(t, byRule(ads, q, -1), idsOf(ix.Match(q, -1, nil)))
		}
	})
}

func TestAllSaysOfEveryAdWhatTheRuleSays(t *testing.T) {
	t.Parallel()
	d := randDraws{rand.New(rand.NewPCG(3, 4))}
	var ads []*targeting.Ad
	for id := range 200 {
		ads = append(ads, anAd(t, d, campaign.AdID(id+1)))
	}
	ix, q := targeting.Build(ads, tables), aQuery(d)
	seen, last := 0, 1e18
	for a, miss := range ix.All(q) {
		require.Equal(t, targeting.Match(a, q, &tables), miss)
		require.LessOrEqual(t, a.Bound, last)
		seen, last = seen+1, a.Bound
	}
	require.Equal(t, 200, seen)
	for range ix.All(q) {
		break // stopping early is allowed
	}
}

func TestMatchAppendsAndDoesNotAllocate(t *testing.T) {
	d := randDraws{rand.New(rand.NewPCG(5, 6))}
	ads := []*targeting.Ad{ad(t, `{}`)}
	for id := range 2000 {
		ads = append(ads, anAd(t, d, campaign.AdID(id+2)))
	}
	ix := targeting.Build(ads, tables)
	q := &targeting.Query{
		Now: noon, Placement: targeting.PlacementSearch, Country: "US", Region: "US-CA", Gender: "female", Age: 27, Locale: "en-US",
		AppType: "iphone", Interests: []string{"1", "2"}, SearchQuery: "buy red shoes", Audiences: audiences[:1], AudiencesKnown: true,
	}
	dst := append(make([]*targeting.Ad, 0, 300), ads[0])
	dst = ix.Match(q, 200, dst)
	require.Equal(t, *ads[0], *dst[0])
	require.Greater(t, len(dst), 10)
	if raced {
		return
	}
	require.Zero(t, testing.AllocsPerRun(100, func() { dst = ix.Match(q, 200, dst[:1]) }))

	// With both deltas, and rows that stand in several streams.
	m := &market{ads: map[campaign.AdID]*targeting.Ad{}, ix: ix}
	for range 3 {
		m.aChange(t, d, 2000, 700)
	}
	dst = make([]*targeting.Ad, 0, 4000)
	for _, k := range []int{200, -1} {
		require.Zero(t, testing.AllocsPerRun(100, func() { dst = m.ix.Match(q, k, dst[:0]) }))
	}
}

func TestReplicaIsNeverNil(t *testing.T) {
	t.Parallel()
	var r targeting.Replica
	require.Zero(t, r.Current().Len())
	ix := targeting.Build([]*targeting.Ad{ad(t, `{}`)}, tables)
	r.Store(ix)
	require.Same(t, ix, r.Current())
}

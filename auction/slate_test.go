package auction_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/auction"
	"gavel/campaign"
	"gavel/internal/money"
)

// refLongPage is the value of the best page of many slots when only categories bind: a plain dynamic programme over how many ads of each
// category are used, with no bound and no shortcut. lists are margins, the highest first; list 0 are the ads without a category.
func refLongPage(weights []float64, lists [][]float64) float64 {
	type state struct {
		used [8]int8
		last int8
	}
	level := map[state]float64{{}: 0}
	best := 0.0
	for _, w := range weights {
		next := map[state]float64{}
		for st, value := range level {
			best = max(best, value)
			for c := range lists {
				if c != 0 && int8(c) == st.last || int(st.used[c]) == len(lists[c]) {
					continue
				}
				to := st
				to.used[c]++
				to.last = int8(c)
				next[to] = max(next[to], value+w*lists[c][st.used[c]])
			}
		}
		level = next
	}
	for _, value := range level {
		best = max(best, value)
	}
	return best
}

// longWorld is a page of many slots and ads of few categories, every ad of an account of its own.
func longWorld(weights []float64, lists [][]float64) world {
	w := world{page: auction.Page{Pricing: auction.VCG, SeparateCategories: true}}
	for i, f := range weights {
		w.page.Slots = append(w.page.Slots, auction.PageSlot{Position: i, Factor: f})
	}
	for c, list := range lists {
		for _, margin := range list {
			id := int64(len(w.bidders) + 1)
			b := auction.Bidder{
				AdID: campaign.AdID(id), CampaignID: campaign.CampaignID(id), AdAccountID: campaign.AdAccountID(id), Bid: money.Nanos(margin), Rate: 1,
			}
			if c > 0 {
				b.Category = fmt.Sprintf("IAB%d", c)
			}
			w.bidders = append(w.bidders, b)
		}
	}
	return w
}

func pageValue(w *world, placed []auction.Placed) float64 {
	sum := 0.0
	for _, p := range placed {
		sum += w.page.Slots[p.Slot].Factor * (w.bidders[p.Bidder].Value() - w.page.Organic)
	}
	return sum
}

// drawLongWorld is a page of up to 20 slots and ads of a few categories, with what its best page is worth.
func drawLongWorld(t *rapid.T) (w world, value float64) {
	slots := rapid.IntRange(2, 20).Draw(t, "slots")
	categories := rapid.IntRange(2, 4).Draw(t, "categories")
	if slots > 12 {
		categories = min(categories, 3)
	}
	weights := make([]float64, slots)
	factor, drop := 4096, rapid.SampledFrom([]int{0, 3, 200, 2000}).Draw(t, "drop")
	for i := range weights {
		weights[i] = float64(factor) / 4096
		factor = max(1, factor-rapid.IntRange(0, drop).Draw(t, "by"))
	}
	lists := make([][]float64, categories)
	for c := range lists {
		base := rapid.SampledFrom([]int{1, 100, 1000, 100_000}).Draw(t, "base")
		spread := rapid.SampledFrom([]int{0, 1, 10, 1000}).Draw(t, "spread")
		for range rapid.IntRange(0, 14).Draw(t, "ads") {
			lists[c] = append(lists[c], float64(base+rapid.IntRange(0, spread).Draw(t, "more")))
		}
		slices.Sort(lists[c])
		slices.Reverse(lists[c])
	}
	return longWorld(weights, lists), refLongPage(weights, lists)
}

func requireSeparate(t require.TestingT, w *world, placed []auction.Placed) {
	for i := 1; i < len(placed); i++ {
		c := w.bidders[placed[i].Bidder].Category
		require.False(t, c != "" && c == w.bidders[placed[i-1].Bidder].Category, "place %d", i)
	}
}

// TestLongPagesAreTheBest is about pages up to the limit, where the facts that the search relies on have to be true: who comes into
// question at a place, how many ads a page can need, and the bound.
func TestLongPagesAreTheBest(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	rapid.Check(t, func(t *rapid.T) {
		w, best := drawLongWorld(t)
		placed := s.Solve(&w.page, w.bidders, nil)
		require.InEpsilon(t, 1+best, 1+pageValue(&w, placed), 1e-14)
		require.Zero(t, s.Narrowed())
		requireSeparate(t, &w, placed)
	})
}

// TestANarrowSearchKeepsEveryRule: where a search gives up partial pages, the page is a good one, and its prices are prices.
func TestANarrowSearchKeepsEveryRule(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	s.Limit(1)
	rapid.Check(t, func(t *rapid.T) {
		w, best := drawLongWorld(t)
		placed := s.Solve(&w.page, w.bidders, nil)
		require.GreaterOrEqual(t, pageValue(&w, placed), 0.9*best)
		requireSeparate(t, &w, placed)
		for _, p := range placed {
			require.True(t, 0 <= p.Price && p.Price <= w.bidders[p.Bidder].Bid)
		}
	})
}

// TestTheSearchStaysSmall looks for markets that are hard to order, by changing the hardest one that is known again and again.
func TestTheSearchStaysSmall(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2)) // the same markets in every run
	var s auction.Solver
	worst := 0
	work := func(weights []float64, ads [][2]float64) int {
		w := longWorld(weights, nil)
		w.page.Pricing = auction.GSP // one search per page
		for i, a := range ads {
			id := int64(i + 1)
			w.bidders = append(w.bidders, auction.Bidder{
				AdID: campaign.AdID(id), CampaignID: campaign.CampaignID(id), AdAccountID: campaign.AdAccountID(id), Bid: money.Nanos(a[0]), Rate: 1,
				Category: fmt.Sprintf("IAB%v", a[1]),
			})
		}
		s.Solve(&w.page, w.bidders, nil)
		return s.Work()
	}
	for start := range 20 {
		categories := 2 + start%20
		weights := make([]float64, 20)
		for i := range weights {
			weights[i] = math.Pow([]float64{1, 0.99, 0.9, 0.7}[start%4], float64(i))
		}
		ads := make([][2]float64, 60)
		for i := range ads {
			ads[i] = [2]float64{float64(1e6 + r.IntN(1e6)), float64(r.IntN(categories))}
		}
		most := work(weights, ads)
		for range 60 {
			tried := slices.Clone(ads)
			for range 1 + r.IntN(4) {
				i := r.IntN(len(tried))
				switch r.IntN(3) {
				case 0:
					tried[i][0] = float64(1e6 + r.IntN(1e6))
				case 1:
					tried[i][1] = float64(r.IntN(categories))
				default:
					tried[i][0] = tried[r.IntN(len(tried))][0] + float64(r.IntN(3)-1)
				}
			}
			if n := work(weights, tried); n >= most {
				ads, most = tried, n
			}
		}
		worst = max(worst, most)
	}
	t.Logf("at most %d partial pages", worst)
	require.Less(t, worst, 8000, "of one page: about a millisecond")
}

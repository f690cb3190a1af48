package auction_test

import (
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

// The properties that docs/auction.md promises. For the figures there each ran with -rapid.checks=1000000.

// placedOf is what became of bidder i, nil if it lost.
func placedOf(placed []auction.Placed, i int) *auction.Placed {
	if k := slices.IndexFunc(placed, func(p auction.Placed) bool { return p.Bidder == i }); k >= 0 {
		return &placed[k]
	}
	return nil
}

// drawTruthful leaves each ad account one ad on the page, which makes the advertiser the agent that VCG is truthful for.
func drawTruthful(t *rapid.T) world {
	w := drawWorld(t, limits{bidders: 6, slots: 4, pricing: auction.VCG})
	w.page.MaxPerAccount = 1
	return w
}

func TestPricesAreFromTheFloorToTheBid(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, limits{bidders: 8, slots: 5})
		for i := range w.bidders { // floats with all their noise
			w.bidders[i].Rate *= rapid.Float64Range(0.001, 1).Draw(t, "rate")
		}
		for _, p := range s.Solve(&w.page, w.bidders, nil) {
			b := &w.bidders[p.Bidder]
			require.True(t, b.Floor <= p.Price && p.Price <= b.Bid, "%d ≤ %d ≤ %d", b.Floor, p.Price, b.Bid)
		}
	})
}

// TestWhoSetsAPriceRaisesIt: a price that names an ad is above the least that the winner could pay, one that names none is that least.
func TestWhoSetsAPriceRaisesIt(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, limits{bidders: 8, slots: 5, pricing: auction.VCG})
		for i := range w.page.Slots { // sums with noise, some slots no better than the next
			if i > 0 {
				w.page.Slots[i].Factor = w.page.Slots[i-1].Factor * rapid.SampledFrom([]float64{1, 0.7, 0.3}).Draw(t, "factor")
			}
		}
		for _, p := range s.Solve(&w.page, w.bidders, nil) {
			b := &w.bidders[p.Bidder]
			organic := money.CeilPrice((w.page.Organic - b.Relevance) / b.Rate)
			least := min(max(b.Floor, organic), b.Bid)
			switch p.PricedBy {
			case auction.ByFloor, auction.ByOrganic:
				require.Equal(t, least, p.Price)
				require.Equal(t, p.PricedBy == auction.ByOrganic, float64(b.Floor) < (w.page.Organic-b.Relevance)/b.Rate)
			default:
				require.Greater(t, p.Price, least)
				require.NotEqual(t, p.Bidder, p.PricedBy)
			}
		}
	})
}

// TestVCGIsTruthful bids all of a grid and more instead of what a view is worth to the advertiser. Nothing gains more than the part of a
// nano that prices are rounded up by.
func TestVCGIsTruthful(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	rapid.Check(t, func(t *rapid.T) {
		w := drawTruthful(t)
		if len(w.bidders) == 0 {
			return
		}
		i := rapid.IntRange(0, len(w.bidders)-1).Draw(t, "i")
		b := &w.bidders[i]
		// An advertiser with several ads has one to bid for here; the others are away.
		for j := range w.bidders {
			w.bidders[j].Out = w.bidders[j].Out || j != i && w.bidders[j].AdAccountID == b.AdAccountID
		}
		worth := b.Bid
		utility := func() (u, weight float64) {
			p := placedOf(s.Solve(&w.page, w.bidders, nil), i)
			if p == nil {
				return 0, 0
			}
			weight = w.page.Slots[p.Slot].Factor * b.Rate
			return weight * float64(worth-p.Price), weight
		}
		truthful, rounding := utility()
		bids := []money.Nanos{b.Floor, b.Floor + 1, worth - 1, worth + 1, 2*worth + 1, rapid.Custom(func(t *rapid.T) money.Nanos {
			return money.Nanos(rapid.IntRange(0, 2048).Draw(t, "bid"))
		}).Draw(t, "other bid")}
		for g := range money.Nanos(8) {
			bids = append(bids, worth*g/4)
		}
		for _, bid := range bids {
			b.Bid = bid
			got, _ := utility()
			require.LessOrEqual(t, got, truthful+rounding, "bidding %d instead of %d", bid, worth)
		}
	})
}

// TestAHigherBidNeverLoses: with a higher bid an ad stands no lower, under either rule.
func TestAHigherBidNeverLoses(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, limits{bidders: 8, slots: 5})
		if len(w.bidders) == 0 {
			return
		}
		i := rapid.IntRange(0, len(w.bidders)-1).Draw(t, "i")
		before := placedOf(s.Solve(&w.page, w.bidders, nil), i)
		w.bidders[i].Bid += money.Nanos(rapid.IntRange(1, 500).Draw(t, "more"))
		after := placedOf(s.Solve(&w.page, w.bidders, nil), i)
		if before != nil {
			require.NotNil(t, after)
			require.GreaterOrEqual(t, w.page.Slots[after.Slot].Factor, w.page.Slots[before.Slot].Factor)
		}
	})
}

// TestASingleSlotCostsTheCriticalBid: below the price the winner loses, at the price it wins, under both rules.
func TestASingleSlotCostsTheCriticalBid(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, limits{bidders: 8, slots: 1})
		placed := s.Solve(&w.page, w.bidders, nil)
		if len(placed) == 0 {
			return
		}
		i := placed[0].Bidder
		b := &w.bidders[i]
		for j := range w.bidders { // an advertiser does not bid against itself
			w.bidders[j].Out = w.bidders[j].Out || j != i && w.bidders[j].AdAccountID == b.AdAccountID
		}
		lo, hi := b.Floor-1, b.Bid // loses at lo, wins at hi
		for hi-lo > 1 {
			b.Bid = lo + (hi-lo)/2
			if placedOf(s.Solve(&w.page, w.bidders, nil), i) != nil {
				hi = b.Bid
			} else {
				lo = b.Bid
			}
		}
		// At a tie the lower id wins: the critical bid may be one above the one that is worth as much.
		require.Contains(t, []money.Nanos{placed[0].Price, placed[0].Price + 1}, hi)
	})
}

// TestLosersPayNothing: only who is on the page has a price, once, in a slot of its own.
func TestLosersPayNothing(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, limits{bidders: 8, slots: 5})
		placed := s.Solve(&w.page, w.bidders, nil)
		slots, ads := map[int]bool{}, map[int]bool{}
		for _, p := range placed {
			require.False(t, slots[p.Slot] || ads[p.Bidder] || w.bidders[p.Bidder].Out)
			slots[p.Slot], ads[p.Bidder] = true, true
		}
		reasons := s.Reasons(&w.page, w.bidders, placed, nil)
		for i := range w.bidders {
			require.Equal(t, ads[i] || w.bidders[i].Out, reasons[i] == auction.Won)
		}
	})
}

// TestTheUnitOfMoneyDoesNotMatter: amounts times 2^k give the same page and prices times 2^k, but for the rounding.
func TestTheUnitOfMoneyDoesNotMatter(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, limits{bidders: 8, slots: 5})
		before := s.Solve(&w.page, w.bidders, nil)
		k := rapid.IntRange(1, 20).Draw(t, "k")
		scale := float64(int64(1) << k)
		w.page.Organic *= scale
		for i := range w.bidders {
			w.bidders[i].Bid <<= k
			w.bidders[i].Floor <<= k
			w.bidders[i].Relevance *= scale
		}
		after := s.Solve(&w.page, w.bidders, nil)
		require.Len(t, after, len(before))
		for i := range before {
			require.Equal(t, placing{before[i].Slot, before[i].Bidder}, placing{after[i].Slot, after[i].Bidder})
			up := after[i].Price >> k
			if up<<k < after[i].Price {
				up++
			}
			require.Equal(t, before[i].Price, up)
			require.Equal(t, before[i].PricedBy, after[i].PricedBy)
		}
	})
}

// TestTheOrderOfBiddersDoesNotMatter also for who set a price.
func TestTheOrderOfBiddersDoesNotMatter(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, limits{bidders: 8, slots: 5})
		before := s.Solve(&w.page, w.bidders, nil)
		reasons := s.Reasons(&w.page, w.bidders, before, nil)
		order := make([]int, len(w.bidders))
		for i := range order {
			order[i] = i
		}
		order = rapid.Permutation(order).Draw(t, "order")
		mixed := world{page: w.page}
		for _, i := range order {
			mixed.bidders = append(mixed.bidders, w.bidders[i])
		}
		after := s.Solve(&mixed.page, mixed.bidders, nil)
		mixedReasons := s.Reasons(&mixed.page, mixed.bidders, after, nil)
		for i := range after {
			after[i].Bidder = order[after[i].Bidder]
			if after[i].PricedBy >= 0 {
				after[i].PricedBy = order[after[i].PricedBy]
			}
		}
		require.Equal(t, before, after)
		for at, i := range order {
			require.Equal(t, reasons[i], mixedReasons[at])
		}
	})
}

// TestGSPCostsNoLessThanVCG at equal bids, with an ad per account and no categories (Edelman, Ostrovsky, Schwarz 2007, section II).
func TestGSPCostsNoLessThanVCG(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, limits{bidders: 8, slots: 5})
		w.page.MaxPerAccount, w.page.SeparateCategories = 1, false
		w.page.Pricing = auction.GSP
		gsp := s.Solve(&w.page, w.bidders, nil)
		w.page.Pricing = auction.VCG
		for k, p := range s.Solve(&w.page, w.bidders, nil) {
			require.Equal(t, gsp[k].Bidder, p.Bidder)
			require.LessOrEqual(t, p.Price, gsp[k].Price)
		}
	})
}

// TestGSPIsVCGAtTheLowestEnvyFreeBids: at the bids b_i with α_{i−1}·b_i = (α_{i−1} − α_i)·v_i + α_i·b_{i+1}, GSP pays what VCG pays at the
// values v (Varian 2007, section 4; Edelman, Ostrovsky, Schwarz 2007, theorem 1). Probabilities are 1, floors and organic values 0 here.
func TestGSPIsVCGAtTheLowestEnvyFreeBids(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, limits{bidders: 7, slots: 4, free: true, pricing: auction.VCG})
		w.page.Organic = -1 // below it all: a bid of 0 may stand
		for i := range w.bidders {
			b := &w.bidders[i]
			// Values that differ by more than bids are rounded by; large, so that rounding is far below what is compared.
			b.Bid, b.Rate, b.Relevance, b.Floor, b.Out = b.Bid<<20|money.Nanos(i)<<10, 1, 0, 0, false
		}
		slices.SortFunc(w.bidders, func(a, b auction.Bidder) int { return int(b.Bid - a.Bid) })
		for i := range w.bidders {
			w.bidders[i].AdID = campaign.AdID(i + 1) // slots that are worth the same make equal bids
		}
		vcg := s.Solve(&w.page, w.bidders, nil)
		bids := make([]float64, len(w.bidders)+1)
		for i := len(w.bidders) - 1; i > 0; i-- {
			bids[i] = float64(w.bidders[i].Bid)
			if i < len(w.page.Slots) {
				above, here := w.page.Slots[i-1].Factor, w.page.Slots[i].Factor
				bids[i] = ((above-here)*bids[i] + here*bids[i+1]) / above
			}
		}
		for i := 1; i < len(w.bidders); i++ {
			w.bidders[i].Bid = money.Nanos(math.Round(bids[i]))
		}
		w.page.Pricing = auction.GSP
		gsp := s.Solve(&w.page, w.bidders, nil)
		require.Len(t, gsp, len(vcg))
		for k := range vcg {
			require.Equal(t, vcg[k].Bidder, gsp[k].Bidder)
			require.InDelta(t, float64(vcg[k].Price), float64(gsp[k].Price), 8, "place %d", k)
		}
	})
}

// TestVCGClosedFormIsTheExternality to the nano, for n ≤ 7 and k ≤ 4, with floors, relevance and organic values.
func TestVCGClosedFormIsTheExternality(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, limits{bidders: 7, slots: 4, free: true, pricing: auction.VCG})
		page, _ := refPage(&w.page, w.bidders)
		for _, separate := range []bool{false, true} { // false prices by the closed form, true by the envelope
			w.page.SeparateCategories = separate
			placed := s.Solve(&w.page, w.bidders, nil)
			require.Len(t, placed, len(page))
			for k := range placed {
				want, _ := refPrice(&w.page, w.bidders, page, k)
				require.Equal(t, want, placed[k].Price)
			}
			for i := range w.bidders {
				w.bidders[i].Category = "" // so that the rule changes the way, not the page
			}
		}
	})
}

// simple is a market of plain bids on slots with such factors.
func simple(pricing auction.Pricing, factors []float64, bids ...money.Nanos) world {
	w := world{page: auction.Page{Pricing: pricing}}
	for i, f := range factors {
		w.page.Slots = append(w.page.Slots, auction.PageSlot{Position: i, Factor: f / factors[0]})
	}
	for i, bid := range bids {
		w.bidders = append(w.bidders, auction.Bidder{
			AdID: campaign.AdID(i + 1), AdAccountID: campaign.AdAccountID(i + 1), CampaignID: campaign.CampaignID(i + 1), Bid: bid, Rate: 1,
		})
	}
	return w
}

// TestTextbookPayments are the examples of Edelman, Ostrovsky, Schwarz 2007, in nanos of a currency unit: α clicks an hour, v a click.
func TestTextbookPayments(t *testing.T) {
	t.Parallel()
	const unit = 1_000_000_000
	values := []money.Nanos{10 * unit, 4 * unit, 2 * unit}
	payments := func(pricing auction.Pricing, factors []float64, bids ...money.Nanos) (pay []float64, slots []int) {
		w := simple(pricing, factors, bids...)
		pay, slots = make([]float64, len(bids)), []int{-1, -1, -1}
		for _, p := range solve(&w) {
			pay[p.Bidder], slots[p.Bidder] = factors[p.Slot]*float64(p.Price)/unit, p.Slot
		}
		return pay, slots
	}
	gsp, _ := payments(auction.GSP, []float64{200, 100}, values...)
	require.Equal(t, []float64{800, 200, 0}, gsp)
	vcg, _ := payments(auction.VCG, []float64{200, 100}, values...)
	require.Equal(t, []float64{600, 200, 0}, vcg)

	// GSP is not truthful: with 200 and 199 clicks the top bidder does better in the second slot.
	earns := func(pricing auction.Pricing, bid money.Nanos) float64 {
		pay, slots := payments(pricing, []float64{200, 199}, bid, values[1], values[2])
		return []float64{200, 199}[slots[0]]*10 - pay[0]
	}
	require.InDelta(t, 1200.0, earns(auction.GSP, 10*unit), 1e-6)
	require.InDelta(t, 1592.0, earns(auction.GSP, 3*unit), 1e-6)
	require.GreaterOrEqual(t, earns(auction.VCG, 10*unit), earns(auction.VCG, 3*unit))
}

// TestMaxOutsideTheSumIsNotTruthful: with the reserve around the sum, max(r_i, Σ …), some advertisers gain by lying; with it inside, which
// is what the solver charges, none does. That is why the formula looks as it does.
func TestMaxOutsideTheSumIsNotTruthful(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 2007)) // the same deviations in every run
	const deviations = 100_000
	outside, inside := 0, 0
	var s auction.Solver
	for range deviations {
		w := simple(auction.VCG, []float64{1, 0.5 + r.Float64()/2, r.Float64() / 2})
		for i := range 5 {
			id := int64(i + 1)
			w.bidders = append(w.bidders, auction.Bidder{
				AdID: campaign.AdID(id), CampaignID: campaign.CampaignID(id), AdAccountID: campaign.AdAccountID(id), Rate: 1,
				Bid: money.Nanos(1e6 * r.Float64()), Floor: money.Nanos(0.8e6 * r.Float64()),
			})
		}
		b := &w.bidders[0]
		worth, lie := b.Bid, money.Nanos(1.5e6*r.Float64())
		gain := func(price func(p *auction.Placed) float64) float64 {
			var u [2]float64
			for k, bid := range []money.Nanos{worth, lie} {
				b.Bid = bid
				if p := placedOf(s.Solve(&w.page, w.bidders, nil), 0); p != nil {
					u[k] = w.page.Slots[p.Slot].Factor * (float64(worth) - price(p))
				}
			}
			b.Bid = worth
			return u[1] - u[0]
		}
		if gain(func(p *auction.Placed) float64 { return float64(p.Price) }) > 1 { // nanos: more than rounding
			inside++
		}
		if gain(func(p *auction.Placed) float64 {
			floor := b.Floor
			b.Floor = 0
			defer func() { b.Floor = floor }()
			// without its reserve the ad is on the same page, and pays the plain sum
			return max(float64(floor), float64(placedOf(s.Solve(&w.page, w.bidders, nil), 0).Price))
		}) > 1 {
			outside++
		}
	}
	t.Logf("of %d random deviations %d gain with max outside the sum, %d with max inside", deviations, outside, inside)
	require.Zero(t, inside)
	require.Greater(t, outside, 500)
}

// TestRevenue holds the mean price against theory: uniform values on [0, 1], one slot (Myerson 1981; Krishna, Auction Theory, 2.3 and 2.5).
func TestRevenue(t *testing.T) {
	t.Parallel()
	const unit = 1_000_000_000
	r := rand.New(rand.NewPCG(1, 1981)) // the same values in every run
	var s auction.Solver
	var placed []auction.Placed
	revenue := func(pricing auction.Pricing, n, draws int, reserve money.Nanos) float64 {
		w := simple(pricing, []float64{1}, make([]money.Nanos, n)...)
		sum := 0.0
		for range draws {
			for i := range w.bidders {
				w.bidders[i].Bid, w.bidders[i].Floor = money.Nanos(unit*r.Float64()), reserve
			}
			placed = s.Solve(&w.page, w.bidders, placed[:0])
			for _, p := range placed {
				sum += float64(p.Price) / unit
			}
		}
		return sum / float64(draws)
	}
	for _, pricing := range []auction.Pricing{auction.GSP, auction.VCG} {
		for _, n := range []int{2, 3, 5, 10} {
			require.InDelta(t, float64(n-1)/float64(n+1), revenue(pricing, n, 100_000, 0), 0.004, "%s, %d bidders", pricing, n)
		}
		got := revenue(pricing, 2, 1_000_000, unit/2)
		t.Logf("%s, two bidders, reserve ½: %.5f, 5/12 = %.5f", pricing, got, 5.0/12)
		require.InDelta(t, 5.0/12, got, 0.0015)
	}
}

// TestReasonsAreTrue lifts what a reason names, and looks.
func TestReasonsAreTrue(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, limits{bidders: 8, slots: 5})
		placed := s.Solve(&w.page, w.bidders, nil)
		lowest := math.Inf(1)
		inAccount, inCampaign := map[campaign.AdAccountID]int{}, map[campaign.CampaignID]int{}
		for _, p := range placed {
			b := &w.bidders[p.Bidder]
			lowest = min(lowest, b.Value())
			inAccount[b.AdAccountID]++
			inCampaign[b.CampaignID]++
		}
		for i, reason := range s.Reasons(&w.page, w.bidders, placed, nil) {
			b := &w.bidders[i]
			lifted := w.page
			switch reason {
			case auction.Won:
				continue
			case auction.BelowFloor:
				require.Less(t, b.Bid, b.Floor)
			case auction.AdvertiserOnPage:
				require.Equal(t, w.page.MaxPerAccount, inAccount[b.AdAccountID])
			case auction.CampaignOnPage:
				require.Equal(t, w.page.MaxPerCampaign, inCampaign[b.CampaignID])
			case auction.BelowOrganic:
				require.LessOrEqual(t, b.Value(), w.page.Organic)
			case auction.CompetingCategory:
				require.NotEmpty(t, b.Category)
				others := slices.Clone(w.bidders)
				for j := range others { // among the ads of the page, without the rule, the ad gets in
					others[j].Out = j != i && placedOf(placed, j) == nil
				}
				lifted.SeparateCategories = false
				require.NotNil(t, placedOf(s.Solve(&lifted, others, nil), i))
			case auction.AdLoad:
				lifted.MaxAds, lifted.MinGap = 0, 0
				require.NotNil(t, placedOf(s.Solve(&lifted, w.bidders, nil), i))
				require.Less(t, len(placed), len(w.page.Slots))
			case auction.LostToHigherBid:
				require.True(t, len(placed) == 0 || b.Value() <= lowest)
			default:
				require.Fail(t, "no reason to lose", "%v", reason)
			}
		}
	})
}

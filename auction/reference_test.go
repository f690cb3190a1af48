package auction_test

import (
	"cmp"
	"math"
	"math/big"
	"slices"

	"pgregory.net/rapid"

	"gavel/auction"
	"gavel/campaign"
	"gavel/internal/money"
)

// The reference says what a page and its prices are in the plainest way: it tries everything. It shares no code with the solver.

// placing is an ad in a slot.
type placing struct{ slot, bidder int }

// refPage enumerates every page in order: per slot the ads as they rank, then the empty slot. The first of the best ones is the answer.
func refPage(p *auction.Page, bidders []auction.Bidder) (best []placing, value float64) {
	return refPageAmong(p, bidders, refOrder(p, bidders))
}

// refPageAmong is refPage for bidders that may be placed, in order.
func refPageAmong(p *auction.Page, bidders []auction.Bidder, order []int) (best []placing, value float64) {
	var now []placing
	var fill func(slot int, sum float64)
	fill = func(slot int, sum float64) {
		if slot == len(p.Slots) {
			if sum > value {
				best, value = slices.Clone(now), sum
			}
			return
		}
		for _, i := range order {
			if refAllowed(p, bidders, now, slot, i) {
				now = append(now, placing{slot, i})
				fill(slot+1, sum+p.Slots[slot].Factor*(bidders[i].Value()-p.Organic))
				now = now[:len(now)-1]
			}
		}
		fill(slot+1, sum)
	}
	fill(0, 0)
	return best, value
}

// refOrder are the bidders that may be placed, in order.
func refOrder(p *auction.Page, bidders []auction.Bidder) []int {
	var order []int
	for i := range bidders {
		if b := &bidders[i]; !b.Out && b.Bid >= b.Floor && b.Value() > p.Organic {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(x, y int) int {
		return cmp.Or(cmp.Compare(bidders[y].Value(), bidders[x].Value()), cmp.Compare(bidders[x].AdID, bidders[y].AdID))
	})
	return order
}

// refAllowed says whether bidder i may stand in a slot below those that are placed.
func refAllowed(p *auction.Page, bidders []auction.Bidder, above []placing, slot, i int) bool {
	if p.MaxAds > 0 && len(above) >= p.MaxAds {
		return false
	}
	b := &bidders[i]
	account, camp := 0, 0
	for _, a := range above {
		o := &bidders[a.bidder]
		if o.AdID == b.AdID {
			return false
		}
		if o.AdAccountID == b.AdAccountID {
			account++
		}
		if o.CampaignID == b.CampaignID {
			camp++
		}
	}
	if p.MaxPerAccount > 0 && account >= p.MaxPerAccount || p.MaxPerCampaign > 0 && camp >= p.MaxPerCampaign {
		return false
	}
	if len(above) == 0 {
		return true
	}
	last := above[len(above)-1]
	if p.SeparateCategories && b.Category != "" && b.Category == bidders[last.bidder].Category {
		return false
	}
	return p.Slots[slot].Position-p.Slots[last.slot].Position > p.MinGap
}

// refPrice is the price of the ad at place k of a page, in exact arithmetic, and who set it under GSP.
func refPrice(p *auction.Page, bidders []auction.Bidder, page []placing, k int) (price money.Nanos, next int) {
	i := page[k].bidder
	b := &bidders[i]
	rate, relevance := rat(b.Rate), rat(b.Relevance)
	perEvent := func(value *big.Rat) *big.Rat {
		return new(big.Rat).Quo(new(big.Rat).Sub(value, relevance), rate)
	}
	least := new(big.Rat).SetInt64(int64(b.Floor))
	next = auction.ByFloor
	if organic := perEvent(rat(p.Organic)); organic.Cmp(least) > 0 {
		least, next = organic, auction.ByOrganic
	}
	if p.Pricing == auction.GSP {
		for _, j := range refOrder(p, bidders) {
			if j == i || bidders[j].AdAccountID == b.AdAccountID || !refAllowed(p, bidders, page[:k], page[k].slot, j) {
				continue
			}
			if v := perEvent(rat(bidders[j].Value())); v.Cmp(least) > 0 {
				least, next = v, j
			}
			break
		}
		return refRound(least, b), next
	}
	// VCG: the ad keeps what its bid adds to the page over the least bid with which it may stand.
	market := slices.Clone(bidders)
	for j := range market {
		lost := !slices.ContainsFunc(page, func(w placing) bool { return w.bidder == j })
		market[j].Out = market[j].Out || lost && market[j].AdAccountID == b.AdAccountID
	}
	_, with := refPage(p, market)
	market[i].Bid = b.Floor
	if market[i].Value() <= p.Organic {
		market[i].Relevance += p.Organic - market[i].Value()
	}
	floored := *p // in the order of a page that asks for less than any ad is worth, i may stand although it adds nothing
	floored.Organic = math.Inf(-1)
	order := slices.DeleteFunc(refOrder(&floored, market), func(j int) bool { return j != i && market[j].Value() <= p.Organic })
	_, without := refPageAmong(p, market, order)
	kept := new(big.Rat).Sub(rat(with), rat(without))
	kept.Quo(kept, new(big.Rat).Mul(rat(p.Slots[page[k].slot].Factor), rate))
	return refRound(kept.Sub(new(big.Rat).SetInt64(int64(b.Bid)), kept), b), next
}

func rat(f float64) *big.Rat { return new(big.Rat).SetFloat64(f) }

// refRound rounds up, and keeps the price from the floor to the bid.
func refRound(price *big.Rat, b *auction.Bidder) money.Nanos {
	up := new(big.Int).Add(price.Num(), new(big.Int).Sub(price.Denom(), big.NewInt(1)))
	up.Div(up, price.Denom())
	return min(max(money.Nanos(up.Int64()), b.Floor), b.Bid)
}

// A world of small numbers that floats hold exactly, so that "the best" has one meaning: factors are eighths, probabilities powers of ½.
type world struct {
	page    auction.Page
	bidders []auction.Bidder
}

// limits of a world.
type limits struct {
	bidders, slots int
	// free leaves out caps, categories, gaps and ad loads, and gives each bidder an account of its own.
	free    bool
	pricing auction.Pricing
}

func drawWorld(t *rapid.T, l limits) world {
	var w world
	draw := func(lo, hi int, name string) int { return rapid.IntRange(lo, hi).Draw(t, name) }
	w.page.Pricing = l.pricing
	if l.pricing == "" {
		w.page.Pricing = rapid.SampledFrom([]auction.Pricing{auction.GSP, auction.VCG}).Draw(t, "pricing")
	}
	w.page.Organic = float64(draw(-2, 6, "organic")) * 8
	factor, position := 8, 0
	for range draw(1, l.slots, "slots") {
		w.page.Slots = append(w.page.Slots, auction.PageSlot{Position: position, Factor: float64(factor) / 8})
		factor = max(1, factor-draw(0, 3, "drop"))
		position++
		if !l.free {
			position += draw(0, 2, "step")
		}
	}
	categories := []string{"", "IAB1", "IAB1", "IAB2", "IAB3"}
	if !l.free {
		w.page.MaxAds, w.page.MinGap = draw(0, 4, "max ads"), draw(0, 2, "gap")
		w.page.MaxPerAccount, w.page.MaxPerCampaign = draw(0, 2, "per account"), draw(0, 2, "per campaign")
		w.page.SeparateCategories = draw(0, 3, "separate") > 0
		categories = categories[:draw(1, len(categories), "categories")]
	}
	most := 1 << draw(3, 10, "scale")
	for i := range draw(0, l.bidders, "bidders") {
		account := i
		if !l.free {
			account = draw(0, l.bidders-1, "account")
		}
		b := auction.Bidder{
			AdID: campaign.AdID(100 + i), AdAccountID: campaign.AdAccountID(account), CampaignID: campaign.CampaignID(10 * account),
			Category: categories[account%len(categories)], Bid: money.Nanos(draw(1, most, "bid")), Rate: 1 / float64(int(1)<<draw(0, 3, "rate")),
			Relevance: float64(draw(-4, 4, "relevance")), Floor: money.Nanos(draw(0, most/2, "floor")), Out: draw(0, 9, "out") == 9,
		}
		if !l.free {
			b.CampaignID += campaign.CampaignID(draw(0, 1, "campaign"))
		}
		w.bidders = append(w.bidders, b)
	}
	return w
}

// solve makes a page with a solver that has made others before.
func solve(w *world) []auction.Placed { return new(auction.Solver).Solve(&w.page, w.bidders, nil) }

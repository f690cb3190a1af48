package auction

import (
	"math"

	"gavel/campaign"
	"gavel/internal/money"
)

// Solver makes pages and prices them. It keeps its buffers between pages, so it allocates nothing once it has seen a large one. It is
// not safe for concurrent use. The same page and bidders give the same answer, bit for bit, in whatever order the bidders come.
//
// What it guarantees, and where it is tested, is in docs/auction.md.
type Solver struct {
	page    *Page
	bidders []Bidder

	// heap are the bidders that may stand on the page and were not looked at yet: most pages need the best few of hundreds.
	heap []ranked
	// field are the best bidders in order: without the category rule, the first n are the best n that may stand together.
	field []contender
	// categories are the names of contender.category.
	categories []string

	// slots are the slots of the page that ads take, one after the other; weights are their factors, with a 0 after the last.
	slots   [MaxPageSlots]int
	weights [MaxPageSlots + 1]float64
	places  int

	// placed is the page: indexes into field, in order of place. greedy says that they are 0, 1, 2 …
	placed []int32
	greedy bool

	search search
}

// ranked is a bidder in the heap.
type ranked struct {
	value float64
	adID  campaign.AdID
	index int32
}

// before is the order of an auction: the highest value first, of equal ones the lowest ad id. A second copy of an ad comes after the first.
func (r *ranked) before(o *ranked) bool {
	if r.value != o.value {
		return r.value > o.value
	}
	if r.adID != o.adID {
		return r.adID < o.adID
	}
	return r.index < o.index
}

// contender is a bidder that the caps leave in.
type contender struct {
	ranked
	campaign campaign.CampaignID
	account  campaign.AdAccountID
	// margin is what it is worth above what it displaces, in nanos per impression; above 0.
	margin float64
	// category indexes Solver.categories; noCategory for an ad that stands beside any other.
	category int32
}

const noCategory = -1

// Solve appends the winners to dst, in order of their slots, each with its price. The page is one of the highest value, that is the sum
// over its ads of Factor × (Value − Organic), that keeps all rules of p; of several such pages it is the one whose first slot has the
// ad that ranks highest, then its second slot, and so on, with an empty slot after all ads. Bidders that are Out, that bid less than
// their floor, or that are not worth more than Organic are not placed and price nobody.
//
// The bidders may come in any order, each AdID once; of a second copy only the better one takes part. An ad account has one category:
// that of its best bidder. p.Slots must be as [PageSlot] says; slots past [MaxPageSlots] stay empty.
func (s *Solver) Solve(p *Page, bidders []Bidder, dst []Placed) []Placed {
	s.start(p, bidders)
	s.fill()
	for place := range s.placed {
		dst = append(dst, s.price(place))
	}
	s.page, s.bidders = nil, nil
	return dst
}

// start forgets the last page and gathers who may stand on this one.
func (s *Solver) start(p *Page, bidders []Bidder) {
	s.page, s.bidders = p, bidders
	s.heap, s.field, s.categories, s.placed = s.heap[:0], s.field[:0], s.categories[:0], s.placed[:0]
	s.search.reset()
	s.layOut()
	for i := range bidders {
		b := &bidders[i]
		value := b.Value()
		if margin := value - p.Organic; b.Out || b.Bid < b.Floor || !(b.Rate > 0) || !(margin > 0 && margin <= math.MaxFloat64) {
			continue
		}
		s.heap = append(s.heap, ranked{value: value, adID: b.AdID, index: int32(i)})
	}
	for i := len(s.heap)/2 - 1; i >= 0; i-- {
		s.sink(i)
	}
}

// layOut finds the slots that ads take. Taking the earliest slot that the gap allows, again and again, puts the n-th ad no later than any
// other choice does, for every n; factors never rise along the page, so no other choice is worth more.
func (s *Solver) layOut() {
	p := s.page
	limit := min(len(p.Slots), MaxPageSlots)
	if p.MaxAds > 0 {
		limit = min(limit, p.MaxAds)
	}
	s.places = 0
	last := 0
	for i := range p.Slots {
		if s.places == limit {
			break
		}
		if s.places > 0 && p.Slots[i].Position-last <= max(p.MinGap, 0) {
			continue
		}
		s.slots[s.places], s.weights[s.places], last = i, p.Slots[i].Factor, p.Slots[i].Position
		s.places++
	}
	s.weights[s.places] = 0
}

// sink restores the heap below i.
func (s *Solver) sink(i int) {
	h := s.heap
	moved := h[i]
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && h[child+1].before(&h[child]) {
			child++
		}
		if !h[child].before(&moved) {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = moved
}

// have brings the field to n contenders if there are as many.
func (s *Solver) have(n int) bool {
	for len(s.field) < n && len(s.heap) > 0 {
		best := s.heap[0]
		end := len(s.heap) - 1
		s.heap[0] = s.heap[end]
		s.heap = s.heap[:end]
		if end > 1 {
			s.sink(0)
		}
		s.admit(best)
	}
	return len(s.field) >= n
}

// admit adds a bidder to the field unless better ones fill its caps. Ad, campaign and ad account are nested, so the best n of the field
// are the best n ads that the caps allow (greedy on a laminar matroid: Edmonds 1971; Korte, Vygen, Combinatorial Optimization, 13.4).
func (s *Solver) admit(r ranked) {
	b := &s.bidders[r.index]
	c := contender{ranked: r, campaign: b.CampaignID, account: b.AdAccountID, margin: r.value - s.page.Organic, category: noCategory}
	inAccount, inCampaign := 0, 0
	for i := range s.field {
		o := &s.field[i]
		if o.account != c.account {
			continue
		}
		if o.adID == c.adID {
			return
		}
		inAccount++
		if o.campaign == c.campaign {
			inCampaign++
		}
		c.category = o.category
	}
	if full(inAccount, s.page.MaxPerAccount) || full(inCampaign, s.page.MaxPerCampaign) {
		return
	}
	if s.page.SeparateCategories && inAccount == 0 && b.Category != "" {
		c.category = s.categoryOf(b.Category)
	}
	s.field = append(s.field, c)
}

func full(n, limit int) bool { return limit > 0 && n >= limit }

func (s *Solver) categoryOf(name string) int32 {
	for i, known := range s.categories {
		if known == name {
			return int32(i)
		}
	}
	s.categories = append(s.categories, name)
	return int32(len(s.categories) - 1)
}

// fill chooses the page.
func (s *Solver) fill() {
	s.have(s.places)
	n := min(s.places, len(s.field))
	s.greedy = true
	for i := range n {
		s.placed = append(s.placed, int32(i))
		if i > 0 && s.compete(int32(i-1), int32(i)) {
			s.greedy = false
		}
	}
	if s.greedy {
		return // the best page without the category rule, and it keeps the rule
	}
	s.entrants(nobody, entrantLimit(s.places))
	s.search.run(s.weights[:s.places])
	s.placed = s.placed[:0]
	for _, e := range s.search.best() {
		s.placed = append(s.placed, s.search.list[e].contender)
	}
}

// compete says that two contenders may not follow each other.
func (s *Solver) compete(a, b int32) bool {
	return s.field[a].category != noCategory && s.field[a].category == s.field[b].category
}

// nobody is no contender.
const nobody = int32(-1)

// entrantLimit is how many of the best ads a page of so many places can need, when of each category only every other place's worth is
// counted: of one more, the places hold all but at least 2⌈n/2⌉+1, which are of three categories or more, and one of these three is
// neither beside the place of the worst ad on the page nor worse than it.
func entrantLimit(places int) int { return places + 2*((places+1)/2) }

// entrants puts into the search, in order, the first contenders that a page can need. With a contender i it is the market in which i's
// price is found: i bids the least that lets it stand, and the ads of its ad account that are not on the page are away.
func (s *Solver) entrants(i int32, limit int) {
	var own entrant
	var self ranked
	waiting := i != nobody
	if waiting {
		b := &s.bidders[s.field[i].index]
		self = s.field[i].ranked
		self.value = max(float64(float64(b.Floor)*b.Rate)+b.Relevance, s.page.Organic)
		own = entrant{margin: self.value - s.page.Organic, contender: i, category: s.field[i].category}
	}
	s.search.clear((s.places + 1) / 2)
	for n := int32(0); len(s.search.list) < limit && s.have(int(n)+1); n++ {
		c := &s.field[n]
		if n == i || i != nobody && c.account == s.field[i].account && !s.onPage(n) {
			continue
		}
		if waiting && self.before(&c.ranked) {
			waiting = false
			if s.search.add(own); len(s.search.list) == limit {
				break
			}
		}
		s.search.add(entrant{margin: c.margin, contender: n, category: c.category})
	}
	if waiting && len(s.search.list) < limit {
		s.search.add(own)
	}
}

func (s *Solver) onPage(n int32) bool {
	for _, c := range s.placed {
		if c == n {
			return true
		}
	}
	return false
}

// realPrice is a price before it is rounded, and who set it.
type realPrice struct {
	perEvent float64
	by       int
}

// price prices the ad at a place of the page.
func (s *Solver) price(place int) Placed {
	var r realPrice
	switch {
	case s.page.Pricing == GSP:
		r = s.gsp(place)
	case s.greedy && !s.page.SeparateCategories:
		r = s.vcgClosed(place)
	default:
		r = s.vcgEnvelope(place)
	}
	b := &s.bidders[s.field[s.placed[place]].index]
	price := money.CeilPrice(r.perEvent)
	if s.page.Pricing == VCG && r.by >= 0 {
		// Who moves up to a slot that is no better gains nothing. Then the least price is left, give or take the noise of a sum.
		if least := s.least(b); price <= money.CeilPrice(least.perEvent) {
			r.by = least.by
		}
	}
	return Placed{
		Slot: s.slots[place], Bidder: int(s.field[s.placed[place]].index), PricedBy: r.by, Price: min(max(price, b.Floor), b.Bid),
	}
}

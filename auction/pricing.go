package auction

import "gavel/campaign"

// The pricing rules. All amounts are real numbers here: nanos per billable event for prices, nanos per impression for values.

// least is what an ad pays at least: its floor, or what makes it worth as much as the item that it displaces.
func (s *Solver) least(b *Bidder) realPrice {
	r := realPrice{perEvent: float64(b.Floor), by: ByFloor}
	if organic := (s.page.Organic - b.Relevance) / b.Rate; organic > r.perEvent {
		return realPrice{perEvent: organic, by: ByOrganic}
	}
	return r
}

// gsp is max(floor, bid that is worth as much as the next ad): Edelman, Ostrovsky, Schwarz 2007, section I, with quality factors as in
// Varian 2007, section 6. The next ad is the best that could stand here with the places above as they are. It is never one of the
// same ad account: an advertiser does not bid against itself.
func (s *Solver) gsp(place int) realPrice {
	own := &s.field[s.placed[place]]
	b := &s.bidders[own.index]
	r := s.least(b)
	for n := int32(0); s.have(int(n) + 1); n++ {
		c := &s.field[n]
		price := (c.value - b.Relevance) / b.Rate
		if price <= r.perEvent {
			break // nor is any after it above
		}
		if c.account != s.field[s.placed[place]].account && s.couldStand(n, place) {
			return realPrice{perEvent: price, by: int(c.index)}
		}
	}
	return r
}

// couldStand says whether contender n could be at a place, given the ads above it.
func (s *Solver) couldStand(n int32, place int) bool {
	c := &s.field[n]
	inAccount, inCampaign := 0, 0
	for _, above := range s.placed[:place] {
		o := &s.field[above]
		if above == n {
			return false
		}
		if o.account == c.account {
			inAccount++
			if o.campaign == c.campaign {
				inCampaign++
			}
		}
	}
	if full(inAccount, s.page.MaxPerAccount) || full(inCampaign, s.page.MaxPerCampaign) {
		return false
	}
	return place == 0 || !s.compete(s.placed[place-1], n)
}

// vcgClosed is the price of Varian, Harris 2014, with the bidder's own reserve inside the sum:
//
//	p_i = (1/α_i) Σ_{j=i..k} (α_j − α_{j+1}) · max(r_i, (s_{j+1} − relevance_i)/q_i),  α_{k+1} = 0
//
// where r_i is [Solver.least]. It is what [Solver.vcgEnvelope] comes to when the page is the best ads in order: all below i move up by
// one place, and the first ad that found no place takes the last. That one is not of i's ad account, and stands whatever becomes of
// i, since caps only ever bind within an account.
func (s *Solver) vcgClosed(place int) realPrice {
	account := s.field[s.placed[place]].account
	b := &s.bidders[s.field[s.placed[place]].index]
	least := s.least(b)
	sum := 0.0
	r := least
	for j := place; j < s.places; j++ {
		price := least.perEvent
		if next := s.after(j, account); next != nobody {
			c := &s.field[next]
			if p := (c.value - b.Relevance) / b.Rate; p > price {
				price = p
				if j == place {
					r.by = int(c.index)
				}
			}
		}
		sum += float64((s.weights[j] - s.weights[j+1]) * price)
	}
	r.perEvent = sum / s.weights[place]
	return r
}

// after is who moves up to place j when an ad of the account above leaves, on a page of the best ads in order.
func (s *Solver) after(j int, account campaign.AdAccountID) int32 {
	if j+1 < len(s.placed) {
		return int32(j + 1)
	}
	if j+1 < s.places {
		return nobody // the page has room: there is nobody
	}
	for n := len(s.placed); s.have(n + 1); n++ {
		if s.field[n].account != account {
			return int32(n)
		}
	}
	return nobody
}

// vcgEnvelope is the VCG price under any rules, by the envelope theorem (Milgrom, Segal 2002; Myerson 1981 for one parameter): an ad
// keeps the value that its bid adds to the best page over the least bid with which it may stand, and pays the rest of its bid. The
// market is without the other ads of its ad account that are not on the page; with at most one ad per account this is VCG with the
// advertiser as the agent.
//
// At its least bid the ad is still there, be it worth no more than the item it displaces: it may keep two ads of a category apart. What
// it is worth to them must not come off its price, or ads would bid above their value to be in between.
func (s *Solver) vcgEnvelope(place int) realPrice {
	i := s.placed[place]
	b := &s.bidders[s.field[i].index]
	s.entrants(i, s.places)
	if s.search.orderBreaksRule() {
		s.entrants(i, entrantLimit(s.places))
	}
	s.search.run(s.weights[:s.places])
	least := s.least(b)
	kept, by := 0.0, nobody // per impression in the first slot; the first who is where another was
	floored := s.search.best()
	for k := range max(len(floored), len(s.placed)) {
		before, after := nobody, nobody
		margin := 0.0
		if k < len(s.placed) {
			before = s.placed[k]
			margin = s.field[before].margin
		}
		if k < len(floored) {
			after = s.search.list[floored[k]].contender
			margin -= s.search.list[floored[k]].margin
		}
		if before == after && before != i {
			continue
		}
		if by == nobody && before != after && after != i {
			by = after
		}
		kept += float64(s.weights[k] * margin)
	}
	r := realPrice{perEvent: float64(b.Bid) - kept/float64(s.weights[place]*b.Rate)}
	if by == nobody || r.perEvent <= least.perEvent {
		return least // what is above it when nobody else gains is the noise of a sum
	}
	r.by = int(s.field[by].index)
	return r
}

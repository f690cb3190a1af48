package auction

import (
	"math"
	"math/rand/v2"
	"slices"

	"gavel/campaign"
	"gavel/internal/money"
	"gavel/ranking"
)

// Payer promises money for a page.
type Payer interface {
	// Pay promises the price for candidate c of the scene, whose effective bid is bid. It returns Won, or why not and by which budget
	// line.
	Pay(c int, bid, price money.Nanos) (reason Reason, blockedBy string)
	// CancelAll takes back what was promised since the last CancelAll.
	CancelAll()
}

// Decider decides scenes. It keeps its buffers from one to the next and is not safe for concurrent use.
type Decider struct {
	solver  Solver
	bidders []Bidder // one for each candidate
	reasons []Reason
	out     Outcome
}

// Decide decides a scene: bids and floors are worked out, the page is made and priced, the budget of each winner is asked in order of
// the slots. A winner without money leaves with its reason and the page is made and priced again, so this ends after at most one round
// per candidate. The outcome is valid until the next Decide.
func (d *Decider) Decide(s *Scene, pay Payer) *Outcome {
	d.enter(s, 0)
	d.out.Answers = d.out.Answers[:0]
	for !d.round(s, pay) {
		pay.CancelAll()
	}
	d.reasons = d.solver.Reasons(&s.Page, d.bidders, d.out.Placed, d.reasons[:0])
	for i, reason := range d.reasons {
		if !d.bidders[i].Out {
			d.out.Fates[i].Reason = reason // Won for a winner
		}
	}
	return &d.out
}

// enter makes fates and bidders of the candidates. draw numbers the draw of exploration: 0 is the one that serves.
func (d *Decider) enter(s *Scene, draw uint64) {
	n := len(s.Candidates)
	d.out.Fates = slices.Grow(d.out.Fates[:0], n)[:n]
	d.bidders = slices.Grow(d.bidders[:0], n)[:n]
	for i := range s.Candidates {
		c, f := &s.Candidates[i], &d.out.Fates[i]
		s.enter(c, f, draw)
		d.bidders[i] = Bidder{
			AdID: c.AdID, CampaignID: c.CampaignID, AdAccountID: c.AdAccountID, Category: c.Category,
			Bid: f.Bid, Rate: f.Rate, Relevance: f.Relevance, Floor: f.Floor, Out: f.Reason != LostToHigherBid,
		}
	}
}

// round makes and prices the page and asks for the money. It returns false when a winner has left for want of it.
func (d *Decider) round(s *Scene, pay Payer) bool {
	d.out.Placed = d.solver.Solve(&s.Page, d.bidders, d.out.Placed[:0])
	for _, p := range d.out.Placed {
		reason, line := pay.Pay(p.Bidder, d.bidders[p.Bidder].Bid, p.Price)
		d.out.Answers = append(d.out.Answers, Answer{AdID: s.Candidates[p.Bidder].AdID, Price: p.Price, Reason: reason, BlockedBy: line})
		if reason != Won {
			f := &d.out.Fates[p.Bidder]
			f.Reason, f.BlockedBy = reason, line
			d.bidders[p.Bidder].Out = true
			return false
		}
	}
	return true
}

// draws is how many draws of exploration make a propensity.
const draws = 64

// Propensities fills in the propensities of the last outcome. The page of the draw that served counts as one of them, so the propensity
// of a winner is never 0. Ads that had no money stay away from all pages.
func (d *Decider) Propensities(s *Scene) {
	n := 1
	won := make([]int, len(s.Candidates))
	for _, p := range d.out.Placed {
		won[p.Bidder]++
	}
	if s.Exploration.Mode == ExploreThompson {
		fates := slices.Clone(d.out.Fates)
		var placed []Placed
		for ; n < draws; n++ {
			d.enter(s, uint64(n))
			for i := range d.bidders {
				d.bidders[i].Out = d.bidders[i].Out || fates[i].Reason.ofMoney()
			}
			placed = d.solver.Solve(&s.Page, d.bidders, placed[:0])
			for _, p := range placed {
				won[p.Bidder]++
			}
		}
		copy(d.out.Fates, fates)
	}
	for i := range d.out.Fates {
		d.out.Fates[i].Propensity = float64(won[i]) / float64(n)
	}
}

// enter works out what a candidate brings to the auction. Its reason is LostToHigherBid as long as it may win.
func (s *Scene) enter(c *Candidate, f *Fate, draw uint64) {
	pctr := s.explored(c, draw)
	*f = Fate{Reason: LostToHigherBid, Rate: 1, Bid: c.bid(pctr), Relevance: float64(float64(s.RelevanceWeight) * pctr)}
	if c.BillableEvent == campaign.BillClickthrough {
		f.Rate = pctr
	}
	f.Floor = max(c.Floor, money.CeilPrice(float64(s.Floor)/f.Rate))
	switch {
	case c.FrequencyCap > 0 && !s.UserKnown:
		f.Reason = UserStateUnknown
	case c.FrequencyCap > 0 && c.Views >= c.FrequencyCap:
		f.Reason = FrequencyCap
	case f.Bid <= 0:
		f.Reason = InvalidBid
	case f.Bid < f.Floor:
		f.Reason = BelowFloor
	}
}

// bid is the effective bid per billable event.
func (c *Candidate) bid(pctr float64) money.Nanos {
	bid := c.Bid
	if c.CPAGoal > 0 {
		perEvent := float64(float64(c.CPAGoal) * c.PCVR)
		if c.BillableEvent != campaign.BillClickthrough {
			perEvent = float64(perEvent * pctr)
		}
		bid = money.FloorScore(perEvent)
		if c.Bid > 0 {
			bid = min(bid, c.Bid)
		}
	}
	return bid.MulDiv(c.PacePPM, onePPM)
}

// explored is the click probability that a candidate is ranked by: what is predicted, or as much more or less as exploration says. The
// odds are multiplied, which adds to the logit.
func (s *Scene) explored(c *Candidate, draw uint64) float64 {
	var z float64
	switch s.Exploration.Mode {
	case ExploreThompson:
		z = rand.New(rand.NewPCG(s.Seed+draw, uint64(c.AdID))).NormFloat64() //nolint:gosec // a draw that can be made again
	case ExploreUCB:
		z = 1
	case ExploreOff:
		return c.PCTR
	default:
		return c.PCTR
	}
	odds := float64(c.PCTR/(1-c.PCTR)) * math.Exp(float64(float64(z*s.Exploration.Scale)*c.StdErr))
	return min(float64(odds/(1+odds)), ranking.MaxCTR)
}

package replaybench

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"gavel/auction"
	"gavel/auction/record"
	"gavel/campaign"
	"gavel/internal/money"
	"gavel/ranking"
	"gavel/targeting"
)

// The sizes of a random auction.
const (
	minCandidates, maxCandidates = 5, 60
	maxSlots                     = 8
)

// Market makes random auctions. It is not safe for concurrent use.
type Market struct {
	decider auction.Decider
	source  rand.PCG
	rng     *rand.Rand
	broke   []bool
}

// NewMarket returns a market.
func NewMarket() *Market {
	m := &Market{}
	m.rng = rand.New(&m.source) //nolint:gosec // the same on every machine is what it is for
	return m
}

// Make decides auction n of a seed and makes r its record. What r holds is valid until the next Make.
func (m *Market) Make(seed, n uint64, r *record.Record) {
	m.source.Seed(seed, n)
	m.scene(&r.Scene)
	binary.BigEndian.PutUint64(r.AuctionID[8:], n|1<<63)
	m.broke = m.broke[:0]
	for range r.Candidates {
		m.broke = append(m.broke, m.chance(0.06))
	}
	o := m.decider.Decide(&r.Scene, m)
	m.decider.Propensities(&r.Scene)
	r.Outcome = *o
	r.Program = "bench"
	r.Extra = auction.Extra{RequestID: "bench", Truncated: m.chance(0.1)}
}

// Pay implements auction.Payer: some ads have no money.
func (m *Market) Pay(c int, _, _ money.Nanos) (auction.Reason, string) {
	switch {
	case !m.broke[c]:
		return auction.Won, ""
	case c%3 == 0:
		return auction.BudgetPending, ""
	case c%3 == 1:
		return auction.BudgetExhausted, "AD_GROUP DAILY"
	}
	return auction.BudgetExhausted, "CAMPAIGN LIFETIME"
}

// CancelAll implements auction.Payer.
func (m *Market) CancelAll() {}

func (m *Market) chance(p float64) bool { return m.rng.Float64() < p }

// upTo draws from lo to hi.
func (m *Market) upTo(lo, hi int) int { return lo + m.rng.IntN(hi-lo+1) }

// firstID is about what ids are that begin with a time.
const firstID = 1 << 50

// begin is when the auctions take place; nothing depends on it.
var begin = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

func (m *Market) scene(s *auction.Scene) {
	placements := []targeting.Placement{targeting.PlacementBrowse, targeting.PlacementSearch, targeting.PlacementOther}
	candidates, slotIDs, slots := s.Candidates[:0], s.SlotIDs[:0], s.Page.Slots[:0]
	*s = auction.Scene{
		At: begin.Add(time.Duration(m.rng.Int64N(int64(time.Hour)))), Seed: m.rng.Uint64(), Placement: pick(m, placements), Country: pick(m, []string{"US", "GB", "DE", ""}),
		RulesVersion: "b51f0c2e", ModelVersion: "prior-1", UserKnown: m.chance(0.9),
		Floor: money.Nanos(pick(m, []int64{1, 100_000, 1_000_000})), RelevanceWeight: money.Nanos(pick(m, []int64{0, 0, 5_000_000})), Exploration: m.exploration(),
	}
	binary.BigEndian.PutUint64(s.AuctionID[:], uint64(s.At.UnixMilli())<<16|7<<12)
	for i := range s.Features {
		s.Features[i] = m.rng.Uint32()
	}
	s.Page = auction.Page{
		MaxAds: pick(m, []int{0, 0, 2}), MinGap: m.upTo(0, 4), MaxPerAccount: m.upTo(0, 2), MaxPerCampaign: m.upTo(0, 2), SeparateCategories: m.chance(0.5),
		Organic: float64(m.rng.Int64N(400_000)), Pricing: pick(m, []auction.Pricing{auction.GSP, auction.VCG}),
	}
	position, factor := m.upTo(0, 3), 1.0
	for i := range m.upTo(1, maxSlots) {
		slotIDs = append(slotIDs, "s"+string(rune('1'+i)))
		slots = append(slots, auction.PageSlot{Position: position, Factor: factor})
		position += m.upTo(1, 5)
		factor = float64(factor * (0.7 + float64(0.3*m.rng.Float64())))
	}
	for range m.upTo(minCandidates, maxCandidates) {
		candidates = append(candidates, m.candidate(len(candidates)))
	}
	s.Candidates, s.SlotIDs, s.Page.Slots = candidates, slotIDs, slots
}

// exploration is mostly off: one auction with Thompson draws costs as much as 64 others.
func (m *Market) exploration() auction.Exploration {
	switch p := m.rng.Float64(); {
	case p < 0.04:
		return auction.Exploration{Mode: auction.ExploreThompson, Scale: 1}
	case p < 0.15:
		return auction.Exploration{Mode: auction.ExploreUCB, Scale: 1.5}
	}
	return auction.Exploration{Mode: auction.ExploreOff}
}

// candidate draws one: a third each per impression, per click, and for conversions.
func (m *Market) candidate(i int) auction.Candidate {
	account := m.upTo(1, 25)
	c := auction.Candidate{
		Item: ranking.Item{
			AdID: campaign.AdID(firstID + i*1009 + m.rng.IntN(1000)), AdGroupID: campaign.AdGroupID(firstID + account*64 + m.rng.IntN(8)),
			CampaignID: campaign.CampaignID(firstID + account*64 + m.rng.IntN(3)), AdAccountID: campaign.AdAccountID(firstID + account),
			Objective: campaign.Consideration, Category: pick(m, []string{"", "IAB2", "IAB3", "IAB8", "IAB18", "IAB22"}), BillableEvent: campaign.BillClickthrough,
		},
		Strategy: campaign.MaxBid, PacePPM: 1_000_000,
		PCTR: 0.001 + float64(0.05*m.rng.Float64()*m.rng.Float64()), StdErr: 0.05 + m.rng.Float64(),
	}
	perImpression := money.Nanos(100_000 + m.rng.Int64N(20_000_000))
	switch m.rng.IntN(3) {
	case 0:
		c.Objective, c.BillableEvent, c.Bid = campaign.Awareness, campaign.BillImpression, perImpression
	case 1:
		c.Bid = money.Nanos(float64(perImpression) / c.PCTR)
	default:
		c.Objective, c.PCVR = campaign.WebConversion, 0.002+float64(0.1*m.rng.Float64())
		c.CPAGoal = money.Nanos(float64(perImpression) / c.PCTR / c.PCVR)
		if m.chance(0.5) {
			c.BillableEvent = campaign.BillImpression
		}
		if m.chance(0.3) {
			c.Bid = perImpression
		}
	}
	if m.chance(0.4) {
		c.Strategy, c.PacePPM = pick(m, []campaign.BidStrategy{campaign.AutomaticBid, campaign.TargetAvg}), m.rng.Int64N(1_000_001)
	}
	if m.chance(0.2) {
		c.Floor = perImpression / 2
	}
	if m.chance(0.2) {
		c.FrequencyCap, c.Views = m.upTo(1, 5), m.upTo(0, 5)
	}
	return c
}

func pick[T any](m *Market, from []T) T { return from[m.rng.IntN(len(from))] }

package auction

import (
	"cmp"
	"slices"
	"time"

	"github.com/google/uuid"

	"gavel/budget"
	"gavel/campaign"
	"gavel/internal/money"
	"gavel/ranking"
	"gavel/targeting"
)

type (
	// Query is that of targeting, for callers that know auctions only.
	Query = targeting.Query
	// Placement is that of targeting.
	Placement = targeting.Placement
	// Ad is that of targeting.
	Ad = targeting.Ad
)

// Slot is one position of the page that may show an ad.
type Slot struct {
	ID string
	// Position is counted in items from the top of the page. A page whose slots have none counts its slots.
	Position int
}

// Request is one page load. Everything that a decision depends on is in it, in the snapshots of the node and in the user's state.
type Request struct {
	// AuctionID names the auction; it is fixed by the caller, as are the times and the seed.
	AuctionID uuid.UUID
	// RequestID is the caller's own name of the page load.
	RequestID string
	Tick      budget.Tick
	Seed      uint64
	// Slots are in order of position: the first is the best. At most MaxPageSlots.
	Slots []Slot
	// Query is the targeting side; its audiences are filled in by Run.
	Query targeting.Query
	// UserHash is campaign.UserHash of the user's id, 0 for an unknown user.
	UserHash int64
	// Explain asks for the fate of every ad in the index, not only of those that matched.
	Explain bool
}

// Award is an ad that won a slot.
type Award struct {
	Slot Slot
	Ad   *targeting.Ad
	// Value is what a view is worth, in nanos; PCTR the click probability at the first slot.
	Value, PCTR float64
	// Price is what its billable event costs: per impression for CPM, per click for CPC. Floor ≤ Price ≤ bid.
	Price money.Nanos
	// PricedBy is the ad without which the price would be lower, 0 when a floor set it.
	PricedBy    campaign.AdID
	Reservation budget.Reservation
	// Served is what the impression carries for the model to learn from.
	Served [ranking.ServedSize]byte
}

// NoFill is a slot that stays empty.
type NoFill struct {
	SlotID string
	Reason NoFillReason
}

// NoFillReason says why a slot stays empty.
type NoFillReason string

// The reasons for an empty slot.
const (
	// NoEligibleAd: no ad matches the request, or those that do have no money, are under the floor or worth less than what they displace.
	NoEligibleAd NoFillReason = "NO_ELIGIBLE_AD"
	// AdLoadReached: the placement allows no more ads, or none so close to another.
	AdLoadReached NoFillReason = "AD_LOAD"
	// IndexNotReady: this node has not loaded its index yet.
	IndexNotReady NoFillReason = "INDEX_NOT_READY"
)

// Unmatched is an ad that did not come as far as the auction.
type Unmatched struct {
	Ad     *targeting.Ad
	Reason Reason
}

// Considered is the fate of one candidate.
type Considered struct {
	Ad *targeting.Ad
	*Candidate
	*Fate
	// Price and PricedBy are those of a winner's [Award].
	Price    money.Nanos
	PricedBy campaign.AdID
}

// Decision is the outcome of an auction.
type Decision struct {
	AuctionID uuid.UUID
	At        time.Time
	Awards    []Award
	NoFill    []NoFill
	// Scene and Outcome are what was decided, nil when there was no index. They are valid until Release.
	Scene   *Scene
	Outcome *Outcome
	// Unmatched are, with Explain, the ads that did not match, up to MaxExplained with the candidates.
	Unmatched []Unmatched
	// Truncated says that more ads may match than were scored.
	Truncated bool
	// Unexplained is how many ads an explanation left out.
	Unexplained int
	// UserErr is why the user's state was not known, nil when it was or was not needed.
	UserErr error

	work *workspace
	pool func(*workspace)
}

// MaxExplained is the most ads that one explanation lists.
const MaxExplained = 1000

// Considered lists the candidates in order of value, then of ad id. It allocates: it is for explaining.
func (d *Decision) Considered() []Considered {
	if d.Scene == nil {
		return nil
	}
	list := make([]Considered, len(d.Scene.Candidates))
	for i := range list {
		list[i] = Considered{Ad: d.work.ads[i], Candidate: &d.Scene.Candidates[i], Fate: &d.Outcome.Fates[i]}
	}
	for _, p := range d.Outcome.Placed {
		list[p.Bidder].Price = p.Price
		if p.PricedBy >= 0 {
			list[p.Bidder].PricedBy = d.Scene.Candidates[p.PricedBy].AdID
		}
	}
	slices.SortFunc(list, func(x, y Considered) int {
		return cmp.Or(cmp.Compare(y.Value(), x.Value()), cmp.Compare(x.AdID, y.AdID))
	})
	return list
}

// Release gives the decision's memory back: nothing of it may be used after that. A decision that is not released is left to the
// garbage collector.
func (d *Decision) Release() {
	if d.work != nil {
		w := d.work
		d.work, d.Scene, d.Outcome = nil, nil, nil
		d.pool(w)
	}
}

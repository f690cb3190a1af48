package auction

import (
	"time"

	"github.com/google/uuid"

	"gavel/budget"
	"gavel/campaign"
	"gavel/internal/money"
	"gavel/targeting"
)

type (
	// Query is that of targeting, for callers that know auctions only.
	Query = targeting.Query
	// Placement is that of targeting.
	Placement = targeting.Placement
)

// Slot is one position of the page that may show an ad.
type Slot struct {
	ID       string
	Position int
}

// Request is one page load. Everything that a decision depends on is in it, in the index snapshot and in the user's state.
type Request struct {
	// AuctionID names the auction; it is fixed by the caller, as are the times.
	AuctionID uuid.UUID
	Tick      budget.Tick
	// Slots are filled in this order: the first is the best.
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
	// Score is the ad's value per impression in nanos; PCTR its click probability.
	Score, PCTR float64
	// Price is what its billable event costs: per impression for CPM, per click for CPC. Floor ≤ Price ≤ bid.
	Price money.Nanos
	// PricedBy is the ad whose value set the price, 0 when the floor did.
	PricedBy    campaign.AdID
	Reservation budget.Reservation
	// Served is what the model saw, for the impression's token: event.Served.
	Served [64]byte
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
	// NoEligibleAd: no ad matches the request, or those that do have no money or are under the floor.
	NoEligibleAd NoFillReason = "NO_ELIGIBLE_AD"
	// IndexNotReady: this node has not loaded its index yet.
	IndexNotReady NoFillReason = "INDEX_NOT_READY"
)

// Considered is the fate of one ad.
type Considered struct {
	Ad     *targeting.Ad
	Score  float64
	PCTR   float64
	Price  money.Nanos
	Reason Reason
	// BlockedBy is the budget line with nothing left, as "CAMPAIGN DAILY", for BudgetExhausted.
	BlockedBy string
}

// Decision is the outcome of an auction.
type Decision struct {
	AuctionID    uuid.UUID
	At           time.Time
	ModelVersion string
	Awards       []Award
	NoFill       []NoFill
	// Considered is in order of score, then of ad id; with Explain it holds every ad up to [MaxExplained].
	Considered []Considered
	// Unexplained is how many ads an explanation left out.
	Unexplained int
	// UserErr is why the user's state was not known, nil when it was or was not needed.
	UserErr error
}

// MaxExplained is the most ads that one explanation lists.
const MaxExplained = 1000

package auction

import (
	"time"

	"github.com/google/uuid"

	"gavel/campaign"
	"gavel/internal/money"
	"gavel/ranking"
	"gavel/targeting"
)

// Scene is everything that a decision depends on, as values: what matched, what was predicted, what the rules are. Nothing in it
// points to a store, a clock or a model, so a scene that was written down is decided again to the same bits, on any number of cores.
type Scene struct {
	AuctionID uuid.UUID
	// At is when the page was asked for; Seed draws what exploration draws.
	At   time.Time
	Seed uint64

	Placement targeting.Placement
	Country   string
	// RulesVersion and ModelVersion name what the values below were taken from.
	RulesVersion, ModelVersion string

	// SlotIDs are the request's names of Page.Slots.
	SlotIDs []string
	Page    Page
	// Floor is the least that a view of this page is sold for, in nanos per impression.
	Floor money.Nanos
	// RelevanceWeight is what a click is worth to the feed itself, in nanos: it ranks ads that users like above others.
	RelevanceWeight money.Nanos
	Exploration     Exploration

	// UserKnown says that the user's state was loaded: else capped ads may not serve.
	UserKnown bool
	// Features are what the model knew of the view.
	Features ranking.Features

	// Candidates are the ads that match, in any order: the decision does not depend on it.
	Candidates []Candidate
}

// onePPM is a pace that changes nothing.
const onePPM = 1_000_000

// Candidate is an ad that matches a request.
type Candidate struct {
	// Item names the ad and what the model knows of it.
	ranking.Item
	Strategy campaign.BidStrategy
	// Bid is per billable event in nanos, with the advertiser's multipliers for this view, before its pace; 0 with a CPAGoal that has no
	// cap. For a CPAGoal it caps the bid that follows from the goal.
	Bid money.Nanos
	// CPAGoal is what a conversion is worth, in nanos, with the same multipliers; 0 = the ad bids for its billable event.
	CPAGoal money.Nanos
	// PacePPM multiplies the bid, in millionths: what the controller of the ad's bid strategy says; 1,000,000 for MAX_BID.
	PacePPM int64
	// Floor is the ad group's own, in nanos per billable event; 0 = none.
	Floor money.Nanos
	// PCTR is the probability of a click at the first slot; PCVR that of a conversion after a click, for a CPAGoal; StdErr the standard
	// error of the logit of PCTR, for exploration.
	PCTR, PCVR, StdErr float64
	// FrequencyCap is the most views in 30 days, 0 = no cap; Views are those that are known of.
	FrequencyCap, Views int
}

// ExplorationMode says how ads are given a chance to show what they are worth.
type ExplorationMode string

// The exploration modes.
const (
	// ExploreOff ranks by what is predicted.
	ExploreOff ExplorationMode = "OFF"
	// ExploreThompson ranks by a draw from what the click rate may be (Chapelle, Li 2011, section 2).
	ExploreThompson ExplorationMode = "THOMPSON"
	// ExploreUCB ranks by an upper confidence bound of the click rate (Li, Chu, Langford, Schapire 2010, section 3).
	ExploreUCB ExplorationMode = "UCB"
)

// Exploration is how uncertain predictions are treated.
type Exploration struct {
	Mode ExplorationMode `json:"mode"`
	// Scale multiplies the standard error: 1 for a plain Thompson draw, the number of standard errors for UCB; in [0, 5].
	Scale float64 `json:"scale"`
}

// Fate is what became of one candidate.
type Fate struct {
	Reason Reason
	// Bid is effective, Floor the least price, both in nanos per billable event.
	Bid, Floor money.Nanos
	// Rate is the probability of the billable event, and Relevance what a view is worth to the feed in nanos, as they were ranked by.
	Rate, Relevance float64
	// Propensity is the probability that the ad is on the page, over the draws of exploration; 0 or 1 without. It is known only of
	// scenes that are recorded.
	Propensity float64
	// BlockedBy is the budget line with nothing left, as "CAMPAIGN DAILY", for BudgetExhausted.
	BlockedBy string
}

// Value is what a view of the ad was worth in nanos, as it was ranked by.
func (f *Fate) Value() float64 { return float64(float64(f.Bid)*f.Rate) + f.Relevance }

// Answer is what the budget said when it was asked to promise a price.
type Answer struct {
	AdID  campaign.AdID
	Price money.Nanos
	// Reason is Won when the price was promised.
	Reason    Reason
	BlockedBy string
}

// Outcome is a decision.
type Outcome struct {
	// Fates has one for each candidate, in the scene's order.
	Fates []Fate
	// Placed are the winners in order of their slots; their Bidder and PricedBy are indexes into the scene's candidates.
	Placed []Placed
	// Answers are in the order in which the budget was asked.
	Answers []Answer
}

package auction

import (
	"context"

	"gavel/budget"
	"gavel/campaign"
	"gavel/targeting"
)

// UserLoader knows users.
type UserLoader interface {
	// LoadUser returns the state of a user in one round trip and within ctx. After an error nothing is known of the user:
	// ads that depend on it are not eligible.
	LoadUser(ctx context.Context, userHash int64) (targeting.UserState, error)
}

// Ads is the node's replica of the targeting index.
type Ads interface {
	// Current is the snapshot to use for one whole request.
	Current() *targeting.Index
}

// Models is the node's copy of what was learned.
type Models interface {
	// Current is the model to use for one whole request; never nil.
	Current() Model
}

// Paces is the node's copy of what the controllers of bid strategies say.
type Paces interface {
	// Of is what the bid of an ad group with a strategy is multiplied by, within the limits of campaign.BidStrategy.Multiplier.
	Of(id campaign.AdGroupID, strategy campaign.BidStrategy) float64
}

// Reserver promises money; see budget.Wallet.
type Reserver interface {
	Reserve(now budget.Tick, req budget.Request) (budget.Reservation, budget.Refusal)
	// Cancel takes back a reservation that no token was made for.
	Cancel(r budget.Reservation)
	// Await returns true when money that was pending may have come, false when it has not come by the end of ctx.
	Await(ctx context.Context) bool
}

var _ Reserver = (*budget.Wallet)(nil)

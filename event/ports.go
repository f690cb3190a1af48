package event

import (
	"context"

	"github.com/google/uuid"

	"gavel/budget"
	"gavel/campaign"
)

// Kind is the kind of an event; see budget.Kind.
type Kind = budget.Kind

// The kinds of events, for those who need not know budgets.
const (
	Impression = budget.Impression
	Viewable   = budget.Viewable
	Click      = budget.Click
)

// The errors of an event that was not accepted, beside ErrForged; see package budget.
var (
	ErrExpired = budget.ErrExpired
	ErrFull    = budget.ErrFull
)

// Journal is a node's durable queue of accepted events, in the order of acceptance.
type Journal interface {
	// Append makes records durable and returns when the disk has them. After an error the state of the disk is unknown:
	// the process must stop, and no record of the call counts as accepted.
	Append(records [][]byte) error
	// Bounds are the index of the oldest and of the newest record; first > last when it is empty.
	Bounds() (first, last uint64, err error)
	// Read returns the record at an index within bounds.
	Read(index uint64) ([]byte, error)
	// Trim forgets the records up to and including index.
	Trim(index uint64) error
	// Full returns nil while there is room for more, else an error that wraps ErrFull. It is asked for every event.
	Full() error
}

// Committer bills a batch: see budget/postgres.Node.Commit. It may be called again with the same events.
type Committer interface {
	Commit(ctx context.Context, events []budget.Event) ([]budget.Outcome, error)
}

// View is an impression that a user has had of an ad group.
type View struct {
	UserHash  int64
	AdID      campaign.AdID
	AdGroupID campaign.AdGroupID
	// ImpressionID names the impression and says when the ad was served.
	ImpressionID uuid.UUID
}

// ViewCounter counts impressions against frequency caps, each once however often it comes. It is not money: an error is logged, not
// retried.
type ViewCounter interface {
	CountViews(ctx context.Context, views []View) error
}

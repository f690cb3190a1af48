package auction

import (
	"context"

	"github.com/google/uuid"

	"gavel/campaign"
	"gavel/internal/fault"
)

// Recorder keeps decisions for a day, so that they can be explained and made again; see auction/recorder.
type Recorder interface {
	// Wants says whether the decision of an auction is to be recorded: always when it is explained, else for a share of all
	// auctions. It only looks at its arguments.
	Wants(id uuid.UUID, explain bool) bool
	// Record keeps a decision whose propensities are filled in. It has copied all it needs when it returns, it never waits, and
	// when it cannot keep up it drops the decision and counts that.
	Record(ctx context.Context, s *Scene, o *Outcome, e *Extra)
}

// Extra is what belongs to the record of an auction beside its scene and its outcome: the decision does not depend on it.
type Extra struct {
	// RequestID is the caller's name of the request.
	RequestID string
	// UserError is why the user's state was not known, "" when it was or was not needed.
	UserError string
	// Truncated says that more ads matched than the best that were candidates.
	Truncated bool
	// Missed are ads that did not match, with the part of their targeting that kept them out: only of auctions that are explained.
	Missed []Missed
	// Unexplained is how many ads more Missed leaves out.
	Unexplained int
}

// Missed is an ad that did not match.
type Missed struct {
	AdID   campaign.AdID
	Reason Reason
}

// ErrNotRecorded says that there is no record of an auction: none was made, or it is older than a day.
var ErrNotRecorded = fault.New(fault.NotFound, "there is no record of this auction")

package indexer

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gavel/campaign"
)

// bulkPoll is how often the source is asked for work when there was none.
const bulkPoll = 500 * time.Millisecond

// BulkSource has work on many members at once: uploads, and lists that were replaced. It is done in pieces beside the outbox, so
// that changes of campaigns do not wait for it.
type BulkSource interface {
	// NextBulk does the next piece in the source, and returns whose memberships it changed. ok is false if there is nothing to do.
	// The same piece comes again until BulkDone.
	NextBulk(ctx context.Context) (b campaign.Bulk, ok bool, err error)
	// BulkDone says that the store has what the users of a piece are members of now.
	BulkDone(ctx context.Context, b campaign.Bulk) error
}

// bulkWork carries bulk changes of memberships to the store while a term lasts.
type bulkWork struct {
	source  BulkSource
	members *members
	log     *slog.Logger
}

// run works until ctx ends. What fails is tried again, from where it was.
func (w bulkWork) run(ctx context.Context) {
	backoff := bulkPoll
	var before error
	for ctx.Err() == nil {
		worked, err := w.step(ctx)
		pause := time.Duration(0)
		switch {
		case err != nil && ctx.Err() == nil:
			if before == nil || before.Error() != err.Error() {
				w.log.Warn("uploads of users wait", "error", err)
			}
			backoff = min(2*backoff, 2*maxBackoff)
			pause = backoff
		case !worked:
			pause = bulkPoll
			fallthrough
		default:
			backoff = bulkPoll
		}
		before = err
		wait(ctx, pause)
	}
}

// step does one piece. It reports false when there is none, or when it had better wait for a fill of all memberships.
func (w bulkWork) step(ctx context.Context) (worked bool, err error) {
	if !w.members.settled() {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*sourceTimeout)
	defer cancel()
	b, ok, err := w.source.NextBulk(ctx)
	if err != nil || !ok {
		return false, err
	}
	if err := w.members.refresh(ctx, b.Users); err != nil {
		if errors.Is(err, errNoMembers) {
			return false, nil
		}
		return false, err
	}
	if err := w.source.BulkDone(ctx, b); err != nil {
		return false, err
	}
	return true, nil
}

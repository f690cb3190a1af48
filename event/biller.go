package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gavel/budget"
	"gavel/internal/failpoint"
)

// BillerConfig configures a Biller.
type BillerConfig struct {
	Ingest    *Ingest
	Committer Committer
	Views     ViewCounter
	// MaxBatch is the most events of one transaction; CommitTimeout bounds one try of it.
	MaxBatch      int
	CommitTimeout time.Duration
	// Retry is the pause after a failed try.
	Retry time.Duration
	// Clicked is told of every click that was recorded, with the age of its impression when it was accepted.
	Clicked func(age time.Duration)
	// Observe is told of every batch that was committed.
	Observe func(outcomes map[budget.Outcome]int, took time.Duration)
	Log     *slog.Logger
}

// Biller takes accepted events from the journal to Postgres, in order.
type Biller struct {
	c       BillerConfig
	trimmed time.Time
}

// NewBiller returns a biller; it works while Run runs.
func NewBiller(c BillerConfig) *Biller { return &Biller{c: c} }

const (
	// linger is how long a batch waits for company: latency that nobody sees, for transactions that are worth it.
	linger = 20 * time.Millisecond
	// trimEvery bounds how much is read again after a crash; trimming costs an fsync.
	trimEvery = time.Second
)

// Run bills until ctx ends. A batch whose outcome is not known is tried until it is: Postgres may be away for minutes. It
// returns ctx's error, or budget.ErrFenced when the node has been fenced.
func (b *Biller) Run(ctx context.Context) error {
	for {
		n, err := b.once(ctx)
		switch {
		case errors.Is(err, budget.ErrFenced), ctx.Err() != nil:
			return errors.Join(err, ctx.Err())
		case err != nil:
			b.c.Log.WarnContext(ctx, "billing: will try again", "error", err, "unbilled", b.c.Ingest.Unbilled())
			sleep(ctx, b.c.Retry)
		case n == 0:
			select {
			case <-ctx.Done():
			case <-b.c.Ingest.notify:
				sleep(ctx, linger)
			}
		}
	}
}

// Drain bills what is left, at shutdown, after the last Accept has returned and Run has ended. It returns when the journal
// holds nothing unbilled, or with ctx's error: then the journal keeps the rest for the next start.
func (b *Biller) Drain(ctx context.Context) error {
	for {
		n, err := b.once(ctx)
		if err == nil && n == 0 {
			return b.trim()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%d events stay in the journal: %w", b.c.Ingest.Unbilled(), ctx.Err())
		}
		if err != nil {
			sleep(ctx, b.c.Retry)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// once bills the next batch and returns how many events it had.
func (b *Biller) once(ctx context.Context) (int, error) {
	records, err := b.next()
	if err != nil || len(records) == 0 {
		return 0, err
	}
	events := make([]budget.Event, len(records))
	for i := range records {
		events[i] = records[i].Event
	}
	start := time.Now()
	tryCtx, cancel := context.WithTimeout(ctx, b.c.CommitTimeout)
	defer cancel()
	failpoint.Hit(failpoint.BillingBeforeCommit)
	outcomes, err := b.c.Committer.Commit(tryCtx, events)
	if err != nil {
		return 0, fmt.Errorf("commit batch of %d: %w", len(events), err)
	}
	b.c.Ingest.billed(len(records))
	counts := map[budget.Outcome]int{}
	var views []View
	for i, o := range outcomes {
		counts[o]++
		switch r := &records[i]; {
		case r.Kind == budget.Impression && r.UserHash != 0:
			// Duplicates too: the first may have been billed by a process that ended before it was counted.
			views = append(views, View{UserHash: r.UserHash, AdID: r.AdID, AdGroupID: r.AdGroupID, ImpressionID: r.ImpressionID})
		case r.Kind == budget.Click && o != budget.Duplicate:
			b.c.Clicked(r.AcceptedAt.Sub(ServedAt(r.ImpressionID)))
		}
	}
	b.c.Observe(counts, time.Since(start))
	b.countViews(ctx, views)
	if time.Since(b.trimmed) > trimEvery {
		return len(records), b.trim()
	}
	return len(records), nil
}

func (b *Biller) next() ([]Record, error) {
	in := b.c.Ingest
	in.mu.Lock()
	from := in.billedTo + 1
	in.mu.Unlock()
	_, last, err := in.journal.Bounds()
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var records []Record
	for i := from; i <= last && len(records) < b.c.MaxBatch; i++ {
		raw, err := in.journal.Read(i)
		if err != nil {
			return nil, fmt.Errorf("read journal record %d: %w", i, err)
		}
		r, err := DecodeRecord(raw)
		if err != nil {
			return nil, fmt.Errorf("journal record %d: %w", i, err)
		}
		records = append(records, r)
	}
	return records, nil
}

// viewsTimeout bounds the trip that counts impressions against frequency caps.
const viewsTimeout = 500 * time.Millisecond

func (b *Biller) countViews(ctx context.Context, views []View) {
	if len(views) == 0 || b.c.Views == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, viewsTimeout)
	defer cancel()
	if err := b.c.Views.CountViews(ctx, views); err != nil {
		b.c.Log.WarnContext(ctx, "frequency caps: impressions not counted", "error", err, "impressions", len(views))
	}
}

func (b *Biller) trim() error {
	in := b.c.Ingest
	in.mu.Lock()
	to := in.billedTo
	in.mu.Unlock()
	b.trimmed = time.Now()
	failpoint.Hit(failpoint.BillingBeforeTrim)
	if err := in.journal.Trim(to); err != nil {
		return fmt.Errorf("trim journal: %w", err)
	}
	failpoint.Hit(failpoint.BillingAfterTrim)
	return nil
}

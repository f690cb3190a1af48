package event

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"gavel/budget"
	"gavel/internal/failpoint"
	"gavel/internal/telemetry/span"
)

// Ingest accepts events: it verifies, journals and acknowledges. It is safe for concurrent use.
type Ingest struct {
	keys    *Keys
	clock   *Clock
	journal Journal
	fatal   func(error)
	trace   span.Tracer

	mu      sync.Mutex
	waiting *group // collects while the group before it is being written
	writing bool
	// intake has what is waiting, being written or not yet billed, in the order of the journal
	intake   *budget.Intake
	billedTo uint64 // journal index of the newest billed record
	notify   chan struct{}
	writers  sync.WaitGroup
}

// group is a set of records that share one fsync.
type group struct {
	records [][]byte
	done    chan struct{}
	err     error
}

// IngestConfig configures an Ingest.
type IngestConfig struct {
	Keys    *Keys
	Clock   *Clock
	Journal Journal
	// MaxUnbilled bounds how many accepted events may wait for Postgres.
	MaxUnbilled int
	// Fatal is called once when the journal can no longer be trusted. It must stop the process.
	Fatal func(error)
	// Trace may be the zero value.
	Trace span.Tracer
}

// NewIngest opens an ingest on a journal, which may hold events of an earlier run: they are billed first. The node must join with
// [Ingest.Newest] and raise the clock to the answer before anything is accepted.
func NewIngest(c IngestConfig) (*Ingest, error) {
	in := &Ingest{
		keys: c.Keys, clock: c.Clock, journal: c.Journal, intake: budget.NewIntake(c.MaxUnbilled),
		fatal: c.Fatal, trace: c.Trace, notify: make(chan struct{}, 1),
	}
	first, last, err := c.Journal.Bounds()
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	if first > last {
		in.billedTo = last
		return in, nil
	}
	in.billedTo = first - 1
	for i := first; i <= last; i++ {
		b, err := c.Journal.Read(i)
		if err != nil {
			return nil, fmt.Errorf("read journal record %d: %w", i, err)
		}
		r, err := DecodeRecord(b)
		if err != nil {
			return nil, fmt.Errorf("journal record %d: %w; accepted events may be lost if it is skipped: copy the journal directory away and start with an empty one, then fence the old node", i, err)
		}
		in.intake.Replay(r.AcceptedAt)
	}
	return in, nil
}

// Accept verifies a token, of the given kinds only, and makes its event durable. When it returns nil the event is accepted
// and will be billed exactly once, whatever happens to this process. Errors: ErrForged, ErrExpired, ErrFull, ctx's.
//
// An error of ctx, or a crash, leaves it open whether the event was accepted: sending it again is harmless.
func (in *Ingest) Accept(ctx context.Context, text []byte, allowed ...budget.Kind) (Token, error) {
	ctx, sp := in.trace.Start(ctx, "event.Ingest")
	defer sp.End()
	token, g, err := in.admit(text, allowed)
	if err != nil {
		sp.Fail(err)
		return token, err
	}
	sp.Str("gavel.event_kind", string(token.Kind))
	sp.Int64("gavel.ad_id", int64(token.AdID))
	ctx, wait := in.trace.Start(ctx, "journal.Append")
	defer wait.End()
	return token, g.wait(ctx)
}

// AcceptAll accepts many tokens with as few waits as possible and returns one error per token, nil for the accepted ones.
func (in *Ingest) AcceptAll(ctx context.Context, texts [][]byte, allowed ...budget.Kind) []error {
	errs := make([]error, len(texts))
	groups := make([]*group, len(texts))
	for i, text := range texts {
		_, groups[i], errs[i] = in.admit(text, allowed)
	}
	for i, g := range groups {
		if g != nil {
			errs[i] = g.wait(ctx)
		}
	}
	return errs
}

func (g *group) wait(ctx context.Context) error {
	select {
	case <-g.done:
		failpoint.Hit(failpoint.EventBeforeAck)
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// admit verifies a token and puts its event into the group that is written next.
func (in *Ingest) admit(text []byte, allowed []budget.Kind) (Token, *group, error) {
	token, err := in.keys.Open(text)
	if err != nil {
		return token, nil, err
	}
	if !slices.Contains(allowed, token.Kind) {
		return token, nil, ErrForged
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.clock.Now() // under the lock, so that the order in the journal is the order of the times
	if err := in.full(); err != nil {
		return token, nil, err
	}
	if err := in.intake.Accept(now, token.Exp); err != nil {
		return token, nil, err
	}
	r := Record{AdGroupID: token.AdGroupID, Event: budget.Event{
		EventID: token.EventID, LeaseID: token.LeaseID, AdID: token.AdID, Price: token.Price, UserHash: token.UserHash, AcceptedAt: now, Served: token.Served,
	}}
	return token, in.join(AppendRecord(nil, &r)), nil
}

// join adds a record to the group that is written next, and writes it if nobody does.
func (in *Ingest) join(record []byte) *group {
	if in.waiting == nil {
		in.waiting = &group{done: make(chan struct{})}
	}
	g := in.waiting
	g.records = append(g.records, record)
	if !in.writing {
		in.writing = true
		in.writers.Go(in.write)
	}
	return g
}

// write appends one group after the other until none is waiting: while the disk syncs one, the next one fills.
func (in *Ingest) write() {
	for {
		in.mu.Lock()
		g := in.waiting
		in.waiting = nil
		if g == nil {
			in.writing = false
			in.mu.Unlock()
			return
		}
		in.mu.Unlock()
		failpoint.Hit(failpoint.JournalBeforeAppend)
		g.err = in.journal.Append(g.records)
		if g.err != nil {
			// What the disk holds is unknown now. Nobody gets an answer: the process stops, and the journal decides.
			in.fatal(fmt.Errorf("append to journal: %w", g.err))
			close(g.done)
			return
		}
		failpoint.Hit(failpoint.JournalAfterAppend)
		close(g.done)
		select {
		case in.notify <- struct{}{}:
		default:
		}
	}
}

// Wait returns when nothing is being written any more: after it, if nobody calls Accept, the journal may be closed.
func (in *Ingest) Wait() { in.writers.Wait() }

// Newest is when the newest event in the journal was accepted, at the start: what the node joins with.
func (in *Ingest) Newest() time.Time {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.intake.Newest()
}

// Watermark is the time before which every event that this node accepted is billed. It never decreases.
func (in *Ingest) Watermark() time.Time {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.intake.Watermark(in.clock.Now())
}

// Full returns nil while events are accepted, else an error that wraps ErrFull.
func (in *Ingest) Full() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if err := in.full(); err != nil {
		return err
	}
	return in.intake.Full()
}

// maxWaiting bounds the records of one group: the journal keeps room for what is admitted while one is being written.
const maxWaiting = 16 << 10

func (in *Ingest) full() error {
	if in.waiting != nil && len(in.waiting.records) >= maxWaiting {
		return fmt.Errorf("%w: %d wait for the disk", ErrFull, maxWaiting)
	}
	return in.journal.Full()
}

// Unbilled is how many accepted events wait for Postgres.
func (in *Ingest) Unbilled() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.intake.Unbilled()
}

// billed says that the next n records are billed.
func (in *Ingest) billed(n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.intake.Billed(n)
	in.billedTo += uint64(n)
}

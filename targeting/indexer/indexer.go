package indexer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gavel/targeting"
)

const (
	// defaultPoll is how often the outbox is read.
	defaultPoll = 50 * time.Millisecond
	// checkEvery is how often the store is asked whether it still holds what was written.
	checkEvery = 500 * time.Millisecond
	// leadEvery is how often a node that does not lead tries to.
	leadEvery = 500 * time.Millisecond
	// maxBackoff is the longest pause after errors.
	maxBackoff = time.Second
	// rebuildEvery is the least time between two rebuilds of an index that is there but said to be damaged.
	rebuildEvery = 10 * time.Second
	// batchSize is the most changes that are resolved together, and the most ads or users of one call of the store.
	batchSize = 500
	// sourceTimeout bounds one call of the source.
	sourceTimeout = 15 * time.Second
)

// Config configures an Indexer.
type Config struct {
	Source Source
	Store  Store
	Lead   LeadFunc
	// SourceID names the database, so that an index that was built from another one is not adopted. It must stay the same for
	// the life of the database.
	SourceID string
	// Bounds are those of this program's ranking model.
	Bounds targeting.Bounds
	// Snapshot is this node's replica with where it stands: targeting/redis.Follower.Snapshot. Checkpoints are made of it.
	Snapshot func() (targeting.Snapshot, bool)
	// CheckpointAfter is how many changes the log has at least when a checkpoint is made; 0 means 20,000. It is more for large indexes.
	CheckpointAfter int64
	Log             *slog.Logger
	Now             func() time.Time
	// Poll is how often the outbox is read; 0 means 50 ms.
	Poll time.Duration
}

// Status is where an indexer stands.
type Status struct {
	// Leading says that this node holds the lead, with this Epoch.
	Leading bool
	Epoch   int64
	// Generation is the published one as this leader knows it, Seq its last change.
	Generation string
	Seq        int64
	// Applied counts the outbox rows that this process has applied; Rebuilds the generations it has published, Checkpoints what it
	// has published of them later.
	Applied, Rebuilds, Checkpoints int64
	// Refused is how many ads cannot be served, as this leader knows it.
	Refused int
	// OldestMS is how long the oldest row of the last batch had waited when it was applied, in milliseconds.
	OldestMS int64
	// Err is what is wrong at the moment; nil if nothing is.
	Err error
}

// Indexer keeps the store equal to the source while it leads.
type Indexer struct {
	c Config

	mu     sync.Mutex
	status Status
}

// New returns an indexer that does nothing yet.
func New(c Config) *Indexer {
	if c.Poll <= 0 {
		c.Poll = defaultPoll
	}
	if c.CheckpointAfter <= 0 {
		c.CheckpointAfter = defaultCheckpointAfter
	}
	return &Indexer{c: c}
}

// Status says where the indexer stands. It asks nobody.
func (x *Indexer) Status() Status {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.status
}

func (x *Indexer) update(change func(*Status)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	change(&x.status)
}

// Run leads whenever it can until ctx ends. It returns nil: whatever happens to Postgres and Redis, it tries again.
func (x *Indexer) Run(ctx context.Context) error {
	for wait(ctx, 0) {
		lead, ok, err := x.c.Lead(ctx)
		if err != nil && ctx.Err() == nil {
			x.report(fmt.Errorf("take the lead: %w", err))
		}
		if ok {
			x.lead(ctx, lead)
		}
		if !wait(ctx, leadEvery) {
			break
		}
	}
	return nil
}

// lead works until the lead is lost, given up or ctx ends.
func (x *Indexer) lead(ctx context.Context, lead Lead) {
	defer lead.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel() // before the wait
	watch.Go(func() {
		select {
		case <-lead.Lost:
			cancel()
		case <-ctx.Done():
		}
	})

	x.c.Log.Info("this node leads the targeting index", "epoch", lead.Epoch)
	x.update(func(s *Status) { s.Leading, s.Epoch = true, lead.Epoch })
	defer x.update(func(s *Status) { s.Leading, s.Generation, s.Seq = false, "", 0 })

	t := newTerm(x, lead.Epoch)
	defer t.close()
	watch.Go(func() { bulkWork{source: x.c.Source, members: t.members, log: x.c.Log}.run(ctx) })
	backoff := x.c.Poll
	for {
		err := t.step(ctx)
		if ctx.Err() != nil {
			return
		}
		x.report(err)
		pause := x.c.Poll
		switch {
		case errors.Is(err, targeting.ErrStale):
			return
		case err != nil:
			backoff = min(2*backoff, maxBackoff)
			pause = backoff
		default:
			backoff = x.c.Poll
		}
		if !wait(ctx, pause) {
			return
		}
	}
}

// report keeps the present error and logs it when it is another one than before.
func (x *Indexer) report(err error) {
	var before error
	x.update(func(s *Status) { before, s.Err = s.Err, err })
	switch {
	case err == nil && before != nil:
		x.c.Log.Info("targeting index is written again")
	case err != nil && (before == nil || before.Error() != err.Error()):
		x.c.Log.Warn("targeting index is not written", "error", err)
	}
}

// wait sleeps; it reports false when ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

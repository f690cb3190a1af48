package trainer

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gavel/ranking"
)

// Source has the snapshots: ranking/postgres.Store.
type Source interface {
	// Latest returns the snapshot that nodes should use, unless it is the one with the number known; ok is false then. After an error
	// it may still tell the number of what cannot be used.
	Latest(ctx context.Context, known int64) (p ranking.Published, ok bool, err error)
}

const (
	// pollEvery is how often a node asks for a newer snapshot.
	pollEvery = 2 * time.Second
	// pollTimeout bounds the answer, which may have some ten megabytes.
	pollTimeout = 30 * time.Second
)

// Follower holds the newest good snapshot for the auctions of a node. It is safe for concurrent use.
type Follower struct {
	source Source
	log    *slog.Logger

	current atomic.Pointer[ranking.Snapshot]
	known   int64 // the number that was seen last, good or not, and if not, why; only Poll uses them
	bad     error

	mu     sync.Mutex
	status Model
}

// Model is what a node uses.
type Model struct {
	Version string
	// Number and CreatedAt are 0 for the built-in priors.
	Number    int64
	CreatedAt time.Time
	// Loads counts snapshots that were taken up, Refused those that were not.
	Loads, Refused int64
	// Err is what is wrong at the moment.
	Err error
}

// NewFollower returns a follower that holds the priors of a system that has seen nothing.
func NewFollower(source Source, log *slog.Logger) *Follower {
	f := &Follower{source: source, log: log}
	first := ranking.Default()
	f.current.Store(first)
	f.status.Version = first.Version
	return f
}

// Current is the snapshot to use for one whole request. It is never nil.
func (f *Follower) Current() *ranking.Snapshot { return f.current.Load() }

// Status says what the node uses. It asks nobody.
func (f *Follower) Status() Model {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// Run polls until ctx ends. It returns nil: whatever happens to the source, it tries again.
func (f *Follower) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		_ = f.Poll(ctx) // it has noted and logged the error
		wait(ctx, pollEvery)
	}
	return nil
}

// Poll asks once. After an error the node keeps what it has.
func (f *Follower) Poll(ctx context.Context) error {
	pollCtx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	p, ok, err := f.source.Latest(pollCtx, f.known)
	var s *ranking.Snapshot
	if err == nil && ok {
		if s, err = ranking.Decode(p.Body); err == nil && s.Version != p.Version {
			err = fmt.Errorf("it calls itself %q", s.Version)
		}
		if err != nil {
			err = fmt.Errorf("model %s: %w", p.Version, err)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch {
	case ok:
		f.known, f.bad = p.Number, err // what is bad stays bad: it is not fetched again
	case err == nil:
		err = f.bad
	}
	f.note(ctx, p, ok, s, err)
	return err
}

func (f *Follower) note(ctx context.Context, p ranking.Published, ok bool, s *ranking.Snapshot, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.status.Err
	f.status.Err = err
	switch {
	case s != nil && err == nil:
		f.current.Store(s)
		f.status.Version, f.status.Number, f.status.CreatedAt = p.Version, p.Number, p.CreatedAt
		f.status.Loads++
		f.log.InfoContext(ctx, "model taken up", "model", p.Version, "created", p.CreatedAt)
	case ok:
		f.status.Refused++
		f.log.ErrorContext(ctx, "model refused: the one before stays", "using", f.status.Version, "error", err)
	case err != nil && (before == nil || before.Error() != err.Error()):
		f.log.WarnContext(ctx, "no newer model can be asked for: the one before stays", "using", f.status.Version, "error", err)
	}
}

package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gavel/targeting"
)

const (
	// DefaultPoll is how often the log is read.
	DefaultPoll = 50 * time.Millisecond
	// busyPause is the longest time between two reads of the log that changes leave, maxPause the longest that errors do.
	busyPause = 100 * time.Millisecond
	maxPause  = 400 * time.Millisecond
)

// FollowerConfig configures a Follower.
type FollowerConfig struct {
	Client  goredis.UniversalClient
	Replica *targeting.Replica
	Bounds  targeting.Bounds
	Log     *slog.Logger
	Now     func() time.Time
	// Poll is how often the log is read; 0 means DefaultPoll. After a change it is read no sooner than twice the time that the
	// change took to apply, up to 100 ms, so that following takes no more than a third of a core.
	Poll time.Duration
}

// Status is where a follower stands.
type Status struct {
	// Generation is what is loaded, "" before the first; Seq is the change up to which it is current.
	Generation string
	Seq        int64
	// Ads are served.
	Ads int
	// LagMS is how long ago, in milliseconds, the replica was last known to be equal to Redis; -1 if it never was.
	LagMS int64
	// LoadedAt is when loading began of what is loaded, LoadMS how long it took. Loads counts the loads since the start.
	LoadedAt time.Time
	LoadMS   int64
	Loads    int
	// Err is what is wrong at the moment; nil if nothing is.
	Err error
}

// Follower keeps a replica equal to the index in Redis. Once it has loaded an index it never takes it away: while Redis is
// down, empty, damaged or being rebuilt, the last good one serves.
type Follower struct {
	c FollowerConfig

	// Of the loop alone.
	parser  *targeting.Parser
	current targeting.Snapshot // as published, but for merging
	merging bool               // the index has a delta to be merged

	mu       sync.Mutex
	snapshot targeting.Snapshot // what the replica has
	status   Status             // without LagMS
	equalAt  time.Time          // when the replica was last known to be equal
	reported string             // the last error that was logged
}

// NewFollower returns a follower that has loaded nothing.
func NewFollower(c FollowerConfig) *Follower {
	if c.Poll <= 0 {
		c.Poll = DefaultPoll
	}
	return &Follower{c: c, parser: targeting.NewParser(c.Bounds)}
}

// Status says where the follower stands. It does not ask Redis.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.status
	s.LagMS = -1
	if !f.equalAt.IsZero() {
		s.LagMS = f.c.Now().Sub(f.equalAt).Milliseconds()
	}
	return s
}

// Snapshot is what the replica has, with where that stands; false before the first load.
func (f *Follower) Snapshot() (targeting.Snapshot, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snapshot, f.snapshot.Index != nil
}

// Ready returns nil once an index is loaded. It stays nil while Redis is away: what is loaded still serves.
func (f *Follower) Ready(context.Context) error {
	s := f.Status()
	switch {
	case s.Generation != "":
		return nil
	case s.Err != nil:
		return fmt.Errorf("targeting index is not loaded: %w", s.Err)
	}
	return errors.New("targeting index is not loaded")
}

// Run follows until ctx ends. It returns nil: whatever happens to Redis, it tries again.
func (f *Follower) Run(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	backoff := f.c.Poll
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		start := f.c.Now()
		more, err := f.step(ctx)
		if ctx.Err() != nil {
			return nil
		}
		f.note(err)
		next := f.c.Poll
		switch {
		case err != nil:
			backoff = min(2*backoff, maxPause)
			next = backoff
		default:
			backoff = f.c.Poll
			took := f.c.Now().Sub(start)
			if more {
				next = 0 // there is more to read at once
			}
			next = max(next, min(2*took, busyPause))
		}
		if f.merge() {
			next = min(next, f.c.Poll)
		}
		pause.Reset(next)
	}
}

// merge does one bounded step of merging, if there is something to merge, and says whether it did. It changes where ads stand in the index,
// not which ads there are.
func (f *Follower) merge() bool {
	if !f.merging {
		return false
	}
	f.current.Index, f.merging = f.current.Index.Merge()
	f.serve()
	return true
}

// serve hands the current index to the replica.
func (f *Follower) serve() {
	f.c.Replica.Store(f.current.Index)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.snapshot = f.current
}

// note keeps what a step came to, and logs what is new.
func (f *Follower) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Err = err
	f.status.Generation, f.status.Seq, f.status.Ads = f.current.Generation, f.current.Seq, f.c.Replica.Current().Len()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == f.reported {
		return
	}
	f.reported = text
	if err != nil {
		f.c.Log.Warn("targeting index is not followed", "error", err, "generation", f.current.Generation, "ads", f.status.Ads)
	} else {
		f.c.Log.Info("targeting index is followed", "generation", f.current.Generation, "ads", f.status.Ads)
	}
}

// caughtUp notes that the replica was equal to Redis at a time.
func (f *Follower) caughtUp(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.equalAt = at
}

// step reads the log once and applies what is new, or loads another generation. more says that there is more to read.
func (f *Follower) step(ctx context.Context) (more bool, err error) {
	at := f.c.Now()
	tail, err := readTail(ctx, f.c.Client, f.current.Generation, f.current.Seq, logPage, pollTimeout)
	if errors.Is(err, ErrDamaged) {
		return false, f.complain(ctx, err)
	}
	if err != nil {
		return false, err
	}
	switch {
	case tail.generation == "":
		return false, ErrNoIndex
	case tail.schema != schema:
		return false, otherSchema(tail.schema)
	case tail.generation != f.current.Generation || tail.broken:
		return true, f.load(ctx, at)
	case len(tail.changes) == 0:
		f.caughtUp(at)
		return false, nil
	}
	next, damage := applied(f.parser, f.current, tail.changes)
	if next.Seq > f.current.Seq {
		f.current, f.merging = next, true
		f.serve()
	}
	if damage != nil {
		return false, f.complain(ctx, damage)
	}
	if tail.upTo < tail.seq {
		return true, nil
	}
	f.caughtUp(at)
	return false, nil
}

// complain asks the indexer for a rebuild and returns the damage.
func (f *Follower) complain(ctx context.Context, damage error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return errors.Join(damage, requestRebuild(ctx, f.c.Client, damage.Error()))
}

// load replaces the replica by what is published. What is loaded serves until then.
func (f *Follower) load(ctx context.Context, at time.Time) error {
	snapshot, err := Load(ctx, f.c.Client, f.c.Bounds)
	if errors.Is(err, ErrDamaged) {
		return f.complain(ctx, err)
	}
	if err != nil {
		return err
	}
	f.current, f.merging = snapshot, true
	f.serve()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.LoadedAt, f.status.LoadMS = at, f.c.Now().Sub(at).Milliseconds()
	f.status.Loads++
	return nil
}

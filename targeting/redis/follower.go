package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gavel/campaign"
	"gavel/targeting"
)

const (
	// DefaultPoll is how often the log is read.
	DefaultPoll = 50 * time.Millisecond
	// maxPause is the longest time between two reads of the log.
	maxPause = 400 * time.Millisecond
	// logPage is the most log entries that one read applies.
	logPage = 200
)

// ErrNoIndex says that Redis holds no index: none was built yet, or Redis was emptied.
var ErrNoIndex = errors.New("no index in redis")

// FollowerConfig configures a Follower.
type FollowerConfig struct {
	Client  goredis.UniversalClient
	Replica *targeting.Replica
	Bounds  targeting.Bounds
	Log     *slog.Logger
	Now     func() time.Time
	// Poll is how often the log is read; 0 means DefaultPoll. After a change it is read no sooner than twice the time that the
	// change took to apply, so that following never takes more than a third of a core.
	Poll time.Duration
}

// Status is where a follower stands.
type Status struct {
	// Generation is what is loaded, "" before the first; LastID is the log entry up to which it is current.
	Generation, LastID string
	// Ads are served. Refused ads have a good record whose targeting this program does not understand; Damaged ones have a bad
	// record. Neither is served.
	Ads, Refused, Damaged int
	// LagMS is how long ago, in milliseconds, the replica was last known to be equal to Redis; -1 if it never was.
	LagMS int64
	// LoadedAt is when the generation was loaded.
	LoadedAt time.Time
	// Err is what is wrong at the moment; nil if nothing is.
	Err error
}

// Follower keeps a replica equal to the index in Redis. Once it has loaded an index it never takes it away: while Redis is
// down, empty or being rebuilt, the last good one serves.
type Follower struct {
	c FollowerConfig

	// Of the loop alone.
	parser     *targeting.Parser
	generation string
	last       int64 // number of the last applied change
	refused    map[campaign.AdID]error
	damaged    map[campaign.AdID]error

	mu       sync.Mutex
	status   Status    // without LagMS
	equalAt  time.Time // when the replica was last known to be equal
	reported string    // the last error that was logged
}

// NewFollower returns a follower that has loaded nothing.
func NewFollower(c FollowerConfig) *Follower {
	if c.Poll <= 0 {
		c.Poll = DefaultPoll
	}
	return &Follower{
		c: c, parser: targeting.NewParser(c.Bounds),
		refused: map[campaign.AdID]error{}, damaged: map[campaign.AdID]error{},
	}
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
		changed, err := f.step(ctx)
		if ctx.Err() != nil {
			return nil
		}
		f.note(err)
		next := f.c.Poll
		switch {
		case err != nil:
			backoff = min(2*backoff, maxPause)
			next = backoff
		case changed:
			next = min(max(next, 2*f.c.Now().Sub(start)), maxPause)
			fallthrough
		default:
			backoff = f.c.Poll
		}
		pause.Reset(next)
	}
}

// note keeps what a step came to, and logs what is new.
func (f *Follower) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Err = err
	f.status.Ads, f.status.Refused, f.status.Damaged = f.c.Replica.Current().Len(), len(f.refused), len(f.damaged)
	f.status.Generation, f.status.LastID = f.generation, fmt.Sprintf("%d-0", f.last)
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == f.reported {
		return
	}
	f.reported = text
	if err != nil {
		f.c.Log.Warn("targeting index is not followed", "error", err, "generation", f.generation, "ads", f.status.Ads)
	} else {
		f.c.Log.Info("targeting index is followed", "generation", f.generation, "ads", f.status.Ads)
	}
}

// caughtUp notes that the replica was equal to Redis at a time.
func (f *Follower) caughtUp(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.equalAt = at
}

// step reads the log once and applies what is new, or loads another generation. changed says that the replica changed.
func (f *Follower) step(ctx context.Context) (changed bool, err error) {
	at := f.c.Now()
	tail, err := readTail(ctx, f.c.Client, f.generation, f.last)
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
		return false, fmt.Errorf("index has schema %q, this program reads %q", tail.schema, schema)
	case tail.generation != f.generation || tail.broken:
		return true, f.load(ctx, tail.generation, tail.seq, at)
	}
	if len(tail.changed) > 0 {
		if err := f.apply(ctx, tail.changed); err != nil {
			return false, err
		}
		f.last = tail.upTo
		return true, nil
	}
	f.caughtUp(at)
	return false, f.checkCount(ctx, tail.ads)
}

// checkCount compares what is loaded with what the index says it holds: a difference means that records are lost.
func (f *Follower) checkCount(ctx context.Context, ads int64) error {
	have := int64(f.c.Replica.Current().Len() + len(f.refused) + len(f.damaged))
	if have != ads {
		return f.complain(ctx, fmt.Errorf("%d ads are loaded, the index should hold %d: %w", have, ads, ErrDamaged))
	}
	if len(f.damaged) > 0 {
		return f.complain(ctx, fmt.Errorf("%d records are damaged, for one: %w", len(f.damaged), first(f.damaged)))
	}
	return nil
}

// complain asks the indexer for a rebuild and returns the damage.
func (f *Follower) complain(ctx context.Context, damage error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return errors.Join(damage, requestRebuild(ctx, f.c.Client, damage.Error()))
}

// apply brings the changed ads up to date.
func (f *Follower) apply(ctx context.Context, ids []campaign.AdID) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	records, err := readRecords(ctx, f.c.Client, f.generation, ids)
	if err != nil {
		return err
	}
	var upserts []*targeting.Ad
	var removals []campaign.AdID
	for _, id := range ids {
		delete(f.refused, id)
		delete(f.damaged, id)
		record, exists := records[id]
		var ad *targeting.Ad
		if exists {
			ad = f.read(id, record)
		}
		if ad != nil {
			upserts = append(upserts, ad)
		} else {
			removals = append(removals, id)
		}
	}
	next, err := f.c.Replica.Current().Apply(targeting.Change{Upserts: upserts, Removals: removals})
	if err != nil {
		return err
	}
	next, _ = next.Merge()
	f.c.Replica.Store(next)
	return nil
}

// read makes an ad of a record, or keeps why it cannot.
func (f *Follower) read(id campaign.AdID, record string) *targeting.Ad {
	serving, err := Decode(id, record)
	if err != nil {
		f.damaged[id] = err
		return nil
	}
	ad, err := f.parser.Parse(serving)
	if err != nil {
		f.refused[id] = err
		f.c.Log.Warn("an ad is not served", "ad", int64(id), "error", err)
		return nil
	}
	return ad
}

// load replaces the replica by a generation. seq is a change that the generation is sure to include.
func (f *Follower) load(ctx context.Context, generation string, seq int64, at time.Time) error {
	records, err := readGeneration(ctx, f.c.Client, generation)
	if err != nil {
		return err
	}
	f.refused, f.damaged = map[campaign.AdID]error{}, map[campaign.AdID]error{}
	ads := make([]*targeting.Ad, 0, len(records))
	for id, record := range records {
		if ad := f.read(id, record); ad != nil {
			ads = append(ads, ad)
		}
	}
	f.c.Replica.Store(targeting.Build(ads, targeting.Tables{}))
	f.generation, f.last = generation, seq
	f.mu.Lock()
	f.status.LoadedAt = at
	f.mu.Unlock()
	return nil
}

func first(errs map[campaign.AdID]error) error {
	for _, err := range errs {
		return err
	}
	return nil
}

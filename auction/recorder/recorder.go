package recorder

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"gavel/auction"
	"gavel/auction/record"
)

// Store keeps records.
type Store interface {
	// Save keeps records under their auctions' ids, all or none. An id that is there already is no error: a batch whose outcome is
	// not known is saved again.
	Save(ctx context.Context, ids []uuid.UUID, records [][]byte) error
}

// Fate is what became of a record.
type Fate string

// The fates.
const (
	// Kept: it is in the store.
	Kept Fate = "kept"
	// Full: dropped because the queue was full.
	Full Fate = "full"
	// Failed: dropped because the store did not take it in time.
	Failed Fate = "failed"
	// TooLarge: dropped because it has more than record.MaxBytes.
	TooLarge Fate = "too_large"
)

// Config configures a Recorder.
type Config struct {
	Store Store
	// Ratio is the share of auctions that are recorded, in [0, 1], beside those that are explained.
	Ratio float64
	// Program is the version of the program, for the record.
	Program string
	// MaxQueued is the most records that wait, MaxQueuedBytes the most of their bytes.
	MaxQueued      int
	MaxQueuedBytes int64
	// MaxBatch is the most records that are saved at once, Linger how long the first of them waits for others.
	MaxBatch int
	Linger   time.Duration
	// SaveTimeout bounds one try to save a batch, Retry is the pause after one that failed, and after GiveUp the batch is dropped.
	SaveTimeout, Retry, GiveUp time.Duration
	// DrainTimeout bounds what Run does after the end of its context.
	DrainTimeout time.Duration
	// Observe is told of every record, once.
	Observe func(ctx context.Context, fate Fate, n int)
	Log     *slog.Logger
}

// Recorder implements auction.Recorder. It is safe for concurrent use.
type Recorder struct {
	c       Config
	least   uint64 // an auction whose random bits are below it is recorded
	queue   chan entry
	bytes   atomic.Int64 // of what is in the queue
	scratch sync.Pool    // of *[]byte
}

type entry struct {
	id   uuid.UUID
	data []byte
}

var _ auction.Recorder = (*Recorder)(nil)

// New returns a recorder; it saves while Run runs.
func New(c Config) *Recorder {
	return &Recorder{
		c: c, least: threshold(c.Ratio), queue: make(chan entry, c.MaxQueued),
		scratch: sync.Pool{New: func() any { return new([]byte) }},
	}
}

// randomBits is how many bits at the end of a UUID of version 7 are random.
const randomBits = 62

// threshold is the number of values of randomBits that are recorded.
func threshold(ratio float64) uint64 {
	return uint64(math.Ldexp(min(max(ratio, 0), 1), randomBits))
}

// Wants implements auction.Recorder: the random bits of the id are the draw.
func (r *Recorder) Wants(id uuid.UUID, explain bool) bool {
	return explain || binary.BigEndian.Uint64(id[8:])&(1<<randomBits-1) < r.least
}

// Record implements auction.Recorder.
func (r *Recorder) Record(ctx context.Context, s *auction.Scene, o *auction.Outcome, e *auction.Extra) {
	if len(r.queue) == cap(r.queue) || r.bytes.Load() >= r.c.MaxQueuedBytes {
		r.c.Observe(ctx, Full, 1)
		return
	}
	scratch, _ := r.scratch.Get().(*[]byte)
	defer r.scratch.Put(scratch)
	*scratch = record.Append((*scratch)[:0], &record.Record{Scene: *s, Outcome: *o, Extra: *e, Program: r.c.Program})
	if len(*scratch) > record.MaxBytes {
		r.c.Observe(ctx, TooLarge, 1)
		return
	}
	data := append(make([]byte, 0, len(*scratch)), *scratch...)
	r.bytes.Add(int64(len(data)))
	select {
	case r.queue <- entry{s.AuctionID, data}:
	default:
		r.bytes.Add(-int64(len(data)))
		r.c.Observe(ctx, Full, 1)
	}
}

// Run saves what is recorded until ctx ends, then what is left, for DrainTimeout at most.
func (r *Recorder) Run(ctx context.Context) {
	var b batch
	for r.fill(ctx, &b) {
		r.save(ctx, &b)
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.c.DrainTimeout)
	defer cancel()
	for {
		r.take(&b)
		if len(b.ids) == 0 {
			return
		}
		r.save(drain, &b)
		if drain.Err() != nil {
			r.drop(drain, &b)
		}
	}
}

// batch is what is saved at once.
type batch struct {
	ids     []uuid.UUID
	records [][]byte
}

func (r *Recorder) move(e entry, b *batch) {
	r.bytes.Add(-int64(len(e.data)))
	b.ids, b.records = append(b.ids, e.id), append(b.records, e.data)
}

func (b *batch) reset() {
	clear(b.records)
	b.ids, b.records = b.ids[:0], b.records[:0]
}

func (r *Recorder) drop(ctx context.Context, b *batch) {
	r.c.Observe(ctx, Failed, len(b.ids))
	b.reset()
}

// fill waits for records and takes what comes within Linger. It returns false when ctx has ended; what b holds by then is not lost.
func (r *Recorder) fill(ctx context.Context, b *batch) bool {
	if len(b.ids) == 0 {
		select {
		case <-ctx.Done():
			return false
		case e := <-r.queue:
			r.move(e, b)
		}
	}
	linger := time.NewTimer(r.c.Linger)
	defer linger.Stop()
	for len(b.ids) < r.c.MaxBatch && ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return false
		case <-linger.C:
			return true
		case e := <-r.queue:
			r.move(e, b)
		}
	}
	return ctx.Err() == nil
}

// take takes what is there without waiting.
func (r *Recorder) take(b *batch) {
	for len(b.ids) < r.c.MaxBatch {
		select {
		case e := <-r.queue:
			r.move(e, b)
		default:
			return
		}
	}
}

// save saves b, with retries for GiveUp; then it drops it. When ctx ends in between, b stays as it is.
func (r *Recorder) save(ctx context.Context, b *batch) {
	giveUp, cancel := context.WithTimeout(ctx, r.c.GiveUp)
	defer cancel()
	for {
		err := r.try(giveUp, b)
		if err == nil {
			r.c.Observe(ctx, Kept, len(b.ids))
			b.reset()
			return
		}
		if ctx.Err() != nil {
			return
		}
		if giveUp.Err() != nil || !pause(giveUp, r.c.Retry) {
			if ctx.Err() == nil {
				r.c.Log.WarnContext(ctx, "records of auctions are dropped", "records", len(b.ids), "error", err)
				r.drop(ctx, b)
			}
			return
		}
	}
}

func (r *Recorder) try(ctx context.Context, b *batch) error {
	ctx, cancel := context.WithTimeout(ctx, r.c.SaveTimeout)
	defer cancel()
	if err := r.c.Store.Save(ctx, b.ids, b.records); err != nil {
		return fmt.Errorf("save records of auctions: %w", errors.Join(err, ctx.Err()))
	}
	return nil
}

// pause returns false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

package indexer

import (
	"context"
	"errors"
	"time"

	"gavel/targeting"
)

const (
	// defaultCheckpointAfter is how many changes the log of a small index has when a checkpoint is made; the log of a large one
	// may have one change for every adsPerChange of its ads, so that segments are written at most so often as ads change.
	defaultCheckpointAfter = 20_000
	adsPerChange           = 16
	// changeBytes is the size of a change beyond which the bytes of the log count, not the changes.
	changeBytes = 1 << 10
	// overgrown is how many times its usual length the log has when checkpoints have failed for so long that the index is rebuilt.
	overgrown = 16
	// checkpointEvery is the least time from one attempt at a checkpoint to the next.
	checkpointEvery = 5 * time.Second
	// sweepAfter is how long after a publication what was published before is deleted, unless it is in the way of the next: nodes
	// may be reading it.
	sweepAfter = time.Minute
)

// isCheckpointDue says whether the log is so long that the segments should be written anew, or that they are in the order of
// another model, which makes nodes slow to start.
func isCheckpointDue(st targeting.StoreState, c Config) bool {
	return c.Snapshot != nil && (excess(st, c) >= 1 || st.Bounds != c.Bounds)
}

// isOvergrown says whether the log is so long that checkpoints must have failed for long.
func isOvergrown(st targeting.StoreState, c Config) bool { return excess(st, c) >= overgrown }

// excess is the length of the log in units of that at which a checkpoint is made.
func excess(st targeting.StoreState, c Config) int64 {
	limit := max(c.CheckpointAfter, st.Ads/adsPerChange)
	return max((st.Seq-st.BaseSeq)/limit, st.LogBytes/(limit*changeBytes))
}

// checkpoints makes checkpoints of the node's replica in a goroutine of its own, so that changes go on meanwhile. Its methods are
// called by the term's goroutine.
type checkpoints struct {
	x     *Indexer
	epoch int64

	cancel  context.CancelFunc // of the running one, nil if there is none
	done    chan struct{}      // closed when it ends
	startAt time.Time          // not before then again
	ended   bool               // since hasEnded was asked
}

// running says whether a checkpoint is being made.
func (k *checkpoints) running() bool {
	if k.cancel == nil {
		return false
	}
	select {
	case <-k.done:
		k.stop()
		return false
	default:
		return true
	}
}

// hasEnded says whether a checkpoint has ended, well or not, since it was last asked: it has left something to be swept.
func (k *checkpoints) hasEnded() bool {
	ended := k.ended
	k.ended = false
	return ended
}

// stop ends a checkpoint and waits for it.
func (k *checkpoints) stop() {
	if k.cancel != nil {
		k.cancel()
		<-k.done
		k.cancel, k.ended = nil, true
	}
}

// start begins a checkpoint if the replica is far enough.
func (k *checkpoints) start(ctx context.Context, st targeting.StoreState, name string) {
	now := k.x.c.Now()
	snapshot, ok := k.x.c.Snapshot()
	behind := st.Seq - snapshot.Seq
	if !ok || snapshot.Generation != st.Generation || snapshot.Seq < st.BaseSeq || behind > (st.Seq-st.BaseSeq)/2 || now.Before(k.startAt) {
		return
	}
	k.startAt = now.Add(checkpointEvery)
	ctx, k.cancel = context.WithCancel(ctx)
	done := make(chan struct{})
	k.done = done
	go func() {
		defer close(done)
		err := k.make(ctx, snapshot, name)
		switch {
		case err == nil:
			k.x.update(func(s *Status) { s.Checkpoints++ })
		case ctx.Err() == nil && !errors.Is(err, targeting.ErrStale): // which the term learns by itself
			k.x.c.Log.Warn("targeting index has no checkpoint", "error", err)
		}
	}()
}

func (k *checkpoints) make(ctx context.Context, snapshot targeting.Snapshot, name string) error {
	start := k.x.c.Now()
	p := targeting.Publication{Name: name, Index: snapshot.Index.Compact(), Bounds: k.x.c.Bounds}
	if err := k.x.c.Store.Checkpoint(ctx, k.epoch, p, snapshot.Generation, snapshot.Seq); err != nil {
		return err
	}
	k.x.c.Log.Info("targeting index has a checkpoint", "generation", snapshot.Generation, "seq", snapshot.Seq,
		"ads", p.Index.Len(), "ms", k.x.c.Now().Sub(start).Milliseconds())
	return nil
}

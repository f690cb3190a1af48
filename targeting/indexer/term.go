package indexer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"gavel/campaign"
	"gavel/targeting"
)

// term is the work of one lead. Its methods are called by one goroutine.
type term struct {
	x     *Indexer
	epoch int64

	// generation is the published one that this term has adopted or built, "" while it knows of none; seq is its last change.
	generation string
	seq        int64
	// unsure is how many changes after seq the store may have made without our having seen its answer.
	unsure  int64
	members *members

	checkAt   time.Time // when the store is to be asked again
	rebuiltAt time.Time
	named     int64 // the last number that newGeneration gave
}

func newTerm(x *Indexer, epoch int64) *term {
	return &term{x: x, epoch: epoch, members: &members{store: x.c.Store, source: x.c.Source, log: x.c.Log, epoch: epoch}}
}

func (t *term) close() { t.members.stop() }

// step looks after the store when it is time to, and carries over what is in the outbox.
func (t *term) step(ctx context.Context) error {
	if now := t.x.c.Now(); t.generation == "" || !now.Before(t.checkAt) {
		if err := t.check(ctx); err != nil {
			return err
		}
		t.checkAt = now.Add(checkEvery)
	}
	err := t.drain(ctx)
	if errors.Is(err, targeting.ErrGeneration) {
		t.checkAt = time.Time{}
	}
	t.x.update(func(s *Status) { s.Generation, s.Seq = t.generation, t.seq })
	return err
}

// check claims the index, adopts it, and rebuilds what is not there or not to be trusted.
func (t *term) check(ctx context.Context) error {
	if err := t.x.c.Store.Claim(ctx, t.epoch, t.x.c.SourceID); err != nil {
		return err
	}
	st, err := t.x.c.Store.State(ctx)
	if err != nil {
		return err
	}
	lost, damaged := t.judge(st)
	switch {
	case lost != "":
		// Memberships may be lost too: first of all nobody may believe them any more.
		if err := t.members.begin(ctx, t.newGeneration()); err != nil {
			return err
		}
		return t.rebuild(ctx, lost)
	case damaged != "" && t.x.c.Now().Sub(t.rebuiltAt) >= rebuildEvery:
		if err := t.rebuild(ctx, damaged); err != nil {
			return err
		}
	case t.generation == "":
		t.generation, t.seq = st.Generation, st.Seq
		t.x.c.Log.Info("targeting index adopted", "generation", st.Generation, "ads", st.Ads, "seq", st.Seq)
		if err := t.x.c.Store.Discard(ctx, t.epoch); err != nil {
			return err
		}
	}
	return t.members.check(ctx, st.Users, t.newGeneration)
}

// judge says why a store has lost part of what it was given, or why its ads are damaged; "" if not.
func (t *term) judge(st targeting.StoreState) (lost, damaged string) {
	switch {
	case st.Generation == "":
		return "there is none", ""
	case st.Restarted:
		return "the store was restarted", ""
	case t.generation != "" && st.Generation != t.generation:
		return "somebody else has published " + st.Generation, ""
	case t.generation != "" && (st.Seq < t.seq || st.Seq > t.seq+t.unsure):
		return fmt.Sprintf("change %d was the last, the store has %d", t.seq, st.Seq), ""
	case !st.Readable:
		return "", "schema " + st.Schema + " is not ours"
	case st.Held != st.Ads:
		return "", fmt.Sprintf("%d records of %d are there", st.Held, st.Ads)
	case st.Rebuild != "":
		return "", "requested: " + st.Rebuild
	}
	return "", ""
}

// newGeneration names a generation. No two are equal, whatever the clock does; a source's begin with the source.
func (t *term) newGeneration() string {
	t.named = max(t.named+1, t.x.c.Now().UnixMilli())
	return fmt.Sprintf("%08x-%d-%d", uint32(xxh3.HashString(t.x.c.SourceID)), t.epoch, t.named)
}

// rebuild writes all ads into a new generation and publishes it. Changes that are committed meanwhile stay in the outbox, and
// are applied to the new generation.
func (t *term) rebuild(ctx context.Context, reason string) error {
	log, start, generation := t.x.c.Log, t.x.c.Now(), t.newGeneration()
	log.Info("targeting index is rebuilt", "reason", reason, "generation", generation)
	if err := t.x.c.Store.TakeRebuildRequest(ctx); err != nil {
		return err
	}
	ads, last := 0, campaign.AdID(0)
	for {
		page, err := t.page(ctx, last)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		added, err := t.x.c.Store.Stage(ctx, t.epoch, generation, page)
		if err != nil {
			return err
		}
		ads, last = ads+added, page[len(page)-1].AdID
	}
	if err := t.x.c.Store.Publish(ctx, t.epoch, generation, ads, start); err != nil {
		return err
	}
	t.generation, t.seq, t.unsure, t.rebuiltAt = generation, 0, 0, t.x.c.Now()
	t.x.update(func(s *Status) { s.Rebuilds++ })
	log.Info("targeting index was rebuilt", "generation", generation, "ads", ads, "ms", t.rebuiltAt.Sub(start).Milliseconds())
	return t.x.c.Store.Discard(ctx, t.epoch)
}

func (t *term) page(ctx context.Context, after campaign.AdID) ([]campaign.ServingAd, error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	return t.x.c.Source.Serving(ctx, after, batchSize)
}

// drain carries the outbox over, as far as it is filled now.
func (t *term) drain(ctx context.Context) error {
	for {
		changes, err := t.next(ctx)
		if err != nil || len(changes) == 0 {
			return err
		}
		delta, err := t.resolve(ctx, changes)
		if err != nil {
			return err
		}
		if err := t.apply(ctx, delta); err != nil {
			return err
		}
		if err := t.done(ctx, changes); err != nil {
			return err
		}
		waited := t.x.c.Now().Sub(changes[0].CreatedAt).Milliseconds()
		t.x.update(func(s *Status) { s.Applied += int64(len(changes)); s.OldestMS = waited })
		if len(changes) < batchSize {
			return nil
		}
	}
}

// apply brings a delta into the store, in pieces that it takes.
func (t *term) apply(ctx context.Context, delta campaign.Delta) error {
	put := func(upserts []campaign.ServingAd, removals []campaign.AdID) error {
		seq, err := t.x.c.Store.Apply(ctx, t.epoch, t.generation, upserts, removals)
		if err != nil {
			t.unsure++
			return err
		}
		t.seq, t.unsure = seq, 0
		return nil
	}
	// One change is most often one ad: both kinds in one call when they fit.
	if n := len(delta.Upserts) + len(delta.Removals); 0 < n && n <= batchSize {
		if err := put(delta.Upserts, delta.Removals); err != nil {
			return err
		}
	} else {
		for upserts := range slices.Chunk(delta.Upserts, batchSize) {
			if err := put(upserts, nil); err != nil {
				return err
			}
		}
		for removals := range slices.Chunk(delta.Removals, batchSize) {
			if err := put(nil, removals); err != nil {
				return err
			}
		}
	}
	return t.members.set(ctx, delta.Users)
}

func (t *term) next(ctx context.Context) ([]campaign.Change, error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	return t.x.c.Source.NextChanges(ctx, batchSize)
}

func (t *term) resolve(ctx context.Context, changes []campaign.Change) (campaign.Delta, error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	return t.x.c.Source.Resolve(ctx, changes)
}

func (t *term) done(ctx context.Context, changes []campaign.Change) error {
	ctx, cancel := context.WithTimeout(ctx, sourceTimeout)
	defer cancel()
	ids := make([]int64, len(changes))
	for i, c := range changes {
		ids[i] = c.ID
	}
	return t.x.c.Source.Done(ctx, ids)
}

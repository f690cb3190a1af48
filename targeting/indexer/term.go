package indexer

import (
	"context"
	"errors"
	"fmt"
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
	parser  *targeting.Parser
	refused map[campaign.AdID]string // ads that cannot be served, and why; as the store has it
	members *members

	checkpoints *checkpoints
	checkAt     time.Time // when the store is to be asked again
	rebuiltAt   time.Time
	sweepAt     time.Time // when what was published before is needed by nobody; zero: it is gone
	named       int64     // the last number that newGeneration gave
}

func newTerm(x *Indexer, epoch int64) *term {
	return &term{
		x: x, epoch: epoch, parser: targeting.NewParser(x.c.Bounds), checkpoints: &checkpoints{x: x, epoch: epoch},
		members: &members{store: x.c.Store, source: x.c.Source, log: x.c.Log, epoch: epoch},
	}
}

func (t *term) close() {
	t.checkpoints.stop()
	t.members.stop()
}

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
	t.x.update(func(s *Status) { s.Generation, s.Seq, s.Refused = t.generation, t.seq, len(t.refused) })
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
		if err := t.adopt(ctx, st); err != nil {
			return err
		}
	default:
		if err := t.maintain(ctx, st); err != nil {
			return err
		}
	}
	return t.members.check(ctx, st.Users, t.newGeneration)
}

// adopt takes over what an indexer before has published.
func (t *term) adopt(ctx context.Context, st targeting.StoreState) (err error) {
	if t.refused, err = t.x.c.Store.Refused(ctx); err != nil {
		return err
	}
	if err := t.x.c.Store.Discard(ctx, t.epoch); err != nil {
		return err
	}
	t.generation, t.seq, t.unsure = st.Generation, st.Seq, 0
	t.sweepAt = t.x.c.Now().Add(sweepAfter)
	t.x.c.Log.Info("targeting index adopted", "generation", st.Generation, "ads", st.Ads, "seq", st.Seq)
	return nil
}

// maintain shortens the log when it is long, and deletes what no reader needs any more.
func (t *term) maintain(ctx context.Context, st targeting.StoreState) error {
	now := t.x.c.Now()
	if t.checkpoints.running() {
		return nil
	}
	if t.checkpoints.hasEnded() {
		t.sweepAt = now.Add(sweepAfter)
	}
	due := isCheckpointDue(st, t.x.c)
	if !t.sweepAt.IsZero() && (due || !now.Before(t.sweepAt)) {
		if err := t.x.c.Store.Sweep(ctx, t.epoch); err != nil {
			return err
		}
		t.sweepAt = time.Time{}
	}
	if due {
		t.checkpoints.start(ctx, st, t.newGeneration())
	}
	return nil
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
	case st.Damage != "":
		return "", st.Damage
	case isOvergrown(st, t.x.c):
		return "", fmt.Sprintf("the log has grown to %d changes", st.Seq-st.BaseSeq)
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

// drain carries the outbox over, as far as it is filled now, or until it is time to look after the store.
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
		if len(changes) < batchSize || !t.x.c.Now().Before(t.checkAt) {
			return nil
		}
	}
}

// apply brings a delta into the store.
func (t *term) apply(ctx context.Context, delta campaign.Delta) error {
	change, refused := t.parse(delta)
	if n := len(change.Upserts) + len(change.Removals); n > 0 || len(change.Lists) > 0 || change.Interests != nil {
		seq, err := t.x.c.Store.Append(ctx, t.epoch, t.generation, change)
		if err != nil {
			t.unsure += int64(n + 1)
			return err
		}
		t.seq, t.unsure = seq, 0
	}
	if err := t.note(ctx, refused); err != nil {
		return err
	}
	return t.members.refresh(ctx, delta.Users)
}

// parse makes a change of a delta. What cannot be served never enters the store: an ad whose targeting is not understood is
// removed, and in refused with the reason; one that was refused before and is not now is there with none.
func (t *term) parse(delta campaign.Delta) (c targeting.Change, refused map[campaign.AdID]string) {
	c = targeting.Change{Removals: delta.Removals, Lists: delta.Lists, Interests: delta.Interests}
	refused = map[campaign.AdID]string{}
	mend := func(id campaign.AdID) {
		if _, was := t.refused[id]; was {
			refused[id] = ""
		}
	}
	for _, id := range delta.Removals {
		mend(id)
	}
	for _, serving := range delta.Upserts {
		ad, err := t.parser.Parse(serving)
		if err != nil {
			t.x.c.Log.Warn("an ad is not served", "ad", int64(serving.AdID), "error", err)
			refused[serving.AdID] = err.Error()
			c.Removals = append(c.Removals, serving.AdID)
			continue
		}
		mend(serving.AdID)
		c.Upserts = append(c.Upserts, ad)
	}
	if _, err := targeting.NewTaxonomy(delta.Interests); err != nil {
		t.x.c.Log.Warn("the taxonomy of interests is not served; the one before stays", "error", err)
		c.Interests = nil
	}
	return c, refused
}

// note keeps which ads are refused.
func (t *term) note(ctx context.Context, refused map[campaign.AdID]string) error {
	if len(refused) == 0 {
		return nil
	}
	if err := t.x.c.Store.Refuse(ctx, t.epoch, false, refused); err != nil {
		return err
	}
	for id, why := range refused {
		if why == "" {
			delete(t.refused, id)
		} else {
			t.refused[id] = why
		}
	}
	return nil
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

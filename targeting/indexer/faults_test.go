package indexer_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"gavel/campaign"
	"gavel/targeting"
	"gavel/targeting/indexer"
)

var errInjected = errors.New("injected")

// faults decides which calls fail: one in ten before it does its work, one in ten after.
type faults struct {
	mu   sync.Mutex
	r    *rand.Rand
	over bool
}

func newFaults(seed uint64) *faults { return &faults{r: rand.New(rand.NewPCG(seed, 99))} }

func (f *faults) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
}

func (f *faults) around(call func() error) error {
	f.mu.Lock()
	n := f.r.IntN(10)
	if f.over {
		n = 9
	}
	f.mu.Unlock()
	if n == 0 {
		return errInjected
	}
	if err := call(); err != nil {
		return err
	}
	if n == 1 {
		return errInjected
	}
	return nil
}

type brokenSource struct {
	indexer.Source
	f *faults
}

func (s brokenSource) Resolve(ctx context.Context, changes []campaign.Change) (d campaign.Delta, err error) {
	err = s.f.around(func() error { d, err = s.Source.Resolve(ctx, changes); return err })
	return d, err
}

func (s brokenSource) Done(ctx context.Context, changes []int64) error {
	return s.f.around(func() error { return s.Source.Done(ctx, changes) })
}

func (s brokenSource) AllMembers(ctx context.Context, each func(int64, []campaign.ListID) error) error {
	return s.f.around(func() error { return s.Source.AllMembers(ctx, each) })
}

func (s brokenSource) MembersOf(ctx context.Context, users []int64) (m []campaign.Membership, err error) {
	err = s.f.around(func() error { m, err = s.Source.MembersOf(ctx, users); return err })
	return m, err
}

func (s brokenSource) NextBulk(ctx context.Context) (b campaign.Bulk, ok bool, err error) {
	err = s.f.around(func() error { b, ok, err = s.Source.NextBulk(ctx); return err })
	return b, ok, err
}

func (s brokenSource) BulkDone(ctx context.Context, b campaign.Bulk) error {
	return s.f.around(func() error { return s.Source.BulkDone(ctx, b) })
}

type brokenStore struct {
	indexer.Store
	f *faults
}

func (s brokenStore) Claim(ctx context.Context, epoch int64, source string) error {
	return s.f.around(func() error { return s.Store.Claim(ctx, epoch, source) })
}

func (s brokenStore) Publish(ctx context.Context, epoch int64, p targeting.Publication, builtAt time.Time) error {
	return s.f.around(func() error { return s.Store.Publish(ctx, epoch, p, builtAt) })
}

func (s brokenStore) Checkpoint(ctx context.Context, epoch int64, p targeting.Publication, generation string, seq int64) error {
	return s.f.around(func() error { return s.Store.Checkpoint(ctx, epoch, p, generation, seq) })
}

func (s brokenStore) Sweep(ctx context.Context, epoch int64) error {
	return s.f.around(func() error { return s.Store.Sweep(ctx, epoch) })
}

func (s brokenStore) Discard(ctx context.Context, epoch int64) error {
	return s.f.around(func() error { return s.Store.Discard(ctx, epoch) })
}

func (s brokenStore) Append(ctx context.Context, epoch int64, generation string, c targeting.Change) (seq int64, err error) {
	err = s.f.around(func() error { seq, err = s.Store.Append(ctx, epoch, generation, c); return err })
	return seq, err
}

func (s brokenStore) Refuse(ctx context.Context, epoch int64, anew bool, ads map[campaign.AdID]string) error {
	return s.f.around(func() error { return s.Store.Refuse(ctx, epoch, anew, ads) })
}

func (s brokenStore) BeginUsers(ctx context.Context, epoch int64, generation string) error {
	return s.f.around(func() error { return s.Store.BeginUsers(ctx, epoch, generation) })
}

func (s brokenStore) SetMembers(ctx context.Context, epoch int64, generation string, users []campaign.Membership) error {
	return s.f.around(func() error { return s.Store.SetMembers(ctx, epoch, generation, users) })
}

func (s brokenStore) CompleteUsers(ctx context.Context, epoch int64, generation string) error {
	return s.f.around(func() error { return s.Store.CompleteUsers(ctx, epoch, generation) })
}

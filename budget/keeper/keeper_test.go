package keeper_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/budget"
	"gavel/budget/keeper"
	"gavel/campaign"
	"gavel/internal/money"
)

// postgresNow is what a beat answers.
var postgresNow = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// bank counts what it is asked, in virtual time.
type bank struct {
	mu       sync.Mutex
	down     bool
	fenced   bool
	next     budget.LeaseID
	wants    []budget.Want
	returned []budget.Promise
	beats    []time.Time
	left     bool
}

func (b *bank) err() error {
	switch {
	case b.fenced:
		return budget.ErrFenced
	case b.down:
		return errors.New("connection refused")
	}
	return nil
}

func (b *bank) Grant(_ context.Context, _ time.Time, wants []budget.Want) ([]budget.Granted, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wants = append(b.wants, wants...)
	if err := b.err(); err != nil {
		return nil, err
	}
	granted := make([]budget.Granted, len(wants))
	for i, w := range wants {
		b.next++
		granted[i] = budget.Granted{Want: w, LeaseID: b.next, Amount: 100}
	}
	return granted, nil
}

func (b *bank) GiveBack(_ context.Context, promises []budget.Promise) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.err(); err != nil {
		return err
	}
	b.returned = append(b.returned, promises...)
	return nil
}

func (b *bank) Beat(_ context.Context, watermark time.Time) (time.Time, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.err(); err != nil {
		return time.Time{}, err
	}
	b.beats = append(b.beats, watermark)
	return postgresNow, nil
}

func (b *bank) CloseDue(context.Context, int) (int, error) { return 0, nil }

func (b *bank) Leave(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = true
	return nil
}

func (b *bank) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

type node struct {
	raised *atomic.Pointer[time.Time]
	wallet *budget.Wallet
	keeper *keeper.Keeper
	tick   func() budget.Tick
}

func setup(b *bank) node {
	start := time.Now()
	n := node{
		raised: &atomic.Pointer[time.Time]{},
		wallet: budget.NewWallet(budget.WalletConfig{TTL: 10 * time.Second, EventTTL: time.Minute}),
		tick:   func() budget.Tick { return budget.Tick(time.Since(start)) },
	}
	n.keeper = keeper.New(keeper.Config{
		Wallet: n.wallet, Bank: b, Tick: n.tick, Now: time.Now, Raise: func(at time.Time) { n.raised.Store(&at) }, Watermark: time.Now,
		Log: slog.New(slog.DiscardHandler), Timeout: time.Second,
	})
	return n
}

func (n node) reserve(price money.Nanos) budget.Refusal {
	_, refusal := n.wallet.Reserve(n.tick(), budget.Request{
		Key: budget.Key{AdGroupID: 1, Day: 20261123}, Billable: campaign.BillImpression, Price: price, PriceMax: 10,
	})
	return refusal
}

func TestALeaseIsThereSoonAfterItWasMissedAndBeforeItEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bank{}
		n := setup(b)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- n.keeper.Run(ctx) }()
		require.Equal(t, budget.NoLease, n.reserve(1))
		<-time.After(150 * time.Millisecond) // virtual
		for range 600 {                      // a minute of serving, through six times to live
			require.Equal(t, budget.Reserved, n.reserve(1))
			<-time.After(100 * time.Millisecond)
		}
		cancel()
		require.NoError(t, <-done)
		require.NotEmpty(t, b.returned, "ended leases give back what they did not promise")
		require.Equal(t, postgresNow, *n.raised.Load(), "a beat lifts the node's clock to that of Postgres")
		require.InDelta(t, 120, len(b.beats), 3, "twice a second")
		require.NoError(t, n.keeper.Finish(t.Context()))
		require.True(t, b.left)
		require.Equal(t, budget.NoLease, n.reserve(1), "after the end nothing can be promised")
	})
}

func TestWithoutTheBankANodeServesUntilItsLeasesEndAndThenWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bank{}
		n := setup(b)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- n.keeper.Run(ctx) }()
		_ = n.reserve(1)
		<-time.After(150 * time.Millisecond)
		b.set(func() { b.down = true })
		require.Equal(t, budget.Reserved, n.reserve(1))
		<-time.After(11 * time.Second)
		require.Equal(t, budget.NoLease, n.reserve(1))
		b.set(func() { b.down = false })
		<-time.After(200 * time.Millisecond)
		require.Equal(t, budget.Reserved, n.reserve(1))
		cancel()
		require.NoError(t, <-done)
	})
}

func TestAFencedNodeStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &bank{fenced: true}
		require.ErrorIs(t, setup(b).keeper.Run(t.Context()), budget.ErrFenced)
	})
}

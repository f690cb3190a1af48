// Package keeper is the work that a node does for its money while it serves: it asks for leases before they are missed, gives
// back what was not promised, publishes the watermark and closes leases that are due.
//
// Nothing of it is on the path of a request. When Postgres is away the wallet simply runs dry at serve_until (invariant I10).
package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"gavel/budget"
)

// Bank is the other side of the protocol: budget/postgres.Node, with the grant times bound.
type Bank interface {
	// Grant answers each want; at is the node's clock. budget.ErrFenced: the node must stop.
	Grant(ctx context.Context, at time.Time, wants []budget.Want) ([]budget.Granted, error)
	// GiveBack returns what ended leases have not promised. Doing it twice is harmless; not doing it only delays.
	GiveBack(ctx context.Context, promises []budget.Promise) error
	// Beat publishes the watermark and returns the time of Postgres. budget.ErrFenced: the node must stop.
	Beat(ctx context.Context, watermark time.Time) (time.Time, error)
	// CloseDue closes up to limit leases that no event can reach any more.
	CloseDue(ctx context.Context, limit int) (closed int, err error)
	// Leave ends the epoch: the journal is empty.
	Leave(ctx context.Context) error
}

// Config configures a Keeper.
type Config struct {
	Wallet *budget.Wallet
	Bank   Bank
	Tick   func() budget.Tick
	// Now is the node's clock; Raise lifts it to the time of Postgres when it is behind.
	Now   func() time.Time
	Raise func(time.Time)
	// Watermark is event.Ingest.Watermark.
	Watermark func() time.Time
	Log       *slog.Logger
	// Timeout bounds each call of the bank.
	Timeout time.Duration
}

const (
	grantEvery = 100 * time.Millisecond
	beatEvery  = 500 * time.Millisecond
	closeEvery = time.Second
	// maxWants is the most grants of one transaction; more follow in the next.
	maxWants = 500
	// maxClose is the most leases that one transaction closes.
	maxClose = 500
)

// Keeper works while Run runs.
type Keeper struct{ c Config }

// New returns a keeper.
func New(c Config) *Keeper { return &Keeper{c: c} }

// Run works until ctx ends. It returns budget.ErrFenced when the node has been fenced, else nil.
func (k *Keeper) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() { k.repeat(ctx, "grant", grantEvery, k.c.Wallet.Hungry(), k.grant, cancel) })
	for _, job := range []struct {
		name  string
		every time.Duration
		do    func(context.Context) error
	}{
		{"beat", beatEvery, k.beat},
		{"close", closeEvery, k.close},
	} {
		wg.Go(func() { k.repeat(ctx, job.name, job.every, nil, job.do, cancel) })
	}
	wg.Wait()
	if err := context.Cause(ctx); errors.Is(err, budget.ErrFenced) {
		return err
	}
	return nil
}

// repeat does a job at once, then on every tick and whenever now is readable. A failure is logged when it begins and when it ends, not each time.
func (k *Keeper) repeat(ctx context.Context, name string, every time.Duration, now <-chan struct{}, do func(context.Context) error, fenced func(error)) {
	t := time.NewTicker(every)
	defer t.Stop()
	failing := false
	for {
		err := do(ctx)
		switch {
		case errors.Is(err, budget.ErrFenced):
			fenced(err)
			return
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			k.c.Log.WarnContext(ctx, "budget: failing, will go on trying", "job", name, "error", err)
		case err == nil && failing:
			k.c.Log.InfoContext(ctx, "budget: works again", "job", name)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-now:
		}
	}
}

func (k *Keeper) grant(ctx context.Context) error {
	if err := k.GrantOnce(ctx); err != nil {
		return err
	}
	if ended := k.c.Wallet.Expired(k.c.Tick()); len(ended) > 0 {
		ctx, cancel := context.WithTimeout(ctx, k.c.Timeout)
		defer cancel()
		return k.c.Bank.GiveBack(ctx, ended)
	}
	return nil
}

// GrantOnce asks for everything that the wallet wants now. It is also how a node warms up before it says that it is ready.
func (k *Keeper) GrantOnce(ctx context.Context) error {
	wants := k.c.Wallet.Wants(k.c.Tick(), func() uuid.UUID { return uuid.Must(uuid.NewV7()) })
	for len(wants) > 0 {
		n := min(len(wants), maxWants)
		if err := k.ask(ctx, wants[:n]); err != nil {
			for _, w := range wants {
				k.c.Wallet.Failed(w)
			}
			return err
		}
		wants = wants[n:]
	}
	return nil
}

func (k *Keeper) ask(ctx context.Context, wants []budget.Want) error {
	ctx, cancel := context.WithTimeout(ctx, k.c.Timeout)
	defer cancel()
	granted, err := k.c.Bank.Grant(ctx, k.c.Now(), wants)
	if err != nil {
		return fmt.Errorf("ask for %d grants: %w", len(wants), err)
	}
	now := k.c.Tick()
	for _, g := range granted {
		k.c.Wallet.Settle(now, g)
	}
	return nil
}

func (k *Keeper) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, k.c.Timeout)
	defer cancel()
	now, err := k.c.Bank.Beat(ctx, k.c.Watermark())
	if err != nil {
		return err
	}
	k.c.Raise(now)
	return nil
}

func (k *Keeper) close(ctx context.Context) error {
	for {
		ctx, cancel := context.WithTimeout(ctx, k.c.Timeout)
		closed, err := k.c.Bank.CloseDue(ctx, maxClose)
		cancel()
		if err != nil || closed < maxClose {
			return err
		}
	}
}

// Finish gives every lease back, publishes a last watermark and leaves. The caller has stopped Run, answered its last request
// and emptied the journal.
func (k *Keeper) Finish(ctx context.Context) error {
	if promises := k.c.Wallet.TakeAll(k.c.Tick()); len(promises) > 0 {
		if err := k.c.Bank.GiveBack(ctx, promises); err != nil {
			return fmt.Errorf("give leases back: %w", err)
		}
	}
	if _, err := k.c.Bank.Beat(ctx, k.c.Watermark()); err != nil {
		return fmt.Errorf("publish last watermark: %w", err)
	}
	if err := k.c.Bank.Leave(ctx); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return nil
}

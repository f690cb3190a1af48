package main

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gavel/campaign"
	"gavel/pacing"
	bidding "gavel/pacing/postgres"
)

const (
	// bidRound is how often the controller moves bids, and how often others try to become it.
	bidRound = 5 * time.Second
	// bidPoll is how often a node reads what was moved.
	bidPoll    = 2 * time.Second
	bidTimeout = 15 * time.Second
)

// bids are the pacing multipliers that this node knows and, if it is the one controller, moves. They stay as they are while Postgres
// is away.
type bids struct {
	store *bidding.Store
	table atomic.Pointer[pacing.Table]
	log   *slog.Logger
	now   func() time.Time
	// round and poll are bidRound and bidPoll.
	round, poll time.Duration
}

func newBids(db *sql.DB, log *slog.Logger, now func() time.Time) *bids {
	return &bids{store: bidding.New(db), log: log, now: now, round: bidRound, poll: bidPoll}
}

// Of is the multiplier of an ad group with a strategy; see pacing.Table.
func (b *bids) Of(id campaign.AdGroupID, s campaign.BidStrategy) float64 {
	return b.table.Load().Of(id, s)
}

// Run follows the multipliers, and moves them while it can have the lead, until the context ends.
func (b *bids) Run(ctx context.Context) {
	var jobs sync.WaitGroup
	jobs.Go(func() { b.follow(ctx) })
	jobs.Go(func() { b.control(ctx) })
	jobs.Wait()
}

func (b *bids) follow(ctx context.Context) {
	var last int64
	failing := false
	again(ctx, b.poll, func() {
		ctx, cancel := context.WithTimeout(ctx, bidTimeout)
		defer cancel()
		changed, to, err := b.store.Changed(ctx, last)
		failing = b.told(ctx, "read multipliers of bids", err, failing)
		if err == nil && len(changed) > 0 {
			b.table.Store(b.table.Load().With(changed))
			last = to
		}
	})
}

func (b *bids) control(ctx context.Context) {
	var lead *bidding.Controller
	defer func() {
		if lead != nil {
			lead.Close()
		}
	}()
	failing := false
	again(ctx, b.round, func() {
		ctx, cancel := context.WithTimeout(ctx, bidTimeout)
		defer cancel()
		var err error
		if lead == nil {
			lead, _, err = b.store.Lead(ctx)
		}
		if lead != nil {
			if _, err = lead.Round(ctx, b.now()); err != nil {
				lead.Close()
				lead = nil
			}
		}
		failing = b.told(ctx, "move bids", err, failing)
	})
}

// told logs the first of several errors, and returns whether there is one.
func (b *bids) told(ctx context.Context, what string, err error, before bool) bool {
	if err != nil && !before && ctx.Err() == nil {
		b.log.WarnContext(ctx, what, "error", err)
	}
	return err != nil
}

// again does a job now and then again and again, never twice at once.
func again(ctx context.Context, pause time.Duration, job func()) {
	t := time.NewTicker(pause)
	defer t.Stop()
	for ctx.Err() == nil {
		job()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}

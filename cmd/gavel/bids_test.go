package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/testenv"
)

// TestBidsOfTwoNodes: one of them moves the bids, both know them, and both keep what they know when the database is gone.
func TestBidsOfTwoNodes(t *testing.T) {
	t.Parallel()
	db := sqlx.MustConnect("postgres", testenv.Postgres(t))
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	var account, camp, group int64
	require.NoError(t, db.Get(&account, `INSERT INTO ad_accounts (name, country, currency) VALUES ('a', 'US', 'USD') RETURNING id`))
	require.NoError(t, db.Get(&camp, `INSERT INTO campaigns (ad_account_id, name, status, objective_type) VALUES ($1, 'c', 'ACTIVE', 'AWARENESS') RETURNING id`, account))
	require.NoError(t, db.Get(&group, `INSERT INTO ad_groups (ad_account_id, campaign_id, name, status, billable_event, bid_strategy, budget_type, budget_micros)
		VALUES ($1, $2, 'g', 'ACTIVE', 'IMPRESSION', 'AUTOMATIC_BID', 'DAILY', 1) RETURNING id`, account, camp))
	_, err := db.Exec(`INSERT INTO budgets (ad_account_id, scope, scope_id, kind, limit_nanos) VALUES ($1, 'AD_GROUP', $2, 'DAILY', 1000)`, account, group)
	require.NoError(t, err)

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	nodes := []*bids{newBids(db.DB, slog.New(slog.DiscardHandler), time.Now), newBids(db.DB, slog.New(slog.DiscardHandler), time.Now)}
	for _, b := range nodes {
		b.round, b.poll = 5*time.Millisecond, 5*time.Millisecond
		require.InDelta(t, campaign.StartAutomatic, b.Of(campaign.AdGroupID(group), campaign.AutomaticBid), 0)
		go func() { b.Run(ctx); done <- struct{}{} }()
	}
	of := func(b *bids) float64 { return b.Of(campaign.AdGroupID(group), campaign.AutomaticBid) }
	require.Eventually(t, func() bool { return of(nodes[0]) > campaign.StartAutomatic && of(nodes[1]) > campaign.StartAutomatic }, 10*time.Second, 5*time.Millisecond)
	require.Less(t, of(nodes[0]), 1.0)

	stop()
	<-done
	<-done
	known := of(nodes[1])
	require.Greater(t, known, campaign.StartAutomatic, "the last that it knew")
}

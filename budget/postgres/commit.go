package postgres

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"gavel/budget"
	"gavel/internal/failpoint"
)

const leaseOwnersSQL = `
SELECT id, ad_account_id, campaign_id, ad_group_id, currency FROM leases WHERE id = ANY ($1)`

const knownEventsSQL = `
SELECT e.day, e.impression_id, e.kind
FROM unnest($1::date[], $2::uuid[], $3::text[]) AS n (day, impression_id, kind)
JOIN events e ON e.day = n.day AND e.impression_id = n.impression_id AND e.kind = n.kind`

const insertEventsSQL = `
INSERT INTO events (day, impression_id, kind, outcome, price_nanos, charge_nanos, free_nanos, lease_id,
    ad_account_id, campaign_id, ad_group_id, ad_id, user_hash, accepted_at, node_id)
SELECT n.day, n.impression_id, n.kind, n.outcome, n.price, n.charge, n.free, n.lease_id,
    n.ad_account_id, n.campaign_id, n.ad_group_id, n.ad_id, nullif(n.user_hash, 0), n.accepted_at, $1
FROM unnest($2::date[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
    $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::timestamptz[])
    AS n (day, impression_id, kind, outcome, price, charge, free, lease_id, ad_account_id, campaign_id, ad_group_id, ad_id, user_hash, accepted_at)
ON CONFLICT DO NOTHING`

// One transaction of the ledger per batch: each advertiser owes, revenue is earned, per currency.
const postLedgerSQL = `
WITH charges AS (
    SELECT 'advertiser:' || n.ad_account_id AS account, n.currency, sum(n.charge)::bigint AS nanos
    FROM unnest($1::bigint[], $2::text[], $3::bigint[]) AS n (ad_account_id, currency, charge)
    GROUP BY 1, 2 HAVING sum(n.charge) > 0
), t AS (
    INSERT INTO ledger_transactions (kind) SELECT 'BATCH' WHERE EXISTS (SELECT 1 FROM charges) RETURNING id
)
INSERT INTO ledger_entries (transaction_id, account, currency, debit_nanos, credit_nanos)
SELECT t.id, c.account, c.currency, c.nanos, 0 FROM t, charges c
UNION ALL
SELECT t.id, 'revenue', c.currency, 0, sum(c.nanos)::bigint FROM t, charges c GROUP BY t.id, c.currency`

type ownerRow struct {
	ID          int64  `db:"id"`
	AdAccountID int64  `db:"ad_account_id"`
	CampaignID  int64  `db:"campaign_id"`
	AdGroupID   int64  `db:"ad_group_id"`
	Currency    string `db:"currency"`
}

type eventRow struct {
	Day          time.Time `db:"day"`
	ImpressionID uuid.UUID `db:"impression_id"`
	Kind         string    `db:"kind"`
}

// Commit bills a batch in one transaction and returns one outcome per event, in their order. It may be called again with
// the same events, also when it is not known whether an earlier call committed: what was recorded then is a Duplicate now.
func (n *Node) Commit(ctx context.Context, events []budget.Event) ([]budget.Outcome, error) {
	if len(events) == 0 {
		return nil, nil
	}
	b := batch{node: n, events: events}
	if err := n.inTx(ctx, func(tx *sqlx.Tx) error { return b.run(ctx, tx) }); err != nil {
		return nil, fmt.Errorf("commit batch: %w", err)
	}
	failpoint.Hit(failpoint.BillingAfterCommit)
	return b.outcomes, nil
}

// batch is the state of one call to Commit.
type batch struct {
	node     *Node
	events   []budget.Event
	outcomes []budget.Outcome
}

func (b *batch) run(ctx context.Context, tx *sqlx.Tx) error {
	leaseIDs := make([]int64, len(b.events))
	for i, e := range b.events {
		leaseIDs[i] = int64(e.LeaseID)
	}
	slices.Sort(leaseIDs)
	leaseIDs = slices.Compact(leaseIDs)
	owners, err := b.owners(ctx, tx, leaseIDs)
	if err != nil {
		return err
	}
	books, err := lockOfLeases(ctx, tx, leaseIDs)
	if err != nil {
		return err
	}
	known, err := b.known(ctx, tx)
	if err != nil {
		return err
	}
	var rows eventColumns
	outcomes, entries := books.Bill(b.events, known)
	b.outcomes = outcomes
	for _, e := range entries {
		rows.add(e, owners[e.LeaseID])
	}
	if len(rows.days) == 0 {
		return nil
	}
	if err := b.insert(ctx, tx, &rows); err != nil {
		return err
	}
	if err := books.save(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, postLedgerSQL, pq.Array(rows.accounts), pq.Array(rows.currencies), pq.Array(rows.charges)); err != nil {
		return fmt.Errorf("post to ledger: %w", err)
	}
	failpoint.Hit(failpoint.BillingInCommit)
	return nil
}

func (b *batch) owners(ctx context.Context, tx *sqlx.Tx, leaseIDs []int64) (map[budget.LeaseID]ownerRow, error) {
	var rows []ownerRow
	if err := tx.SelectContext(ctx, &rows, leaseOwnersSQL, pq.Array(leaseIDs)); err != nil {
		return nil, fmt.Errorf("find owners of leases: %w", err)
	}
	owners := make(map[budget.LeaseID]ownerRow, len(rows))
	for _, r := range rows {
		owners[budget.LeaseID(r.ID)] = r
	}
	return owners, nil
}

// known finds the events that are recorded already. It runs after the locks: a duplicate that is being committed by another
// transaction holds the same lease, so by now it is visible.
func (b *batch) known(ctx context.Context, tx *sqlx.Tx) (map[budget.EventID]bool, error) {
	days, ids, kinds := make([]string, len(b.events)), make([]string, len(b.events)), make([]string, len(b.events))
	for i, e := range b.events {
		days[i], ids[i], kinds[i] = isoDay(e.Day), e.ImpressionID.String(), string(e.Kind)
	}
	var rows []eventRow
	if err := tx.SelectContext(ctx, &rows, knownEventsSQL, pq.Array(days), pq.Array(ids), pq.Array(kinds)); err != nil {
		return nil, fmt.Errorf("find known events: %w", err)
	}
	known := make(map[budget.EventID]bool, len(b.events))
	for _, r := range rows {
		y, m, d := r.Day.Date()
		known[budget.EventID{Day: y*10000 + int(m)*100 + d, ImpressionID: r.ImpressionID, Kind: budget.Kind(r.Kind)}] = true
	}
	return known, nil
}

func (b *batch) insert(ctx context.Context, tx *sqlx.Tx, r *eventColumns) error {
	result, err := tx.ExecContext(ctx, insertEventsSQL, b.node.ID,
		pq.Array(r.days), pq.Array(r.impressions), pq.Array(r.kinds), pq.Array(r.outcomes),
		pq.Array(r.prices), pq.Array(r.charges), pq.Array(r.frees), pq.Array(r.leases),
		pq.Array(r.accounts), pq.Array(r.campaigns), pq.Array(r.groups), pq.Array(r.ads), pq.Array(r.users), pq.Array(r.accepted))
	if err != nil {
		return fmt.Errorf("insert events: %w", err)
	}
	inserted, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("count inserted events: %w", err)
	}
	if int(inserted) != len(r.days) {
		return errRaced
	}
	return nil
}

// eventColumns are new events as columns for unnest.
type eventColumns struct {
	days, impressions, kinds, outcomes, currencies, accepted []string
	prices, charges, frees, leases                           []int64
	accounts, campaigns, groups, ads, users                  []int64
}

func (c *eventColumns) add(e budget.Entry, owner ownerRow) {
	c.days = append(c.days, isoDay(e.Day))
	c.impressions = append(c.impressions, e.ImpressionID.String())
	c.kinds = append(c.kinds, string(e.Kind))
	c.outcomes = append(c.outcomes, string(e.Outcome))
	c.currencies = append(c.currencies, owner.Currency)
	c.accepted = append(c.accepted, timestamp(e.AcceptedAt))
	c.prices, c.charges, c.frees = append(c.prices, int64(e.Price)), append(c.charges, int64(e.Charge)), append(c.frees, int64(e.Free))
	c.leases, c.ads, c.users = append(c.leases, int64(e.LeaseID)), append(c.ads, int64(e.AdID)), append(c.users, e.UserHash)
	c.accounts, c.campaigns = append(c.accounts, owner.AdAccountID), append(c.campaigns, owner.CampaignID)
	c.groups = append(c.groups, owner.AdGroupID)
}

// isoDay writes a yyyymmdd day as SQL reads it.
func isoDay(day int) string { return fmt.Sprintf("%04d-%02d-%02d", day/10000, day/100%100, day%100) }

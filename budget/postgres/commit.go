package postgres

import (
	"cmp"
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

// The events go in first, before any lock, as if each were billed from its lease: what nearly all of them come to. That takes half of the
// time of a batch, and the other nodes' batches go on meanwhile. An event that another transaction is about to record is waited for;
// the answer is which of the batch, counted from 1, were recorded by others.
const insertEventsSQL = `
WITH added AS (
    INSERT INTO events (day, impression_id, kind, outcome, price_nanos, charge_nanos, free_nanos, lease_id,
        ad_account_id, campaign_id, ad_group_id, ad_id, user_hash, accepted_at, posted_at, node_id, served, posted_xid)
    SELECT date '1970-01-01' + n.day, n.impression_id, n.kind, 'BILLED', n.price, n.price, 0, n.lease_id,
        n.ad_account_id, n.campaign_id, n.ad_group_id, n.ad_id, nullif(n.user_hash, 0), timestamptz 'epoch' + n.accepted_at * interval '1 microsecond', now(), $1,
        nullif(n.served, ''), (SELECT pg_current_xact_id()::text::bigint)
    FROM unnest($2::int[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bytea[])
        AS n (day, impression_id, kind, price, lease_id, ad_account_id, campaign_id, ad_group_id, ad_id, user_hash, accepted_at, served)
    ON CONFLICT DO NOTHING
    RETURNING day, impression_id, kind
)
SELECT n.i FROM unnest($2::int[], $3::uuid[], $4::text[]) WITH ORDINALITY AS n (day, impression_id, kind, i)
WHERE (SELECT count(*) FROM added) < cardinality($2::int[])
  AND NOT EXISTS (SELECT FROM added a WHERE a.day = date '1970-01-01' + n.day AND a.impression_id = n.impression_id AND a.kind = n.kind)`

// The events that came to something else than insertEventsSQL took for granted. All are there: it is an update whose rows are found
// by their key, whatever the planner believes about the size of the partitions.
const correctEventsSQL = `
INSERT INTO events (day, impression_id, kind, outcome, price_nanos, charge_nanos, free_nanos, lease_id,
    ad_account_id, campaign_id, ad_group_id, ad_id, user_hash, accepted_at, posted_at, node_id)
SELECT date '1970-01-01' + n.day, n.impression_id, n.kind, n.outcome, n.price, n.charge, n.free, n.lease_id,
    n.ad_account_id, n.campaign_id, n.ad_group_id, n.ad_id, nullif(n.user_hash, 0), timestamptz 'epoch' + n.accepted_at * interval '1 microsecond', now(), $1
FROM unnest($2::int[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[],
    $13::text[], $14::bigint[], $15::bigint[])
    AS n (day, impression_id, kind, price, lease_id, ad_account_id, campaign_id, ad_group_id, ad_id, user_hash, accepted_at, outcome, charge, free)
ON CONFLICT (day, impression_id, kind) DO UPDATE SET outcome = excluded.outcome, charge_nanos = excluded.charge_nanos, free_nanos = excluded.free_nanos`

// Everything else of a batch in one statement. The rollups are written in the order of their keys, in which all lock them;
// periods and leases are locked already.
const writeBatchSQL = `
WITH p AS (
    UPDATE budget_periods p SET cap_nanos = CASE WHEN p.limit_nanos IS NULL THEN NULL ELSE n.cap END, posted_nanos = n.posted, escrow_nanos = n.escrow
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS n (id, cap, posted, escrow)
    WHERE p.id = n.id
), l AS (
    UPDATE leases l SET amount_nanos = n.amount, posted_nanos = n.posted FROM unnest($5::bigint[], $6::bigint[], $7::bigint[]) AS n (id, amount, posted)
    WHERE l.id = n.id
), t AS (
    INSERT INTO ledger_transactions (kind) SELECT 'BATCH' WHERE cardinality($8::text[]) > 0 RETURNING id
), le AS (
    INSERT INTO ledger_entries (transaction_id, account, currency, debit_nanos, credit_nanos)
    SELECT t.id, n.account, n.currency, n.debit, n.credit
    FROM t, unnest($8::text[], $9::text[], $10::bigint[], $11::bigint[]) AS n (account, currency, debit, credit)
)
INSERT INTO event_rollups AS r (ad_account_id, day, hour, ad_id, kind, campaign_id, ad_group_id, events, billed, over_budget, charge_nanos, over_budget_nanos)
SELECT n.ad_account_id, date '1970-01-01' + n.day, timestamptz 'epoch' + n.hour * interval '1 hour', n.ad_id, n.kind, n.campaign_id, n.ad_group_id,
    n.events, n.billed, n.over_budget, n.charge, n.over_budget_nanos
FROM unnest($12::bigint[], $13::int[], $14::bigint[], $15::bigint[], $16::text[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[])
    AS n (ad_account_id, day, hour, ad_id, kind, campaign_id, ad_group_id, events, billed, over_budget, charge, over_budget_nanos)
ON CONFLICT (ad_account_id, day, hour, ad_id, kind) DO UPDATE SET events = r.events + excluded.events, billed = r.billed + excluded.billed,
    over_budget = r.over_budget + excluded.over_budget, charge_nanos = r.charge_nanos + excluded.charge_nanos,
    over_budget_nanos = r.over_budget_nanos + excluded.over_budget_nanos`

var commitQueries = []string{insertEventsSQL, correctEventsSQL, writeBatchSQL}

// Commit bills a batch in one transaction and returns one outcome per event, in their order. It may be called again with
// the same events, also when it is not known whether an earlier call committed: what was recorded then is a Duplicate now.
func (n *Node) Commit(ctx context.Context, events []budget.Event) ([]budget.Outcome, error) {
	if len(events) == 0 {
		return nil, nil
	}
	b := batch{node: n, events: events}
	err := n.prepare(ctx, lockQueries, commitQueries)
	if err == nil {
		err = n.inTx(ctx, func(tx *sqlx.Tx) error { return b.run(ctx, tx) })
	}
	if err != nil {
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
	for i := range b.events {
		leaseIDs[i] = int64(b.events[i].LeaseID)
	}
	owners, err := b.node.owners(ctx, tx, unique(leaseIDs))
	if err != nil {
		return err
	}
	known, err := b.insert(ctx, tx, owners)
	if err != nil {
		return err
	}
	books, err := b.node.lock(ctx, tx, owners, nil, nil)
	if err != nil {
		return err
	}
	outcomes, entries := books.Bill(b.events, known)
	b.outcomes = outcomes
	if len(entries) == 0 {
		return nil
	}
	if err := b.correct(ctx, tx, owners, entries); err != nil {
		return err
	}
	if err := b.write(ctx, tx, books, owners, entries); err != nil {
		return err
	}
	failpoint.Hit(failpoint.BillingInCommit)
	return nil
}

// insert records the events and returns those that others have recorded. No two transactions can both record one, so this is
// as good as looking for them under the locks.
func (b *batch) insert(ctx context.Context, tx *sqlx.Tx, owners map[budget.LeaseID]owner) (known map[budget.EventID]bool, err error) {
	// In the order of the key: two batches that hold the same events must not wait for each other. Of two with one identity
	// the first stays the first.
	order := make([]int, len(b.events))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return compareEvents(&b.events[i].EventID, &b.events[j].EventID) })
	c := newEventColumns(len(b.events))
	for _, i := range order {
		e := &b.events[i]
		c.add(e, owners[e.LeaseID])
	}
	known = make(map[budget.EventID]bool, len(b.events))
	err = b.node.each(ctx, tx, func(scan scan) error {
		var i int
		if err := scan(&i); err != nil {
			return err
		}
		known[b.events[order[i-1]].EventID] = true
		return nil
	}, insertEventsSQL, append(c.args(b.node.ID), pq.Array(c.served))...)
	if err != nil {
		return nil, fmt.Errorf("insert events: %w", err)
	}
	return known, nil
}

func (b *batch) correct(ctx context.Context, tx *sqlx.Tx, owners map[budget.LeaseID]owner, entries []budget.Entry) error {
	var c eventColumns
	var outcomes []string
	var charges, frees []int64
	for i := range entries {
		if e := &entries[i]; e.Outcome != budget.Billed || e.Charge != e.Price || e.Free != 0 {
			c.add(&e.Event, owners[e.LeaseID])
			outcomes, charges, frees = append(outcomes, string(e.Outcome)), append(charges, int64(e.Charge)), append(frees, int64(e.Free))
		}
	}
	if len(outcomes) == 0 {
		return nil
	}
	_, err := b.node.exec(ctx, tx, correctEventsSQL, append(c.args(b.node.ID), pq.Array(outcomes), pq.Array(charges), pq.Array(frees))...)
	if err != nil {
		return fmt.Errorf("correct events: %w", err)
	}
	return nil
}

func (b *batch) write(ctx context.Context, tx *sqlx.Tx, books *books, owners map[budget.LeaseID]owner, entries []budget.Entry) error {
	ledger, rollups := ledger{}, rollups{}
	for i := range entries {
		e := &entries[i]
		o := owners[e.LeaseID]
		ledger.charge(o, e.Charge)
		rollups.add(e, o)
	}
	p, l, t, r := books.changedPeriods(), books.changedLeases(), ledger.columns(), rollups.columns()
	_, err := b.node.exec(ctx, tx, writeBatchSQL,
		pq.Array(p.ids), pq.Array(p.caps), pq.Array(p.posted), pq.Array(p.escrow), pq.Array(l.ids), pq.Array(l.amounts), pq.Array(l.posted),
		pq.Array(t.accounts), pq.Array(t.currencies), pq.Array(t.debits), pq.Array(t.credits),
		pq.Array(r.accounts), pq.Array(r.days), pq.Array(r.hours), pq.Array(r.ads), pq.Array(r.kinds), pq.Array(r.campaigns), pq.Array(r.groups),
		pq.Array(r.events), pq.Array(r.billed), pq.Array(r.overBudget), pq.Array(r.charges), pq.Array(r.overBudgetNanos))
	if err != nil {
		return fmt.Errorf("write batch: %w", err)
	}
	return nil
}

func compareEvents(x, y *budget.EventID) int {
	if c := cmp.Compare(x.Day, y.Day); c != 0 {
		return c
	}
	if c := slices.Compare(x.ImpressionID[:], y.ImpressionID[:]); c != 0 {
		return c
	}
	return cmp.Compare(x.Kind, y.Kind)
}

// eventColumns are events as columns for unnest.
type eventColumns struct {
	days                                                              []int64 // since 1970-01-01
	impressions, kinds                                                []string
	prices, leases, accounts, campaigns, groups, ads, users, accepted []int64
	served                                                            [][]byte // empty for none
}

func newEventColumns(n int) *eventColumns {
	c := &eventColumns{impressions: make([]string, 0, n), kinds: make([]string, 0, n), served: make([][]byte, 0, n)}
	for _, column := range []*[]int64{&c.days, &c.prices, &c.leases, &c.accounts, &c.campaigns, &c.groups, &c.ads, &c.users, &c.accepted} {
		*column = make([]int64, 0, n)
	}
	return c
}

func (c *eventColumns) add(e *budget.Event, o owner) {
	c.id(e.EventID)
	c.prices, c.leases, c.ads, c.users = append(c.prices, int64(e.Price)), append(c.leases, int64(e.LeaseID)), append(c.ads, int64(e.AdID)), append(c.users, e.UserHash)
	c.accounts, c.campaigns, c.groups = append(c.accounts, o.adAccountID), append(c.campaigns, o.campaignID), append(c.groups, o.adGroupID)
	c.accepted = append(c.accepted, e.AcceptedAt.UnixMicro())
	var served []byte
	if e.Served != (budget.Served{}) {
		served = e.Served[:]
	}
	c.served = append(c.served, served)
}

func (c *eventColumns) id(id budget.EventID) {
	c.days, c.impressions, c.kinds = append(c.days, dayNumber(id.Day)), append(c.impressions, id.ImpressionID.String()), append(c.kinds, string(id.Kind))
}

// args are the parameters $1 to $12 of insertEventsSQL and correctEventsSQL.
func (c *eventColumns) args(node uuid.UUID) []any {
	return []any{
		node, pq.Array(c.days), pq.Array(c.impressions), pq.Array(c.kinds), pq.Array(c.prices), pq.Array(c.leases),
		pq.Array(c.accounts), pq.Array(c.campaigns), pq.Array(c.groups), pq.Array(c.ads), pq.Array(c.users), pq.Array(c.accepted),
	}
}

// dayNumber counts a yyyymmdd day from 1970-01-01.
func dayNumber(day int) int64 {
	return time.Date(day/10000, time.Month(day/100%100), day%100, 0, 0, 0, 0, time.UTC).Unix() / (24 * 60 * 60)
}

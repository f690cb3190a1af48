package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"gavel/budget"
	"gavel/internal/money"
)

const lockPeriodsSQL = `
SELECT p.id, p.limit_nanos, p.cap_nanos, p.posted_nanos, p.escrow_nanos, b.scope || ' ' || b.kind AS name
FROM budget_periods p JOIN budgets b ON b.id = p.budget_id
WHERE p.id = ANY ($1) ORDER BY p.id FOR UPDATE OF p`

const lockLeasesSQL = `
SELECT id, period_ids, amount_nanos, posted_nanos, max_exp, state = 'OPEN' AS open
FROM leases WHERE id = ANY ($1) ORDER BY id FOR UPDATE`

// The periods of a lease never change, so they may be read before the locks.
const periodsOfLeasesSQL = `
SELECT DISTINCT unnest(period_ids) FROM leases WHERE id = ANY ($1)`

const savePeriodsSQL = `
UPDATE budget_periods p SET cap_nanos = CASE WHEN p.limit_nanos IS NULL THEN NULL ELSE n.cap END, posted_nanos = n.posted, escrow_nanos = n.escrow
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS n (id, cap, posted, escrow)
WHERE p.id = n.id`

const saveLeasesSQL = `
UPDATE leases l SET amount_nanos = n.amount, posted_nanos = n.posted, max_exp = n.max_exp,
    state = CASE WHEN n.open THEN 'OPEN' ELSE 'CLOSED' END,
    closed_at = CASE WHEN n.open THEN NULL ELSE coalesce(l.closed_at, now()) END
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[], $5::boolean[]) AS n (id, amount, posted, max_exp, open)
WHERE l.id = n.id`

type periodRow struct {
	ID     int64         `db:"id"`
	Limit  sql.NullInt64 `db:"limit_nanos"`
	Cap    sql.NullInt64 `db:"cap_nanos"`
	Posted int64         `db:"posted_nanos"`
	Escrow int64         `db:"escrow_nanos"`
	Name   string        `db:"name"`
}

type leaseRow struct {
	ID        int64         `db:"id"`
	PeriodIDs pq.Int64Array `db:"period_ids"`
	Amount    int64         `db:"amount_nanos"`
	Posted    int64         `db:"posted_nanos"`
	MaxExp    time.Time     `db:"max_exp"`
	Open      bool          `db:"open"`
}

// books are locked rows as values, and how they were found, so that only what was changed is written back.
type books struct {
	budget.Books
	periods map[int64]budget.Period
	leases  map[budget.LeaseID]budget.Lease
}

// lock locks and loads the given periods and leases, periods first.
func lock(ctx context.Context, tx *sqlx.Tx, periodIDs, leaseIDs []int64) (*books, error) {
	b := &books{
		Books:   budget.Books{Periods: map[int64]*budget.Period{}, Leases: map[budget.LeaseID]*budget.Lease{}},
		periods: map[int64]budget.Period{}, leases: map[budget.LeaseID]budget.Lease{},
	}
	var periods []periodRow
	if err := tx.SelectContext(ctx, &periods, lockPeriodsSQL, pq.Array(periodIDs)); err != nil {
		return nil, fmt.Errorf("lock budget periods: %w", err)
	}
	for _, r := range periods {
		p := budget.Period{
			ID: r.ID, Limited: r.Limit.Valid, Limit: money.Nanos(r.Limit.Int64), Cap: money.Nanos(r.Cap.Int64),
			Posted: money.Nanos(r.Posted), Escrow: money.Nanos(r.Escrow), Name: r.Name,
		}
		b.Periods[p.ID], b.periods[p.ID] = &p, p
	}
	if len(leaseIDs) == 0 {
		return b, nil
	}
	var leases []leaseRow
	if err := tx.SelectContext(ctx, &leases, lockLeasesSQL, pq.Array(leaseIDs)); err != nil {
		return nil, fmt.Errorf("lock leases: %w", err)
	}
	for _, r := range leases {
		l := budget.Lease{
			ID: budget.LeaseID(r.ID), PeriodIDs: r.PeriodIDs,
			Amount: money.Nanos(r.Amount), Posted: money.Nanos(r.Posted), MaxExp: r.MaxExp, Open: r.Open,
		}
		b.Leases[l.ID], b.leases[l.ID] = &l, l
	}
	return b, nil
}

// lockOfLeases locks and loads the leases and every period they draw on.
func lockOfLeases(ctx context.Context, tx *sqlx.Tx, leaseIDs []int64) (*books, error) {
	var periodIDs []int64
	if err := tx.SelectContext(ctx, &periodIDs, periodsOfLeasesSQL, pq.Array(leaseIDs)); err != nil {
		return nil, fmt.Errorf("find periods of leases: %w", err)
	}
	return lock(ctx, tx, periodIDs, leaseIDs)
}

// save writes back what was changed.
func (b *books) save(ctx context.Context, tx *sqlx.Tx) error {
	var ids, caps, posted, escrow []int64
	for id, p := range b.Periods {
		if *p != b.periods[id] {
			ids, caps = append(ids, id), append(caps, int64(p.Cap))
			posted, escrow = append(posted, int64(p.Posted)), append(escrow, int64(p.Escrow))
		}
	}
	if len(ids) > 0 {
		if _, err := tx.ExecContext(ctx, savePeriodsSQL, pq.Array(ids), pq.Array(caps), pq.Array(posted), pq.Array(escrow)); err != nil {
			return fmt.Errorf("save budget periods: %w", err)
		}
	}
	var leaseIDs, amounts, leasePosted []int64
	var maxExps []string
	var open []bool
	for id, l := range b.Leases {
		if old := b.leases[id]; l.Amount != old.Amount || l.Posted != old.Posted || l.Open != old.Open || !l.MaxExp.Equal(old.MaxExp) {
			leaseIDs, amounts = append(leaseIDs, int64(id)), append(amounts, int64(l.Amount))
			leasePosted, open = append(leasePosted, int64(l.Posted)), append(open, l.Open)
			maxExps = append(maxExps, timestamp(l.MaxExp))
		}
	}
	if len(leaseIDs) > 0 {
		if _, err := tx.ExecContext(ctx, saveLeasesSQL, pq.Array(leaseIDs), pq.Array(amounts), pq.Array(leasePosted), pq.Array(maxExps), pq.Array(open)); err != nil {
			return fmt.Errorf("save leases: %w", err)
		}
	}
	return nil
}

// timestamp writes a time as an element of an array.
func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

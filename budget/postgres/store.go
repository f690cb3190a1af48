package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"gavel/budget"
	"gavel/internal/money"
)

// Store is the budget protocol on Postgres. It is safe for concurrent use.
type Store struct {
	db *sqlx.DB
}

// New returns a store on db.
func New(db *sqlx.DB) *Store { return &Store{db: db} }

// maxTries bounds the retries of a transaction that met a deadlock or a serialization failure.
const maxTries = 5

// inTx runs f in a transaction and commits it. Deadlocks and serialization failures are retried, nothing else: an error of
// the commit itself leaves the outcome unknown, and the callers are idempotent.
func (s *Store) inTx(ctx context.Context, f func(tx *sqlx.Tx) error) error {
	once := func() (struct{}, error) {
		err := s.tx(ctx, f)
		if err != nil && !retryable(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}
	_, err := backoff.Retry(ctx, once, backoff.WithMaxTries(maxTries),
		backoff.WithBackOff(&backoff.ExponentialBackOff{InitialInterval: 2 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 100 * time.Millisecond}))
	return err
}

func (s *Store) tx(ctx context.Context, f func(tx *sqlx.Tx) error) error {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // the error of f is the one that says something
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// retryable: 40001 serialization_failure, 40P01 deadlock_detected.
func retryable(err error) bool {
	var pe *pq.Error
	return errors.As(err, &pe) && (pe.Code == "40001" || pe.Code == "40P01")
}

const lockPeriodsSQL = `
SELECT p.id, p.limit_nanos, p.cap_nanos, p.posted_nanos, p.escrow_nanos, b.scope || ' ' || b.kind AS name
FROM budget_periods p JOIN budgets b ON b.id = p.budget_id
WHERE p.id = ANY ($1) ORDER BY p.id FOR UPDATE OF p`

const lockLeasesSQL = `
SELECT id, period_ids, amount_nanos, posted_nanos, state = 'OPEN' AS open
FROM leases WHERE id = ANY ($1) ORDER BY id FOR UPDATE`

const periodsOfLeasesSQL = `
SELECT DISTINCT unnest(period_ids) FROM leases WHERE id = ANY ($1)`

const savePeriodsSQL = `
UPDATE budget_periods p SET cap_nanos = CASE WHEN p.limit_nanos IS NULL THEN NULL ELSE n.cap END, posted_nanos = n.posted, escrow_nanos = n.escrow
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) AS n (id, cap, posted, escrow)
WHERE p.id = n.id`

const saveLeasesSQL = `
UPDATE leases l SET amount_nanos = n.amount, posted_nanos = n.posted,
    state = CASE WHEN n.open THEN 'OPEN' ELSE 'CLOSED' END,
    closed_at = CASE WHEN n.open THEN NULL ELSE coalesce(l.closed_at, now()) END
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::boolean[]) AS n (id, amount, posted, open)
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
	Open      bool          `db:"open"`
}

// lock loads and locks the books of the given periods and leases, periods first.
func lock(ctx context.Context, tx *sqlx.Tx, periodIDs, leaseIDs []int64) (*budget.Books, error) {
	books := &budget.Books{Periods: map[int64]*budget.Period{}, Leases: map[budget.LeaseID]*budget.Lease{}}
	var periods []periodRow
	if err := tx.SelectContext(ctx, &periods, lockPeriodsSQL, pq.Array(periodIDs)); err != nil {
		return nil, fmt.Errorf("lock budget periods: %w", err)
	}
	for _, r := range periods {
		books.Periods[r.ID] = &budget.Period{
			ID: r.ID, Limited: r.Limit.Valid, Limit: money.Nanos(r.Limit.Int64), Cap: money.Nanos(r.Cap.Int64),
			Posted: money.Nanos(r.Posted), Escrow: money.Nanos(r.Escrow), Name: r.Name,
		}
	}
	if len(leaseIDs) == 0 {
		return books, nil
	}
	var leases []leaseRow
	if err := tx.SelectContext(ctx, &leases, lockLeasesSQL, pq.Array(leaseIDs)); err != nil {
		return nil, fmt.Errorf("lock leases: %w", err)
	}
	for _, r := range leases {
		books.Leases[budget.LeaseID(r.ID)] = &budget.Lease{
			ID: budget.LeaseID(r.ID), PeriodIDs: r.PeriodIDs,
			Amount: money.Nanos(r.Amount), Posted: money.Nanos(r.Posted), Open: r.Open,
		}
	}
	return books, nil
}

// lockOfLeases locks the leases and every period they draw on.
func lockOfLeases(ctx context.Context, tx *sqlx.Tx, leaseIDs []int64) (*budget.Books, error) {
	var periodIDs []int64
	if err := tx.SelectContext(ctx, &periodIDs, periodsOfLeasesSQL, pq.Array(leaseIDs)); err != nil {
		return nil, fmt.Errorf("find periods of leases: %w", err)
	}
	return lock(ctx, tx, periodIDs, leaseIDs)
}

// save writes the books back.
func save(ctx context.Context, tx *sqlx.Tx, books *budget.Books) error {
	var ids, caps, posted, escrow []int64
	for _, p := range books.Periods {
		ids, caps = append(ids, p.ID), append(caps, int64(p.Cap))
		posted, escrow = append(posted, int64(p.Posted)), append(escrow, int64(p.Escrow))
	}
	if _, err := tx.ExecContext(ctx, savePeriodsSQL, pq.Array(ids), pq.Array(caps), pq.Array(posted), pq.Array(escrow)); err != nil {
		return fmt.Errorf("save budget periods: %w", err)
	}
	if len(books.Leases) == 0 {
		return nil
	}
	var leaseIDs, amounts, leasePosted []int64
	var open []bool
	for _, l := range books.Leases {
		leaseIDs, amounts = append(leaseIDs, int64(l.ID)), append(amounts, int64(l.Amount))
		leasePosted, open = append(leasePosted, int64(l.Posted)), append(open, l.Open)
	}
	if _, err := tx.ExecContext(ctx, saveLeasesSQL, pq.Array(leaseIDs), pq.Array(amounts), pq.Array(leasePosted), pq.Array(open)); err != nil {
		return fmt.Errorf("save leases: %w", err)
	}
	return nil
}

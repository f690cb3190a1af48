package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Store is the budget protocol on Postgres. It is safe for concurrent use.
type Store struct {
	db *sqlx.DB
	// prepared holds the hot statements, by their text. They end with db.
	prepared sync.Map
}

// New returns a store on db.
func New(db *sqlx.DB) *Store { return &Store{db: db} }

// prepare prepares queries for exec and each. It comes before a transaction: within one it would need a second connection.
func (s *Store) prepare(ctx context.Context, queries ...[]string) error {
	for _, query := range slices.Concat(queries...) {
		if _, ok := s.prepared.Load(query); ok {
			continue
		}
		stmt, err := s.db.PreparexContext(ctx, query)
		if err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
		if _, ok := s.prepared.LoadOrStore(query, stmt); ok {
			_ = stmt.Close() //nolint:sqlclosecheck // another caller was faster; the winner's stays open
		}
	}
	return nil
}

// stmt is query, prepared on the connection of tx, with which it ends.
func (s *Store) stmt(ctx context.Context, tx *sqlx.Tx, query string) *sqlx.Stmt {
	stmt, ok := s.prepared.Load(query)
	if !ok {
		panic("budget/postgres: not prepared: " + query)
	}
	return tx.StmtxContext(ctx, stmt)
}

// exec runs a prepared query.
func (s *Store) exec(ctx context.Context, tx *sqlx.Tx, query string, args ...any) (sql.Result, error) {
	return s.stmt(ctx, tx, query).ExecContext(ctx, args...)
}

type scan func(dest ...any) error

// each runs a prepared query and hands each row to f.
func (s *Store) each(ctx context.Context, tx *sqlx.Tx, f func(scan scan) error, query string, args ...any) (err error) {
	rows, err := s.stmt(ctx, tx, query).QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// maxTries bounds the retries of a transaction.
const maxTries = 20

// errRaced says that another transaction inserted in between what this one did not find.
var errRaced = errors.New("another transaction inserted the same")

const nowSQL = `SELECT now()`

// inTx runs f in a transaction and commits it. Deadlocks, serialization failures, rows that are locked for long and errRaced are retried, nothing else: an
// error of the commit itself leaves the outcome unknown, and the callers are idempotent.
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

// retryable: errRaced, 40001 serialization_failure, 40P01 deadlock_detected, 55P03 lock_not_available (see gateSQL).
func retryable(err error) bool {
	var pe *pq.Error
	return errors.Is(err, errRaced) || errors.As(err, &pe) && (pe.Code == "40001" || pe.Code == "40P01" || pe.Code == "55P03")
}

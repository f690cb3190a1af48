package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Store is the budget protocol on Postgres. It is safe for concurrent use.
type Store struct {
	db *sqlx.DB
}

// New returns a store on db.
func New(db *sqlx.DB) *Store { return &Store{db: db} }

// maxTries bounds the retries of a transaction that met a deadlock, a serialization failure or a race.
const maxTries = 20

// errRaced says that another transaction inserted in between what this one did not find.
var errRaced = errors.New("another transaction inserted the same")

const nowSQL = `SELECT now()`

// inTx runs f in a transaction and commits it. Deadlocks, serialization failures and errRaced are retried, nothing else: an
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

// retryable: errRaced, 40001 serialization_failure, 40P01 deadlock_detected.
func retryable(err error) bool {
	var pe *pq.Error
	return errors.Is(err, errRaced) || errors.As(err, &pe) && (pe.Code == "40001" || pe.Code == "40P01")
}

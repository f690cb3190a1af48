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

	"gavel/campaign"
	"gavel/internal/fault"
)

// Store is campaign.Store on Postgres. It is safe for concurrent use.
type Store struct {
	session
	db *sqlx.DB
}

var _ campaign.Store = (*Store)(nil)

// NewStore returns a store on db. The caller closes the store before db.
func NewStore(db *sqlx.DB) *Store {
	return &Store{session: session{statements: newStatements(db)}, db: db}
}

// Close releases the prepared statements. db stays open.
func (s *Store) Close() error { return s.statements.close() }

// maxTries bounds the retries of a transaction that lost a deadlock or a serialization race.
const maxTries = 4

// InTx implements campaign.Store.
func (s *Store) InTx(ctx context.Context, f func(ctx context.Context, tx campaign.Tx) error) error {
	once := func() (struct{}, error) {
		err := s.once(ctx, f)
		if err != nil && !lostRace(err) {
			err = backoff.Permanent(err)
		}
		return struct{}{}, err
	}
	wait := &backoff.ExponentialBackOff{InitialInterval: 2 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 50 * time.Millisecond}
	_, err := backoff.Retry(ctx, once, backoff.WithMaxTries(maxTries), backoff.WithBackOff(wait))
	if lostRace(err) {
		return fault.Wrap(fault.Unavailable, "too many writes to the same rows at once", err)
	}
	return coded(err)
}

func (s *Store) once(ctx context.Context, f func(ctx context.Context, tx campaign.Tx) error) error {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", coded(err))
	}
	own := map[string]*sqlx.Stmt{}
	if err := f(ctx, &txn{session{statements: s.statements, tx: tx, own: own}}); err != nil {
		_ = tx.Rollback() // the error of f is the one that says something
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", coded(err))
	}
	for query := range own {
		if err := s.statements.prepare(ctx, query); err != nil {
			return nil //nolint:nilerr // what was asked for is committed; the next transaction prepares it again
		}
	}
	return nil
}

// lostRace: 40001 serialization_failure, 40P01 deadlock_detected.
func lostRace(err error) bool {
	pe, ok := errors.AsType[*pq.Error](err)
	return ok && (pe.Code == "40001" || pe.Code == "40P01")
}

// txn is campaign.Tx.
type txn struct{ session }

var _ campaign.Tx = (*txn)(nil)

const changedSQL = `
INSERT INTO outbox (entity, entity_id) SELECT $1, unnest($2::bigint[])`

// Changed implements campaign.Tx.
func (t *txn) Changed(ctx context.Context, entity string, ids []int64) error {
	_, err := t.exec(ctx, changedSQL, entity, pq.Array(ids))
	return err
}

const forgetAnswersSQL = `DELETE FROM idempotency_keys WHERE created_at < $1`

// ForgetAnswers implements campaign.Store.
func (s *Store) ForgetAnswers(ctx context.Context, before time.Time) error {
	if _, err := s.exec(ctx, forgetAnswersSQL, before); err != nil {
		return fmt.Errorf("forget answers: %w", err)
	}
	return nil
}

// The insert waits while another transaction holds the same key, until that one ends.
const claimAnswerSQL = `
INSERT INTO idempotency_keys (ad_account_id, key, input_sha256, status, answer) VALUES ($1, $2, $3, 0, '')
ON CONFLICT DO NOTHING`

const keptAnswerSQL = `
SELECT input_sha256, status, answer FROM idempotency_keys WHERE ad_account_id = $1 AND key = $2`

const saveAnswerSQL = `
UPDATE idempotency_keys SET status = $3, answer = $4 WHERE ad_account_id = $1 AND key = $2`

// ClaimAnswer implements campaign.AnswerTx.
func (t *txn) ClaimAnswer(ctx context.Context, account campaign.AdAccountID, key string, input [32]byte) (*campaign.Answer, error) {
	claimed, err := t.exec(ctx, claimAnswerSQL, int64(account), key, input[:])
	if err != nil {
		return nil, err
	}
	if claimed == 1 {
		return nil, nil //nolint:nilnil // no answer is kept: the key is the caller's
	}
	var kept struct {
		Input  []byte `db:"input_sha256"`
		Status int    `db:"status"`
		Answer []byte `db:"answer"`
	}
	if err := t.get(ctx, &kept, keptAnswerSQL, int64(account), key); err != nil {
		return nil, fmt.Errorf("read kept answer: %w", err)
	}
	if string(kept.Input) != string(input[:]) {
		return nil, campaign.ErrKeyReused
	}
	return &campaign.Answer{Status: kept.Status, Body: kept.Answer}, nil
}

// SaveAnswer implements campaign.AnswerTx.
func (t *txn) SaveAnswer(ctx context.Context, account campaign.AdAccountID, key string, a campaign.Answer) error {
	n, err := t.exec(ctx, saveAnswerSQL, int64(account), key, a.Status, a.Body)
	if err == nil && n != 1 {
		err = fmt.Errorf("the idempotency key is not claimed: %w", sql.ErrNoRows)
	}
	return err
}

// cursor turns a page into the bound of the next id and the limit.
func cursor(p campaign.Page) (after int64, limit int) {
	after = p.After
	if p.Descending && after == 0 {
		after = 1<<63 - 1
	}
	return after, p.Size
}

// ids converts typed ids for an SQL array; nil stays NULL, which filters nothing.
func ids[ID ~int64](typed []ID) any {
	if len(typed) == 0 {
		return pq.Array([]int64(nil))
	}
	plain := make([]int64, len(typed))
	for i, id := range typed {
		plain[i] = int64(id)
	}
	return pq.Array(plain)
}

// texts converts typed strings for an SQL array; nil stays NULL, which filters nothing.
func texts[T ~string](typed []T) any {
	if len(typed) == 0 {
		return pq.Array([]string(nil))
	}
	plain := make([]string, len(typed))
	for i, s := range typed {
		plain[i] = string(s)
	}
	return pq.Array(plain)
}

// nullTime is NULL for the zero time.
func nullTime(t time.Time) sql.NullTime { return sql.NullTime{Time: t, Valid: !t.IsZero()} }

// nullInt is NULL for 0.
func nullInt[T ~int64 | ~int](v T) sql.NullInt64 {
	return sql.NullInt64{Int64: int64(v), Valid: v != 0}
}

// mapped converts rows.
func mapped[R, T any](rows []R, convert func(R) T) []T {
	out := make([]T, len(rows))
	for i, r := range rows {
		out[i] = convert(r)
	}
	return out
}

// keyed converts rows to a map.
func keyed[R, T any, K comparable](rows []R, convert func(R) T, key func(T) K) map[K]T {
	out := make(map[K]T, len(rows))
	for _, r := range rows {
		v := convert(r)
		out[key(v)] = v
	}
	return out
}

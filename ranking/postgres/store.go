package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"gavel/ranking"
)

// Store is the learning side of the database. It is safe for concurrent use.
type Store struct{ db *sqlx.DB }

// New returns a store on db.
func New(db *sqlx.DB) *Store { return &Store{db: db} }

var (
	// ErrStale is returned by Save when another trainer has taken the lead. Nothing was written.
	ErrStale = errors.New("ranking: another trainer leads")
	// ErrDamaged is returned for what is not what was written.
	ErrDamaged = errors.New("ranking: stored model is damaged")
	// ErrUnknownModel is returned for a version that is not stored, or was refused.
	ErrUnknownModel = errors.New("ranking: no such model")
)

// Keep is how many good snapshots are kept, beside the pinned one.
const Keep = 20

const leadSQL = `
UPDATE model_trainer SET leader = $1, lead_until = now() + $2 * interval '1 millisecond', epoch = epoch + (leader IS DISTINCT FROM $1)::int
WHERE leader IS NULL OR leader = $1 OR lead_until < now() RETURNING epoch`

const leaveSQL = `UPDATE model_trainer SET leader = NULL, lead_until = NULL WHERE leader = $1`

const loadSQL = `SELECT impressions, clicks, clicked, conversions, state, state_checksum, published FROM model_trainer`

const saveSQL = `
UPDATE model_trainer SET impressions = $2, clicks = $3, clicked = $4, conversions = $5, state = $6, state_checksum = $7, published = $8, saved_at = now()
WHERE epoch = $1`

const insertSnapshotSQL = `
INSERT INTO model_snapshots (number, version, metrics, refused, checksum, body) VALUES ($1, $2, $3, nullif($4, ''), $5, $6)`

const pruneSQL = `
DELETE FROM model_snapshots s USING model_trainer t
WHERE s.number <= (SELECT number FROM model_snapshots WHERE refused IS NULL ORDER BY number DESC OFFSET $1 LIMIT 1) AND s.number IS DISTINCT FROM t.pinned`

// Lead takes the lead for a term, or makes the term of the one that me has begin anew. ok is false when somebody else has it. A lead
// that was not continued has another epoch.
func (s *Store) Lead(ctx context.Context, me uuid.UUID, term time.Duration) (epoch int64, ok bool, err error) {
	var epochs []int64
	if err := s.db.SelectContext(ctx, &epochs, leadSQL, me, term.Milliseconds()); err != nil {
		return 0, false, fmt.Errorf("take the trainer's lead: %w", err)
	}
	if len(epochs) == 0 {
		return 0, false, nil
	}
	return epochs[0], true, nil
}

// Leave gives the lead up, if me has it.
func (s *Store) Leave(ctx context.Context, me uuid.UUID) error {
	if _, err := s.db.ExecContext(ctx, leaveSQL, me); err != nil {
		return fmt.Errorf("give up the trainer's lead: %w", err)
	}
	return nil
}

// Load returns what was saved last, or ErrDamaged.
func (s *Store) Load(ctx context.Context) (ranking.Saved, error) {
	var v ranking.Saved
	var sum []byte
	c := &v.Cursor
	if err := s.db.QueryRowxContext(ctx, loadSQL).Scan(&c.Impressions, &c.Clicks, &c.Clicked, &c.Conversions, &v.State, &sum, &v.Published); err != nil {
		return v, fmt.Errorf("load the trainer's state: %w", err)
	}
	if v.State != nil && !matches(v.State, sum) {
		return v, fmt.Errorf("load the trainer's state: %w", ErrDamaged)
	}
	return v, nil
}

// Save writes where a trainer of the epoch stands and the snapshot that it made of it, both or none, or returns ErrStale.
func (s *Store) Save(ctx context.Context, epoch int64, v ranking.Saved, p ranking.Published) (err error) {
	tx, err := s.db.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // the error before it is the one that says something
		}
	}()
	c := v.Cursor
	result, err := tx.ExecContext(ctx, saveSQL, epoch, c.Impressions, c.Clicks, c.Clicked, c.Conversions, v.State, checksum(v.State), v.Published)
	if err != nil {
		return fmt.Errorf("save the trainer's state: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return fmt.Errorf("save the trainer's state: %w", errors.Join(err, ErrStale))
	}
	if _, err := tx.ExecContext(ctx, insertSnapshotSQL, p.Number, p.Version, string(p.Metrics), p.Refused, checksum(p.Body), p.Body); err != nil {
		return fmt.Errorf("save model %s: %w", p.Version, err)
	}
	if _, err := tx.ExecContext(ctx, pruneSQL, Keep); err != nil {
		return fmt.Errorf("delete old models: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	return nil
}

// checksum is nil for nil, which is NULL.
func checksum(b []byte) []byte {
	if b == nil {
		return nil
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

func matches(b, sum []byte) bool { return bytes.Equal(checksum(b), sum) }

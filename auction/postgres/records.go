package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"gavel/auction"
)

// Retention is for how long a record is there.
const Retention = 24 * time.Hour

// How far from now an auction's own time may be to be saved: what is older is about to be forgotten, and clocks are not that far apart.
const (
	oldest = time.Hour
	newest = time.Hour
)

// Records keeps records of auctions. It is safe for concurrent use.
type Records struct {
	db  *sqlx.DB
	now func() time.Time

	mu    sync.Mutex
	hours []time.Time // whose partitions are known to exist
}

// NewRecords returns the records on db; now is the clock, to forget by.
func NewRecords(db *sqlx.DB, now func() time.Time) *Records { return &Records{db: db, now: now} }

const ensurePartitionsSQL = `SELECT ensure_auction_record_partitions($1, $2)`

const saveSQL = `
INSERT INTO auction_records (auction_id, record)
SELECT * FROM unnest($1::uuid[], $2::bytea[])
ON CONFLICT DO NOTHING`

// Save implements recorder.Store. The time of an id may be an hour away from now at most; others are refused with all that is saved with
// them.
func (r *Records) Save(ctx context.Context, ids []uuid.UUID, records [][]byte) error {
	if err := r.ensure(ctx, ids); err != nil {
		return err
	}
	if _, err := r.db.ExecContext(ctx, saveSQL, pq.Array(ids), pq.ByteaArray(records)); err != nil {
		r.mu.Lock()
		r.hours = nil // perhaps a partition is gone
		r.mu.Unlock()
		return fmt.Errorf("insert: %w", err)
	}
	return nil
}

// ensure makes the partitions that ids need.
func (r *Records) ensure(ctx context.Context, ids []uuid.UUID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for _, id := range ids {
		at := timeOf(id)
		hour := at.Truncate(time.Hour)
		if slices.Contains(r.hours, hour) {
			continue
		}
		if at.Before(now.Add(-oldest)) || at.After(now.Add(newest)) {
			return fmt.Errorf("auction %s is of %s, which is not about now", id, at.Format(time.RFC3339))
		}
		if err := r.ensureHours(ctx, at, at); err != nil {
			return err
		}
		r.hours = append(r.hours[max(0, len(r.hours)-3):], hour)
	}
	return nil
}

func (r *Records) ensureHours(ctx context.Context, from, to time.Time) error {
	if _, err := r.db.ExecContext(ctx, ensurePartitionsSQL, from, to); err != nil {
		return fmt.Errorf("make partitions: %w", err)
	}
	return nil
}

const dropPartitionsSQL = `SELECT drop_auction_record_partitions($1)`

// Forget makes the partitions of the next hours and drops those whose records are all older than Retention. Any node may call it at any
// time; it returns how many it dropped.
func (r *Records) Forget(ctx context.Context) (int, error) {
	now := r.now()
	if err := r.ensureHours(ctx, now, now.Add(2*time.Hour)); err != nil {
		return 0, err
	}
	var dropped int
	if err := r.db.GetContext(ctx, &dropped, dropPartitionsSQL, now.Add(-Retention)); err != nil {
		return 0, fmt.Errorf("drop old partitions: %w", err)
	}
	return dropped, nil
}

const loadSQL = `SELECT record FROM auction_records WHERE auction_id = $1`

// Load returns the record of an auction, as record.Append made it. It returns auction.ErrNotRecorded when there is none or it is older
// than Retention.
func (r *Records) Load(ctx context.Context, id uuid.UUID) ([]byte, error) {
	if timeOf(id).Before(r.now().Add(-Retention)) {
		return nil, auction.ErrNotRecorded
	}
	var data []byte
	err := r.db.GetContext(ctx, &data, loadSQL, id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, auction.ErrNotRecorded
	case err != nil:
		return nil, fmt.Errorf("load record of an auction: %w", err)
	}
	return data, nil
}

// timeOf is the time that a UUID of version 7 begins with.
func timeOf(id uuid.UUID) time.Time {
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC()
}

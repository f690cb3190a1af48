package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/lib/pq"
)

const terminateSQL = `
SELECT count(*) FROM (
    SELECT pg_terminate_backend(pid) AS done FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = $1 AND pid <> pg_backend_pid()
) AS t WHERE done`

// Terminate ends every backend of this database whose application_name is name, and returns how many there were.
func (d *DB) Terminate(ctx context.Context, name string) (int, error) {
	var n int
	if err := d.db.GetContext(ctx, &n, terminateSQL, name); err != nil {
		return 0, fmt.Errorf("terminate backends: %w", err)
	}
	return n, nil
}

// maxEaten is more than any max_connections that is used here.
const maxEaten = 5000

// EatConnections opens connections until the server has no more to give, and returns how many it holds. free gives them back.
func (d *DB) EatConnections(ctx context.Context) (n int, free func() error, err error) {
	db, err := sql.Open("postgres", d.URL)
	if err != nil {
		return 0, nil, errors.New("the database's address cannot be read as a Postgres URL")
	}
	held := make([]*sql.Conn, 0, 400)
	free = func() error {
		var errs []error
		for _, c := range held {
			errs = append(errs, c.Close())
		}
		return errors.Join(append(errs, db.Close())...)
	}
	for range maxEaten {
		c, err := db.Conn(ctx)
		var refused *pq.Error
		if errors.As(err, &refused) && refused.Code.Name() == "too_many_connections" {
			return len(held), free, nil
		}
		if err != nil {
			return 0, nil, errors.Join(fmt.Errorf("open connection %d: %w", len(held)+1, err), free())
		}
		held = append(held, c)
	}
	return 0, nil, errors.Join(fmt.Errorf("%d connections are not all that the server has", maxEaten), free())
}

const lockHottestSQL = `
SELECT id FROM budget_periods WHERE id IN (SELECT id FROM budget_periods ORDER BY posted_nanos + escrow_nanos DESC LIMIT $1)
ORDER BY id FOR UPDATE`

// LockHottest locks the n budget lines that most is spent on, as any row lock would. release lets go of them.
func (d *DB) LockHottest(ctx context.Context, n int) (ids []int64, release func() error, err error) {
	tx, err := d.db.BeginTxx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return nil, nil, fmt.Errorf("begin: %w", err)
	}
	if err := tx.SelectContext(ctx, &ids, lockHottestSQL, n); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("lock budget lines: %w", err), tx.Rollback())
	}
	return ids, tx.Rollback, nil
}

const fillSQL = `CREATE TEMPORARY TABLE fill ON COMMIT DROP AS SELECT g, repeat(md5(g::text), 30) AS text FROM generate_series(1, 20000) AS g`

// TryWrite writes 20 MB and takes them back. Its error says that the disk is full, or whatever keeps the server from it.
func (d *DB) TryWrite(ctx context.Context) error {
	tx, err := d.db.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(ctx, fillSQL); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// Answers reports whether the server takes a connection and answers.
func (d *DB) Answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return d.db.PingContext(ctx) == nil
}

// ClockPath is the search_path with which now() is that of InstallClock. What is made goes to public, as without it.
const ClockPath = "public,faults,pg_catalog"

const installClockSQL = `
CREATE SCHEMA faults;
CREATE TABLE faults.clock (base timestamptz NOT NULL, since timestamptz NOT NULL, rate double precision NOT NULL);
INSERT INTO faults.clock VALUES (clock_timestamp(), clock_timestamp(), 1);
UPDATE faults.clock SET base = since;
CREATE FUNCTION faults.now() RETURNS timestamptz LANGUAGE sql STABLE
    AS 'SELECT base + (pg_catalog.now() - since) * rate FROM faults.clock';
CREATE FUNCTION faults.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
    AS 'SELECT base + (pg_catalog.clock_timestamp() - since) * rate FROM faults.clock'`

// InstallClock gives the database a clock of its own, for the connections that have ClockPath as their search_path.
func (d *DB) InstallClock(ctx context.Context) error {
	if _, err := d.db.ExecContext(ctx, installClockSQL); err != nil {
		return fmt.Errorf("install a clock: %w", err)
	}
	return nil
}

const shiftClockSQL = `
UPDATE faults.clock SET base = t.now + $1::bigint * interval '1 microsecond', since = t.now, rate = 1
FROM (SELECT clock_timestamp() AS now) AS t`

// ShiftClock makes the database's clock differ from the true one by d, and go as fast.
func (d *DB) ShiftClock(ctx context.Context, by time.Duration) error {
	if _, err := d.db.ExecContext(ctx, shiftClockSQL, by.Microseconds()); err != nil {
		return fmt.Errorf("shift the clock: %w", err)
	}
	return nil
}

const runClockSQL = `
UPDATE faults.clock SET base = base + (t.now - since) * rate, since = t.now, rate = $1
FROM (SELECT clock_timestamp() AS now) AS t`

// RunClock makes the database's clock go rate times as fast as the true one, from what it shows now.
func (d *DB) RunClock(ctx context.Context, rate float64) error {
	if _, err := d.db.ExecContext(ctx, runClockSQL, rate); err != nil {
		return fmt.Errorf("run the clock: %w", err)
	}
	return nil
}

const clockSQL = `SELECT faults.clock_timestamp()`

// Clock is what the database's clock shows.
func (d *DB) Clock(ctx context.Context) (time.Time, error) {
	var now time.Time
	if err := d.db.GetContext(ctx, &now, clockSQL); err != nil {
		return time.Time{}, fmt.Errorf("read the clock: %w", err)
	}
	return now, nil
}

// Day is what all daily budget lines have in one period together.
type Day struct {
	// Period is yyyymmdd. Lines counts the periods that there are, Spent those with something posted, Above those above their limit.
	Period      int    `db:"period"`
	Lines       int    `db:"lines"`
	Spent       int    `db:"spent"`
	Above       int    `db:"above"`
	PostedNanos string `db:"posted"`
}

const daysSQL = `
SELECT p.period, count(*) AS lines, count(*) FILTER (WHERE p.posted_nanos > 0) AS spent,
    count(*) FILTER (WHERE p.posted_nanos > p.limit_nanos) AS above, sum(p.posted_nanos)::text AS posted
FROM budget_periods p JOIN budgets b ON b.id = p.budget_id WHERE b.kind = 'DAILY' GROUP BY p.period ORDER BY p.period`

// Days are the periods of all daily budget lines, in order.
func (d *DB) Days(ctx context.Context) ([]Day, error) {
	var days []Day
	if err := d.db.SelectContext(ctx, &days, daysSQL); err != nil {
		return nil, fmt.Errorf("read days: %w", err)
	}
	return days, nil
}

const watermarkAheadSQL = `
SELECT coalesce(extract(epoch FROM min(watermark) - now()) * 1000000, 0)::bigint FROM nodes WHERE state = 'LIVE'`

// WatermarkAhead is how far the slowest live node's watermark is ahead of the true time.
func (d *DB) WatermarkAhead(ctx context.Context) (time.Duration, error) {
	var us int64
	if err := d.db.GetContext(ctx, &us, watermarkAheadSQL); err != nil {
		return 0, fmt.Errorf("read watermarks: %w", err)
	}
	return time.Duration(us) * time.Microsecond, nil
}

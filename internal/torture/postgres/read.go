package postgres

import (
	"context"
	_ "embed" // the queries
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// Event is what became of one accepted event.
type Event struct {
	Impression string    `db:"impression_id"`
	Kind       string    `db:"kind"`
	Day        int       `db:"day"` // yyyymmdd
	Outcome    string    `db:"outcome"`
	Price      int64     `db:"price_nanos"`
	Charge     int64     `db:"charge_nanos"`
	Lease      int64     `db:"lease_id"`
	Account    int64     `db:"ad_account_id"`
	Campaign   int64     `db:"campaign_id"`
	AdGroup    int64     `db:"ad_group_id"`
	Ad         int64     `db:"ad_id"`
	Currency   string    `db:"currency"` // of the account
	AcceptedAt time.Time `db:"accepted_at"`
	Node       string    `db:"node_id"`
}

// Entry is what the ledger says of one account in one currency. The sums are decimal text: they are added by the checker.
type Entry struct {
	Account  string `db:"account"`
	Currency string `db:"currency"`
	Debit    string `db:"debit"`
	Credit   string `db:"credit"`
}

// Period is what one budget line says of one period: a day as yyyymmdd, or 0 for the lifetime.
type Period struct {
	Scope  string `db:"scope"`
	ID     int64  `db:"scope_id"`
	Kind   string `db:"kind"`
	Period int    `db:"period"`
	Limit  *int64 `db:"limit_nanos"`
	Posted int64  `db:"posted_nanos"`
	Escrow int64  `db:"escrow_nanos"`
}

// Books are what the checker compares with the diary.
type Books struct {
	Events  []Event
	Entries []Entry
	Periods []Period
	// Unbalanced names ledger transactions whose sides differ in a currency.
	Unbalanced []int64
	// Escrow is what open leases hold.
	Escrow int64
}

var (
	//go:embed sql/events.sql
	eventsSQL string
	//go:embed sql/entries.sql
	entriesSQL string
	//go:embed sql/periods.sql
	periodsSQL string
	//go:embed sql/unbalanced.sql
	unbalancedSQL string
	//go:embed sql/escrow.sql
	escrowSQL string
	//go:embed sql/held.sql
	heldSQL string
)

// Books reads everything in one snapshot.
func (d *DB) Books(ctx context.Context) (Books, error) {
	var b Books
	err := d.snapshot(ctx, func(tx *sqlx.Tx) error {
		for _, q := range []struct {
			into any
			sql  string
			what string
		}{
			{&b.Events, eventsSQL, "events"},
			{&b.Entries, entriesSQL, "ledger entries"},
			{&b.Periods, periodsSQL, "budget periods"},
			{&b.Unbalanced, unbalancedSQL, "ledger transactions"},
		} {
			if err := tx.SelectContext(ctx, q.into, q.sql); err != nil {
				return fmt.Errorf("read %s: %w", q.what, err)
			}
		}
		if err := tx.GetContext(ctx, &b.Escrow, escrowSQL); err != nil {
			return fmt.Errorf("sum up escrow: %w", err)
		}
		return nil
	})
	return b, err
}

// Escrow is what open leases hold, in nanos of all currencies.
func (d *DB) Escrow(ctx context.Context) (int64, error) {
	var nanos int64
	if err := d.db.GetContext(ctx, &nanos, escrowSQL); err != nil {
		return 0, fmt.Errorf("sum up escrow: %w", err)
	}
	return nanos, nil
}

// Held is what is posted and in escrow on a line in its newest period: nanos, 0 if nothing was ever granted.
func (d *DB) Held(ctx context.Context, scope string, id int64, kind string) (posted, escrow int64, err error) {
	var rows []Period
	if err := d.db.SelectContext(ctx, &rows, heldSQL, scope, id, kind); err != nil {
		return 0, 0, fmt.Errorf("read %s %d, %s: %w", scope, id, kind, err)
	}
	if len(rows) == 0 {
		return 0, 0, nil
	}
	return rows[0].Posted, rows[0].Escrow, nil
}

func (d *DB) snapshot(ctx context.Context, f func(*sqlx.Tx) error) error {
	tx, err := d.db.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	if _, err := tx.ExecContext(ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY`); err != nil {
		return fmt.Errorf("begin snapshot: %w", err)
	}
	return f(tx)
}

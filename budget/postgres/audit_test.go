package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"gavel/budget"
	"gavel/budget/postgres"
)

// breaches breaks each invariant on purpose, in a database with one billed and one refunded event: a checker that has never failed
// proves nothing. What the audit must say is the invariant and a part of the row.
var breaches = []struct {
	name, invariant, row, breach string
}{
	{
		"past the cap", "I1", "AD_GROUP",
		`ALTER TABLE budget_periods DROP CONSTRAINT i1_never_past_the_cap; UPDATE budget_periods SET posted_nanos = posted_nanos + 1000000 WHERE limit_nanos IS NOT NULL`,
	},
	{
		"billed on two days", "I2", "2026-11-24",
		`INSERT INTO events SELECT (day + 1), impression_id, kind, outcome, price_nanos, charge_nanos, free_nanos, lease_id, ad_account_id, campaign_id, ad_group_id, ad_id, user_hash, accepted_at, posted_at, node_id FROM events`,
	},
	{"charged in part", "I3", "BILLED but was charged 999 of 1000", `UPDATE events SET charge_nanos = charge_nanos - 1`},
	{"over budget and charged", "I3", "OVER_BUDGET", `ALTER TABLE events DROP CONSTRAINT events_check2; UPDATE events SET outcome = 'OVER_BUDGET'`},
	{"a lease that forgot", "I4", "lease ", `UPDATE leases SET posted_nanos = posted_nanos - 1`},
	{"a day that forgot", "I4", "period 20261123", `UPDATE budget_periods SET posted_nanos = posted_nanos - 1 WHERE period > 0`},
	{"a lifetime that forgot", "I4", "the lifetime line has posted 999", `UPDATE budget_periods SET posted_nanos = posted_nanos - 1 WHERE period = 0`},
	{"refunded more than billed", "I4", "which was billed 1000", `ALTER TABLE refunds DISABLE TRIGGER USER; UPDATE refunds SET amount_nanos = 1001`},
	{"a refund that vanished", "I4", "period", `DELETE FROM refunds`},
	{
		"one-sided", "I5", "ledger transaction",
		`ALTER TABLE ledger_entries DISABLE TRIGGER USER; UPDATE ledger_entries SET debit_nanos = debit_nanos + 1 WHERE debit_nanos > 0`,
	},
	{
		"balanced and wrong", "I5", "advertiser:",
		`ALTER TABLE ledger_entries DISABLE TRIGGER USER; UPDATE ledger_entries SET debit_nanos = debit_nanos * 2, credit_nanos = credit_nanos * 2 WHERE transaction_id = 1`,
	},
	{"escrow that no lease holds", "I6", "open leases", `UPDATE budget_periods SET escrow_nanos = escrow_nanos + 1 WHERE limit_nanos IS NULL`},
	{"a lease that holds no escrow", "I6", "open leases", `UPDATE leases SET amount_nanos = amount_nanos + 1`},
	{"a rollup that forgot", "rollups", "says (2 2 0 1999", `UPDATE event_rollups SET charge_nanos = charge_nanos - 1`},
	{"a rollup that forgot a refund", "rollups", "the rollup says (2 2 0 2000 0 0 0), the events (2 2 0 2000 0 1 1000)", `UPDATE event_rollups SET refunds = 0, refund_nanos = 0`},
	{"no rollup", "rollups", "the rollup says ()", `DELETE FROM event_rollups`},
}

// breach sets a database up and breaks it. The books are mended at the end, for the audit that ends every test.
func (w *world) breach(t *testing.T, statements string) {
	t.Helper()
	tx, err := w.db.Beginx()
	require.NoError(t, err)
	_, err = tx.Exec(statements)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	t.Cleanup(func() {
		for _, table := range []string{"ledger_entries", "ledger_transactions"} {
			_, err = w.db.Exec(`ALTER TABLE ` + table + ` DISABLE TRIGGER USER`)
			require.NoError(t, err)
		}
		_, err = w.db.Exec(`DELETE FROM ledger_entries; DELETE FROM ledger_transactions; DELETE FROM refunds; DELETE FROM events; DELETE FROM event_rollups; DELETE FROM leases; DELETE FROM budget_periods`)
		require.NoError(t, err)
	})
}

func breachable(t *testing.T) *world {
	t.Helper()
	w := setup(t, 0, 10*price)
	n := w.join(t)
	g := grant(t, n, w.want(0, 4*price))[0]
	events := []budget.Event{w.event(g.LeaseID, price), w.event(g.LeaseID, price)}
	commit(t, n, events...)
	w.refund(t, events[0].EventID)
	w.requireClean(t)
	return w
}

func requireViolation(t *testing.T, violations []postgres.Violation, invariant, row string) {
	t.Helper()
	for _, v := range violations {
		if v.Invariant == invariant {
			require.Contains(t, fmt.Sprint(violations), row)
			return
		}
	}
	require.Failf(t, "not seen", "%s in %v", invariant, violations)
}

func TestTheAuditSeesEachBreach(t *testing.T) {
	t.Parallel()
	for _, b := range breaches {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			w := breachable(t)
			w.breach(t, b.breach)
			audit, err := w.store.Audit(t.Context())
			require.NoError(t, err)
			require.False(t, audit.Clean)
			requireViolation(t, audit.Violations, b.invariant, b.row)
		})
	}
}

func (w *world) live(t *testing.T) []postgres.Violation {
	t.Helper()
	violations, err := w.store.AuditLive(t.Context())
	require.NoError(t, err)
	return violations
}

// later makes every unit of the live audit due that age makes due.
func (w *world) later(t *testing.T, age string) {
	t.Helper()
	_, err := w.db.Exec(`UPDATE audit_units SET checked_at = checked_at - $1::interval`, age)
	require.NoError(t, err)
}

func TestTheLiveAuditSeesEachBreach(t *testing.T) {
	t.Parallel()
	for _, b := range breaches {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			w := breachable(t)
			require.Empty(t, w.live(t))
			w.breach(t, b.breach)
			require.Empty(t, w.live(t), "nothing is due yet")
			w.later(t, "8 days")
			requireViolation(t, w.live(t), b.invariant, b.row)
			requireViolation(t, w.live(t), b.invariant, b.row) // known until it is mended
		})
	}
}

// units says when each unit was checked.
func (w *world) units(t *testing.T) map[string]time.Time {
	t.Helper()
	var rows []struct {
		Unit string    `db:"unit"`
		At   time.Time `db:"checked_at"`
	}
	require.NoError(t, w.db.Select(&rows, `SELECT unit, checked_at FROM audit_units`))
	units := map[string]time.Time{}
	for _, r := range rows {
		units[r.Unit] = r.At
	}
	return units
}

func TestADayIsCheckedAgainOnlyWhenMoneyHasMovedOnIt(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 0)
	n := w.join(t)
	lease := grant(t, n, w.want(0, 50*price))[0].LeaseID
	e := w.event(lease, price)
	commit(t, n, e)
	const unit = "day 2026-11-23"
	checked := func(want bool, why string) {
		t.Helper()
		w.later(t, "1 minute")
		before := w.units(t)
		require.Empty(t, w.live(t))
		after := w.units(t)
		require.True(t, after["books"].After(before["books"]))
		require.True(t, after["ledger"].After(before["ledger"]))
		require.Equal(t, want, after[unit].After(before[unit]), why)
	}
	checked(true, "never before")
	checked(false, "nothing happened")
	commit(t, n, w.event(lease, price))
	checked(true, "a charge")
	w.refund(t, e.EventID)
	checked(true, "a refund")
	checked(false, "nothing happened")
	w.later(t, "8 days")
	checked(true, "it was long ago")
	_, err := w.db.Exec(`UPDATE audit_units SET took_ms = 60000`)
	require.NoError(t, err)
	commit(t, n, w.event(lease, price))
	before := w.units(t)
	w.later(t, "5 minutes")
	require.Empty(t, w.live(t))
	require.Equal(t, before[unit].Add(-5*time.Minute), w.units(t)[unit], "it takes a minute: at most every twenty")
}

func TestOneNodeAtATimeAudits(t *testing.T) {
	t.Parallel()
	w := breachable(t)
	other := w.hold(t, `SELECT pg_advisory_xact_lock(1733, 1)`)
	require.Empty(t, w.live(t))
	require.Empty(t, w.units(t))
	require.NoError(t, other.Rollback())
	require.Empty(t, w.live(t))
	require.Len(t, w.units(t), 3)
}

// mark is up to which transaction the ledger is added up.
func (w *world) mark(t *testing.T) (through int64) {
	t.Helper()
	require.NoError(t, w.db.Get(&through, `SELECT coalesce(max(through), 0) FROM audit_marks`))
	return through
}

// moveMark audits until the ledger is added up to a transaction. Other tests on this server may be within transactions for a moment.
func (w *world) moveMark(t *testing.T, through int64) {
	t.Helper()
	require.Eventually(t, func() bool {
		w.later(t, "1 minute")
		violations, err := w.store.AuditLive(context.WithoutCancel(t.Context()))
		return err == nil && len(violations) == 0 && w.mark(t) == through
	}, 20*time.Second, 10*time.Millisecond)
}

func TestTheLedgerIsAddedUpFromWhereItWasLeft(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 0)
	n := w.join(t)
	lease := grant(t, n, w.want(0, 50*price))[0].LeaseID
	for i := range int64(3) {
		commit(t, n, w.event(lease, price))
		w.moveMark(t, i+1)
	}
	var owed int64
	require.NoError(t, w.db.Get(&owed, `SELECT nanos FROM audit_ledger WHERE account LIKE 'advertiser:%'`))
	require.Equal(t, int64(3*price), owed)
	w.breach(t, `UPDATE audit_ledger SET nanos = nanos - 1 WHERE account = 'revenue'`)
	for range 3 {
		commit(t, n, w.event(lease, price))
		w.later(t, "1 minute")
		requireViolation(t, w.live(t), "I5", "together are -1")
	}
	require.Equal(t, int64(3), w.mark(t), "what is wrong stays after the mark")
}

// TestALedgerTransactionThatCommitsLateIsAddedUp: it has drawn its number before others that are there already.
func TestALedgerTransactionThatCommitsLateIsAddedUp(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 0)
	n := w.join(t)
	lease := grant(t, n, w.want(0, 50*price))[0].LeaseID
	commit(t, n, w.event(lease, price))
	w.moveMark(t, 1)
	late := w.hold(t, `WITH t AS (INSERT INTO ledger_transactions (kind) VALUES ('BATCH') RETURNING id)
		INSERT INTO ledger_entries (transaction_id, account, currency, debit_nanos, credit_nanos) SELECT t.id, e.account, 'USD', e.debit, e.credit
		FROM t, (VALUES ('advertiser:1', 5, 0), ('revenue', 0, 5)) AS e (account, debit, credit)`)
	commit(t, n, w.event(lease, price))
	for range 5 {
		w.later(t, "1 minute")
		require.Empty(t, w.live(t))
		require.Equal(t, int64(1), w.mark(t))
	}
	require.NoError(t, late.Commit())
	w.moveMark(t, 3)
	var owed int64
	require.NoError(t, w.db.Get(&owed, `SELECT nanos FROM audit_ledger WHERE account = 'advertiser:1'`))
	require.Equal(t, int64(5), owed)
	w.breach(t, `SELECT`) // account 1 is not there: the full audit may not see this
}

// TestAnArchivedDayIsTakenForGranted does what docs/money-protocol.md says.
func TestAnArchivedDayIsTakenForGranted(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 0)
	_, err := w.db.Exec(`SELECT ensure_event_partitions('2026-11-23', '2026-11-24')`)
	require.NoError(t, err)
	n, g := w.oldLease(t)
	e := w.event(g.LeaseID, price)
	commit(t, n, e, w.event(g.LeaseID, price))
	w.refund(t, e.EventID)
	tomorrow := w.want(0, price)
	tomorrow.Key.Day++
	next := w.event(grant(t, n, tomorrow)[0].LeaseID, price)
	next.Day++
	commit(t, n, next)
	beat(t, n, g.MaxExp.Add(time.Second))
	_, err = w.store.CloseDue(t.Context(), 10)
	require.NoError(t, err)
	require.Empty(t, w.live(t))
	w.archive(t, "2026-11-23")
	w.requireClean(t)
	w.later(t, "8 days")
	require.Empty(t, w.live(t))
	var left []string
	require.NoError(t, w.db.Select(&left, `SELECT day::text FROM events`))
	require.Equal(t, []string{"2026-11-24"}, left)
}

func (w *world) archive(t *testing.T, day string) {
	t.Helper()
	exec := func(tx *sqlx.Tx, query string, args ...any) {
		t.Helper()
		_, err := tx.ExecContext(context.WithoutCancel(t.Context()), query, args...)
		require.NoError(t, err)
	}
	tx, err := w.db.Beginx()
	require.NoError(t, err)
	exec(tx, `INSERT INTO archived_days (day) VALUES ($1)`, day)
	exec(tx, `DELETE FROM refunds WHERE day = $1`, day)
	exec(tx, `DELETE FROM leases WHERE day = to_char($1::date, 'YYYYMMDD')::int`, day)
	exec(tx, `ALTER TABLE events DETACH PARTITION events_20261123`)
	exec(tx, `DROP TABLE events_20261123`)
	require.NoError(t, tx.Commit())
}

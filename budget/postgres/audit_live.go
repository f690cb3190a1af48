package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// What a node does every minute must cost the same after a year as on the first day. So the work is cut into units, each with
// its own short snapshot, of which one node at a time does one:
//
//	books      budget periods against open leases, lifetime lines against their days
//	day D      the events of a day against its leases, periods, refunds and rollups
//	ledger     what was added since the last time, and the sums of all against the lifetime lines of the accounts
//
// Together they say what a full audit says: events add up to days, days to lifetimes, lifetimes to the ledger. The exception
// is an impression that is billed on two days that are not neighbours.
//
// A day is checked again when what is posted on it has changed, or refunded; a day that is over stays as it was found for a
// week. The sums of the ledger up to some transaction are kept, for it never changes. And no unit takes more than a twentieth of the time.
const (
	auditEvery  = 55 * time.Second // a node asks once a minute
	auditShare  = 20
	auditBudget = 30 * time.Second // no day is begun later than this in one call
)

const (
	auditLockSQL = `SELECT pg_try_advisory_xact_lock(1733, 1)`

	unitIsDueSQL = `
SELECT NOT EXISTS (SELECT FROM audit_units WHERE unit = $1
    AND checked_at > now() - greatest($2::bigint, $3::bigint * took_ms) * interval '1 millisecond' AND checked_at <= now())`

	saveUnitSQL = `
INSERT INTO audit_units (unit, checked_at, took_ms, checked, violations) VALUES ($1, now(), $2, $3, $4)
ON CONFLICT (unit) DO UPDATE SET checked_at = excluded.checked_at, took_ms = excluded.took_ms, checked = excluded.checked, violations = excluded.violations`

	// What the days look like: it changes whenever money moves on one.
	seeDaysSQL = `
INSERT INTO audit_units (unit, seen)
SELECT 'day ' || p.day, p.posted || ' ' || coalesce(r.refunds, 0)
FROM (SELECT to_date(period::text, 'YYYYMMDD') AS day, sum(posted_nanos) AS posted FROM budget_periods WHERE period > 0 GROUP BY period) p
LEFT JOIN (SELECT day, count(*) AS refunds FROM refunds GROUP BY day) r ON r.day = p.day
ON CONFLICT (unit) DO UPDATE SET seen = excluded.seen WHERE audit_units.seen IS DISTINCT FROM excluded.seen`

	seeDaySQL = `
SELECT coalesce(sum(posted_nanos), 0) || ' ' || (SELECT count(*) FROM refunds WHERE day = $1::date)
FROM budget_periods WHERE period = to_char($1::date, 'YYYYMMDD')::int`

	dueDaysSQL = `
SELECT substr(unit, 5) FROM audit_units u
WHERE unit LIKE 'day %' AND (seen IS DISTINCT FROM checked OR violations <> '[]' OR checked_at < now() - interval '7 days')
  AND NOT EXISTS (SELECT FROM archived_days a WHERE a.day::text = substr(u.unit, 5))
ORDER BY checked_at NULLS FIRST, unit DESC`

	liveViolationsSQL = `SELECT violations FROM audit_units WHERE violations <> '[]' ORDER BY unit`
)

// $2 is the day.
var dayChecks = []check{
	{"I2", `SELECT format('impression %s has a billed %s on day %s, lease %s, and on day %s, lease %s', e.impression_id, e.kind, e.day, e.lease_id, n.day, n.lease_id)
FROM events e JOIN events n ON n.impression_id = e.impression_id AND n.kind = e.kind
WHERE e.day = $2::date AND n.day = $2::date + 1 AND e.outcome = 'BILLED' AND n.outcome = 'BILLED'`},
	{"I3", `SELECT format('event %s %s %s on lease %s is %s but was charged %s of %s', day, impression_id, kind, lease_id, outcome, charge_nanos, price_nanos)
FROM events WHERE day = $2::date AND (outcome = 'BILLED') <> (charge_nanos = price_nanos) AND price_nanos > 0`},
	{"I4", `WITH moved AS (
    SELECT lease_id, sum(nanos) AS nanos FROM (
        SELECT lease_id, charge_nanos AS nanos FROM events WHERE day = $2::date AND charge_nanos > 0
        UNION ALL
        SELECT e.lease_id, -r.amount_nanos FROM refunds r JOIN events e USING (day, impression_id, kind) WHERE r.day = $2::date
    ) m GROUP BY lease_id
), said AS (
    SELECT p.id, sum(m.nanos) AS nanos FROM moved m JOIN leases l ON l.id = m.lease_id CROSS JOIN LATERAL unnest(l.period_ids) AS p (id) GROUP BY p.id
)
SELECT format('period %s (%s %s %s, period %s): posted %s, events and refunds say %s', p.id, b.scope, b.scope_id, b.kind, p.period, p.posted_nanos, coalesce(s.nanos, 0))
FROM budget_periods p JOIN budgets b ON b.id = p.budget_id LEFT JOIN said s ON s.id = p.id
WHERE p.period = to_char($2::date, 'YYYYMMDD')::int AND p.posted_nanos <> coalesce(s.nanos, 0)`},
	{"I4", `SELECT format('lease %s: posted %s, its %s events of day %s say %s', coalesce(l.id, e.lease_id), coalesce(l.posted_nanos, 0), coalesce(e.events, 0), $2::date, coalesce(e.nanos, 0))
FROM (SELECT id, posted_nanos FROM leases WHERE day = to_char($2::date, 'YYYYMMDD')::int) l
FULL JOIN (SELECT lease_id, count(*) AS events, sum(charge_nanos - free_nanos) AS nanos FROM events WHERE day = $2::date GROUP BY lease_id) e ON e.lease_id = l.id
WHERE coalesce(l.posted_nanos, 0) <> coalesce(e.nanos, 0)`},
	{"I4", `SELECT format('refund of %s on %s %s, which was billed %s', r.amount_nanos, r.impression_id, r.kind, e.charge_nanos)
FROM refunds r JOIN events e USING (day, impression_id, kind) WHERE r.day = $2::date AND r.amount_nanos > e.charge_nanos`},
	{"rollups", `WITH said AS (
    SELECT e.ad_account_id, date_trunc('hour', e.accepted_at, 'UTC') AS hour, e.ad_id, e.kind, count(*) AS events,
        count(*) FILTER (WHERE e.outcome = 'BILLED') AS billed, count(*) FILTER (WHERE e.outcome = 'OVER_BUDGET') AS over_budget,
        sum(e.charge_nanos) AS charge_nanos, coalesce(sum(e.price_nanos) FILTER (WHERE e.outcome = 'OVER_BUDGET'), 0) AS over_budget_nanos,
        count(r.amount_nanos) AS refunds, coalesce(sum(r.amount_nanos), 0) AS refund_nanos
    FROM events e LEFT JOIN refunds r ON r.day = $2::date AND r.impression_id = e.impression_id AND r.kind = e.kind
    WHERE e.day = $2::date GROUP BY 1, 2, 3, 4
)
SELECT format('ad account %s, day %s, hour %s, ad %s, %s: the rollup says (%s), the events (%s)', ad_account_id, $2::date, hour, ad_id, kind,
    concat_ws(' ', r.events, r.billed, r.over_budget, r.charge_nanos, r.over_budget_nanos, r.refunds, r.refund_nanos),
    concat_ws(' ', s.events, s.billed, s.over_budget, s.charge_nanos, s.over_budget_nanos, s.refunds, s.refund_nanos))
FROM (SELECT * FROM event_rollups WHERE day = $2::date) r FULL JOIN said s USING (ad_account_id, hour, ad_id, kind)
WHERE (r.events, r.billed, r.over_budget, r.charge_nanos, r.over_budget_nanos, r.refunds, r.refund_nanos)
    IS DISTINCT FROM (s.events, s.billed, s.over_budget, s.charge_nanos, s.over_budget_nanos, s.refunds, s.refund_nanos)`},
}

// audit_ledger keeps the sums of the ledger up to its mark.
var ledgerChecks = []check{
	{"I5", `SELECT format('ledger transaction %s, %s: debits %s, credits %s: %s', transaction_id, currency, sum(debit_nanos), sum(credit_nanos),
    string_agg(format('%s %s', account, debit_nanos - credit_nanos), '; ' ORDER BY account))
FROM ledger_entries WHERE transaction_id > coalesce((SELECT through FROM audit_marks WHERE name = 'ledger'), 0)
GROUP BY transaction_id, currency HAVING sum(debit_nanos) <> sum(credit_nanos)`},
	{"I5", `WITH owed AS (
    SELECT account, currency, sum(nanos) AS nanos FROM (
        SELECT account, currency, nanos FROM audit_ledger
        UNION ALL
        SELECT account, currency, debit_nanos - credit_nanos FROM ledger_entries WHERE transaction_id > coalesce((SELECT through FROM audit_marks WHERE name = 'ledger'), 0)
    ) x GROUP BY account, currency
), posted AS (
    SELECT 'advertiser:' || b.ad_account_id AS account, coalesce(sum(p.posted_nanos), 0) AS nanos
    FROM budgets b LEFT JOIN budget_periods p ON p.budget_id = b.id WHERE b.scope = 'AD_ACCOUNT' AND b.kind = 'LIFETIME' GROUP BY b.ad_account_id
)
SELECT format('%s: the ledger says %s, the lifetime line of the account %s', p.account, coalesce(sum(o.nanos), 0), p.nanos)
FROM posted p LEFT JOIN owed o ON o.account = p.account GROUP BY p.account, p.nanos HAVING coalesce(sum(o.nanos), 0) <> p.nanos
UNION ALL
SELECT format('%s: all accounts of the ledger together are %s, must be 0', currency, sum(nanos)) FROM owed GROUP BY currency HAVING sum(nanos) <> 0`},
}

// See audit_marks in the migrations. A database that was restored elsewhere counts its transactions anew: then next is noted again.
const moveLedgerMarkSQL = `
WITH now AS (
    SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin, pg_snapshot_xmax(pg_current_snapshot()) AS xmax
), added AS (
    SELECT e.account, e.currency, sum(e.debit_nanos - e.credit_nanos) AS nanos
    FROM audit_marks m JOIN now ON m.next_xmax <= now.xmin JOIN ledger_entries e ON e.transaction_id > m.through AND e.transaction_id <= m.next
    WHERE m.name = 'ledger' GROUP BY e.account, e.currency
), sums AS (
    INSERT INTO audit_ledger AS a (account, currency, nanos) SELECT account, currency, nanos FROM added
    ON CONFLICT (account, currency) DO UPDATE SET nanos = a.nanos + excluded.nanos
)
INSERT INTO audit_marks AS m (name, through, next, next_xmax)
SELECT 'ledger', 0, (SELECT coalesce(max(id), 0) FROM ledger_transactions), now.xmax FROM now
ON CONFLICT (name) DO UPDATE SET
    through = CASE WHEN m.next_xmax <= pg_snapshot_xmin(pg_current_snapshot()) THEN m.next ELSE m.through END,
    next = excluded.next, next_xmax = excluded.next_xmax
    WHERE m.next_xmax <= pg_snapshot_xmin(pg_current_snapshot()) OR m.next_xmax > excluded.next_xmax`

// errNotDue ends the transaction of a unit that another node does, or that was done a moment ago.
var errNotDue = errors.New("not due")

// AuditLive does those units of the audit that are due, unless another node is at it, and returns all violations that are known: those
// that the last check of each unit found. The first violation of a day comes up within a minute or twenty times what its check takes.
func (s *Store) AuditLive(ctx context.Context) ([]Violation, error) {
	began := time.Now()
	errs := []error{
		s.auditUnit(ctx, "books", func(tx *sqlx.Tx) (string, []Violation, error) {
			if _, err := tx.ExecContext(ctx, seeDaysSQL); err != nil {
				return "", nil, fmt.Errorf("look at days: %w", err)
			}
			found, err := runChecks(ctx, tx, booksChecks)
			return "", found, err
		}),
		s.auditUnit(ctx, "ledger", func(tx *sqlx.Tx) (string, []Violation, error) {
			found, err := runChecks(ctx, tx, ledgerChecks)
			if err != nil || len(found) > 0 {
				return "", found, err // what is wrong stays after the mark
			}
			if _, err := tx.ExecContext(ctx, moveLedgerMarkSQL); err != nil {
				return "", nil, fmt.Errorf("move mark: %w", err)
			}
			return "", nil, nil
		}),
	}
	var days []string
	if err := s.db.SelectContext(ctx, &days, dueDaysSQL); err != nil {
		return nil, errors.Join(append(errs, fmt.Errorf("audit: find days: %w", err))...)
	}
	for _, day := range days {
		if time.Since(began) > auditBudget {
			break
		}
		errs = append(errs, s.auditUnit(ctx, "day "+day, func(tx *sqlx.Tx) (seen string, found []Violation, err error) {
			if err := tx.GetContext(ctx, &seen, seeDaySQL, day); err != nil {
				return "", nil, fmt.Errorf("look at day: %w", err)
			}
			found, err = runChecks(ctx, tx, dayChecks, day)
			return seen, found, err
		}))
	}
	known, err := s.liveViolations(ctx)
	return known, errors.Join(append(errs, err)...)
}

// auditUnit runs do in a snapshot of its own, if the unit is due and nobody else is auditing.
func (s *Store) auditUnit(ctx context.Context, unit string, do func(tx *sqlx.Tx) (checked string, found []Violation, err error)) error {
	err := s.inTx(ctx, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`); err != nil {
			return fmt.Errorf("begin snapshot: %w", err)
		}
		for _, must := range []struct {
			query string
			args  []any
		}{
			{auditLockSQL, nil},
			{unitIsDueSQL, []any{unit, auditEvery.Milliseconds(), auditShare}},
		} {
			var is bool
			if err := tx.GetContext(ctx, &is, must.query, must.args...); err != nil {
				return fmt.Errorf("look whether it is due: %w", err)
			}
			if !is {
				return errNotDue
			}
		}
		began := time.Now()
		checked, found, err := do(tx)
		if err != nil {
			return err
		}
		if found == nil {
			found = []Violation{} // "[]", not "null"
		}
		text, err := json.Marshal(found)
		if err != nil {
			return fmt.Errorf("write violations: %w", err)
		}
		if _, err := tx.ExecContext(ctx, saveUnitSQL, unit, time.Since(began).Milliseconds(), checked, string(text)); err != nil {
			return fmt.Errorf("save: %w", err)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errNotDue) {
		return fmt.Errorf("audit %s: %w", unit, err)
	}
	return nil
}

func (s *Store) liveViolations(ctx context.Context) (all []Violation, err error) {
	var texts []string
	if err := s.db.SelectContext(ctx, &texts, liveViolationsSQL); err != nil {
		return nil, fmt.Errorf("audit: read violations: %w", err)
	}
	for _, text := range texts {
		var found []Violation
		if err := json.Unmarshal([]byte(text), &found); err != nil {
			return nil, fmt.Errorf("audit: read violations: %w", err)
		}
		all = append(all, found...)
	}
	return all, nil
}

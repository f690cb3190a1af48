package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// Violation is one row that breaks an invariant.
type Violation struct {
	// Invariant is "I1" … "I6".
	Invariant string `json:"invariant"`
	// Detail names the row and the figures that do not fit.
	Detail string `json:"detail"`
}

// Audit is the verdict on a database: the invariants of the money protocol that can be seen in it.
type Audit struct {
	At         time.Time        `json:"at"`
	Clean      bool             `json:"clean"`
	Violations []Violation      `json:"violations"`
	Checked    map[string]int64 `json:"checked"`
	OpenLeases int64            `json:"open_leases"`
	// EscrowNanos is what open leases hold, PostedNanos what was charged, per currency unit summed over accounts.
	EscrowNanos int64 `json:"escrow_nanos"`
	PostedNanos int64 `json:"posted_nanos"`
	Overserved  int64 `json:"over_budget_events"`
}

// maxViolations bounds what one check reports.
const maxViolations = 100

type check struct{ invariant, query string }

// Each query returns one text per violation.
var checks = []check{
	{"I1", `SELECT format('period %s (%s %s %s, period %s): posted %s + escrow %s, cap %s, limit %s', p.id, b.scope, b.scope_id, b.kind, p.period, p.posted_nanos, p.escrow_nanos, p.cap_nanos, p.limit_nanos)
FROM budget_periods p JOIN budgets b ON b.id = p.budget_id
WHERE p.posted_nanos < 0 OR p.escrow_nanos < 0 OR p.posted_nanos + p.escrow_nanos > p.cap_nanos
   OR p.cap_nanos > greatest(p.limit_nanos, p.posted_nanos + p.escrow_nanos)`},
	{"I2", `SELECT format('impression %s has %s billed %s events', impression_id, count(*), kind)
FROM events WHERE outcome = 'BILLED' GROUP BY impression_id, kind HAVING count(*) > 1`},
	{"I3", `SELECT format('event %s %s is %s but was charged %s of %s', impression_id, kind, outcome, charge_nanos, price_nanos)
FROM events WHERE (outcome = 'BILLED') <> (charge_nanos = price_nanos) AND price_nanos > 0`},
	{"I4", `WITH charged AS (
    SELECT p.id, sum(e.charge_nanos) AS nanos
    FROM events e JOIN leases l ON l.id = e.lease_id CROSS JOIN LATERAL unnest(l.period_ids) AS p (id)
    WHERE e.charge_nanos > 0 GROUP BY p.id
), refunded AS (
    SELECT p.id, sum(r.amount_nanos) AS nanos
    FROM refunds r JOIN events e USING (day, impression_id, kind) JOIN leases l ON l.id = e.lease_id CROSS JOIN LATERAL unnest(l.period_ids) AS p (id)
    GROUP BY p.id
)
SELECT format('period %s: posted %s, events say %s - refunds %s', p.id, p.posted_nanos, coalesce(c.nanos, 0), coalesce(r.nanos, 0))
FROM budget_periods p LEFT JOIN charged c ON c.id = p.id LEFT JOIN refunded r ON r.id = p.id
WHERE p.posted_nanos <> coalesce(c.nanos, 0) - coalesce(r.nanos, 0)`},
	{"I4", `SELECT format('lease %s: posted %s, events say %s', l.id, l.posted_nanos, coalesce(sum(e.charge_nanos - e.free_nanos), 0))
FROM leases l LEFT JOIN events e ON e.lease_id = l.id
GROUP BY l.id HAVING l.posted_nanos <> coalesce(sum(e.charge_nanos - e.free_nanos), 0)`},
	{"I4", `SELECT format('refund of %s on %s %s, which was billed %s', r.amount_nanos, r.impression_id, r.kind, e.charge_nanos)
FROM refunds r JOIN events e USING (day, impression_id, kind) WHERE r.amount_nanos > e.charge_nanos`},
	{"I5", `SELECT format('ledger transaction %s, %s: debits %s, credits %s', transaction_id, currency, sum(debit_nanos), sum(credit_nanos))
FROM ledger_entries GROUP BY transaction_id, currency HAVING sum(debit_nanos) <> sum(credit_nanos)`},
	{"I5", `WITH owed AS (
    SELECT account, sum(debit_nanos) - sum(credit_nanos) AS nanos FROM ledger_entries WHERE account <> 'revenue' GROUP BY account
), billed AS (
    SELECT 'advertiser:' || e.ad_account_id AS account, sum(e.charge_nanos) - coalesce(sum(r.amount_nanos), 0) AS nanos
    FROM events e LEFT JOIN refunds r USING (day, impression_id, kind) WHERE e.charge_nanos > 0 GROUP BY e.ad_account_id
)
SELECT format('%s: the ledger says %s, the events say %s', coalesce(o.account, b.account), coalesce(o.nanos, 0), coalesce(b.nanos, 0))
FROM owed o FULL JOIN billed b ON b.account = o.account WHERE coalesce(o.nanos, 0) <> coalesce(b.nanos, 0)`},
	{"I6", `WITH held AS (
    SELECT p.id, sum(l.amount_nanos - l.posted_nanos) AS nanos
    FROM leases l CROSS JOIN LATERAL unnest(l.period_ids) AS p (id) WHERE l.state = 'OPEN' GROUP BY p.id
)
SELECT format('period %s: escrow %s, open leases hold %s', p.id, p.escrow_nanos, coalesce(h.nanos, 0))
FROM budget_periods p LEFT JOIN held h ON h.id = p.id WHERE p.escrow_nanos <> coalesce(h.nanos, 0)`},
}

const countsSQL = `
SELECT (SELECT count(*) FROM budget_periods) AS budget_periods, (SELECT count(*) FROM leases) AS leases,
    (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM ledger_transactions) AS ledger_transactions,
    (SELECT count(*) FROM leases WHERE state = 'OPEN') AS open_leases,
    (SELECT coalesce(sum(amount_nanos - posted_nanos), 0)::bigint FROM leases WHERE state = 'OPEN') AS escrow_nanos,
    (SELECT coalesce(sum(charge_nanos), 0)::bigint FROM events) AS posted_nanos,
    (SELECT count(*) FROM events WHERE outcome = 'OVER_BUDGET') AS over_budget_events`

// Audit checks I1–I6 in one read-only snapshot of a live database. An error means that it could not look; what it found
// is in the Audit.
func (s *Store) Audit(ctx context.Context) (Audit, error) {
	audit := Audit{Checked: map[string]int64{}, Violations: []Violation{}}
	err := s.tx(ctx, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY`); err != nil {
			return fmt.Errorf("begin snapshot: %w", err)
		}
		if err := tx.GetContext(ctx, &audit.At, `SELECT now()`); err != nil {
			return fmt.Errorf("read time: %w", err)
		}
		for _, c := range checks {
			var found []string
			if err := tx.SelectContext(ctx, &found, c.query+` LIMIT $1`, maxViolations); err != nil {
				return fmt.Errorf("check %s: %w", c.invariant, err)
			}
			for _, detail := range found {
				audit.Violations = append(audit.Violations, Violation{Invariant: c.invariant, Detail: detail})
			}
		}
		return audit.count(ctx, tx)
	})
	audit.Clean = err == nil && len(audit.Violations) == 0
	return audit, err
}

func (a *Audit) count(ctx context.Context, tx *sqlx.Tx) error {
	var periods, leases, events, transactions int64
	row := tx.QueryRowxContext(ctx, countsSQL)
	if err := row.Scan(&periods, &leases, &events, &transactions, &a.OpenLeases, &a.EscrowNanos, &a.PostedNanos, &a.Overserved); err != nil {
		return fmt.Errorf("count: %w", err)
	}
	a.Checked["budget_periods"], a.Checked["leases"] = periods, leases
	a.Checked["events"], a.Checked["ledger_transactions"] = events, transactions
	return nil
}

const ensurePartitionsSQL = `SELECT ensure_event_partitions($1::date - 1, $1::date + 7)`

// EnsurePartitions makes the partitions of events around now exist: yesterday's, for the time zones that are behind, and a
// week's ahead.
func (s *Store) EnsurePartitions(ctx context.Context, now time.Time) error {
	if _, err := s.db.ExecContext(ctx, ensurePartitionsSQL, now.UTC().Format(time.DateOnly)); err != nil {
		return fmt.Errorf("make partitions of events: %w", err)
	}
	return nil
}

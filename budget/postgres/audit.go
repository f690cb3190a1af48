package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// Violation is one row that breaks an invariant.
type Violation struct {
	// Invariant is "I1" … "I6", or "rollups" where event_rollups do not say what the events say.
	Invariant string `json:"invariant"`
	// Detail names the rows and the figures that do not fit.
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

// Each query returns one text per violation. The checks of books look at budgets and leases alone.
var booksChecks = []check{
	{"I1", `SELECT format('period %s (%s %s %s, period %s): posted %s + escrow %s, cap %s, limit %s', p.id, b.scope, b.scope_id, b.kind, p.period, p.posted_nanos, p.escrow_nanos, p.cap_nanos, p.limit_nanos)
FROM budget_periods p JOIN budgets b ON b.id = p.budget_id
WHERE p.posted_nanos < 0 OR p.escrow_nanos < 0 OR p.posted_nanos + p.escrow_nanos > p.cap_nanos
   OR p.cap_nanos > greatest(p.limit_nanos, p.posted_nanos + p.escrow_nanos)`},
	{"I4", `SELECT format('%s %s: the lifetime line has posted %s, its days %s', l.scope, l.scope_id, l.nanos, d.nanos)
FROM (SELECT b.scope, b.scope_id, coalesce(sum(p.posted_nanos), 0) AS nanos FROM budgets b LEFT JOIN budget_periods p ON p.budget_id = b.id WHERE b.kind = 'LIFETIME' GROUP BY b.id) l
JOIN (SELECT b.scope, b.scope_id, coalesce(sum(p.posted_nanos), 0) AS nanos FROM budgets b LEFT JOIN budget_periods p ON p.budget_id = b.id WHERE b.kind = 'DAILY' GROUP BY b.id) d
    ON d.scope = l.scope AND d.scope_id = l.scope_id
WHERE l.nanos <> d.nanos`},
	{"I6", `WITH held AS (
    SELECT p.id, sum(l.amount_nanos - l.posted_nanos) AS nanos, count(*) AS leases, (array_agg(l.id ORDER BY l.id))[1:10] AS ids
    FROM leases l CROSS JOIN LATERAL unnest(l.period_ids) AS p (id) WHERE l.state = 'OPEN' GROUP BY p.id
)
SELECT format('period %s (%s %s %s, period %s): escrow %s, its %s open leases %s hold %s', p.id, b.scope, b.scope_id, b.kind, p.period, p.escrow_nanos,
    coalesce(h.leases, 0), coalesce(h.ids, '{}'), coalesce(h.nanos, 0))
FROM budget_periods p JOIN budgets b ON b.id = p.budget_id LEFT JOIN held h ON h.id = p.id WHERE p.escrow_nanos <> coalesce(h.nanos, 0)`},
}

// The other checks of a full audit scan everything, in one snapshot.
var fullChecks = []check{
	{"I2", `SELECT format('impression %s has %s billed %s events: %s', impression_id, count(*), kind,
    string_agg(format('day %s, lease %s, charged %s', day, lease_id, charge_nanos), '; ' ORDER BY day))
FROM events WHERE outcome = 'BILLED' GROUP BY impression_id, kind HAVING count(*) > 1`},
	{"I3", `SELECT format('event %s %s %s on lease %s is %s but was charged %s of %s', day, impression_id, kind, lease_id, outcome, charge_nanos, price_nanos)
FROM events WHERE (outcome = 'BILLED') <> (charge_nanos = price_nanos) AND price_nanos > 0`},
	{"I4", `WITH charged AS (
    SELECT p.id, sum(e.nanos) AS nanos
    FROM (SELECT lease_id, sum(charge_nanos) AS nanos FROM events WHERE charge_nanos > 0 GROUP BY lease_id) e
    JOIN leases l ON l.id = e.lease_id CROSS JOIN LATERAL unnest(l.period_ids) AS p (id) GROUP BY p.id
), refunded AS (
    SELECT p.id, sum(r.amount_nanos) AS nanos
    FROM refunds r JOIN events e USING (day, impression_id, kind) JOIN leases l ON l.id = e.lease_id CROSS JOIN LATERAL unnest(l.period_ids) AS p (id)
    GROUP BY p.id
)
SELECT format('period %s (%s %s %s, period %s): posted %s, events say %s - refunds %s', p.id, b.scope, b.scope_id, b.kind, p.period, p.posted_nanos, coalesce(c.nanos, 0), coalesce(r.nanos, 0))
FROM budget_periods p JOIN budgets b ON b.id = p.budget_id LEFT JOIN charged c ON c.id = p.id LEFT JOIN refunded r ON r.id = p.id
WHERE p.posted_nanos <> coalesce(c.nanos, 0) - coalesce(r.nanos, 0)
  AND CASE p.period WHEN 0 THEN NOT EXISTS (SELECT FROM archived_days)
      ELSE NOT EXISTS (SELECT FROM archived_days a WHERE a.day = to_date(p.period::text, 'YYYYMMDD')) END`},
	{"I4", `SELECT format('lease %s of node %s, day %s: posted %s, its %s events say %s', l.id, l.node_id, l.day, l.posted_nanos, coalesce(e.events, 0), coalesce(e.nanos, 0))
FROM leases l LEFT JOIN (SELECT lease_id, count(*) AS events, sum(charge_nanos - free_nanos) AS nanos FROM events GROUP BY lease_id) e ON e.lease_id = l.id
WHERE l.posted_nanos <> coalesce(e.nanos, 0)`},
	{"I4", `SELECT format('refund of %s on %s %s, which was billed %s', r.amount_nanos, r.impression_id, r.kind, e.charge_nanos)
FROM refunds r JOIN events e USING (day, impression_id, kind) WHERE r.amount_nanos > e.charge_nanos`},
	{"I5", `SELECT format('ledger transaction %s, %s: debits %s, credits %s: %s', transaction_id, currency, sum(debit_nanos), sum(credit_nanos),
    string_agg(format('%s %s', account, debit_nanos - credit_nanos), '; ' ORDER BY account))
FROM ledger_entries GROUP BY transaction_id, currency HAVING sum(debit_nanos) <> sum(credit_nanos)`},
	{"I5", `WITH owed AS (
    SELECT account, sum(debit_nanos) - sum(credit_nanos) AS nanos FROM ledger_entries WHERE account <> 'revenue' GROUP BY account
), billed AS (
    SELECT 'advertiser:' || x.ad_account_id AS account, sum(x.nanos) AS nanos FROM (
        SELECT e.ad_account_id, sum(e.charge_nanos) - coalesce(sum(r.amount_nanos), 0) AS nanos
        FROM events e LEFT JOIN refunds r USING (day, impression_id, kind) WHERE e.charge_nanos > 0 GROUP BY e.ad_account_id
        UNION ALL
        SELECT b.ad_account_id, sum(p.posted_nanos) FROM archived_days a JOIN budget_periods p ON p.period = to_char(a.day, 'YYYYMMDD')::int
        JOIN budgets b ON b.id = p.budget_id WHERE b.scope = 'AD_ACCOUNT' GROUP BY b.ad_account_id
    ) x GROUP BY x.ad_account_id
)
SELECT format('%s: the ledger says %s, the events say %s', coalesce(o.account, b.account), coalesce(o.nanos, 0), coalesce(b.nanos, 0))
FROM owed o FULL JOIN billed b ON b.account = o.account WHERE coalesce(o.nanos, 0) <> coalesce(b.nanos, 0)`},
	{"rollups", `WITH said AS (
    SELECT e.ad_account_id, e.day, date_trunc('hour', e.accepted_at, 'UTC') AS hour, e.ad_id, e.kind, count(*) AS events,
        count(*) FILTER (WHERE e.outcome = 'BILLED') AS billed, count(*) FILTER (WHERE e.outcome = 'OVER_BUDGET') AS over_budget,
        sum(e.charge_nanos) AS charge_nanos, coalesce(sum(e.price_nanos) FILTER (WHERE e.outcome = 'OVER_BUDGET'), 0) AS over_budget_nanos,
        count(r.amount_nanos) AS refunds, coalesce(sum(r.amount_nanos), 0) AS refund_nanos
    FROM events e LEFT JOIN refunds r USING (day, impression_id, kind)
    GROUP BY 1, 2, 3, 4, 5
)
SELECT format('ad account %s, day %s, hour %s, ad %s, %s: the rollup says (%s), the events (%s)', ad_account_id, day, hour, ad_id, kind,
    concat_ws(' ', r.events, r.billed, r.over_budget, r.charge_nanos, r.over_budget_nanos, r.refunds, r.refund_nanos),
    concat_ws(' ', s.events, s.billed, s.over_budget, s.charge_nanos, s.over_budget_nanos, s.refunds, s.refund_nanos))
FROM event_rollups r FULL JOIN said s USING (ad_account_id, day, hour, ad_id, kind)
WHERE (r.events, r.billed, r.over_budget, r.charge_nanos, r.over_budget_nanos, r.refunds, r.refund_nanos)
    IS DISTINCT FROM (s.events, s.billed, s.over_budget, s.charge_nanos, s.over_budget_nanos, s.refunds, s.refund_nanos)
  AND NOT EXISTS (SELECT FROM archived_days a WHERE a.day = r.day)`},
}

const countsSQL = `
SELECT (SELECT count(*) FROM budget_periods) AS budget_periods, (SELECT count(*) FROM leases) AS leases,
    (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM ledger_transactions) AS ledger_transactions,
    (SELECT count(*) FROM leases WHERE state = 'OPEN') AS open_leases,
    (SELECT coalesce(sum(amount_nanos - posted_nanos), 0)::bigint FROM leases WHERE state = 'OPEN') AS escrow_nanos,
    (SELECT coalesce(sum(charge_nanos), 0)::bigint FROM events) AS posted_nanos,
    (SELECT count(*) FROM events WHERE outcome = 'OVER_BUDGET') AS over_budget_events`

const snapshotSQL = `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY`

// Audit checks I1–I6 and the rollups in one read-only snapshot of a live database: all of it, however large. An error means that
// it could not look; what it found is in the Audit. What each node does every minute is [Store.AuditLive].
func (s *Store) Audit(ctx context.Context) (Audit, error) {
	audit := Audit{Checked: map[string]int64{}, Violations: []Violation{}}
	err := s.tx(ctx, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, snapshotSQL); err != nil {
			return fmt.Errorf("begin snapshot: %w", err)
		}
		if err := tx.GetContext(ctx, &audit.At, nowSQL); err != nil {
			return fmt.Errorf("read time: %w", err)
		}
		for _, checks := range [][]check{booksChecks, fullChecks} {
			found, err := runChecks(ctx, tx, checks)
			if err != nil {
				return err
			}
			audit.Violations = append(audit.Violations, found...)
		}
		return audit.count(ctx, tx)
	})
	audit.Clean = err == nil && len(audit.Violations) == 0
	return audit, err
}

// runChecks runs each query with a limit and the given arguments.
func runChecks(ctx context.Context, tx *sqlx.Tx, checks []check, args ...any) (violations []Violation, err error) {
	args = append([]any{maxViolations}, args...)
	for _, c := range checks {
		var found []string
		if err := tx.SelectContext(ctx, &found, c.query+` LIMIT $1`, args...); err != nil {
			return nil, fmt.Errorf("check %s: %w", c.invariant, err)
		}
		for _, detail := range found {
			violations = append(violations, Violation{Invariant: c.invariant, Detail: detail})
		}
	}
	return violations, nil
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

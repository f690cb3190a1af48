package postgres

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/lib/pq"

	"gavel/campaign"
)

const addBudgetsSQL = `
INSERT INTO budgets (ad_account_id, scope, scope_id, kind, limit_nanos)
SELECT $1, n.scope, n.scope_id, n.kind, n.limit_nanos
FROM unnest($2::text[], $3::bigint[], $4::text[], $5::bigint[]) AS n (scope, scope_id, kind, limit_nanos)`

// The rows are locked first, in the order of their ids: a grant that opens a period reads the limit under a share lock, so
// it either sees the new limit or its period is among those that setPeriodLimitsSQL finds.
const lockBudgetsSQL = `
SELECT b.id FROM budgets b JOIN unnest($1::text[], $2::bigint[], $3::text[]) AS n (scope, scope_id, kind)
    ON b.scope = n.scope AND b.scope_id = n.scope_id AND b.kind = n.kind
ORDER BY b.id FOR NO KEY UPDATE OF b`

const setLimitsSQL = `
UPDATE budgets b SET limit_nanos = n.limit_nanos
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[]) AS n (scope, scope_id, kind, limit_nanos)
WHERE b.scope = n.scope AND b.scope_id = n.scope_id AND b.kind = n.kind`

const lockOpenPeriodsSQL = `
SELECT p.id FROM budget_periods p WHERE p.budget_id = ANY ($1) AND (p.period = 0 OR p.period >= $2) ORDER BY p.id FOR UPDATE`

// A statement of its own after the lock: it must see what billing committed while the lock was waited for.
const setPeriodLimitsSQL = `
UPDATE budget_periods p SET limit_nanos = b.limit_nanos,
    cap_nanos = CASE WHEN b.limit_nanos IS NULL THEN NULL ELSE greatest(b.limit_nanos, p.posted_nanos + p.escrow_nanos) END
FROM budgets b WHERE b.id = p.budget_id AND p.id = ANY ($1)`

// budgetColumns are budget lines as arrays.
type budgetColumns struct {
	scopes, kinds pq.StringArray
	scopeIDs      pq.Int64Array
	limits        pq.GenericArray
}

func columnsOf(lines []campaign.Budget) (budgetColumns, error) {
	var c budgetColumns
	limits := make([]sql.NullInt64, len(lines))
	for i, l := range lines {
		c.scopes, c.kinds, c.scopeIDs = append(c.scopes, l.Scope), append(c.kinds, string(l.Kind)), append(c.scopeIDs, l.ScopeID)
		nanos, err := l.LimitMicros.Nanos()
		if err != nil {
			return c, fmt.Errorf("limit of %s %d: %w", l.Scope, l.ScopeID, err)
		}
		limits[i] = nullInt(nanos)
	}
	c.limits = pq.GenericArray{A: limits}
	return c, nil
}

// AddBudgets implements campaign.BudgetTx. All lines are of one account.
func (t *txn) AddBudgets(ctx context.Context, lines []campaign.Budget) error {
	if len(lines) == 0 {
		return nil
	}
	c, err := columnsOf(lines)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, addBudgetsSQL, int64(lines[0].AdAccountID), c.scopes, c.scopeIDs, c.kinds, c.limits)
	return err
}

// SetLimits implements campaign.BudgetTx.
func (t *txn) SetLimits(ctx context.Context, lines []campaign.Budget, today int) error {
	c, err := columnsOf(lines)
	if err != nil {
		return err
	}
	var budgets, periods []int64
	if err := t.list(ctx, &budgets, lockBudgetsSQL, c.scopes, c.scopeIDs, c.kinds); err != nil {
		return fmt.Errorf("lock budgets: %w", err)
	}
	if len(budgets) != len(lines) {
		return fmt.Errorf("%d of %d budget lines exist: %w", len(budgets), len(lines), sql.ErrNoRows)
	}
	if _, err := t.exec(ctx, setLimitsSQL, c.scopes, c.scopeIDs, c.kinds, c.limits); err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	if err := t.list(ctx, &periods, lockOpenPeriodsSQL, pq.Array(budgets), today); err != nil {
		return fmt.Errorf("lock budget periods: %w", err)
	}
	if len(periods) == 0 {
		return nil
	}
	if _, err := t.exec(ctx, setPeriodLimitsSQL, pq.Array(periods)); err != nil {
		return fmt.Errorf("set limits of periods: %w", err)
	}
	return nil
}

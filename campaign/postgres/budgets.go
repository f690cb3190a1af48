package postgres

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/lib/pq"

	"gavel/campaign"
	"gavel/internal/money"
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

// One statement, so that the lines are of one moment. A period that nobody has opened yet has spent nothing and will get the
// line's limit; one that is open has the limit that grants look at.
const budgetLinesFilter = `
SELECT b.id, b.ad_account_id, b.scope, b.scope_id, b.kind, CASE b.kind WHEN 'DAILY' THEN $2::int ELSE 0 END AS day,
    CASE WHEN p.id IS NULL THEN b.limit_nanos ELSE p.limit_nanos END AS limit_nanos,
    coalesce(p.posted_nanos, 0) AS posted_nanos, coalesce(p.escrow_nanos, 0) AS escrow_nanos
FROM budgets b LEFT JOIN budget_periods p ON p.budget_id = b.id AND p.period = CASE b.kind WHEN 'DAILY' THEN $2::int ELSE 0 END
WHERE b.ad_account_id = $1`

const budgetLinesOf = ` AND (b.scope, b.scope_id) IN (SELECT * FROM unnest($3::text[], $4::bigint[]))`

const budgetLinesAscendingSQL = budgetLinesFilter + ` AND b.id > $3 ORDER BY b.id LIMIT $4`

const budgetLinesDescendingSQL = budgetLinesFilter + ` AND b.id < $3 ORDER BY b.id DESC LIMIT $4`

const budgetLinesOfAscendingSQL = budgetLinesFilter + budgetLinesOf + ` AND b.id > $5 ORDER BY b.id LIMIT $6`

const budgetLinesOfDescendingSQL = budgetLinesFilter + budgetLinesOf + ` AND b.id < $5 ORDER BY b.id DESC LIMIT $6`

type budgetLineRow struct {
	ID          int64         `db:"id"`
	AdAccountID int64         `db:"ad_account_id"`
	Scope       string        `db:"scope"`
	ScopeID     int64         `db:"scope_id"`
	Kind        string        `db:"kind"`
	Day         int           `db:"day"`
	Limit       sql.NullInt64 `db:"limit_nanos"`
	Posted      int64         `db:"posted_nanos"`
	Escrow      int64         `db:"escrow_nanos"`
}

func (r budgetLineRow) entity() campaign.BudgetLine {
	return campaign.BudgetLine{
		ID: r.ID, AdAccountID: campaign.AdAccountID(r.AdAccountID), Scope: r.Scope, ScopeID: r.ScopeID,
		Kind: campaign.BudgetKind(r.Kind), Day: r.Day, Limited: r.Limit.Valid, Limit: money.Nanos(r.Limit.Int64),
		Posted: money.Nanos(r.Posted), Escrow: money.Nanos(r.Escrow),
	}
}

// BudgetLines implements campaign.BudgetReader.
func (s *Store) BudgetLines(ctx context.Context, account campaign.AdAccountID, today int, of []campaign.BudgetScope, page campaign.Page) ([]campaign.BudgetLine, error) {
	query := budgetLinesAscendingSQL
	if page.Descending {
		query = budgetLinesDescendingSQL
	}
	args := []any{int64(account), today}
	if len(of) > 0 {
		query = budgetLinesOfAscendingSQL
		if page.Descending {
			query = budgetLinesOfDescendingSQL
		}
		var scopes pq.StringArray
		var scopeIDs pq.Int64Array
		for _, o := range of {
			scopes, scopeIDs = append(scopes, o.Scope), append(scopeIDs, o.ID)
		}
		args = append(args, scopes, scopeIDs)
	}
	after, limit := cursor(page)
	var rows []budgetLineRow
	if err := s.list(ctx, &rows, query, append(args, after, limit)...); err != nil {
		return nil, fmt.Errorf("list budget lines: %w", err)
	}
	return mapped(rows, budgetLineRow.entity), nil
}

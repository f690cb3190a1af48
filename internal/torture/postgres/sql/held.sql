-- The newest period of one budget line. $1: scope, $2: its id, $3: DAILY or LIFETIME.
SELECT b.scope, b.scope_id, b.kind, p.period, p.limit_nanos, p.posted_nanos, p.escrow_nanos
FROM budget_periods p JOIN budgets b ON b.id = p.budget_id
WHERE b.scope = $1 AND b.scope_id = $2 AND b.kind = $3
ORDER BY p.period DESC LIMIT 1

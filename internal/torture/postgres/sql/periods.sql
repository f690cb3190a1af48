-- What each budget line says of each of its periods.
SELECT b.scope, b.scope_id, b.kind, p.period, p.limit_nanos, p.posted_nanos, p.escrow_nanos
FROM budget_periods p JOIN budgets b ON b.id = p.budget_id

-- What the budgets of campaigns and ad groups say of each period. $1: ad account ids, separated by commas; '' for all.
SELECT b.scope, b.scope_id, b.kind, p.period, p.limit_nanos, p.posted_nanos
FROM budget_periods p JOIN budgets b ON b.id = p.budget_id
WHERE b.scope IN ('CAMPAIGN', 'AD_GROUP') AND ($1 = '' OR b.ad_account_id = ANY (string_to_array($1, ',')::bigint[]))

-- Every event, with the currency of its account, '' if it has none.
SELECT e.impression_id::text AS impression_id, e.kind, to_char(e.day, 'YYYYMMDD')::int AS day, e.outcome, e.price_nanos, e.charge_nanos,
    e.lease_id, e.ad_account_id, e.campaign_id, e.ad_group_id, e.ad_id, coalesce(a.currency, '') AS currency, e.accepted_at, e.node_id::text AS node_id
FROM events e LEFT JOIN ad_accounts a ON a.id = e.ad_account_id

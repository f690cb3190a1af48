-- What the events of each campaign and each ad group come to, by day (yyyymmdd). $1: ad account ids, separated by commas; '' for all.
SELECT CASE WHEN grouping(campaign_id) = 0 THEN 'CAMPAIGN' ELSE 'AD_GROUP' END AS scope,
    coalesce(campaign_id, ad_group_id) AS scope_id,
    to_char(day, 'YYYYMMDD')::int AS day,
    sum(charge_nanos)::bigint AS nanos
FROM events
WHERE $1 = '' OR ad_account_id = ANY (string_to_array($1, ',')::bigint[])
GROUP BY GROUPING SETS ((campaign_id, day), (ad_group_id, day))

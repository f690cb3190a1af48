-- How many events of each ad have which outcome. $1: ad account ids, separated by commas; '' for all.
SELECT ad_account_id, ad_id, kind, outcome, count(*) AS events
FROM events
WHERE $1 = '' OR ad_account_id = ANY (string_to_array($1, ',')::bigint[])
GROUP BY ad_account_id, ad_id, kind, outcome

-- Both sides of every account of the ledger, as text so that no type bounds them.
SELECT account, currency, sum(debit_nanos)::text AS debit, sum(credit_nanos)::text AS credit
FROM ledger_entries GROUP BY account, currency

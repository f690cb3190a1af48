-- Ledger transactions that are not balanced, or have no entry at all.
SELECT DISTINCT t.id FROM ledger_transactions t LEFT JOIN ledger_entries e ON e.transaction_id = t.id
GROUP BY t.id, e.currency HAVING sum(e.debit_nanos) IS DISTINCT FROM sum(e.credit_nanos) OR count(e.account) = 0
ORDER BY t.id LIMIT 100

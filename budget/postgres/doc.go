// Package postgres keeps the budget protocol's books: grants, billing, closing, the audit.
//
// Every method is one transaction under READ COMMITTED. It locks rows and loads them into the values of package budget, calls the
// rule, and saves what the rule has changed: what is decided is decided by [budget.Books] and [budget.Member], which do no I/O.
//
// All lock in one order, so that no two of them can deadlock: the protocol row, a node's row, events, the gate of the accounts,
// budget periods, leases, and last the rollups; those of one kind in the order of their keys. Deadlocks and serialization
// failures that still happen are retried.
//
// What a batch costs is rows, not statements: hot statements are prepared, and the rows that every batch updates have room on
// their pages, so that an update stays off the indexes.
package postgres

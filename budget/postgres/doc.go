// Package postgres keeps the budget protocol's books: grants, billing, closing, the audit.
//
// Every method is one transaction under READ COMMITTED that locks first the budget periods, then the leases, each in id
// order, so that no two of them can deadlock; deadlocks and serialization failures that still happen are retried. What is
// decided between the locks and the writes is decided by [budget.Books], which does no I/O.
package postgres

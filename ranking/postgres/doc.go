// Package postgres is where trainers read what happened and keep what they have learned, and where nodes find their models.
//
// A trainer reads the rows of events and conversions in the order of the transactions that wrote them (posted_xid), and only those
// below the oldest transaction that is still under way: no row that is not visible yet can be among them. A cursor is a transaction, so
// a piece of the store is a range of transactions, whole ones. See [Store.Read] for why each click is learned once.
//
// The lead is a row with a term, not a session: who holds it renews it, and everybody else may take it when it has run out. Safety does
// not hang on it. What a trainer saves names its epoch, and a save of an earlier epoch than the row's changes nothing.
package postgres

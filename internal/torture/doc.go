// Package torture runs real nodes on a real Postgres and Redis, does to them what the world does to servers, and checks by other
// code than theirs that every nano is where it belongs.
//
// # A row
//
// Each [Fault] is one row of a table. A row has a database of its own with 500 campaigns, and two nodes that reach Postgres and
// Redis through proxies of their own. An open-loop load runs at a fixed rate before, during and after the fault; the client
// fails over to the other node, sends events until it has an answer, sends some twice, some late and some forged, and keeps a
// [Diary] of every answer. When the fault has been cleared and everything has come to rest, [Check] recomputes the ledger from the
// diary and the token keys alone and compares it with what the database holds.
//
// # What is independent
//
// The checker opens tokens and adds amounts with code of its own; it imports neither gavel/event, gavel/budget nor
// gavel/internal/money. A checker that shares code with what it checks shares its mistakes. The server's own audit runs beside it,
// and comes in as a function.
package torture

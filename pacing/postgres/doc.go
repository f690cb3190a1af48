// Package postgres keeps the states of bids and reads what they answer to.
//
// One process of a database is the controller: it holds an advisory lock by a session of its own and reads and writes by that session
// only, so one that was cut off can write nothing more. Nodes read the multipliers that have changed, and go by what they have read
// while Postgres is away. Redis has no part in it.
package postgres

// Package postgres is the torture's own view of a database: it makes a row's database, reads what the checker compares, and does to
// the server what a fault asks for. It shares no code with what wrote the rows.
package postgres

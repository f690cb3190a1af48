// Package postgres reads what the checks of a run need from a server's database. It changes nothing.
//
// It shares no code with what wrote the rows. The queries stand in sql/, one file each; the caller brings the connection.
package postgres

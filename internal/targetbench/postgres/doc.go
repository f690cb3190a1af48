// Package postgres puts a market of targetbench into a database that nothing else has written to, and changes it at a rate. It
// writes the rows that the API would have written, in bulk.
package postgres

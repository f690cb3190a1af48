// Package postgres keeps the records of auctions in Postgres, for a day.
package postgres

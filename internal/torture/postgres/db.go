package postgres

import (
	"context"
	_ "embed" // the queries
	"errors"
	"fmt"
	"net/url"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// DB is a database and what may be done to it. It is safe for concurrent use.
type DB struct {
	// URL is where it is, with the password.
	URL string
	db  *sqlx.DB
}

// maxConns is little: the nodes need theirs.
const maxConns = 8

// Open opens a database and checks that it answers.
func Open(ctx context.Context, address string) (*DB, error) {
	db, err := sqlx.Open("postgres", address)
	if err != nil {
		return nil, errors.New("the database's address cannot be read as a Postgres URL")
	}
	db.SetMaxOpenConns(maxConns)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to Postgres: %w", err), db.Close())
	}
	return &DB{URL: address, db: db}, nil
}

// Close closes the pool.
func (d *DB) Close() error { return d.db.Close() }

// Ping asks whether the server answers.
func (d *DB) Ping(ctx context.Context) error { return d.db.PingContext(ctx) }

// Create makes a database beside this one, empty or as a copy of another that nobody is connected to, and returns its URL.
func (d *DB) Create(ctx context.Context, name, template string) (string, error) {
	text := `CREATE DATABASE ` + pq.QuoteIdentifier(name)
	if template != "" {
		text += ` TEMPLATE ` + pq.QuoteIdentifier(template)
	}
	if _, err := d.db.ExecContext(ctx, text); err != nil {
		return "", fmt.Errorf("create database %s: %w", name, err)
	}
	return WithDatabase(d.URL, name)
}

// Drop removes a database beside this one and cuts who is connected to it. One that does not exist is no error.
func (d *DB) Drop(ctx context.Context, name string) error {
	if _, err := d.db.ExecContext(ctx, `DROP DATABASE IF EXISTS `+pq.QuoteIdentifier(name)+` WITH (FORCE)`); err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	return nil
}

// WithDatabase is address with another database.
func WithDatabase(address, name string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("the database's address cannot be read as a URL")
	}
	u.Path = name
	return u.String(), nil
}

//go:embed sql/set_time_zone.sql
var setTimeZoneSQL string

// SetTimeZone gives every ad account one time zone. It is for a database that no node has served from.
func (d *DB) SetTimeZone(ctx context.Context, zone string) error {
	if _, err := d.db.ExecContext(ctx, setTimeZoneSQL, zone); err != nil {
		return fmt.Errorf("set time zone: %w", err)
	}
	return nil
}

package testenv

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lib/pq"

	"gavel/internal/devstack"
	"gavel/migrations"
)

const template = "gavel_template"

// postgres is a running server with a migrated template. Only the number of the last database changes.
type postgres struct {
	admin string // URL of a database that is nobody's
	copy  string // how to clone
	last  atomic.Int64
}

// Postgres returns the URL of a database of t's own, with the schema and without rows. The user is a superuser. It is dropped
// with the test, and connections that are still open are cut.
func Postgres(t testing.TB) string {
	t.Helper()
	return newDatabase(t, template)
}

// EmptyPostgres is Postgres without the schema, for tests of the migrations.
func EmptyPostgres(t testing.TB) string {
	t.Helper()
	return newDatabase(t, "template1")
}

// PostgresProcess starts a Postgres for t alone, with the schema. It takes about a second.
func PostgresProcess(t testing.TB) *Server {
	t.Helper()
	s := own(t, devstack.Options{Postgres: true, InMemory: true}, devstack.Postgres)
	s.URL = s.stack.DatabaseURL
	if err := migrate(t.Context(), s.URL); err != nil {
		t.Fatalf("testenv: %v", err)
	}
	return s
}

// DurablePostgres is PostgresProcess with its data in the temporary directory, not in memory, and with fsync: for measurements that
// count what a commit costs. A first start takes some seconds.
func DurablePostgres(t testing.TB) *Server {
	t.Helper()
	s := own(t, devstack.Options{Postgres: true, Durable: true}, devstack.Postgres)
	s.URL = s.stack.DatabaseURL
	if err := migrate(t.Context(), s.URL); err != nil {
		t.Fatalf("testenv: %v", err)
	}
	return s
}

func newDatabase(t testing.TB, from string) string {
	t.Helper()
	Short(t)
	p, err := sharedPostgres()
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	name := "test_" + strconv.FormatInt(p.last.Add(1), 10)
	clone := `CREATE DATABASE ` + pq.QuoteIdentifier(name) + ` TEMPLATE ` + pq.QuoteIdentifier(from) + p.copy
	if err := execute(t.Context(), p.admin, clone); err != nil {
		t.Fatalf("testenv: clone database: %v", err)
	}
	t.Cleanup(func() {
		if err := execute(context.Background(), p.admin, `DROP DATABASE `+pq.QuoteIdentifier(name)+` WITH (FORCE)`); err != nil {
			t.Errorf("testenv: drop database: %v", err)
		}
	})
	return database(p.admin, name)
}

// startPostgres starts the server of this binary and makes the template.
func startPostgres() (*postgres, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchAndStart)
	defer cancel()
	stack, err := devstack.Start(ctx, devstack.Options{Postgres: true, InMemory: true})
	if err != nil {
		return nil, err
	}
	p := &postgres{admin: stack.DatabaseURL}
	if !strings.HasPrefix(stack.Info()[0].Version, "14.") {
		p.copy = ` STRATEGY file_copy` // half the time of going through the WAL, which 14 does not do anyway
	}
	if err := p.makeTemplate(ctx); err != nil {
		return nil, fmt.Errorf("make template database: %w", err)
	}
	return p, nil
}

// makeTemplate leaves a database that nobody can connect to, so that cloning it never finds it in use.
func (p *postgres) makeTemplate(ctx context.Context) error {
	name := pq.QuoteIdentifier(template)
	if err := execute(ctx, p.admin, `CREATE DATABASE `+name); err != nil {
		return err
	}
	if err := migrate(ctx, database(p.admin, template)); err != nil {
		return err
	}
	return execute(ctx, p.admin, `ALTER DATABASE `+name+` WITH ALLOW_CONNECTIONS false IS_TEMPLATE true`)
}

func migrate(ctx context.Context, address string) error {
	db, err := sql.Open("postgres", address)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer func() { _ = db.Close() }()
	_, err = migrations.Up(ctx, db)
	return err
}

// execute runs one statement on a connection of its own: a pool that stays open would keep goroutines, which tests look for.
func execute(ctx context.Context, address, text string) error {
	ctx, cancel := context.WithTimeout(ctx, statement)
	defer cancel()
	db, err := sql.Open("postgres", address)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(ctx, text); err != nil {
		return fmt.Errorf("execute: %w", err)
	}
	return nil
}

// database is address with another database.
func database(address, name string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address // our own, from devstack: it parses
	}
	u.Path = name
	return u.String()
}

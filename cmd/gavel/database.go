package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/XSAM/otelsql"
	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"
	semconv "go.opentelemetry.io/otel/semconv/v1.34.0"
	"go.opentelemetry.io/otel/trace"

	bank "gavel/budget/postgres"
	"gavel/internal/money"
	"gavel/migrations"
)

const (
	maxDatabaseConns = 20
	pingTimeout      = 10 * time.Second
)

// openDatabase opens a pool and checks that the server answers. traces may be nil.
func openDatabase(ctx context.Context, address string, traces trace.TracerProvider) (*sqlx.DB, error) {
	address, err := withTimeouts(address)
	if err != nil {
		return nil, err
	}
	var db *sql.DB
	if traces == nil {
		db, err = sql.Open("postgres", address)
	} else {
		db, err = otelsql.Open("postgres", address, otelsql.WithTracerProvider(traces), otelsql.WithAttributes(semconv.DBSystemNamePostgreSQL),
			otelsql.WithSpanOptions(otelsql.SpanOptions{DisableErrSkip: true, OmitConnResetSession: true, OmitRows: true, OmitConnectorConnect: true}))
	}
	if err != nil {
		return nil, errors.New("DATABASE_URL cannot be read as a Postgres URL")
	}
	db.SetMaxOpenConns(maxDatabaseConns)
	db.SetMaxIdleConns(maxDatabaseConns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to Postgres: %w", err), db.Close())
	}
	return sqlx.NewDb(db, "postgres"), nil
}

// withTimeouts bounds, unless the URL does, the opening of a connection, for which the driver does not ask the context: a server
// that accepts and says nothing would hang it for ever. And it bounds how long Postgres waits for us within a transaction: one
// that stopped (SIGSTOP, a host that swaps, a cut network) would keep its locks on the budgets of everybody, and with them all nodes.
func withTimeouts(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", errors.New("DATABASE_URL cannot be read as a Postgres URL")
	}
	q := u.Query()
	for name, value := range map[string]string{
		"connect_timeout":                     "10",   // seconds
		"idle_in_transaction_session_timeout": "2000", // milliseconds; well below GAVEL_LEASE_TTL, which others must be able to renew within
	} {
		if !q.Has(name) {
			q.Set(name, value)
		}
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// databaseFlag is the database that the tools work on.
type databaseFlag struct {
	DatabaseURL string `name:"database-url" env:"DATABASE_URL" required:"" help:"Postgres, as a URL with sslmode."`
}

func (f databaseFlag) open(ctx context.Context) (*sqlx.DB, error) {
	return openDatabase(ctx, f.DatabaseURL, nil)
}

type migrateCmd struct {
	Up     migrateUpCmd     `cmd:"" help:"Apply every pending migration."`
	Down   migrateDownCmd   `cmd:"" help:"Take the newest migration back."`
	Status migrateStatusCmd `cmd:"" help:"List the migrations."`
}

type (
	migrateUpCmd     struct{ databaseFlag }
	migrateDownCmd   struct{ databaseFlag }
	migrateStatusCmd struct{ databaseFlag }
)

// Run applies pending migrations.
func (c migrateUpCmd) Run(ctx context.Context, w world) (err error) {
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	applied, err := migrations.Up(ctx, db.DB)
	if err != nil {
		return err
	}
	for _, name := range applied {
		fmt.Fprintln(w.stdout, "applied", name)
	}
	if len(applied) == 0 {
		fmt.Fprintln(w.stdout, "nothing to apply")
	}
	return nil
}

// Run takes the newest migration back.
func (c migrateDownCmd) Run(ctx context.Context, w world) (err error) {
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	name, err := migrations.Down(ctx, db.DB)
	if err != nil {
		return err
	}
	if name == "" {
		fmt.Fprintln(w.stdout, "nothing to take back")
		return nil
	}
	fmt.Fprintln(w.stdout, "took back", name)
	return nil
}

// Run lists the migrations.
func (c migrateStatusCmd) Run(ctx context.Context, w world) (err error) {
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	list, err := migrations.List(ctx, db.DB)
	if err != nil {
		return err
	}
	for _, m := range list {
		state := "pending"
		if m.Applied {
			state = "applied"
		}
		fmt.Fprintf(w.stdout, "%-8s %s\n", state, m.Name)
	}
	return nil
}

type auditCmd struct {
	databaseFlag
	JSON bool `name:"json" help:"Print the verdict as JSON."`
}

// Run audits.
func (c auditCmd) Run(ctx context.Context, w world) (err error) {
	db, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	audit, err := bank.New(db).Audit(ctx)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if c.JSON {
		e := json.NewEncoder(w.stdout)
		e.SetIndent("", "  ")
		err = e.Encode(audit)
	} else {
		printAudit(w, audit)
	}
	if !audit.Clean {
		return errors.Join(err, errUnclean)
	}
	return err
}

func printAudit(w world, a bank.Audit) {
	for _, v := range a.Violations {
		fmt.Fprintf(w.stdout, "VIOLATION %s  %s\n", v.Invariant, v.Detail)
	}
	verdict := "clean: I1-I6 hold"
	if !a.Clean {
		verdict = fmt.Sprintf("%d violations", len(a.Violations))
	}
	fmt.Fprintf(w.stdout, "audit %s\n", verdict)
	fmt.Fprintf(w.stdout, "  %d events, %d budget periods, %d leases (%d open), %d ledger transactions\n",
		a.Checked["events"], a.Checked["budget_periods"], a.Checked["leases"], a.OpenLeases, a.Checked["ledger_transactions"])
	fmt.Fprintf(w.stdout, "  posted %s, in escrow %s, over budget (free for the advertiser) %d events\n",
		money.Nanos(a.PostedNanos), money.Nanos(a.EscrowNanos), a.Overserved)
}

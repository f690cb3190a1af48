// Package migrations holds the Postgres schema as goose migrations, embedded in the binary.
//
// Running them is safe from any number of processes at once: a Postgres session lock lets one apply and the others wait.
// It imports nothing of the project.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"fmt"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed *.sql
var files embed.FS

// Status is the state of one migration.
type Status struct {
	Version int64
	Name    string
	Applied bool
}

// Up applies every pending migration and returns their names.
func Up(ctx context.Context, db *sql.DB) ([]string, error) {
	p, err := provider(db)
	if err != nil {
		return nil, err
	}
	results, err := p.Up(ctx)
	if err != nil {
		return nil, fmt.Errorf("apply migrations: %w", err)
	}
	names := make([]string, 0, len(results))
	for _, r := range results {
		names = append(names, r.Source.Path)
	}
	return names, nil
}

// Down takes the newest applied migration back and returns its name, or "" when none is applied.
func Down(ctx context.Context, db *sql.DB) (string, error) {
	p, err := provider(db)
	if err != nil {
		return "", err
	}
	version, err := p.GetDBVersion(ctx)
	if err != nil {
		return "", fmt.Errorf("read schema version: %w", err)
	}
	if version == 0 {
		return "", nil
	}
	result, err := p.Down(ctx)
	if err != nil {
		return "", fmt.Errorf("take back migration %d: %w", version, err)
	}
	return result.Source.Path, nil
}

// List returns every migration in order, with whether it is applied.
func List(ctx context.Context, db *sql.DB) ([]Status, error) {
	p, err := provider(db)
	if err != nil {
		return nil, err
	}
	found, err := p.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read migration status: %w", err)
	}
	list := make([]Status, 0, len(found))
	for _, s := range found {
		list = append(list, Status{Version: s.Source.Version, Name: s.Source.Path, Applied: s.State == goose.StateApplied})
	}
	return list, nil
}

// Pending reports whether a migration of this binary is not applied yet.
func Pending(ctx context.Context, db *sql.DB) (bool, error) {
	p, err := provider(db)
	if err != nil {
		return false, err
	}
	pending, err := p.HasPending(ctx)
	if err != nil {
		return false, fmt.Errorf("read schema version: %w", err)
	}
	return pending, nil
}

func provider(db *sql.DB) (*goose.Provider, error) {
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, fmt.Errorf("make migration lock: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return p, nil
}

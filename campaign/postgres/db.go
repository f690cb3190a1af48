package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"gavel/internal/fault"
)

// statements prepares each statement at its first use and keeps it.
type statements struct {
	db *sqlx.DB

	mu       sync.Mutex
	prepared map[string]*sqlx.Stmt
}

func newStatements(db *sqlx.DB) *statements {
	return &statements{db: db, prepared: map[string]*sqlx.Stmt{}}
}

// kept returns a statement that is prepared already, or nil.
func (s *statements) kept(query string) *sqlx.Stmt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.prepared[query]
}

// prepare makes sure that a statement is kept.
func (s *statements) prepare(ctx context.Context, query string) error {
	if s.kept(query) != nil {
		return nil
	}
	stmt, err := s.db.PreparexContext(ctx, query)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.prepared[query] != nil { // prepared twice at once: keep the first
		return stmt.Close() //nolint:sqlclosecheck // the other way out keeps it open
	}
	s.prepared[query] = stmt
	return nil
}

// close releases every statement.
func (s *statements) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for query, stmt := range s.prepared {
		errs = append(errs, stmt.Close())
		delete(s.prepared, query)
	}
	return errors.Join(errs...)
}

// session runs statements in a transaction, or on any connection when tx is nil.
type session struct {
	statements *statements
	tx         *sqlx.Tx
	// own are the statements that only this transaction has prepared. It must not ask the pool for a second connection while
	// it holds one: enough transactions at once would wait for each other.
	own map[string]*sqlx.Stmt
}

// runner is a prepared statement. Who prepared it closes it.
type runner interface {
	GetContext(ctx context.Context, dst any, args ...any) error
	SelectContext(ctx context.Context, dst any, args ...any) error
	ExecContext(ctx context.Context, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, args ...any) (*sql.Rows, error)
}

func (s session) stmt(ctx context.Context, query string) (runner, error) {
	if s.tx == nil {
		err := s.statements.prepare(ctx, query)
		return s.statements.kept(query), err
	}
	if stmt := s.statements.kept(query); stmt != nil {
		return s.tx.StmtxContext(ctx, stmt), nil
	}
	if stmt := s.own[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := s.tx.PreparexContext(ctx, query)
	if err == nil {
		s.own[query] = stmt
	}
	return stmt, err
}

// get reads one row into dst. It returns sql.ErrNoRows when there is none.
func (s session) get(ctx context.Context, dst any, query string, args ...any) error {
	stmt, err := s.stmt(ctx, query)
	if err == nil {
		err = stmt.GetContext(ctx, dst, args...)
	}
	return coded(err)
}

// list reads all rows into dst, a pointer to a slice.
func (s session) list(ctx context.Context, dst any, query string, args ...any) error {
	stmt, err := s.stmt(ctx, query)
	if err == nil {
		err = stmt.SelectContext(ctx, dst, args...)
	}
	return coded(err)
}

// each calls scan at every row. Where there are many rows it costs much less than list, which finds the fields by reflection.
func (s session) each(ctx context.Context, scan func(row *sql.Rows) error, query string, args ...any) error {
	stmt, err := s.stmt(ctx, query)
	if err != nil {
		return coded(err)
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return coded(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return coded(err)
		}
	}
	return coded(rows.Err())
}

// exec runs a statement and returns the number of rows it touched.
func (s session) exec(ctx context.Context, query string, args ...any) (int64, error) {
	stmt, err := s.stmt(ctx, query)
	if err != nil {
		return 0, coded(err)
	}
	result, err := stmt.ExecContext(ctx, args...)
	if err != nil {
		return 0, coded(err)
	}
	n, err := result.RowsAffected()
	return n, coded(err)
}

// orMissing turns "no rows" into the sentinel of what is missing.
func orMissing(err error, missing *fault.Error, doing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return missing
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// coded says that Postgres is down, late or overloaded with a fault, and leaves other errors as they are.
func coded(err error) error {
	if err == nil || !isOutage(err) {
		return err
	}
	return fault.Wrap(fault.Unavailable, "the database does not answer", err)
}

func isOutage(err error) bool {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return false // coded already
	}
	if pe, ok := errors.AsType[*pq.Error](err); ok {
		switch pe.Code.Class() {
		case "08", "53", "57", "58": // connection, resources, operator intervention (also query_canceled), system
			return true
		}
		return pe.Code == "55P03" // lock_not_available
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

package torture

import (
	"context"
	"slices"
	"time"

	"gavel/internal/torture/postgres"
)

// Fault is one row of the table.
type Fault struct {
	// Name is how --only names the row: lower case, words joined by hyphens. About is the row's text.
	Name, About string
	// Short puts the row into the run that CI does.
	Short bool
	// Setup may change the row's world before it starts. Nil leaves it.
	Setup func(*Plan)
	// Run injects the fault, lets it last and clears it; it returns when it is cleared. The load runs all the time. An error
	// fails the row. ctx ends when the row is out of time.
	Run func(ctx context.Context, w *World) error
	// OverserveOK says that a node's disk is destroyed: what its journal held is reported as over-serve and does not fail the row.
	OverserveOK bool
}

// Plan is the world that a row asks for. Setup finds the defaults in it.
type Plan struct {
	// Env is the environment of every node, over what the harness sets: GAVEL_LEASE_TTL is 5s, GAVEL_EVENT_TTL 10s.
	Env map[string]string
	// NodeEnv is the environment of one node, over Env. It has one map for each node.
	NodeEnv []map[string]string
	// JournalDirs are the journals' folders, one for each node; "" is one in the run's own folder. It must be empty.
	JournalDirs []string
	// OwnPostgres starts a Postgres for this row alone; PostgresDir is where it keeps its data, "" a temporary folder.
	OwnPostgres bool
	PostgresDir string
	// Rate is the page loads per second, over both nodes.
	Rate int
	// Before is the least time that the load runs before the fault, which waits until nearly every slot is filled. After is the least
	// time for which service is watched after the fault was cleared; it is watched for longer until it is full, at most for
	// RecoverWithin.
	Before, After, RecoverWithin time.Duration
	// Limit bounds the fault itself: Run's ctx ends then.
	Limit time.Duration
	// ClockUnsure says that the clocks of nodes are not the client's: nothing is concluded then from the time of an answer.
	ClockUnsure bool
	// DatabaseOptions are added to the query of the nodes' DATABASE_URL, for a search_path for one.
	DatabaseOptions map[string]string
	// Prepare runs on the row's database when it has its schema and before the first node starts. Nil does nothing.
	Prepare func(ctx context.Context, db *postgres.DB) error
	// TimeZone is that of every account; "" is a mixture.
	TimeZone string
	// Err fails the row before it starts: Setup could not make what it needs. A NotRunError says that it cannot be made here.
	Err error

	cleanup []func() error
}

// NotRunError is why a row cannot run here, as an error of Plan.Err or Fault.Run. Such a row is shown as NOT RUN: it has not passed.
type NotRunError struct{ Reason string }

// Error implements error.
func (e *NotRunError) Error() string { return "NOT RUN: " + e.Reason }

// Defer runs f when the row is over and its world has been taken down, the last one first.
func (p *Plan) Defer(f func() error) { p.cleanup = append(p.cleanup, f) }

// Faults are all rows, in the order of the table. A new set of rows is added here.
func Faults() []Fault {
	return slices.Concat(processFaults(), pointFaults(), postgresFaults(), redisFaults(), netFaults(), diskFaults(), clockFaults())
}

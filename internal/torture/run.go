package torture

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"gavel/internal/devstack"
	"gavel/internal/torture/postgres"
)

// Keys are what the clients need to be let in.
type Keys struct{ Feed, Operator string }

// Audit is what the server's own audit says of a database.
type Audit struct {
	Clean      bool     `json:"clean"`
	Violations []string `json:"violations"`
	Summary    string   `json:"summary"`
}

// Options say what is run, and bring what the harness must not import.
type Options struct {
	// Program is the executable of the nodes, with failpoints compiled in.
	Program string
	// Dir is a folder for journals and logs, removed by the caller.
	Dir string
	// Faults are the rows, in order.
	Faults []Fault
	// Rate is the page loads per second; 0 is DefaultRate. Before is how long the load runs before each fault; 0 is the default.
	Rate   int
	Before time.Duration
	// Short makes the rows shorter. Scope says in the report which rows these are: "all rows".
	Short bool
	Scope string
	// Progress hears how far the run is.
	Progress io.Writer

	// Prepare migrates an empty database and makes the keys.
	Prepare func(ctx context.Context, databaseURL string) (Keys, error)
	// Audit runs the server's audit.
	Audit func(ctx context.Context, databaseURL string) (Audit, error)
	// Fence fences a node. Nil if there is no such command.
	Fence func(ctx context.Context, databaseURL, nodeID string) error
}

// DefaultRate is what two cores give to two nodes, Postgres, Redis, the proxies and the clients together, with headroom: page
// loads per second, of four slots each.
const DefaultRate = 300

const templateName = "torture_template"

// harness is a run.
type harness struct {
	Options
	tokenKeys string
	stack     *devstack.Stack
	shared    *base
	rows      int
}

// base is a Postgres with a seeded database that rows copy.
type base struct {
	admin                *postgres.DB
	campaigns            []Campaign
	feedKey, operatorKey string
}

// Run runs the rows, one after the other. A row that fails does not end the run. The report has the rows that were run when ctx
// ends.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	h := &harness{Options: o}
	if h.Rate == 0 {
		h.Rate = DefaultRate
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make token key: %w", err)
	}
	h.tokenKeys = "7:" + base64.StdEncoding.EncodeToString(key)
	busy := loadAverage()
	h.say("starting Postgres and Redis")
	h.stack, err = startStack(ctx, devstack.Options{Postgres: true, Redis: true, Durable: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stopStack(h.stack)) }()
	if h.shared, err = h.makeBase(ctx, h.stack); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.shared.admin.Close()) }()
	r := &Report{Machine: machine(h.stack), Busy: busy, Load: h.describeLoad(), Scope: h.Scope, Began: time.Now()}
	for i := range h.Faults {
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		f := &h.Faults[i]
		h.say("[%d/%d] %s: %s", i+1, len(h.Faults), f.Name, f.About)
		row := h.row(ctx, f)
		if ctx.Err() != nil {
			return r, ctx.Err() // the row was cut short: it says nothing
		}
		r.Rows = append(r.Rows, row)
		h.say("      %s", row.line())
		for _, reason := range row.Reasons {
			h.say("      ! %s", reason)
		}
	}
	return r, nil
}

func (h *harness) say(format string, args ...any) {
	fmt.Fprintf(h.Progress, time.Now().Format("15:04:05")+" "+format+"\n", args...)
}

func startStack(ctx context.Context, o devstack.Options) (*devstack.Stack, error) {
	o.Log = slog.New(slog.DiscardHandler)
	s, err := devstack.Start(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start services: %w", err)
	}
	return s, nil
}

func stopStack(s *devstack.Stack) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	return s.Stop(ctx)
}

// makeBase seeds a database through the API of a node, which then stops.
func (h *harness) makeBase(ctx context.Context, stack *devstack.Stack) (_ *base, err error) {
	began := time.Now()
	b := &base{}
	if b.admin, err = postgres.Open(ctx, stack.DatabaseURL); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.admin.Close())
		}
	}()
	if err := b.admin.Drop(ctx, templateName); err != nil { // of a kept folder
		return nil, err
	}
	address, err := b.admin.Create(ctx, templateName, "")
	if err != nil {
		return nil, err
	}
	keys, err := h.Prepare(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("prepare database: %w", err)
	}
	b.feedKey, b.operatorKey = keys.Feed, keys.Operator
	dir, err := os.MkdirTemp(h.Dir, "seed-")
	if err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	n, err := h.node(ctx, 0, dir, "", h.say)
	if err != nil {
		return nil, err
	}
	n.env["DATABASE_URL"], n.env["REDIS_URL"] = address, h.stack.RedisURL
	if err := n.Launch(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.Kill()) }()
	api := newAPI(n.AdsURL, b.operatorKey)
	if err := n.Ready(ctx); err != nil {
		return nil, err
	}
	if b.campaigns, err = seed(ctx, api); err != nil {
		return nil, err
	}
	api.http.CloseIdleConnections()
	if err := n.Terminate(); err != nil {
		return nil, err
	}
	h.say("%d campaigns made in %.1f s", len(b.campaigns), time.Since(began).Seconds())
	return b, nil
}

// plan is a row's world as Setup finds it.
func (h *harness) plan() *Plan {
	p := &Plan{
		Env:     map[string]string{"GAVEL_LEASE_TTL": "5s", "GAVEL_EVENT_TTL": "10s"},
		NodeEnv: make([]map[string]string, nodeCount), JournalDirs: make([]string, nodeCount),
		Rate: h.Rate, Before: 6 * time.Second, After: 5 * time.Second, RecoverWithin: 20 * time.Second, Limit: 5 * time.Minute,
	}
	for i := range p.NodeEnv {
		p.NodeEnv[i] = map[string]string{}
	}
	if h.Short {
		p.Before, p.After = 3*time.Second, 3*time.Second
		p.Env["GAVEL_EVENT_TTL"] = "5s"
	}
	if h.Before > 0 {
		p.Before, p.After = h.Before, h.Before
	}
	return p
}

// row runs one row, whatever happens in it.
func (h *harness) row(ctx context.Context, f *Fault) (row Row) {
	began := time.Now()
	row = Row{Name: f.Name, About: f.About, OverserveOK: f.OverserveOK}
	defer func() {
		row.TookSeconds = time.Since(began).Seconds()
		row.judge()
	}()
	h.rows++
	w := &World{Plan: h.plan(), databaseName: "torture_row_" + strconv.Itoa(h.rows), Stack: h.stack, RedisStack: h.stack, base: h.shared, Log: h.tell}
	if f.Setup != nil {
		row.fail(guard(func() error { f.Setup(w.Plan); return w.Plan.Err }))
	}
	defer func() { row.fail(w.stop()) }()
	if len(row.Reasons) > 0 || row.NotRun != "" {
		return row
	}
	ctx, cancel := context.WithTimeout(ctx, w.Plan.Before+w.Plan.Limit+w.Plan.RecoverWithin+w.Plan.After+spare)
	defer cancel()
	dir := filepath.Join(h.Dir, fmt.Sprintf("row-%d-%s", h.rows, f.Name))
	if err := os.Mkdir(dir, 0o700); err != nil {
		row.fail(fmt.Errorf("make folder of row: %w", err))
		return row
	}
	if err := h.place(ctx, w); err != nil {
		row.fail(err)
		return row
	}
	if err := w.build(ctx, h, dir); err != nil {
		row.fail(fmt.Errorf("start: %w", err))
		return row
	}
	if h.Fence != nil {
		w.Fence = func(ctx context.Context, id string) error { return h.Fence(ctx, w.DB.URL, id) }
	}
	h.drive(ctx, w, f, &row)
	return row
}

// spare is what a row may take beyond its plan, to start, to come to rest and to be checked.
const spare = 3 * time.Minute

// tell is World.Log.
func (h *harness) tell(format string, args ...any) { h.say("      "+format, args...) }

// place finds the row's Postgres, or starts its own.
func (h *harness) place(ctx context.Context, w *World) error {
	w.admin = h.shared.admin
	if err := h.heal(ctx); err != nil {
		return err
	}
	if w.Plan.OwnPostgres {
		own, err := startStack(ctx, devstack.Options{Postgres: true, Durable: true, Dir: w.Plan.PostgresDir})
		if err != nil {
			return err
		}
		w.later(func() error { return stopStack(own) })
		w.Stack = own
		if w.base, err = h.makeBase(ctx, own); err != nil {
			return err
		}
		w.admin = w.base.admin
		w.later(w.admin.Close)
	}
	w.Campaigns = slices.Clone(w.base.campaigns)
	return nil
}

// heal starts a service again that an earlier row has left dead or silent.
func (h *harness) heal(ctx context.Context) error {
	const patience = 5 * time.Second
	silent := func(ask func(context.Context) error) bool {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return ask(ctx) != nil
	}
	if silent(h.shared.admin.Ping) {
		h.tell("Postgres is started again")
		if err := h.stack.Restart(ctx, devstack.Postgres); err != nil {
			return fmt.Errorf("heal: %w", err)
		}
	}
	o, err := redis.ParseURL(h.stack.RedisURL)
	if err != nil {
		return errors.New("the address of Redis cannot be read")
	}
	client := redis.NewClient(o)
	defer func() { _ = client.Close() }() // it has only asked
	if silent(func(ctx context.Context) error { return client.Ping(ctx).Err() }) {
		h.tell("Redis is started again")
		if err := h.stack.Restart(ctx, devstack.Redis); err != nil {
			return fmt.Errorf("heal: %w", err)
		}
	}
	return nil
}

// guard makes a panic an error: one row must not take the others with it.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return f()
}

// drive is the row proper: load, fault, load, rest, checks.
func (h *harness) drive(ctx context.Context, w *World, f *Fault, row *Row) {
	idle := w.usage(ctx)
	loadCtx, stopLoad := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); w.Load.run(loadCtx) }()
	defer func() { stopLoad(); <-done }()
	if Wait(ctx, w.Plan.Before) != nil {
		row.fail(ctx.Err())
		return
	}
	var err error
	row.BaselineAds, err = w.baseline(ctx)
	row.fail(err)
	busy := w.usage(ctx)

	faultAt := time.Now()
	runCtx, cancel := context.WithTimeout(ctx, w.Plan.Limit)
	row.fail(guard(func() error { return f.Run(runCtx, w) }))
	cancel()
	cleared := time.Now()
	row.FaultSeconds = cleared.Sub(faultAt).Seconds()
	row.fail(w.revive(ctx))

	row.FullService = w.fullService(ctx, row.BaselineAds, cleared)
	w.Load.SetRate(0)
	if h.Short {
		w.Load.hurry() // tokens have been replayed too late in the row; those of its end need not wait for that
	}
	row.fail(w.rest(ctx))
	w.client.close()
	row.compare(w, idle, busy, w.usageAtRest(ctx, idle, busy))
	row.fail(w.end(ctx, h.Short))
	stopLoad()
	<-done
	row.Totals, row.Seconds = w.Load.Totals(), w.Load.seconds
	for _, s := range w.Diary.Served() {
		if d := s.Tokens[0].Deliveries(); !s.Tokens[0].Settled() && len(d) > 0 {
			row.Totals.NotAnswered++
		}
	}
	h.verify(ctx, w, row)
	for _, n := range w.Nodes {
		for _, text := range n.accidents() {
			row.fail(errors.New(text))
		}
	}
}

// revive starts what the fault has left dead or paused: what is in its journal must be billed.
func (w *World) revive(ctx context.Context) error {
	var errs []error
	for _, n := range w.Nodes {
		errs = append(errs, n.Resume())
		if !n.Alive() {
			w.Log("node %d is started again", n.Number)
			errs = append(errs, n.Start(ctx))
		}
	}
	return errors.Join(errs...)
}

// restPatience is what coming to rest may take beyond the time that the protocol asks for.
const restPatience = 30 * time.Second

// rest waits until every event has an answer and every journal is billed.
func (w *World) rest(ctx context.Context) error {
	errs := []error{w.Load.settle(ctx, w.EventTTL()+replayAfter+restPatience)}
	for _, n := range w.Nodes {
		errs = append(errs, Until(ctx, restPatience, fmt.Sprintf("node %d has billed its journal", n.Number), func(ctx context.Context) bool {
			v, err := n.metric(ctx, "gavel_journal_unbilled")
			return err == nil && v == 0
		}))
	}
	return errors.Join(errs...)
}

// end stops the nodes in order, which gives their leases back. What was promised on pages that nobody received, and for clicks, stays
// in escrow until no event can come any more; one node is started again to wait for that, unless the run is short.
func (w *World) end(ctx context.Context, short bool) error {
	var errs []error
	for _, n := range w.Nodes {
		errs = append(errs, n.Terminate())
	}
	escrow := func(ctx context.Context) bool {
		nanos, err := w.DB.Escrow(ctx)
		return err == nil && nanos == 0
	}
	if short || escrow(ctx) {
		return errors.Join(errs...)
	}
	if err := w.Nodes[0].Start(ctx); err != nil {
		return errors.Join(append(errs, err)...)
	}
	errs = append(errs, Until(ctx, w.EventTTL()+w.LeaseTTL()+restPatience, "nothing is in escrow", escrow), w.Nodes[0].Terminate())
	return errors.Join(errs...)
}

// verify reads the database and holds it to the diary.
func (h *harness) verify(ctx context.Context, w *World, row *Row) {
	books, err := w.DB.Books(ctx)
	if err != nil {
		row.fail(err)
		return
	}
	keys, err := parseTokenKeys(h.tokenKeys)
	if err != nil {
		row.fail(err)
		return
	}
	w.Diary.mu.Lock()
	e := evidence{
		keys: keys, served: w.Diary.served, limits: w.Diary.limits, campaigns: w.Campaigns, lost: w.Diary.lost, books: books,
		clockUnsure: w.Plan.ClockUnsure, escrowed: h.Short,
	}
	blames, more := w.Diary.faults, w.Diary.more
	w.Diary.mu.Unlock()
	row.Findings = check(e)
	for _, text := range blames {
		row.fail(errors.New(text))
	}
	if more > 0 {
		row.fail(fmt.Errorf("and %d more", more))
	}
	if row.Audit, err = h.Audit(ctx, w.DB.URL); err != nil {
		row.fail(fmt.Errorf("audit: %w", err))
	}
}

package targetbench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"time"

	"gavel/targeting"
)

// Row is one engine in one mode. Times are nanoseconds of one query.
type Row struct {
	Engine string `json:"engine"`
	Mode   string `json:"mode"` // full: all that match; top200: the best 200
	Ads    int    `json:"ads"`
	// P50NS and P99NS are CPU time of the thread that asks; wall time for an engine in another process: see Clock.
	P50NS int64 `json:"p50_ns"`
	P99NS int64 `json:"p99_ns"`
	// Allocs are allocations per query.
	Allocs int64 `json:"allocs"`
	// Bytes is what the engine needs beside the records of the ads.
	Bytes   int64   `json:"bytes"`
	BuildMS float64 `json:"build_ms"`
	// Matches are per query, on average.
	Matches float64 `json:"matches"`
	// Agrees says that the answers to the first Checked queries were those of the rule.
	Agrees bool `json:"agrees"`

	WallP50NS int64  `json:"wall_p50_ns"`
	WallP99NS int64  `json:"wall_p99_ns"`
	Clock     string `json:"clock"` // thread_cpu or wall
	// Queries are how many different ones were asked, Samples how many times one was timed.
	Queries int    `json:"queries"`
	Samples int    `json:"samples"`
	Checked int    `json:"checked"`
	Seed    uint64 `json:"seed"`
	// HeapBytes is how much the heap of this process grew while the engine was built.
	HeapBytes int64 `json:"heap_bytes"`
	// ServerNS is how long the server worked per query, on average; engines in another process only.
	ServerNS int64 `json:"server_ns,omitempty"`
	// ChangesPerS is how many ads changed per second meanwhile.
	ChangesPerS float64 `json:"changes_per_s"`
	// Skipped is why there are no figures.
	Skipped string `json:"skipped,omitempty"`
	// Wrong describes the first query that was answered wrongly.
	Wrong string `json:"wrong,omitempty"`
}

// Options say what to run.
type Options struct {
	Engines []Maker
	// Ads, Queries and Seed make the data.
	Ads, Queries int
	Seed         uint64
	Bounds       targeting.Bounds
	// Budget bounds the timing of one row; CheckBudget what the rule is given to answer on its own.
	Budget, CheckBudget time.Duration
	// ChangesPerS, if not 0, adds rows for engines that can change, while so many ads change per second.
	ChangesPerS int
	// Progress hears what happens, a line each.
	Progress io.Writer
}

// best is the k of top200.
const best = 200

// modes and what they ask for.
var modes = []struct {
	name string
	k    int
}{{"top200", best}, {"full", -1}}

// ErrStopped says that the rows are not all: the context ended.
var ErrStopped = errors.New("stopped before the end")

// Run makes the data and runs the engines on it, one after the other. The rows that it has when ctx ends come with ErrStopped.
func Run(ctx context.Context, o Options) ([]Row, error) {
	b := &bench{Options: o}
	say := func(format string, args ...any) { fmt.Fprintf(o.Progress, format+"\n", args...) }
	began := time.Now()
	var err error
	if b.data, err = NewData(ctx, o.Seed, o.Ads, o.Queries, o.Bounds); err != nil {
		return nil, orStopped(ctx, err)
	}
	say("%d ads and %d queries made in %.1f s", o.Ads, o.Queries, time.Since(began).Seconds())
	if b.want, err = b.answers(ctx, b.data.scan); err != nil {
		return nil, orStopped(ctx, err)
	}
	say("the rule has answered %d of the queries on its own after %.1f s", len(b.want), time.Since(began).Seconds())
	for _, m := range o.Engines {
		if err := b.engine(ctx, m); err != nil {
			return b.rows, orStopped(ctx, fmt.Errorf("%s: %w", m.Name, err))
		}
		say("%-12s done after %.1f s", m.Name, time.Since(began).Seconds())
	}
	return b.rows, nil
}

func orStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ErrStopped
	}
	return err
}

type bench struct {
	Options
	data *Data
	want answers
	rows []Row
}

// fewest is how many queries the rule answers, and are compared, however long it takes.
const fewest = 20

// answers are those of the rule to as many queries as there is time for.
func (b *bench) answers(ctx context.Context, scan *targeting.Scan) (answers, error) {
	began := time.Now()
	if _, err := b.data.answer(ctx, scan, 1); err != nil {
		return nil, err
	}
	each := max(time.Since(began), time.Microsecond) / time.Duration(runtime.GOMAXPROCS(0))
	return b.data.answer(ctx, scan, max(fewest, int(b.CheckBudget/max(each, 1))))
}

// engine builds one, times it in both modes and frees it.
func (b *bench) engine(ctx context.Context, m Maker) (err error) {
	before := heap()
	began := time.Now()
	e, err := m.Make(ctx, b.data)
	base := Row{Engine: m.Name, Ads: b.Ads, Seed: b.Seed, BuildMS: math.Round(float64(time.Since(began).Microseconds())/100) / 10}
	if skip, ok := errors.AsType[*Skip](err); ok {
		for _, mode := range modes {
			base.Mode, base.Skipped, base.BuildMS = mode.name, skip.Reason, 0
			b.rows = append(b.rows, base)
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close(context.WithoutCancel(ctx))) }()
	base.HeapBytes = max(0, heap()-before)
	if base.Bytes, err = e.Bytes(ctx); err != nil {
		return err
	}
	for _, mode := range modes {
		row := base
		row.Mode = mode.name
		if err := b.time(ctx, e, mode.k, b.want, &row); err != nil {
			return err
		}
		b.rows = append(b.rows, row)
	}
	if c, ok := e.(Changing); ok && b.ChangesPerS > 0 {
		return b.whileChanging(ctx, c, base)
	}
	return nil
}

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// time checks the answers, counts allocations, and times the queries, again and again, until there are enough samples or the
// budget is spent. An engine that is too slow for all queries is timed on the first ones.
func (b *bench) time(ctx context.Context, e Engine, k int, want answers, row *Row) error {
	if err := b.check(ctx, e, k, want, row); err != nil {
		return err
	}
	if err := b.allocations(ctx, e, k, row); err != nil {
		return err
	}
	return b.sample(ctx, e, k, enough, row)
}

func (b *bench) check(ctx context.Context, e Engine, k int, want answers, row *Row) error {
	row.Agrees = true
	var dst []*targeting.Ad
	deadline := time.Now().Add(2 * b.Budget)
	for i := range want {
		var err error
		if dst, err = e.Match(ctx, b.data.Queries[i], k, dst[:0]); err != nil {
			return err
		}
		row.Checked++
		if !want.isThat(i, k, dst) {
			row.Agrees = false
			if row.Wrong == "" {
				row.Wrong = fmt.Sprintf("query %d: %d ads instead of %d; %s", i, len(dst), len(want[i]), Describe(b.data.Queries[i]))
			}
		}
		if ctx.Err() != nil || row.Checked >= fewest && time.Now().After(deadline) {
			break
		}
	}
	return ctx.Err()
}

// allocations counts them over the queries that fit into a part of the budget, after check has warmed everything up.
func (b *bench) allocations(ctx context.Context, e Engine, k int, row *Row) error {
	deadline := time.Now().Add(b.Budget / 8)
	dst := make([]*targeting.Ad, 0, len(b.data.Ads))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n := int64(0)
	for _, q := range b.data.Queries {
		var err error
		if dst, err = e.Match(ctx, q, k, dst[:0]); err != nil {
			return err
		}
		if n++; time.Now().After(deadline) {
			break
		}
	}
	runtime.ReadMemStats(&after)
	row.Allocs = int64(after.Mallocs-before.Mallocs) / n // whole ones, as testing.AllocsPerRun counts
	return ctx.Err()
}

const (
	// enough samples that one in a hundred is hundreds.
	enough = 50_000
	// maxSamples are for as long as the budget lasts.
	maxSamples = 1_000_000
)

// sample times single queries on a thread of its own, until there are as many as most or the budget is spent.
func (b *bench) sample(ctx context.Context, e Engine, k, most int, row *Row) error {
	cpu, wall := make([]time.Duration, 0, most), make([]time.Duration, 0, most)
	dst := make([]*targeting.Ad, 0, len(b.data.Ads))
	remote, isRemote := e.(Remote)
	var worked int64
	var err error
	if isRemote {
		if worked, err = remote.ServerTime(ctx); err != nil {
			return err
		}
	}
	runtime.GC()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	matches := 0
	for began := time.Now(); len(cpu) < most; {
		q := b.data.Queries[len(cpu)%len(b.data.Queries)]
		at, used := time.Now(), ThreadTime()
		if dst, err = e.Match(ctx, q, k, dst[:0]); err != nil {
			return err
		}
		used = ThreadTime() - used
		took := time.Since(at)
		cpu, wall = append(cpu, used), append(wall, took)
		matches += len(dst)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) > b.Budget {
			break
		}
	}
	row.Samples, row.Queries = len(cpu), min(len(cpu), len(b.data.Queries))
	row.Matches = math.Round(float64(matches)/float64(len(cpu))*10) / 10
	row.WallP50NS, row.WallP99NS = Percentiles(wall)
	row.Clock = clockName
	row.P50NS, row.P99NS = Percentiles(cpu)
	if isRemote {
		row.Clock, row.P50NS, row.P99NS = "wall", row.WallP50NS, row.WallP99NS
		now, err := remote.ServerTime(ctx)
		if err != nil {
			return err
		}
		row.ServerNS = (now - worked) / int64(len(cpu))
	}
	return nil
}

// Percentiles sorts the list: half of it is at or below p50, 99 of 100 at or below p99.
func Percentiles(list []time.Duration) (p50, p99 int64) {
	slices.Sort(list)
	at := func(p float64) int64 { return int64(list[max(0, int(math.Ceil(p*float64(len(list))))-1)]) }
	return at(0.5), at(0.99)
}

// Agree reports whether every row that has figures has the answers of the rule.
func Agree(rows []Row) bool {
	return !slices.ContainsFunc(rows, func(r Row) bool { return r.Skipped == "" && !r.Agrees })
}

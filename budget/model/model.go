package model

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Violation is a broken invariant.
type Violation struct {
	// Seed replays the run exactly.
	Seed uint64
	// Invariant is one of docs/money-protocol.md, or "watermark" or "rest".
	Invariant string
	Detail    string
	// At is the virtual time since the start.
	At time.Duration
	// Trace is what happened last, a line each; see [Run].
	Trace []string
}

// Error says what was broken, and how to see it again.
func (v *Violation) Error() string {
	return fmt.Sprintf("seed %d, %v: %s: %s", v.Seed, v.At, v.Invariant, v.Detail)
}

// Coverage counts what happened, over one run or many: a fault that never happened was not checked.
type Coverage struct {
	Runs, Rested, Steps                                             int
	Requests, Served, Refused, Accepted, Recorded, Expired, Full    int
	Duplicates, OverClicks, OverImpressions, Closed, Refunds        int
	Crashes, Pauses, DiskStalls, LostDisks, HastyFences, Fenced     int
	Leaves                                                          int
	Outages, Slow, LostCalls, Ambiguous, Aborts, Twice, LateReplies int
	ClockJumps, LimitChanges                                        int
}

// Add adds the counts of d to c.
func (c *Coverage) Add(d *Coverage) {
	into, from := reflect.ValueOf(c).Elem(), reflect.ValueOf(d).Elem()
	for i := range into.NumField() {
		into.Field(i).SetInt(into.Field(i).Int() + from.Field(i).Int())
	}
}

// String lists the counts, a line each.
func (c *Coverage) String() string {
	var b strings.Builder
	v := reflect.ValueOf(*c)
	for i := range v.NumField() {
		fmt.Fprintf(&b, "%-16s %12d\n", v.Type().Field(i).Name, v.Field(i).Int())
	}
	return b.String()
}

// Run does the run of a seed and returns what happened; the violation is nil if every invariant held. With trace the
// violation says what led to it, at some cost.
func Run(seed uint64, trace bool) (Coverage, *Violation) { return run(seed, theRules(), trace) }

func run(seed uint64, r rules, trace bool) (Coverage, *Violation) {
	w := newWorld(seed, r, trace)
	w.start()
	w.run()
	if w.stats.Rested == 0 {
		w.oracle.fail("rest", "after %v there are %d open leases, %d deliveries", w.now, w.bank.openLeases(), w.deliveries)
	}
	w.stats.Runs = 1
	if v := w.oracle.violation; v != nil {
		v.Seed, v.Trace = seed, w.trace
		return w.stats, v
	}
	return w.stats, nil
}

// Check runs the seeds from first on, n of them, on all processors, until ctx ends or an invariant breaks. The violation is
// that of the smallest seed that was run, with its trace.
func Check(ctx context.Context, first, n uint64) (Coverage, *Violation) {
	return check(ctx, first, n, theRules())
}

func check(ctx context.Context, first, n uint64, r rules) (total Coverage, found *Violation) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := first
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next == first+n || found != nil || ctx.Err() != nil {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed, ok := take(); ok; seed, ok = take() {
				c, v := run(seed, r, false)
				mu.Lock()
				total.Add(&c)
				if v != nil && (found == nil || v.Seed < found.Seed) {
					found = v
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if found != nil {
		_, found = run(found.Seed, r, true)
	}
	return total, found
}

package model

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"gavel/budget"
	"gavel/campaign"
	"gavel/internal/money"
)

// The times of the model. Its world is small and quick: what takes an hour in production takes seconds, in proportion.
const (
	leaseTTL    = 2 * time.Second
	eventTTL    = 5 * time.Second
	callTimeout = 2500 * time.Millisecond
	faultsFor   = 25 * time.Second // then everything heals
	patience    = 10 * time.Minute // by then every lease must have closed
	maxUnbilled = 60
	maxBatch    = 8
	traceLines  = 200
)

var epoch = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

// world is one run: everything that happens is a closure in the queue, and every choice is the generator's.
type world struct {
	rng    *rand.Rand
	now    time.Duration // true time since the start; nobody in the model can read it
	queue  queue
	seq    uint64
	rules  rules
	bank   *bank
	nodes  []*node
	oracle *oracle
	days   []time.Time // the beginning of each local day, of uneven lengths
	groups []group
	// rates of the faults of this run
	lossy, abort, late, twice float64
	healed                    bool
	deliveries                int // under way
	stats                     Coverage
	trace                     []string
	tracing                   bool
}

// group is an ad group of the model.
type group struct {
	id       campaign.AdGroupID
	billable campaign.BillableEvent
	bid      money.Nanos
	// pctr is what the model predicts, ctr the truth
	pctr, ctr float64
}

type item struct {
	at  time.Duration
	seq uint64
	do  func()
}

type queue []item

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || (q[i].at == q[j].at && q[i].seq < q[j].seq)
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(item)) }
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

func newWorld(seed uint64, r rules, tracing bool) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 0x6761_7665_6c)), rules: r, tracing: tracing} //nolint:gosec // a seed must replay
	w.lossy, w.abort, w.late, w.twice = w.rng.Float64()*0.1, w.rng.Float64()*0.1, w.rng.Float64()*0.2, w.rng.Float64()*0.1
	for at := epoch.Add(-time.Hour); len(w.days) < 200; at = at.Add(w.between(8*time.Second, 20*time.Second)) {
		w.days = append(w.days, at)
		if at.Before(epoch) {
			at = epoch
		}
	}
	w.groups = []group{
		{1, campaign.BillImpression, money.Nanos(1 + w.rng.IntN(9)), 0.1, 0.1},
		{2, campaign.BillImpression, money.Nanos(1 + w.rng.IntN(9)), 0.1, 0.1},
		{3, campaign.BillClickthrough, money.Nanos(5 + w.rng.IntN(20)), 0.05 + 0.3*w.rng.Float64(), 0.05 + 0.6*w.rng.Float64()},
	}
	w.oracle = newOracle(w)
	w.bank = newBank(w)
	for range 2 + w.rng.IntN(3) {
		w.nodes = append(w.nodes, &node{w: w, id: w.newID()})
	}
	return w
}

// after schedules f; a negative delay is none.
func (w *world) after(d time.Duration, f func()) {
	w.seq++
	heap.Push(&w.queue, item{w.now + max(0, d), w.seq, f})
}

// run goes on until nothing is left to happen, the oracle has seen enough, or patience ends.
func (w *world) run() {
	for len(w.queue) > 0 && w.oracle.violation == nil && w.now < patience {
		next := heap.Pop(&w.queue).(item)
		w.now = next.at
		w.stats.Steps++
		next.do()
	}
}

func (w *world) chance(p float64) bool { return w.rng.Float64() < p }

func (w *world) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)+1))
}

func (w *world) newID() uuid.UUID {
	var id uuid.UUID
	for i := range id {
		id[i] = byte(w.rng.Uint32())
	}
	return id
}

// dayOf is the local day of a time, as a number.
func (w *world) dayOf(t time.Time) int {
	day := 0
	for day+1 < len(w.days) && !t.Before(w.days[day+1]) {
		day++
	}
	return day + 1
}

func (w *world) log(format string, args ...any) {
	if !w.tracing {
		return
	}
	if len(w.trace) == traceLines {
		w.trace = append(w.trace[:0], w.trace[1:]...)
	}
	w.trace = append(w.trace, fmt.Sprintf("%9.3fs ", w.now.Seconds())+fmt.Sprintf(format, args...))
}

// start puts everything into the queue: nodes, clients, faults, and the end of the faults.
func (w *world) start() {
	for _, n := range w.nodes {
		w.after(w.between(0, 3*time.Second), n.boot)
	}
	gap := w.between(10*time.Millisecond, 120*time.Millisecond)
	var shop func()
	shop = func() {
		if w.healed {
			return
		}
		w.askForAnAd()
		w.after(w.between(0, 2*gap), shop)
	}
	w.after(0, shop)
	w.scheduleFaults()
	w.after(faultsFor, w.heal)
}

// some schedules f at n random moments while faults happen, n up to limit.
func (w *world) some(limit int, f func()) {
	for range w.rng.IntN(limit + 1) {
		w.after(w.between(0, faultsFor), f)
	}
}

func (w *world) anyNode() *node { return w.nodes[w.rng.IntN(len(w.nodes))] }

func (w *world) scheduleFaults() {
	w.some(5, func() { w.anyNode().crash(w.between(0, 4*time.Second)) })
	w.some(4, func() { w.anyNode().pause(w.between(100*time.Millisecond, 9*time.Second)) })
	w.some(3, func() { w.anyNode().stallDisk(w.between(100*time.Millisecond, 9*time.Second)) })
	w.some(2, func() { w.anyNode().leave(w.between(0, 4*time.Second)) })
	w.some(3, func() { w.bank.outage(w.between(100*time.Millisecond, 9*time.Second)) })
	w.some(2, func() { w.bank.slow(w.between(time.Second, 5*time.Second)) })
	w.some(5, w.bank.changeLimit)
	w.some(20, w.bank.refundSome)
	if w.chance(0.4) {
		w.some(3, w.bank.jumpClock)
	}
	if w.chance(0.15) {
		w.after(w.between(0, faultsFor), func() { w.anyNode().loseDisk() })
	}
	if w.chance(0.3) {
		w.some(2, func() { w.anyNode().fenceInHaste() })
	}
	if w.chance(0.3) {
		w.after(w.between(0, faultsFor), func() {
			n := &node{w: w, id: w.newID()}
			w.nodes = append(w.nodes, n)
			n.boot()
		})
	}
}

// heal ends the faults. From now on everything must come to rest.
func (w *world) heal() {
	w.log("faults end")
	w.healed = true
	w.bank.downUntil, w.bank.slowUntil = 0, 0
	w.lossy, w.abort, w.late, w.twice = 0, 0, 0, 0
	w.after(0, w.rest)
}

// rest waits until no lease is open, no event unbilled and no delivery under way; then it ends the run.
func (w *world) rest() {
	quiet := w.deliveries == 0 && w.bank.openLeases() == 0
	for _, n := range w.nodes {
		if n.lost {
			continue
		}
		if n.proc == nil || !n.proc.joined || n.proc.unbilled() > 0 || len(n.disk) > 0 {
			quiet = false
		}
	}
	if quiet {
		w.queue = nil
		w.oracle.end()
		return
	}
	w.after(500*time.Millisecond, w.rest)
}

func tickOf(d time.Duration) budget.Tick { return budget.Tick(d) }

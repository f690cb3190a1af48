package model

import (
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"gavel/budget"
)

// node is a machine: its disk outlives its processes.
type node struct {
	w    *world
	id   uuid.UUID
	disk []budget.Event // the journal: durable, not yet trimmed
	lost bool
	proc *process
	// before is the wallet of the last process, for the weakened rule that uses it again
	before *budget.Wallet
}

// process is one run of a node.
type process struct {
	n        *node
	w        *world
	alive    bool
	joined   bool
	leaving  bool
	serving  bool
	epoch    int64
	started  time.Duration
	rate     float64 // of its ticks
	paused   time.Duration
	stalled  time.Duration
	wallet   *budget.Wallet
	intake   *budget.Intake
	clock    budget.Clock
	trimmed  int // records of disk that this process has billed and not yet trimmed
	pending  []acceptance
	syncing  bool
	billing  bool
	sentAt   map[budget.LeaseID]budget.Tick
	lastMark time.Time
}

// acceptance is an admitted event that is not yet durable.
type acceptance struct {
	event budget.Event
	ack   func()
}

func (n *node) boot() {
	if n.lost || (n.proc != nil && n.proc.alive) {
		return
	}
	p := &process{
		n: n, w: n.w, alive: true, started: n.w.now - n.w.between(0, time.Hour), rate: 1 + (n.w.rng.Float64()-0.5)*0.004,
		intake: budget.NewIntake(maxUnbilled), sentAt: map[budget.LeaseID]budget.Tick{},
	}
	fresh := budget.NewWallet(budget.WalletConfig{TTL: leaseTTL, EventTTL: eventTTL})
	p.wallet = n.w.rules.wallet(n.before, fresh)
	n.before = p.wallet
	n.proc = p
	for _, e := range n.disk {
		p.intake.Replay(e.AcceptedAt)
	}
	n.w.log("node %s boots, %d events in its journal", short(n.id), len(n.disk))
	p.join()
}

func (p *process) join() {
	var epoch int64
	var start time.Time
	skew := p.w.between(-2500*time.Millisecond, 2500*time.Millisecond)
	newest := p.intake.Newest()
	p.w.bank.call(p, func() error {
		epoch, start = p.w.bank.join(p.n.id, skew, newest)
		return nil
	}, func() {
		p.clock.Raise(p.tick(), start)
		p.epoch, p.joined, p.serving = epoch, true, true
		p.every(150*time.Millisecond, p.bill)
		p.every(250*time.Millisecond, p.grants)
		p.every(600*time.Millisecond, p.beat)
		p.every(time.Second, func() { p.w.bank.call(p, func() error { p.w.bank.closeDue(); return nil }, func() {}, func(error) {}) })
	}, func(error) { p.after(200*time.Millisecond, p.join) })
}

func (p *process) tick() budget.Tick {
	return tickOf(time.Duration(float64(p.w.now-p.started) * p.rate))
}

func (p *process) time() time.Time { return p.clock.Now(p.tick()) }

// after runs f in this process: not once it is dead, and not while it is paused.
func (p *process) after(d time.Duration, f func()) {
	p.w.after(d, func() {
		switch {
		case !p.alive:
		case p.w.now < p.paused:
			p.after(p.paused-p.w.now, f)
		default:
			f()
		}
	})
}

func (p *process) every(d time.Duration, f func()) {
	f()
	p.after(d, func() { p.every(d, f) })
}

func (p *process) unbilled() int { return p.intake.Unbilled() }

// die ends the process, as kill -9 does.
func (p *process) die() {
	p.alive, p.joined, p.serving = false, false, false
	p.n.proc = nil
}

func (n *node) crash(away time.Duration) {
	if n.proc == nil {
		return
	}
	n.w.stats.Crashes++
	n.w.log("node %s crashes", short(n.id))
	n.proc.die()
	n.w.after(away, n.boot)
}

func (n *node) pause(d time.Duration) {
	if n.proc != nil {
		n.w.stats.Pauses++
		n.w.log("node %s is paused for %v", short(n.id), d)
		n.proc.paused = n.w.now + d
	}
}

func (n *node) stallDisk(d time.Duration) {
	if n.proc != nil {
		n.w.stats.DiskStalls++
		n.proc.stalled = n.w.now + d
	}
}

// loseDisk ends a node for good. Somebody fences it a while later.
func (n *node) loseDisk() {
	if n.lost {
		return
	}
	n.w.stats.LostDisks++
	n.w.log("node %s is lost with %d events in its journal", short(n.id), len(n.disk))
	for _, e := range n.disk {
		n.w.oracle.excused[e.EventID] = true
	}
	n.w.oracle.gaveUp = true
	if n.proc != nil {
		n.proc.die()
	}
	n.disk, n.lost = nil, true
	n.w.after(n.w.between(0, 5*time.Second), n.fence)
}

// fence is an operator who has seen that the node is gone, and looks again: a call of it may still be on its way.
func (n *node) fence() {
	n.w.bank.fence(n.id)
	n.w.after(5*time.Second, n.fence)
}

// fenceInHaste is an operator who gives up a node that comes back: what its journal held may be over-served then.
func (n *node) fenceInHaste() {
	if n.lost {
		return
	}
	n.w.stats.HastyFences++
	n.w.oracle.gaveUp = true
	if n.w.chance(0.5) {
		n.crash(n.w.between(5*time.Second, 20*time.Second))
	} else {
		n.pause(n.w.between(5*time.Second, 20*time.Second))
	}
	n.w.log("node %s is fenced, but not gone", short(n.id))
	n.w.bank.fence(n.id)
}

// leave is a graceful stop: no more ads, no more events, bill, give back, leave. The node comes back later.
func (n *node) leave(away time.Duration) {
	p := n.proc
	if p == nil || !p.joined || p.leaving {
		return
	}
	n.w.log("node %s stops", short(n.id))
	n.w.stats.Leaves++
	p.leaving, p.serving = true, false
	var finish func()
	finish = func() {
		if len(p.pending) > 0 || p.syncing || !p.w.rules.mayLeave(p.unbilled()) {
			p.after(100*time.Millisecond, finish)
			return
		}
		promises := p.sorted(p.wallet.TakeAll(p.tick()))
		mark := p.w.rules.watermark(p, p.time())
		p.w.bank.call(p, func() error { p.w.bank.giveBack(promises); return nil }, func() {}, func(error) {})
		p.w.bank.call(p, func() error { _, err := p.w.bank.beat(n.id, p.epoch, mark); return err }, func() {
			p.w.bank.call(p, func() error { return p.w.bank.leave(n.id, p.epoch) }, func() {
				p.die()
				n.w.after(away, n.boot)
			}, func(error) { n.crash(away) })
		}, func(error) { n.crash(away) })
	}
	p.after(0, finish)
}

func (p *process) sorted(promises []budget.Promise) []budget.Promise {
	for i := range promises {
		promises[i] = p.w.rules.promise(promises[i])
	}
	slices.SortFunc(promises, func(a, b budget.Promise) int { return int(a.LeaseID - b.LeaseID) })
	return promises
}

// fenced ends the process when Postgres does not know it any more, as the server does.
func (p *process) fenced(err error) bool {
	if errors.Is(err, budget.ErrFenced) && p.alive {
		p.w.stats.Fenced++
		p.n.crash(p.w.between(0, time.Second))
		return true
	}
	return false
}

func (p *process) grants() {
	if p.leaving {
		return
	}
	wants := p.wallet.Wants(p.tick(), func() uuid.UUID { return uuid.Nil })
	slices.SortFunc(wants, func(a, b budget.Want) int { // the wallet's order is that of a map
		return int(a.Key.AdGroupID-b.Key.AdGroupID)*1000 + a.Key.Day - b.Key.Day
	})
	for i := range wants {
		wants[i].RequestID = p.w.newID()
	}
	if len(wants) > 0 {
		var answers []budget.Granted
		nodeNow := p.time()
		p.w.bank.call(p, func() (err error) {
			got, err := p.w.bank.grant(p.n.id, p.epoch, nodeNow, wants)
			if answers == nil {
				answers = got
			}
			return err
		}, func() {
			for _, g := range answers {
				p.sentAt[g.LeaseID] = max(p.sentAt[g.LeaseID], g.Want.Sent)
				g.Want.Sent = p.w.rules.sent(g.Want.Sent, p.tick())
				p.wallet.Settle(p.tick(), g)
			}
		}, func(err error) {
			for _, want := range wants {
				p.wallet.Failed(want)
			}
			p.fenced(err)
		})
	}
	if ended := p.sorted(p.wallet.Expired(p.tick())); len(ended) > 0 {
		p.w.bank.call(p, func() error { p.w.bank.giveBack(ended); return nil }, func() {}, func(error) {})
	}
}

func (p *process) beat() {
	mark := p.w.rules.watermark(p, p.time())
	var postgres time.Time
	p.w.bank.call(p, func() (err error) { postgres, err = p.w.bank.beat(p.n.id, p.epoch, mark); return err },
		func() { p.w.rules.raise(p, postgres) }, func(err error) { p.fenced(err) })
}

// accept takes an event from a client; ack is called when the client is told that it was accepted.
func (p *process) accept(e budget.Event, expires time.Time, ack func()) error {
	now := p.time()
	if err := p.w.rules.accept(p, now, expires); err != nil {
		return err
	}
	e.AcceptedAt = now
	p.pending = append(p.pending, acceptance{e, ack})
	if p.w.rules.acknowledge(false) {
		ack()
	}
	if !p.syncing {
		p.sync()
	}
	return nil
}

// sync makes what is pending durable: one group at a time.
func (p *process) sync() {
	group := p.pending
	p.pending, p.syncing = nil, len(group) > 0
	if !p.syncing {
		return
	}
	d := p.w.between(500*time.Microsecond, 5*time.Millisecond)
	if p.w.now < p.stalled {
		d += p.stalled - p.w.now
	}
	p.after(d, func() {
		for _, a := range group {
			p.n.disk = append(p.n.disk, a.event)
			p.after(p.w.between(0, time.Millisecond), a.ack)
		}
		p.sync()
	})
}

// bill commits the oldest events of the journal, again until the outcome is known.
func (p *process) bill() {
	ready := p.n.disk[min(p.trimmed, len(p.n.disk)):]
	if p.billing || len(ready) == 0 {
		p.trim()
		return
	}
	batch := slices.Clone(ready[:min(len(ready), maxBatch)])
	p.billing = true
	done := func(known bool) {
		p.billing = false
		if !p.w.rules.forget(known) {
			return
		}
		p.intake.Billed(len(batch))
		for _, e := range batch {
			if e.Kind == budget.Click {
				p.wallet.Clicked(p.tick(), e.AcceptedAt.Sub(p.w.oracle.tokens[e.ImpressionID].servedAt))
			}
		}
		p.trimmed += len(batch)
		if p.w.chance(0.3) {
			p.trim()
		}
		p.bill()
	}
	p.w.bank.call(p, func() error { p.w.bank.commit(batch); return nil }, func() { done(true) }, func(error) { done(false) })
}

func (p *process) trim() {
	p.n.disk = p.n.disk[p.trimmed:]
	p.trimmed = 0
}

package model

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"gavel/budget"
	"gavel/internal/money"
)

var errDown = errors.New("no answer")

// bank is Postgres: its methods are transactions.
type bank struct {
	w             *world
	books         *budget.Books
	periods       map[periodKey]int64
	members       map[uuid.UUID]*budget.Member
	closedThrough time.Time
	events        map[budget.EventID]*budget.Entry
	refunded      map[budget.EventID]money.Nanos
	granted       map[uuid.UUID]budget.LeaseID
	limits        map[int]money.Nanos // by line; absent: the line only counts
	nextLease     budget.LeaseID

	offset               time.Duration // how far its clock is from true time
	downUntil, slowUntil time.Duration
}

// periodKey is a budget line in a period; day 0 is the lifetime.
type periodKey struct{ line, day int }

// The lines: each ad group's day, the campaign's lifetime, the account's day.
const (
	campaignLine = 10
	accountLine  = 20
)

func newBank(w *world) *bank {
	b := &bank{
		w: w, books: &budget.Books{Periods: map[int64]*budget.Period{}, Leases: map[budget.LeaseID]*budget.Lease{}},
		periods: map[periodKey]int64{}, members: map[uuid.UUID]*budget.Member{}, closedThrough: epoch.Add(-24 * time.Hour),
		events: map[budget.EventID]*budget.Entry{}, refunded: map[budget.EventID]money.Nanos{}, granted: map[uuid.UUID]budget.LeaseID{},
		limits: map[int]money.Nanos{},
	}
	for _, g := range w.groups {
		b.limits[int(g.id)] = money.Nanos(20 + w.rng.IntN(400))
	}
	if w.chance(0.7) {
		b.limits[campaignLine] = money.Nanos(50 + w.rng.IntN(1500))
	}
	if w.chance(0.5) {
		b.limits[accountLine] = money.Nanos(50 + w.rng.IntN(600))
	}
	return b
}

func (b *bank) now() time.Time { return epoch.Add(b.w.now + b.offset).Truncate(time.Microsecond) }

func linesOf(k budget.Key) []periodKey {
	return []periodKey{{int(k.AdGroupID), k.Day}, {campaignLine, 0}, {accountLine, k.Day}}
}

func (b *bank) periodsOf(k budget.Key) []int64 {
	keys := linesOf(k)
	ids := make([]int64, len(keys))
	for i, pk := range keys {
		id, ok := b.periods[pk]
		if !ok {
			id = int64(len(b.periods) + 1)
			b.periods[pk] = id
			limit, limited := b.limits[pk.line]
			b.books.Periods[id] = &budget.Period{ID: id, Limited: limited, Limit: limit, Cap: limit}
			b.w.oracle.periodOpened(id, pk, limited, limit)
		}
		ids[i] = id
	}
	return ids
}

func (b *bank) join(id uuid.UUID, skew time.Duration, newest time.Time) (epoch int64, start time.Time) {
	m := b.members[id]
	if m == nil {
		m = &budget.Member{ID: id}
		b.members[id] = m
	}
	before := m.Watermark
	start = b.w.rules.join(m, b.now().Add(skew), b.closedThrough, newest)
	b.w.oracle.watermark(before, m.Watermark)
	b.w.log("join %s: epoch %d, clock starts at %s", short(id), m.Epoch, stamp(start))
	return m.Epoch, start
}

func (b *bank) member(id uuid.UUID) *budget.Member {
	if m := b.members[id]; m != nil {
		return m
	}
	return &budget.Member{}
}

func (b *bank) grant(id uuid.UUID, epoch int64, nodeNow time.Time, wants []budget.Want) ([]budget.Granted, error) {
	if err := b.member(id).Check(epoch); err != nil {
		return nil, err
	}
	live := 0
	for _, m := range b.members {
		if m.State == budget.Live {
			live++
		}
	}
	answers := make([]budget.Granted, len(wants))
	for i, want := range wants {
		if known, ok := b.granted[want.RequestID]; ok && want.Extend == 0 {
			l := b.books.Leases[known]
			answers[i] = budget.Granted{Want: want, LeaseID: known, Amount: l.Amount, Posted: l.Posted, MaxExp: l.MaxExp}
			continue
		}
		periods := b.periodsOf(want.Key)
		maxExp := budget.MaxExp(b.now(), nodeNow, leaseTTL, eventTTL)
		g := b.w.rules.answer(b, want, periods, live, maxExp)
		if want.Extend == 0 && g.Amount > 0 {
			b.nextLease++
			g.LeaseID = b.nextLease
			b.books.Leases[g.LeaseID] = &budget.Lease{ID: g.LeaseID, PeriodIDs: periods, Amount: g.Amount, MaxExp: maxExp, Open: true}
			b.granted[want.RequestID] = g.LeaseID
		}
		g.Behind = b.behind()
		b.w.log("grant to %s for %v: lease %d, %d, until %s", short(id), want.Key, g.LeaseID, g.Amount, stamp(g.MaxExp))
		answers[i] = g
	}
	return answers, nil
}

// behind is how far posting is behind.
func (b *bank) behind() time.Duration {
	if through, ok := budget.Through(b.list()); ok {
		return max(0, b.now().Sub(through))
	}
	return 0
}

func (b *bank) giveBack(promises []budget.Promise) {
	for _, p := range promises {
		b.books.Shrink(p.LeaseID, p.Amount)
		b.w.log("lease %d keeps %d", p.LeaseID, p.Amount)
	}
}

func (b *bank) beat(id uuid.UUID, epoch int64, watermark time.Time) (time.Time, error) {
	m := b.member(id)
	before := m.Watermark
	err := m.Beat(epoch, watermark)
	b.w.oracle.watermark(before, m.Watermark)
	return b.now(), err
}

func (b *bank) leave(id uuid.UUID, epoch int64) error { return b.member(id).Leave(epoch) }

func (b *bank) fence(id uuid.UUID) { b.member(id).Fence() }

func (b *bank) closeDue() {
	through, ok := b.w.rules.through(b, b.list())
	if !ok {
		return
	}
	before := b.books
	if closed := before.CloseThrough(through); closed > 0 {
		b.w.stats.Closed += closed
		b.w.log("closed %d leases through %s", closed, stamp(through))
		if through.After(b.closedThrough) {
			b.closedThrough = through
		}
	}
}

func (b *bank) list() []budget.Member {
	list := make([]budget.Member, 0, len(b.members))
	for _, m := range b.members {
		list = append(list, *m)
	}
	return list
}

func (b *bank) commit(events []budget.Event) []budget.Outcome {
	known := map[budget.EventID]bool{}
	for _, e := range events {
		if b.w.rules.recorded(b, e.EventID) {
			known[e.EventID] = true
		}
	}
	outcomes, entries := b.w.rules.bill(b, events, known)
	for _, e := range entries {
		b.events[e.EventID] = &e
		b.w.oracle.billed(e)
		b.w.log("event %s %s: %s %d (free %d) on lease %d", short(e.ImpressionID), e.Kind, e.Outcome, e.Charge, e.Free, e.LeaseID)
	}
	return outcomes
}

// refundSome is an operator who gives a few events back, some of them again.
func (b *bank) refundSome() {
	ids := slices.SortedFunc(maps.Keys(b.events), func(x, y budget.EventID) int {
		return cmp.Or(slices.Compare(x.ImpressionID[:], y.ImpressionID[:]), cmp.Compare(x.Kind, y.Kind))
	})
	if len(ids) == 0 {
		return
	}
	id := ids[b.w.rng.IntN(min(len(ids), 5))]
	e := b.events[id]
	_, refunded := b.refunded[id]
	if !b.w.rules.refundable(e.Charge > 0, refunded) {
		return
	}
	b.w.stats.Refunds++
	_ = b.transact(func() error { // it cannot fail; a panic is the oracle's
		b.refunded[id] += e.Charge
		b.w.oracle.refunded(*e)
		b.books.Refund(e.LeaseID, e.Charge)
		return nil
	})
}

// changeLimit is an advertiser; what a cut does to rows that exist is campaign/postgres's: the cap stays above what is promised.
func (b *bank) changeLimit() {
	lines := slices.Sorted(maps.Keys(b.limits))
	line := lines[b.w.rng.IntN(len(lines))]
	limit := money.Nanos(b.w.rng.IntN(400))
	b.limits[line] = limit
	b.w.stats.LimitChanges++
	b.w.log("limit of line %d is %d", line, limit)
	for pk, id := range b.periods {
		if pk.line == line {
			p := b.books.Periods[id]
			p.Limit = limit
			p.Cap = max(limit, p.Posted+p.Escrow)
			b.w.oracle.limitChanged(id, limit)
		}
	}
	b.check()
}

func (b *bank) openLeases() (n int) {
	for _, l := range b.books.Leases {
		if l.Open {
			n++
		}
	}
	return n
}

func (b *bank) outage(d time.Duration) {
	b.w.stats.Outages++
	b.w.log("Postgres is down for %v", d)
	b.downUntil = b.w.now + d
}

func (b *bank) slow(d time.Duration) {
	b.w.stats.Slow++
	b.slowUntil = b.w.now + d
}

func (b *bank) jumpClock() {
	jumps := []time.Duration{2500 * time.Millisecond, 10 * time.Second, time.Minute}
	d := jumps[b.w.rng.IntN(len(jumps))]
	if b.w.chance(0.5) {
		d = -d
	}
	b.w.stats.ClockJumps++
	b.w.log("the clock of Postgres jumps by %v", d)
	b.offset += d
}

// call is a trip to Postgres from p. do is the transaction; its answer goes to reply, or fail is called: then p does not know
// whether it was done. do may run after fail, and twice.
func (b *bank) call(p *process, do func() error, reply func(), fail func(error)) {
	w := b.w
	delay := func() time.Duration {
		d := w.between(200*time.Microsecond, 15*time.Millisecond)
		if w.now < b.slowUntil {
			d += w.between(0, time.Second)
		}
		if w.chance(w.late) {
			d += w.between(0, 4*time.Second)
		}
		return d
	}
	answered := false
	p.after(callTimeout, func() {
		if !answered {
			answered = true
			fail(errDown)
		}
	})
	lost := func() { w.stats.LostCalls++ }
	execute := func(first bool) {
		switch {
		case w.now < b.downUntil:
			if first {
				p.after(0, func() {
					if !answered {
						answered = true
						fail(errDown)
					}
				})
			}
			return
		case w.chance(w.abort):
			w.stats.Aborts++
			return
		}
		err := b.transact(do)
		if !first {
			w.stats.Twice++
			return
		}
		if w.chance(w.lossy) {
			w.stats.Ambiguous++
			return
		}
		p.after(delay(), func() {
			if answered {
				w.stats.LateReplies++
				return
			}
			answered = true
			if err != nil {
				fail(err)
				return
			}
			reply()
		})
	}
	if w.chance(w.lossy) {
		lost()
		return
	}
	w.after(delay(), func() { execute(true) })
	if w.chance(w.twice) {
		w.after(delay()+delay(), func() { execute(false) })
	}
}

// transact runs a transaction; a rule that would break an invariant panics, as in the server.
func (b *bank) transact(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			b.w.oracle.fail("I1", "a rule refused: %v", r)
			err = errDown
		}
	}()
	err = do()
	b.check()
	return err
}

func (b *bank) check() { b.w.oracle.check() }

func short(id uuid.UUID) string { return id.String()[:4] }

func stamp(t time.Time) string { return t.Sub(epoch).String() }

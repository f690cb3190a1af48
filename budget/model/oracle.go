package model

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"gavel/budget"
	"gavel/campaign"
	"gavel/internal/money"
)

// oracle knows what clients were shown and told and what was charged, and judges it with sums of its own.
type oracle struct {
	w         *world
	tokens    map[uuid.UUID]*token
	told      map[budget.EventID]bool // accepted, as a client was told
	excused   map[budget.EventID]bool // was in a journal that is lost
	charges   map[budget.EventID]money.Nanos
	posted    map[int64]money.Nanos // by period
	allowed   map[int64]money.Nanos // the most that may be posted in a limited period
	limited   map[int64]bool
	keys      map[periodKey]int64
	gaveUp    bool // a node was fenced: what its journal held may be over-served
	checks    int
	violation *Violation
}

func newOracle(w *world) *oracle {
	return &oracle{
		w: w, tokens: map[uuid.UUID]*token{}, told: map[budget.EventID]bool{}, excused: map[budget.EventID]bool{},
		charges: map[budget.EventID]money.Nanos{}, posted: map[int64]money.Nanos{}, allowed: map[int64]money.Nanos{},
		limited: map[int64]bool{}, keys: map[periodKey]int64{},
	}
}

func (o *oracle) fail(invariant, format string, args ...any) {
	if o.violation == nil {
		o.violation = &Violation{Invariant: invariant, Detail: fmt.Sprintf(format, args...), At: o.w.now}
		o.w.log("%s: %s", invariant, o.violation.Detail)
	}
}

func (o *oracle) periodOpened(id int64, key periodKey, limited bool, limit money.Nanos) {
	o.keys[key], o.limited[id], o.allowed[id] = id, limited, limit
}

// limitChanged: what was promised before a cut may still be spent.
func (o *oracle) limitChanged(id int64, limit money.Nanos) {
	if limit >= o.allowed[id] {
		o.allowed[id] = limit
		return
	}
	o.allowed[id] = max(limit, o.posted[id]+o.escrow()[id])
}

// escrow is what open leases hold, by period.
func (o *oracle) escrow() map[int64]money.Nanos {
	sums := map[int64]money.Nanos{}
	for _, l := range o.w.bank.books.Leases {
		if !l.Open {
			continue
		}
		if l.Posted < 0 || l.Posted > l.Amount {
			o.fail("I6", "lease %d: posted %d of %d", l.ID, l.Posted, l.Amount)
		}
		for _, id := range l.PeriodIDs {
			sums[id] += l.Amount - l.Posted
		}
	}
	return sums
}

func (o *oracle) served(t *token) {
	o.tokens[t.event.ImpressionID] = t
	if l := o.w.bank.books.Leases[t.event.LeaseID]; t.exp.After(l.MaxExp) {
		o.fail("I6", "a token on lease %d expires %v after the lease", l.ID, t.exp.Sub(l.MaxExp))
	}
}

func (o *oracle) accepted(e budget.Event) {
	o.w.stats.Accepted++
	o.told[e.EventID] = true
}

func (o *oracle) watermark(before, after time.Time) {
	if after.Before(before) {
		o.fail("watermark", "went back from %s to %s", stamp(before), stamp(after))
	}
}

// billed judges a charge against the token that the client got.
func (o *oracle) billed(e budget.Entry) {
	t := o.tokens[e.ImpressionID]
	price := money.Nanos(0)
	if pays := t.group.billable == campaign.BillClickthrough; pays == (e.Kind == budget.Click) {
		price = t.group.bid
	}
	o.w.stats.Recorded++
	if before, again := o.charges[e.EventID]; again {
		o.fail("I2", "event %s %s was recorded twice: charged %d, then %d", short(e.ImpressionID), e.Kind, before, e.Charge)
	}
	o.charges[e.EventID] = e.Charge
	switch e.Outcome {
	case budget.Billed:
		if e.Charge != price {
			o.fail("I4", "event %s %s costs %d and was charged %d", short(e.ImpressionID), e.Kind, price, e.Charge)
		}
	case budget.OverBudget:
		if e.Charge != 0 {
			o.fail("I4", "event %s %s is over budget and was charged %d", short(e.ImpressionID), e.Kind, e.Charge)
		}
		if e.Kind == budget.Click {
			o.w.stats.OverClicks++
		} else {
			o.w.stats.OverImpressions++
			if !o.gaveUp {
				o.fail("I8", "impression %s was accepted in time and cannot be billed: lease %d", short(e.ImpressionID), e.LeaseID)
			}
		}
	default:
		o.fail("I3", "event %s %s is %s", short(e.ImpressionID), e.Kind, e.Outcome)
	}
	for _, pk := range linesOf(t.key) {
		o.posted[o.keys[pk]] += e.Charge
	}
}

func (o *oracle) refunded(e budget.Entry) {
	o.charges[e.EventID] -= e.Charge
	if o.charges[e.EventID] < 0 {
		o.fail("I4", "event %s %s was refunded more than it was charged", short(e.ImpressionID), e.Kind)
	}
	for _, pk := range linesOf(o.tokens[e.ImpressionID].key) {
		o.posted[o.keys[pk]] -= e.Charge
	}
}

// check looks at the books after a transaction.
func (o *oracle) check() {
	o.checks++
	for id, p := range o.w.bank.books.Periods {
		switch {
		case p.Posted < 0 || p.Escrow < 0:
			o.fail("I1", "period %d: posted %d, escrow %d", id, p.Posted, p.Escrow)
		case p.Posted != o.posted[id]:
			o.fail("I4", "period %d: posted %d, the events say %d", id, p.Posted, o.posted[id])
		case o.limited[id] && o.posted[id] > o.allowed[id]:
			o.fail("I1", "period %d: %d spent of %d", id, o.posted[id], o.allowed[id])
		}
	}
	if o.checks%8 == 0 {
		o.checkEscrow()
	}
}

func (o *oracle) checkEscrow() {
	held := o.escrow()
	for id, p := range o.w.bank.books.Periods {
		if p.Escrow != held[id] {
			o.fail("I6", "period %d: escrow %d, open leases hold %d", id, p.Escrow, held[id])
		}
		if o.limited[id] && p.Posted+p.Escrow > o.allowed[id] {
			o.fail("I1", "period %d: posted %d + escrow %d of %d", id, p.Posted, p.Escrow, o.allowed[id])
		}
	}
}

// end judges the world at rest.
func (o *oracle) end() {
	o.check()
	o.checkEscrow()
	for id := range o.told {
		if o.w.bank.events[id] == nil && !o.excused[id] {
			o.fail("I3", "event %s %s was accepted and has no outcome", short(id.ImpressionID), id.Kind)
		}
	}
	for id, p := range o.w.bank.books.Periods {
		if p.Escrow != 0 {
			o.fail("I6", "period %d: escrow %d at rest", id, p.Escrow)
		}
	}
	o.w.stats.Rested++
}

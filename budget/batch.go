package budget

import (
	"time"

	"gavel/internal/money"
)

// Entry is what a batch records of one new event.
type Entry struct {
	Event
	Outcome Outcome
	// Charge is the price, or 0; Free the part of it that did not come out of the lease.
	Charge, Free money.Nanos
}

// Bill decides a batch, in its order: one outcome per event, and the entries of those that are new. known are the events of
// the batch that are recorded already; Bill adds the new ones to it. The caller has locked the books of every lease of the
// batch before it looked for the known ones, and records entries and books in one transaction.
func (b *Books) Bill(events []Event, known map[EventID]bool) (outcomes []Outcome, entries []Entry) {
	outcomes = make([]Outcome, len(events))
	for i, e := range events {
		if known[e.EventID] {
			outcomes[i] = Duplicate
			continue
		}
		known[e.EventID] = true
		charge, free, outcome := b.Post(e.LeaseID, e.Price)
		outcomes[i] = outcome
		entries = append(entries, Entry{Event: e, Outcome: outcome, Charge: charge, Free: free})
	}
	return outcomes, entries
}

// Reasons of a grant that was not made, beside the names of exhausted lines.
const (
	// BlockedNotActive: the ad group may not serve now.
	BlockedNotActive = "NOT ACTIVE"
	// BlockedLeaseClosed: the lease that was to be extended is closed.
	BlockedLeaseClosed = "LEASE CLOSED"
)

// MaxExp bounds the expiry of every token that may draw on a lease granted now. It looks at both clocks: one that is ahead
// only delays the closing of the lease, while tokens that expire before they are served would bill nothing.
func MaxExp(postgres, node time.Time, ttl, eventTTL time.Duration) time.Time {
	return latest(postgres, node).Add(ttl + eventTTL)
}

// Answer decides one want on the locked books. periodIDs are the lines that the ad group's charges count against on that day.
// A new lease (Amount > 0, LeaseID 0) is for the caller to number and record; an extended one is changed in the books.
func (b *Books) Answer(w Want, periodIDs []int64, nodes int, maxExp time.Time) Granted {
	g := Granted{Want: w, MaxExp: maxExp}
	size := GrantSize{PriceMax: w.PriceMax, Wish: w.Wish, Nodes: nodes}
	if w.Extend == 0 {
		g.Amount, g.BlockedBy = b.Grant(periodIDs, size)
		return g
	}
	lease := b.Leases[w.Extend]
	if lease == nil || !lease.Open {
		g.BlockedBy = BlockedLeaseClosed
		return g
	}
	if w.Wish > 0 {
		var more money.Nanos
		more, g.BlockedBy = b.Grant(lease.PeriodIDs, size)
		lease.Amount += more
	}
	lease.MaxExp = latest(lease.MaxExp, maxExp)
	g.LeaseID, g.Amount, g.Posted, g.MaxExp = lease.ID, lease.Amount, lease.Posted, lease.MaxExp
	return g
}

// CloseThrough closes the locked leases that no event can reach any more, because the tokens on them expired before through
// (see [Through]), and returns how many. It looks at the leases as they are locked, not as they were when they were found.
func (b *Books) CloseThrough(through time.Time) (closed int) {
	for id, l := range b.Leases {
		if l.Open && l.MaxExp.Before(through) {
			b.Close(id)
			closed++
		}
	}
	return closed
}

// Refund gives amount of what an event on the lease was charged back to every line. The caller has seen that the event was
// charged at least that and was not refunded before, and records the refund in the same transaction. The lease itself stays
// as it was: what was posted to it does not become escrow again.
func (b *Books) Refund(id LeaseID, amount money.Nanos) {
	for _, pid := range b.Leases[id].PeriodIDs {
		p := b.period(pid)
		p.Posted -= amount
		p.settle()
	}
}

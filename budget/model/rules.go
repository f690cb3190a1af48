package model

import (
	"time"

	"gavel/budget"
)

// rules are the decisions of the protocol and the order of a node's steps. The server's are below; the tests of this package
// weaken one at a time and expect the oracle to notice.
type rules struct {
	// on Postgres
	answer     func(b *bank, w budget.Want, periodIDs []int64, nodes int, maxExp time.Time) budget.Granted
	bill       func(b *bank, events []budget.Event, known map[budget.EventID]bool) ([]budget.Outcome, []budget.Entry)
	recorded   func(b *bank, id budget.EventID) bool
	through    func(b *bank, members []budget.Member) (time.Time, bool)
	join       func(m *budget.Member, now, closedThrough, newest time.Time) time.Time
	refundable func(charged, refunded bool) bool
	// on a node
	accept      func(p *process, now, expires time.Time) error
	watermark   func(p *process, now time.Time) time.Time
	expires     func(r budget.Reservation, servedAt time.Time) time.Time
	sent        func(sent, received budget.Tick) budget.Tick
	promise     func(p budget.Promise) budget.Promise
	raise       func(p *process, postgres time.Time)
	wallet      func(before, fresh *budget.Wallet) *budget.Wallet
	acknowledge func(durable bool) bool
	forget      func(outcomeKnown bool) bool
	mayLeave    func(unbilled int) bool
}

func theRules() rules {
	return rules{
		answer: func(b *bank, w budget.Want, periodIDs []int64, nodes int, maxExp time.Time) budget.Granted {
			return b.books.Answer(w, periodIDs, nodes, maxExp)
		},
		bill: func(b *bank, events []budget.Event, known map[budget.EventID]bool) ([]budget.Outcome, []budget.Entry) {
			return b.books.Bill(events, known)
		},
		recorded:    func(b *bank, id budget.EventID) bool { return b.events[id] != nil },
		through:     func(_ *bank, members []budget.Member) (time.Time, bool) { return budget.Through(members) },
		join:        (*budget.Member).Join,
		refundable:  func(charged, refunded bool) bool { return charged && !refunded },
		accept:      func(p *process, now, expires time.Time) error { return p.intake.Accept(now, expires) },
		watermark:   func(p *process, now time.Time) time.Time { return p.intake.Watermark(now) },
		expires:     func(r budget.Reservation, servedAt time.Time) time.Time { return r.Expires(servedAt, eventTTL) },
		sent:        func(sent, _ budget.Tick) budget.Tick { return sent },
		promise:     func(p budget.Promise) budget.Promise { return p },
		raise:       func(p *process, postgres time.Time) { p.clock.Raise(p.tick(), postgres) },
		wallet:      func(_, fresh *budget.Wallet) *budget.Wallet { return fresh },
		acknowledge: func(durable bool) bool { return durable },
		forget:      func(outcomeKnown bool) bool { return outcomeKnown },
		mayLeave:    func(unbilled int) bool { return unbilled == 0 },
	}
}

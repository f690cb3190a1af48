package model

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/budget"
	"gavel/internal/money"
)

// mutants are the rules with one of them weakened. Each is a mistake that somebody could make, and each must be found.
var mutants = []struct {
	name, about string
	weaken      func(*rules)
}{
	{"no escrow", "a grant checks what is free and takes nothing", func(r *rules) {
		r.answer = func(b *bank, w budget.Want, ids []int64, nodes int, maxExp time.Time) budget.Granted {
			g := b.books.Answer(w, ids, nodes, maxExp)
			if w.Extend == 0 {
				for _, id := range ids {
					b.books.Periods[id].Escrow -= g.Amount
				}
			}
			return g
		}
	}},
	{"grant past the limit", "a grant looks at the ad group's own line only", func(r *rules) {
		r.answer = func(b *bank, w budget.Want, ids []int64, nodes int, maxExp time.Time) budget.Granted {
			if w.Extend != 0 {
				return b.books.Answer(w, ids, nodes, maxExp)
			}
			g := b.books.Answer(w, ids[:1], nodes, maxExp)
			for _, id := range ids[1:] {
				b.books.Periods[id].Escrow += g.Amount
			}
			return g
		}
	}},
	{"non-idempotent batch", "a batch that is tried again is billed again", func(r *rules) {
		r.recorded = func(*bank, budget.EventID) bool { return false }
	}},
	{"no dedupe within a batch", "two deliveries in one batch are both charged", func(r *rules) {
		r.bill = func(b *bank, events []budget.Event, known map[budget.EventID]bool) (outcomes []budget.Outcome, entries []budget.Entry) {
			for _, e := range events {
				one := map[budget.EventID]bool{e.EventID: known[e.EventID]}
				o, en := b.books.Bill([]budget.Event{e}, one)
				outcomes, entries = append(outcomes, o...), append(entries, en...)
			}
			return outcomes, entries
		}
	}},
	{"ack before fsync", "the client is told before the disk has the event", func(r *rules) {
		r.acknowledge = func(bool) bool { return true }
	}},
	{"outage taken for an outcome", "a batch whose answer did not come is forgotten", func(r *rules) {
		r.forget = func(bool) bool { return true }
	}},
	{"close by clock", "a lease closes when Postgres's clock has passed its max_exp", func(r *rules) {
		r.through = func(b *bank, _ []budget.Member) (time.Time, bool) { return b.now(), true }
	}},
	{"close early", "a lease closes when it is no longer served from", func(r *rules) {
		r.through = func(_ *bank, members []budget.Member) (time.Time, bool) {
			through, ok := budget.Through(members)
			return through.Add(eventTTL), ok
		}
	}},
	{"newest watermark", "a lease closes when one node has passed it", func(r *rules) {
		r.through = func(_ *bank, members []budget.Member) (newest time.Time, ok bool) {
			for _, m := range members {
				if m.State == budget.Live && m.Watermark.After(newest) {
					newest, ok = m.Watermark, true
				}
			}
			return newest, ok
		}
	}},
	{"lease reused after restart", "a new process goes on with the leases of the old one", func(r *rules) {
		r.wallet = func(before, fresh *budget.Wallet) *budget.Wallet {
			if before != nil {
				return before
			}
			return fresh
		}
	}},
	{"TTL from receipt", "the time to serve counts from the answer", func(r *rules) {
		r.sent = func(_, received budget.Tick) budget.Tick { return received }
	}},
	{"watermark ahead of the journal", "the watermark is the clock", func(r *rules) {
		r.watermark = func(_ *process, now time.Time) time.Time { return now }
	}},
	{"watermark without what is being written", "an event counts only once it is durable", func(r *rules) {
		r.watermark = func(p *process, now time.Time) time.Time {
			if ready := p.n.disk[min(p.trimmed, len(p.n.disk)):]; len(ready) > 0 {
				return ready[0].AcceptedAt
			}
			return now
		}
	}},
	{"watermark before the replay", "what an earlier run left in the journal does not hold the watermark", func(r *rules) {
		r.watermark = func(p *process, now time.Time) time.Time {
			if w := p.intake.Watermark(now); w.After(p.lastMark) {
				return w
			}
			return now
		}
		r.join = func(m *budget.Member, now, closed, newest time.Time) time.Time {
			start := m.Join(now, closed, newest)
			m.Watermark = start
			return start
		}
	}},
	{"restart without a floor", "a node that comes back trusts its own clock", func(r *rules) {
		r.join = func(m *budget.Member, now, _, _ time.Time) time.Time {
			m.Join(now, time.Time{}, time.Time{})
			return now
		}
		r.raise = func(*process, time.Time) {}
	}},
	{"period taken at billing time", "a charge goes to the day on which it is billed", func(r *rules) {
		r.bill = func(b *bank, events []budget.Event, known map[budget.EventID]bool) ([]budget.Outcome, []budget.Entry) {
			for _, e := range events {
				l, t := b.books.Leases[e.LeaseID], b.w.oracle.tokens[e.ImpressionID]
				key := t.key
				key.Day = b.w.dayOf(b.now())
				l.PeriodIDs = b.periodsOf(key)
			}
			return b.books.Bill(events, known)
		}
	}},
	{"refund twice", "an event that was refunded is refunded again", func(r *rules) {
		r.refundable = func(charged, _ bool) bool { return charged }
	}},
	{"give back what is promised", "a lease that ends keeps only what is posted", func(r *rules) {
		r.promise = func(p budget.Promise) budget.Promise { return budget.Promise{LeaseID: p.LeaseID} }
	}},
	{"token outlives its lease", "a token's time is not bounded by max_exp", func(r *rules) {
		r.expires = func(_ budget.Reservation, servedAt time.Time) time.Time { return servedAt.Add(eventTTL + leaseTTL) }
	}},
	{"accept after its time", "a token is accepted after its expiry", func(r *rules) {
		r.accept = func(p *process, now, _ time.Time) error { return p.intake.Accept(now, now) }
	}},
	{"leave with a full journal", "a node stops before its journal is billed", func(r *rules) {
		r.mayLeave = func(int) bool { return true }
		r.watermark = func(p *process, now time.Time) time.Time {
			if p.leaving {
				return now
			}
			return p.intake.Watermark(now)
		}
	}},
	{"clock follows Postgres back", "a jump of the clock reaches the node", func(r *rules) {
		r.raise = func(p *process, postgres time.Time) {
			p.clock = budget.Clock{}
			p.clock.Raise(p.tick(), postgres)
		}
	}},
	{"charge from nothing", "what the lease lacks is charged without a look at what is free", func(r *rules) {
		r.bill = func(b *bank, events []budget.Event, known map[budget.EventID]bool) ([]budget.Outcome, []budget.Entry) {
			limits := map[int64]money.Nanos{}
			for id, p := range b.books.Periods {
				limits[id] = p.Limit
				p.Limit += 1000
				p.Cap += 1000
			}
			defer func() {
				for id, p := range b.books.Periods {
					p.Limit = limits[id]
				}
			}()
			return b.books.Bill(events, known)
		}
	}},
}

func TestEveryMutantIsFound(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, len(mutants), 10)
	var table strings.Builder
	for _, m := range mutants {
		r := theRules()
		m.weaken(&r)
		coverage, violation := check(t.Context(), 1, mutantSeeds, r)
		if violation == nil {
			t.Errorf("%q was not found in %d seeds: %s", m.name, mutantSeeds, m.about)
			continue
		}
		fmt.Fprintf(&table, "| %s | %s | %d | %s |\n", m.name, m.about, coverage.Runs, violation.Invariant)
	}
	t.Logf("found:\n| mutant | what it does | after seeds | by |\n|---|---|---|---|\n%s", table.String())
}

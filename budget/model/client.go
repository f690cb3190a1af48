package model

import (
	"errors"
	"time"

	"gavel/budget"
	"gavel/campaign"
)

// token is what a client holds: the promise of a node, and what the model knows of it beside.
type token struct {
	event budget.Event // kind and price are those of the delivery
	group *group
	key   budget.Key
	exp   time.Time
	// servedAt is the node's time of the ad request
	servedAt time.Time
}

// askForAnAd is a page load with one slot on a node that serves. The steps of the node are apart, so that a crash, a pause and the
// node's other work can come between them.
func (w *world) askForAnAd() {
	p := w.anyNode().proc
	if p == nil || !p.serving {
		return
	}
	g := &w.groups[w.rng.IntN(len(w.groups))]
	w.stats.Requests++
	p.after(0, func() {
		tick, servedAt := p.tick(), p.time()
		key := budget.Key{AdGroupID: g.id, Day: w.dayOf(servedAt)}
		p.after(w.between(0, 2*time.Millisecond), func() {
			if !p.serving {
				return
			}
			r, refusal := p.wallet.Reserve(tick, budget.Request{Key: key, Billable: g.billable, Price: g.bid, PriceMax: g.bid, PCTR: g.pctr})
			if refusal != budget.Reserved {
				w.stats.Refused++
				return
			}
			if limit := p.sentAt[r.LeaseID].Add(leaseTTL); tick >= limit {
				w.oracle.fail("I10", "lease %d was served from %v after its request was sent + TTL", r.LeaseID, time.Duration(tick-limit))
			}
			p.after(w.between(0, 2*time.Millisecond), func() {
				if w.chance(0.05) {
					p.wallet.Cancel(r)
					return
				}
				w.serve(&token{group: g, key: key, exp: w.rules.expires(r, servedAt), servedAt: servedAt, event: budget.Event{
					EventID: budget.EventID{Day: key.Day, ImpressionID: w.newID()}, LeaseID: r.LeaseID,
				}})
			})
		})
	})
}

// serve gives the token to a client, who reports what becomes of it.
func (w *world) serve(t *token) {
	w.stats.Served++
	w.oracle.served(t)
	if w.chance(0.1) {
		return // never seen
	}
	shown := w.between(0, 2*time.Second)
	if w.chance(0.15) {
		shown = w.between(0, eventTTL+2*time.Second) // late, perhaps too late
	}
	w.report(t, budget.Impression, shown)
	if w.chance(t.group.ctr) {
		w.report(t, budget.Click, shown+w.between(0, 2*time.Second))
	}
}

// report delivers one event of the token: as a rule once, sometimes again and elsewhere, sometimes after its time.
func (w *world) report(t *token, kind budget.Kind, at time.Duration) {
	e := t.event
	e.Kind = kind
	pays := budget.Impression
	if t.group.billable == campaign.BillClickthrough {
		pays = budget.Click
	}
	if kind == pays {
		e.Price = t.group.bid
	}
	send := func(at time.Duration) {
		w.deliveries++
		w.after(at, func() { w.deliver(t, e, 4) })
	}
	send(at)
	for w.chance(0.2) {
		w.stats.Duplicates++
		if w.chance(0.5) {
			send(at) // at the same moment
		} else {
			send(at + w.between(0, eventTTL+leaseTTL+2*time.Second))
		}
	}
}

// deliver tries until somebody answers, a few times.
func (w *world) deliver(t *token, e budget.Event, tries int) {
	p := w.anyNode().proc
	answered := false
	again := func() {
		if answered {
			return
		}
		answered = true
		if tries == 0 || w.chance(0.2) {
			w.deliveries--
			return
		}
		w.after(w.between(0, time.Second), func() { w.deliver(t, e, tries-1) })
	}
	w.after(2*time.Second, again)
	if p == nil || !p.serving {
		again()
		return
	}
	p.after(0, func() {
		if !p.serving {
			return
		}
		err := p.accept(e, t.exp, func() {
			w.oracle.accepted(e)
			if !answered {
				answered = true
				w.deliveries--
			}
		})
		switch {
		case errors.Is(err, budget.ErrExpired):
			w.stats.Expired++
			if !answered {
				answered = true
				w.deliveries--
			}
		case errors.Is(err, budget.ErrFull):
			w.stats.Full++
			again()
		}
	})
}

package budget

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"gavel/campaign"
	"gavel/internal/money"
)

// Want is a grant that a wallet asks for.
type Want struct {
	RequestID uuid.UUID
	Key       Key
	// PriceMax and Wish size the grant; see [GrantSize]. For CPM, PriceMax is the highest price that any request had so far.
	PriceMax, Wish money.Nanos
	// Extend is the lease to extend instead of granting a new one (CPC), 0 for none. Its max_exp moves on even if nothing is
	// left to add.
	Extend LeaseID
	// Sent is when the request left, on the node's clock: the lease's time to serve counts from here, not from the answer.
	Sent Tick
}

// Granted is the answer to a Want.
type Granted struct {
	Want Want
	// LeaseID is 0 when nothing was granted; then BlockedBy names the line that had nothing left.
	LeaseID   LeaseID
	BlockedBy string
	// Amount and Posted are the lease's totals, after an extension too.
	Amount, Posted money.Nanos
	MaxExp         time.Time
	// Behind is how far posting was behind when Posted was read: every event that any node had accepted longer ago than that is
	// in it. It matters for CPC; 0 is near enough while billing works.
	Behind time.Duration
}

// Promise says what a lease that is no longer served from has promised to users; the rest goes back.
type Promise struct {
	LeaseID LeaseID
	Amount  money.Nanos
}

const (
	// lowWaterTime is how much serving must be left in hand, as time at the present rate, before more is asked for.
	lowWaterTime = 2 * time.Second
	// idleAfter is how many TTLs without a request make a wallet stop renewing.
	idleAfter = 3
	// denialTTL is how long "nothing left" is believed.
	denialTTL = time.Second
	// smallestWish is the least wish, in multiples of the highest price: a burst on a node that does not know its rate yet.
	// What is not used goes back after one TTL.
	smallestWish = 512
)

// Wants returns what to ask for now and marks it as asked; each must be answered by Settle or Failed. newID makes request ids.
func (w *Wallet) Wants(now Tick, newID func() uuid.UUID) []Want {
	var wants []Want
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		for key, p := range s.pockets {
			if want, ok := p.want(now, w.config); ok {
				want.RequestID, want.Key, want.Sent = newID(), key, now
				p.asked, p.cried = true, false
				wants = append(wants, want)
			}
		}
		s.mu.Unlock()
	}
	return wants
}

func (p *pocket) want(now Tick, config WalletConfig) (Want, bool) {
	if p.asked || now < p.deniedUntil || now > p.usedAt.Add(idleAfter*config.TTL) {
		return Want{}, false
	}
	p.measureRate(now)
	if p.billable == campaign.BillClickthrough {
		return p.wantClicks(now, config)
	}
	p.cried = false
	if p.rest(now, config) >= p.lowWater() {
		return Want{}, false
	}
	wish := max(p.ratePerSecond.MulSat(int64(GrantHorizon/time.Second)), p.price.MulSat(smallestWish))
	return Want{PriceMax: p.price, Wish: wish}, true
}

// rest is what may still be promised. What ends within half a TTL does not count, so that its successor is there in time.
func (p *pocket) rest(now Tick, config WalletConfig) money.Nanos {
	rest := money.Nanos(0)
	for _, h := range p.held {
		if now.Add(config.TTL/2) < h.serveUntil {
			rest += h.amount - h.promised
		}
	}
	return rest
}

// lowWater is the rest below which more is asked for. When the budget ends that is what the node needs at its present rate, at
// least one price: what it holds for a burst is missing where the traffic is.
func (p *pocket) lowWater() money.Nanos {
	least := p.price
	if !p.scarce {
		least = p.price.MulSat(smallestWish / 4)
	}
	return max(least, p.ratePerSecond.MulSat(int64(lowWaterTime/time.Second)))
}

// wantClicks keeps one lease per key and extends it: the exposure of many impressions pools, that of many leases would not.
func (p *pocket) wantClicks(now Tick, config WalletConfig) (Want, bool) {
	need := p.exposure.need(p.price, 0)
	i := slices.IndexFunc(p.held, func(h *held) bool { return !h.refused })
	if i < 0 {
		return Want{PriceMax: need, Wish: 2 * need}, true
	}
	h := p.held[i]
	short := need + need/2 - (h.amount - h.promised)
	if short <= 0 && now.Add(config.TTL/2) < h.serveUntil {
		return Want{}, false
	}
	return Want{PriceMax: max(0, short), Wish: max(0, short), Extend: h.id}, true
}

func (p *pocket) measureRate(now Tick) {
	elapsed := time.Duration(now - p.rateSince)
	if elapsed < time.Second {
		return
	}
	measured := float64(p.reservedSince) / elapsed.Seconds()
	// Half the old rate, half the new: fast enough for a feed's ups and downs, slow enough for its noise.
	p.ratePerSecond = money.CeilScore((float64(p.ratePerSecond) + measured) / 2)
	p.reservedSince, p.rateSince = 0, now
}

// Settle takes the answer to a Want. An answer that came after the lease's time to serve is not used; the lease then
// closes by itself.
func (w *Wallet) Settle(now Tick, g Granted) {
	s := w.shard(g.Want.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer w.settled(true)
	p := s.pockets[g.Want.Key]
	if p == nil {
		return
	}
	p.asked = false
	serveUntil := g.Want.Sent.Add(w.config.TTL)
	if g.LeaseID == 0 {
		p.deniedUntil, p.blockedBy = now.Add(denialTTL), g.BlockedBy
		if g.Want.Extend != 0 { // it is closed, or may not serve: let it go, ask for a new one next
			p.refuse(g.Want.Extend)
			p.deniedUntil = 0
		}
		return
	}
	if g.Want.Extend != 0 {
		p.extended(now, g, serveUntil, w.config, w.delays.survival())
		return
	}
	if p.billable == campaign.BillClickthrough {
		p.exposure.leave() // there was no lease that could be extended
	} else if p.scarce = g.Amount < g.Want.Wish; p.scarce && now < serveUntil {
		p.replace(now, w.config)
	}
	h := &held{id: g.LeaseID, amount: g.Amount, serveUntil: serveUntil, maxExp: g.MaxExp}
	p.held = append(p.held, h)
}

// replace ends the leases that a new one was asked for in time to replace.
func (p *pocket) replace(now Tick, config WalletConfig) {
	for _, h := range p.held {
		if now.Add(config.TTL/2) >= h.serveUntil {
			h.serveUntil = min(h.serveUntil, now)
		}
	}
}

func (p *pocket) extended(now Tick, g Granted, serveUntil Tick, config WalletConfig, later *survival) {
	for _, h := range p.held {
		if h.id != g.LeaseID || h.refused {
			continue
		}
		if g.Amount == h.amount && g.Want.Wish > 0 {
			// Nothing was added although it was wished for: do not ask again at once.
			p.deniedUntil, p.blockedBy = now.Add(denialTTL), g.BlockedBy
		}
		h.amount, h.promised, h.maxExp = g.Amount, g.Posted, g.MaxExp
		h.serveUntil = max(h.serveUntil, serveUntil)
		h.resting = false
		p.exposure.learn(g.Want.Sent, g.Behind, config.EventTTL, p.price, g.Posted, later)
	}
}

func (p *pocket) refuse(id LeaseID) {
	for _, h := range p.held {
		if h.id == id && !h.refused {
			h.promised += p.exposure.need(p.price, 0)
			h.refused, h.serveUntil = true, 0
		}
	}
}

// Failed says that no answer came to a Want. Whether it was granted is not known; if it was, that lease is never served from
// and closes by itself.
func (w *Wallet) Failed(want Want) {
	s := w.shard(want.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer w.settled(false)
	if p := s.pockets[want.Key]; p != nil {
		p.asked = false
	}
}

// Expired says what the leases that may no longer be served from have promised, each once, so that the rest can go back; then it
// forgets keys that are idle. If giving back fails nothing is lost: the close does the same later.
func (w *Wallet) Expired(now Tick) []Promise {
	return w.take(now, false)
}

// TakeAll empties the wallet at shutdown: nothing can be reserved afterwards without a new grant.
func (w *Wallet) TakeAll(now Tick) []Promise {
	return w.take(now, true)
}

func (w *Wallet) take(now Tick, all bool) []Promise {
	var ended []Promise
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		for key, p := range s.pockets {
			kept := p.held[:0]
			for _, h := range p.held {
				if !all && now < h.serveUntil {
					kept = append(kept, h)
					continue
				}
				if !h.resting {
					ended = append(ended, p.end(h))
				}
				if !all && p.rests(now, h, w.config) {
					h.resting = true
					kept = append(kept, h)
				}
			}
			p.held = kept
			if len(kept) == 0 && !p.asked && now > p.usedAt.Add(idleAfter*w.config.TTL) {
				delete(s.pockets, key)
			}
		}
		s.mu.Unlock()
	}
	return ended
}

// end says what a lease has promised and keeps no more than that.
func (p *pocket) end(h *held) Promise {
	if p.billable == campaign.BillClickthrough && !h.refused {
		h.amount = min(h.amount, h.promised+p.exposure.need(p.price, 0))
		return Promise{LeaseID: h.id, Amount: h.amount}
	}
	return Promise{LeaseID: h.id, Amount: h.promised}
}

// rests reports whether an ended lease stays: one for clicks does, as long as clicks of it may come. When its ad group is asked
// for again the lease is extended, because two leases would both keep a margin against the same bad luck.
func (p *pocket) rests(now Tick, h *held, config WalletConfig) bool {
	return p.billable == campaign.BillClickthrough && !h.refused && now < p.usedAt.Add(config.EventTTL)
}

// Held is the sum of what the wallet may still promise, and the number of leases it is in: for metrics.
func (w *Wallet) Held(now Tick) (rest money.Nanos, leases int) {
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		for _, p := range s.pockets {
			for _, h := range p.held {
				if now < h.serveUntil {
					rest += h.amount - h.promised
					leases++
				}
			}
		}
		s.mu.Unlock()
	}
	return rest, leases
}

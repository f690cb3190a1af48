package budget

import (
	"context"
	"sync"
	"time"

	"gavel/campaign"
	"gavel/internal/money"
)

// Key is what a lease is held for: an ad group on one day of its account.
type Key struct {
	AdGroupID campaign.AdGroupID
	// Day is the account's local day as yyyymmdd.
	Day int
}

// Refusal says why a reservation was not made; Reserved (0) is none.
type Refusal uint8

// The reasons not to reserve.
const (
	Reserved Refusal = iota
	// NoLease: the node holds no usable lease yet; one has been asked for.
	NoLease
	// Exhausted: the last grant found a budget with nothing left.
	Exhausted
)

// Request asks for a reservation of one winner's price.
type Request struct {
	Key      Key
	Billable campaign.BillableEvent
	// Price is per impression for CPM, per click for CPC; PriceMax is the most that any event of the ad group costs: its bid.
	Price, PriceMax money.Nanos
	// PCTR is the predicted probability of a click, used for the exposure of CPC.
	PCTR float64
}

// Reservation is a promise of money that a token may carry.
type Reservation struct {
	Key     Key
	LeaseID LeaseID
	// MaxExp bounds the token's expiry, on the clock of Postgres.
	MaxExp time.Time
	// BlockedBy is the budget line with nothing left, as "CAMPAIGN DAILY", when the refusal is Exhausted.
	BlockedBy string

	amount money.Nanos
	cost   float64 // CPC: the expected cost in nanos
	slice  int64
}

// WalletConfig are the times of the lease protocol.
type WalletConfig struct {
	// TTL is how long a lease may be served from, counted from when its request was sent.
	TTL time.Duration
	// EventTTL is how long after serving an event is accepted: the window of a CPC exposure.
	EventTTL time.Duration
}

// Wallet is what a node holds. It is safe for concurrent use.
type Wallet struct {
	config WalletConfig
	hungry chan struct{}
	shards [64]shard
	delays delays

	answers sync.Mutex
	answer  chan struct{} // closed at the next answer to a want
	failing bool          // the last want got none
}

type shard struct {
	mu      sync.Mutex
	pockets map[Key]*pocket
}

// pocket is everything about one key: the leases in the order in which they end, and what has been asked for.
type pocket struct {
	billable campaign.BillableEvent
	held     []*held
	price    money.Nanos // the highest so far: of an impression, or the bid for a click

	asked       bool // a grant is on its way
	scarce      bool // CPM: the last grant was less than wished for: the budget ends
	cried       bool // Hungry was told
	usedAt      Tick
	deniedUntil Tick
	blockedBy   string // by what the last denial was

	// spend rate: what was reserved since rateSince
	reservedSince money.Nanos
	rateSince     Tick
	ratePerSecond money.Nanos

	exposure *exposure // CPC only
}

type held struct {
	id         LeaseID
	amount     money.Nanos
	promised   money.Nanos // CPM: tokens issued. CPC: clicks posted, as far as known
	serveUntil Tick
	maxExp     time.Time
	resting    bool // CPC: has ended, and can be extended
	refused    bool // CPC: cannot be extended
}

// NewWallet returns an empty wallet.
func NewWallet(config WalletConfig) *Wallet {
	w := &Wallet{config: config, hungry: make(chan struct{}, 1), answer: make(chan struct{})}
	for i := range w.shards {
		w.shards[i].pockets = map[Key]*pocket{}
	}
	return w
}

// Hungry is readable when a key has run low since Wants was last called, so that a burst need not wait for the next turn.
func (w *Wallet) Hungry() <-chan struct{} { return w.hungry }

// Await returns when a grant has been answered, when ctx ends, or at once while grants fail: a page that would stay empty only
// because a cold key holds no lease yet may wait for it a little. It reports whether an answer came.
func (w *Wallet) Await(ctx context.Context) bool {
	w.answers.Lock()
	answer, failing := w.answer, w.failing
	w.answers.Unlock()
	if failing {
		return false
	}
	select {
	case <-answer:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *Wallet) settled(ok bool) {
	w.answers.Lock()
	defer w.answers.Unlock()
	w.failing = !ok
	close(w.answer)
	w.answer = make(chan struct{})
}

// Reserve promises req.Price from a lease that may still be served from, or says why not. A refusal asks for a lease, which
// the next [Wallet.Wants] returns.
func (w *Wallet) Reserve(now Tick, req Request) (Reservation, Refusal) {
	s := w.shard(req.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pocket(req, now)
	p.usedAt = now
	if p.billable == campaign.BillClickthrough {
		p.price = max(p.price, req.PriceMax)
	} else {
		p.price = max(p.price, req.Price)
	}
	defer w.cry(now, p)
	for _, h := range p.held {
		if now >= h.serveUntil {
			continue
		}
		if p.billable == campaign.BillClickthrough {
			if r, ok := p.reserveClick(now, h, req, w.config); ok {
				return r, Reserved
			}
			continue
		}
		if h.amount-h.promised >= req.Price {
			h.promised += req.Price
			p.reservedSince += req.Price
			return Reservation{Key: req.Key, LeaseID: h.id, MaxExp: h.maxExp, amount: req.Price}, Reserved
		}
	}
	if now < p.deniedUntil {
		return Reservation{BlockedBy: p.blockedBy}, Exhausted
	}
	return Reservation{}, NoLease
}

// cry makes Hungry readable if the pocket is low and has not said so yet.
func (w *Wallet) cry(now Tick, p *pocket) {
	if p.asked || p.cried || now < p.deniedUntil || (p.billable != campaign.BillClickthrough && p.rest(now, w.config) >= p.lowWater()) {
		return
	}
	p.cried = true
	select {
	case w.hungry <- struct{}{}:
	default:
	}
}

func (p *pocket) reserveClick(now Tick, h *held, req Request, config WalletConfig) (Reservation, bool) {
	cost := req.PCTR * float64(req.Price)
	if p.exposure.need(p.price, cost) > h.amount-h.promised {
		return Reservation{}, false
	}
	slice := p.exposure.add(now, config.EventTTL, cost)
	return Reservation{Key: req.Key, LeaseID: h.id, MaxExp: h.maxExp, cost: cost, slice: slice}, true
}

// Clicked tells the wallet that a click was billed that had been accepted when its impression was age old: any click, of any
// ad group, served by any node. From them it learns for how long the clicks of what it serves may still come. A wallet that is
// told of none is careful: it expects clicks until their tokens expire.
func (w *Wallet) Clicked(now Tick, age time.Duration) { w.delays.seen(now, w.config.EventTTL, age) }

// Cancel takes back a reservation for which no token left the node.
func (w *Wallet) Cancel(r Reservation) {
	s := w.shard(r.Key)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pockets[r.Key]
	if p == nil {
		return
	}
	if r.cost > 0 {
		p.exposure.remove(r.slice, r.cost)
		return
	}
	for _, h := range p.held {
		if h.id == r.LeaseID {
			h.promised -= r.amount
			p.reservedSince -= r.amount
			return
		}
	}
}

func (w *Wallet) shard(k Key) *shard {
	h := uint64(k.AdGroupID)*0x9E3779B97F4A7C15 ^ uint64(k.Day)
	return &w.shards[(h>>32)%uint64(len(w.shards))]
}

func (s *shard) pocket(req Request, now Tick) *pocket {
	p := s.pockets[req.Key]
	if p == nil {
		p = &pocket{billable: req.Billable, rateSince: now}
		if req.Billable == campaign.BillClickthrough {
			p.exposure = &exposure{}
		}
		s.pockets[req.Key] = p
	}
	return p
}

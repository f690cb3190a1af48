package budget

import (
	"fmt"
	"time"

	"gavel/internal/money"
)

// Books are the periods and leases that one transaction has locked. The methods change them in memory; the caller writes
// back what changed. They panic when an invariant would break: a bug must never reach the ledger.
type Books struct {
	Periods map[int64]*Period
	Leases  map[LeaseID]*Lease
}

// GrantSize says how much a node asks for.
type GrantSize struct {
	// PriceMax is the most that one billed event can cost: the least amount worth granting.
	PriceMax money.Nanos
	// Wish is what the node would use until the next grant: its own spend rate × [GrantHorizon].
	Wish money.Nanos
	// Nodes is how many nodes are live, ≥ 1.
	Nodes int
}

// GrantHorizon is how much serving a grant is meant to last for.
const GrantHorizon = 5 * time.Second

// Grant takes an amount from free to escrow on every given period and returns it: clamp(free/(2·nodes), PriceMax, Wish), at
// most what is free on each. 0 means that a period has nothing left; its name is returned.
//
// Half of a node's share at a time makes the amounts taper as the budget ends, so little is stranded on a node that has no
// more traffic for it.
func (b *Books) Grant(periodIDs []int64, size GrantSize) (amount money.Nanos, blockedBy string) {
	free := maxNanos
	for _, id := range periodIDs {
		p := b.period(id)
		if f := p.Free(); f < free {
			free, blockedBy = f, p.Name
		}
	}
	share := free / money.Nanos(2*max(1, size.Nodes))
	amount = min(free, max(size.PriceMax, min(share, size.Wish)))
	if amount <= 0 {
		return 0, blockedBy
	}
	for _, id := range periodIDs {
		p := b.period(id)
		p.Escrow += amount
		p.settle()
	}
	return amount, blockedBy
}

// Post charges price: from the lease, what it lacks from the free remainder of every period, or not at all. charge is
// price or 0; fromFree is the part of it that did not come out of the lease.
func (b *Books) Post(id LeaseID, price money.Nanos) (charge, fromFree money.Nanos, outcome Outcome) {
	l := b.Leases[id]
	if l == nil {
		return 0, 0, Invalid
	}
	fromLease := money.Nanos(0)
	if l.Open {
		fromLease = min(price, l.Amount-l.Posted)
	}
	fromFree = price - fromLease
	if fromFree > 0 {
		for _, pid := range l.PeriodIDs {
			if b.period(pid).Free() < fromFree {
				return 0, 0, OverBudget
			}
		}
	}
	l.Posted += fromLease
	for _, pid := range l.PeriodIDs {
		p := b.period(pid)
		p.Escrow -= fromLease
		p.Posted += price
		p.settle()
	}
	return price, fromFree, Billed
}

// Shrink gives back what the lease's node has not promised to anybody: the lease keeps promised, at least what is posted.
// Doing it twice is harmless.
func (b *Books) Shrink(id LeaseID, promised money.Nanos) {
	l := b.Leases[id]
	if l == nil || !l.Open {
		return
	}
	keep := min(l.Amount, max(l.Posted, promised))
	b.giveBack(l, l.Amount-keep)
	l.Amount = keep
}

// Close ends a lease and gives its rest back. The caller has seen every live node's watermark pass the lease's max_exp.
func (b *Books) Close(id LeaseID) {
	l := b.Leases[id]
	if l == nil || !l.Open {
		return
	}
	b.giveBack(l, l.Amount-l.Posted)
	l.Open = false
}

func (b *Books) giveBack(l *Lease, amount money.Nanos) {
	for _, pid := range l.PeriodIDs {
		p := b.period(pid)
		p.Escrow -= amount
		p.settle()
	}
}

func (b *Books) period(id int64) *Period {
	p := b.Periods[id]
	if p == nil {
		panic(fmt.Sprintf("budget: period %d is not locked", id))
	}
	return p
}

// settle lets the cap follow posted + escrow down to the limit, and asserts I1.
func (p *Period) settle() {
	sum := p.Posted + p.Escrow
	if p.Posted < 0 || p.Escrow < 0 || sum < 0 {
		panic(fmt.Sprintf("budget: period %d: posted %d, escrow %d", p.ID, p.Posted, p.Escrow))
	}
	if !p.Limited {
		return
	}
	if sum > p.Cap {
		panic(fmt.Sprintf("budget: period %d: posted %d + escrow %d > cap %d", p.ID, p.Posted, p.Escrow, p.Cap))
	}
	p.Cap = max(p.Limit, sum)
}

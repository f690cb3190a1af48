package budget

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"gavel/campaign"
	"gavel/internal/money"
)

// ErrFenced is returned by every call of a node that Postgres no longer counts as live in the epoch it joined with.
// The node must stop serving paid ads and join again.
var ErrFenced = errors.New("budget: node is fenced")

// LeaseID names a lease.
type LeaseID int64

// Tick is a time on the node's monotonic clock, in nanoseconds since an arbitrary start. It never goes back and does not
// jump when the wall clock does, so it alone decides how long a lease may be used.
type Tick int64

// Add returns t + d.
func (t Tick) Add(d time.Duration) Tick { return t + Tick(d) }

// Kind is the kind of an event.
type Kind string

// The kinds of events that an impression can have; each at most once.
const (
	Impression Kind = "IMPRESSION"
	Viewable   Kind = "VIEWABLE"
	Click      Kind = "CLICK"
)

// Outcome is what became of an accepted event; every one gets exactly one, durably (invariant I3).
type Outcome string

// The outcomes of an event.
const (
	// Billed: charged at its price, which is 0 for a kind that the ad does not pay for.
	Billed Outcome = "BILLED"
	// Duplicate: another event with the same impression and kind came first; nothing was charged.
	Duplicate Outcome = "DUPLICATE"
	// OverBudget: no budget was left; recorded, and free for the advertiser.
	OverBudget Outcome = "OVER_BUDGET"
	// Invalid: the lease that the token names does not exist; recorded, nothing was charged.
	Invalid Outcome = "INVALID"
)

// EventID is the identity of an event: an impression token gives at most one event of each kind (invariant I2).
// Day is the one fixed at serve time and carried in the token.
type EventID struct {
	Day          int
	ImpressionID uuid.UUID
	Kind         Kind
}

// Served is what the ranking model saw of an impression, for training. Its layout is ranking's; nothing else looks into it. The
// zero value stands for an event that carries none: only impressions do.
type Served [64]byte

// Event is an accepted event, as the journal keeps it.
type Event struct {
	EventID
	LeaseID LeaseID
	AdID    campaign.AdID
	// Price is what the event costs if the budget has it: nanos, ≥ 0.
	Price money.Nanos
	// UserHash is campaign.UserHash of the user's id, 0 if there was none.
	UserHash int64
	// AcceptedAt is the node's clock at acceptance; it orders a node's own events and never decides money (I7).
	AcceptedAt time.Time
	Served     Served
}

// Lease is a part of budgets that one node may promise to users.
type Lease struct {
	ID        LeaseID
	PeriodIDs []int64
	// Amount is what the lease took into escrow; Posted the part of it already charged: 0 ≤ Posted ≤ Amount.
	Amount, Posted money.Nanos
	// MaxExp is the latest expiry of any token on the lease.
	MaxExp time.Time
	Open   bool
}

// Period is one budget line in one period: a day (yyyymmdd) or the lifetime (0).
type Period struct {
	ID int64
	// Limited is false for a line that only counts.
	Limited bool
	// Limit is what the advertiser allows now. Cap is the bound that posted + escrow keeps: the limit, or after a cut below
	// what was already posted and escrowed, that sum on its way down.
	Limit, Cap     money.Nanos
	Posted, Escrow money.Nanos
	// Name says which line it is, for explanations: "CAMPAIGN DAILY".
	Name string
}

// Free is what may still be granted: never negative; the largest amount when the line has no limit.
func (p *Period) Free() money.Nanos {
	if !p.Limited {
		return maxNanos - p.Posted - p.Escrow
	}
	return max(0, p.Limit-p.Posted-p.Escrow)
}

const maxNanos = money.Nanos(1<<63 - 1)

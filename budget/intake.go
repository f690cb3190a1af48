package budget

import (
	"errors"
	"time"
)

var (
	// ErrExpired is returned for an event that comes after its token's time.
	ErrExpired = errors.New("budget: token has expired")
	// ErrFull is returned when a node holds as many unbilled events as it may, or its disk as many bytes: Postgres has been away
	// for too long.
	ErrFull = errors.New("budget: no room for more events")
)

// Expires is the last moment at which an event of this reservation is accepted: eventTTL after it was served, never after the
// lease's max_exp. It goes into the token, and is the only time that decides money (invariant I7).
func (r Reservation) Expires(servedAt time.Time, eventTTL time.Duration) time.Time {
	if exp := servedAt.Add(eventTTL); exp.Before(r.MaxExp) {
		return exp
	}
	return r.MaxExp
}

// Intake is what a node knows of the events that it has accepted and not yet billed. It is the rule of acceptance and of the
// watermark; who drives it owns the journal, and must keep this order for an event:
//
//	Accept → journal → fsync → answer the client → Commit, again until its outcome is known → Billed → trim the journal
//
// The records must lie in the journal in the order of Accept. Times are those of the node's [Clock]. It is not safe for
// concurrent use.
type Intake struct {
	limit    int
	unbilled []time.Time
}

// NewIntake returns an intake that holds at most limit unbilled events.
func NewIntake(limit int) *Intake { return &Intake{limit: limit} }

// Replay takes an event that an earlier run of this node left in its journal, oldest first, before anything is accepted. It
// may have been billed: committing it again finds a duplicate.
func (in *Intake) Replay(acceptedAt time.Time) { in.unbilled = append(in.unbilled, acceptedAt) }

// Newest is when the newest unbilled event was accepted, zero if there is none: a clock that goes on must not be behind it.
func (in *Intake) Newest() time.Time {
	if len(in.unbilled) == 0 {
		return time.Time{}
	}
	return in.unbilled[len(in.unbilled)-1]
}

// Accept admits an event whose token expires at the given time. It returns ErrExpired or ErrFull; nil means that the event is
// to be journalled as accepted now, and holds the watermark back until it is Billed.
func (in *Intake) Accept(now, expires time.Time) error {
	if now.After(expires) {
		return ErrExpired
	}
	if err := in.Full(); err != nil {
		return err
	}
	in.unbilled = append(in.unbilled, now)
	return nil
}

// Full returns ErrFull while Accept would.
func (in *Intake) Full() error {
	if len(in.unbilled) >= in.limit {
		return ErrFull
	}
	return nil
}

// Billed says that the outcome of the n oldest unbilled events is recorded.
func (in *Intake) Billed(n int) { in.unbilled = in.unbilled[n:] }

// Unbilled is how many accepted events wait for their outcome.
func (in *Intake) Unbilled() int { return len(in.unbilled) }

// Watermark is the time before which every event that this node accepted, or will accept, has its outcome. It never decreases
// as long as now does not.
func (in *Intake) Watermark(now time.Time) time.Time {
	if len(in.unbilled) > 0 {
		return in.unbilled[0]
	}
	return now
}

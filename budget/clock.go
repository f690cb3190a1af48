package budget

import "time"

// Clock is a node's time, on which tokens are issued and events accepted. It has no wall clock of its own: it starts at the
// time that Postgres gave when the node joined (see [Member.Join]) and then follows the node's ticks. So it never goes back,
// a jump of the machine's clock does not reach it, and nodes agree within the time that a trip to Postgres takes.
//
// The protocol does not need them to agree: see package budget/model, which runs it with clocks that are seconds apart.
type Clock struct {
	base time.Time // the time at tick 0
}

// Raise lifts the clock to floor if it is behind; it never lowers it.
func (c *Clock) Raise(now Tick, floor time.Time) {
	if floor.After(c.base.Add(time.Duration(now))) {
		c.base = floor.Add(-time.Duration(now))
	}
}

// Now is the time at a tick, to the microsecond, as Postgres keeps it.
func (c *Clock) Now(now Tick) time.Time {
	return c.base.Add(time.Duration(now)).Truncate(time.Microsecond)
}

func latest(times ...time.Time) time.Time {
	var last time.Time
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

package event

import (
	"sync"
	"time"

	"gavel/budget"
)

// Clock is a node's time. It starts at the wall clock, or at a floor if that is later, and then follows the monotonic
// clock: it never goes back, and a jump of the wall clock does not reach it.
type Clock struct {
	now func() time.Time

	mu    sync.Mutex
	start time.Time // monotonic reading included
	wall  time.Time
}

// NewClock returns a clock on now, which is time.Now outside of tests.
func NewClock(now func() time.Time) *Clock {
	start := now()
	return &Clock{now: now, start: start, wall: start.Round(0)}
}

// Raise lifts the clock to floor if it is behind.
func (c *Clock) Raise(floor time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if behind := floor.Sub(c.wall.Add(c.now().Sub(c.start))); behind > 0 {
		c.wall = c.wall.Add(behind)
	}
}

// Now is the node's time, to the microsecond, as Postgres keeps it.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall.Add(c.now().Sub(c.start)).Truncate(time.Microsecond)
}

// Tick is the monotonic time since the clock was made.
func (c *Clock) Tick() budget.Tick { return budget.Tick(c.now().Sub(c.start)) }

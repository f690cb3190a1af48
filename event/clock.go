package event

import (
	"sync"
	"time"

	"gavel/budget"
)

// Clock is a node's budget.Clock for concurrent use. Until it is first raised it stands at the beginning of time.
type Clock struct {
	tick func() budget.Tick

	mu    sync.Mutex
	clock budget.Clock
}

// NewClock returns a clock that follows tick: Ticks() outside of tests.
func NewClock(tick func() budget.Tick) *Clock { return &Clock{tick: tick} }

// Ticks returns the monotonic time since the call of Ticks.
func Ticks() func() budget.Tick {
	start := time.Now()
	return func() budget.Tick { return budget.Tick(time.Since(start)) }
}

// Raise lifts the clock to floor if it is behind.
func (c *Clock) Raise(floor time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock.Raise(c.tick(), floor)
}

// Now is the node's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock.Now(c.tick())
}

// Tick is the monotonic time on which leases are served.
func (c *Clock) Tick() budget.Tick { return c.tick() }

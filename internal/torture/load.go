package torture

import (
	"time"
)

// Load is what the clients do: pages at a fixed rate, whatever the answers are.
type Load struct {
	rate int
}

// SetRate changes the page loads per second, over both nodes; 0 pauses them. Events that are due go on.
func (l *Load) SetRate(pagesPerSecond int) { l.rate = pagesPerSecond }

// AdsPerSecond is how many ads were served in each of the last whole seconds, the newest last.
func (l *Load) AdsPerSecond(last time.Duration) []int { return nil }

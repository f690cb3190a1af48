package torture

import (
	"math/rand/v2"
	"time"
)

// The load is random; what it did is in the diary.

// chance is true with probability p.
func chance(p float64) bool { return rand.Float64() < p } //nolint:gosec // nobody guesses it to win something

// below is a number from 0 to n−1.
func below(n int) int { return rand.IntN(n) } //nolint:gosec // see above

// someOf is a time from 0 to d.
func someOf(d time.Duration) time.Duration { return rand.N(d) } //nolint:gosec // see above

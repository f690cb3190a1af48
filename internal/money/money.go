// Package money holds amounts as integers, with checked arithmetic.
//
// Micros are 1/1,000,000 of a currency unit: what the API speaks. Nanos are 1/1,000 of a micro: what the ledger keeps.
// A CPM of x micros costs exactly x nanos per impression, so an impression's price is never rounded.
//
// The largest amount is 9.2 billion currency units. Arithmetic that would leave the range of int64 returns [ErrOverflow]
// from the functions that can fail; nothing wraps silently. No amount is ever a float.
package money

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
)

// ErrOverflow says that a result does not fit an int64.
var ErrOverflow = errors.New("money: amount out of range")

// Micros is an amount in 1/1,000,000 of a currency unit.
type Micros int64

// Nanos is an amount in 1/1,000,000,000 of a currency unit, the unit of the ledger.
type Nanos int64

const nanosPerMicro = 1000

// MaxMicros is the largest Micros that has a Nanos.
const MaxMicros Micros = math.MaxInt64 / nanosPerMicro

// Nanos converts m exactly. It returns ErrOverflow when |m| > MaxMicros.
func (m Micros) Nanos() (Nanos, error) {
	if m > MaxMicros || m < -MaxMicros {
		return 0, fmt.Errorf("%d micros: %w", int64(m), ErrOverflow)
	}
	return Nanos(m) * nanosPerMicro, nil
}

// PerImpression is the price of one impression at a CPM of m micros: exactly m nanos.
func (m Micros) PerImpression() Nanos { return Nanos(m) }

// MicrosFloor converts n to micros, rounding towards negative infinity: for showing amounts, never for billing.
func (n Nanos) MicrosFloor() Micros {
	q := n / nanosPerMicro
	if n%nanosPerMicro < 0 {
		q--
	}
	return Micros(q)
}

// Add returns n + m, or ErrOverflow.
func (n Nanos) Add(m Nanos) (Nanos, error) {
	sum := n + m
	if (sum > n) != (m > 0) && m != 0 {
		return 0, fmt.Errorf("%d + %d nanos: %w", int64(n), int64(m), ErrOverflow)
	}
	return sum, nil
}

// MulSat returns n × k for n, k ≥ 0; the largest Nanos when the product does not fit.
func (n Nanos) MulSat(k int64) Nanos {
	if n <= 0 || k <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(n), uint64(k))
	if hi != 0 || lo > math.MaxInt64 {
		return math.MaxInt64
	}
	return Nanos(lo)
}

// MulDiv returns n × k / d, rounded down, for n, k ≥ 0 and d > 0; the largest Nanos when the result does not fit. A negative n or k
// counts as 0.
func (n Nanos) MulDiv(k, d int64) Nanos {
	if n <= 0 || k <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(n), uint64(k))
	if hi >= uint64(d) {
		return math.MaxInt64
	}
	if q, _ := bits.Div64(hi, lo, uint64(d)); q <= math.MaxInt64 {
		return Nanos(q)
	}
	return math.MaxInt64
}

// FloorScore turns a score in nanos into an amount, rounding down; NaN and negatives become 0, what is too large the largest Nanos.
func FloorScore(score float64) Nanos {
	switch {
	case !(score >= 1):
		return 0
	case score >= math.MaxInt64:
		return math.MaxInt64
	}
	return Nanos(score)
}

// CeilScore turns a score in nanos into an amount, rounding up; NaN and negatives become 0, what is too large the largest Nanos.
// It and [FloorScore] are the doors from scores (floats) to money.
func CeilScore(score float64) Nanos {
	up := math.Ceil(score)
	switch {
	case !(up > 0):
		return 0
	case up >= math.MaxInt64:
		return math.MaxInt64
	}
	return Nanos(up)
}

// CeilPrice is CeilScore for a score that was computed: one that is nearer to an integer than one part in 10¹² is that integer. A price
// of exactly 200 that comes out of a division as 200.00000000000003 is 200, not 201.
func CeilPrice(score float64) Nanos {
	const noise = 1e-12 // some 4,500 steps of a float64 at its coarsest
	if whole := math.Round(score); math.Abs(score-whole) <= float64(score*noise) {
		score = whole
	}
	return CeilScore(score)
}

// String formats n in currency units, with all its digits: "12.000000345".
func (n Nanos) String() string {
	sign := ""
	u := uint64(n)
	if n < 0 {
		sign, u = "-", -u
	}
	return fmt.Sprintf("%s%d.%09d", sign, u/1e9, u%1e9)
}

// String formats m in currency units, with all its digits: "12.000345".
func (m Micros) String() string {
	sign := ""
	u := uint64(m)
	if m < 0 {
		sign, u = "-", -u
	}
	return sign + strconv.FormatUint(u/1e6, 10) + fmt.Sprintf(".%06d", u%1e6)
}

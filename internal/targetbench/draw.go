package targetbench

import (
	"math"
	"math/rand/v2"
	"slices"
)

// seeded is the generator of one stream of a seed.
func seeded(seed, stream uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, stream)) //nolint:gosec // the same on every machine is what it is for
}

// weights are cumulative: a draw is a position, likelier the more weight it has.
type weights []float64

// zipf weighs the i-th of n values, from 1, with 1/i^s.
func zipf(n int, s float64) weights {
	w := make(weights, n)
	sum := 0.0
	for i := range w {
		sum += math.Pow(float64(i+1), -s)
		w[i] = sum
	}
	return w
}

func (w weights) draw(r *rand.Rand) int {
	i, _ := slices.BinarySearch(w, r.Float64()*w[len(w)-1])
	return min(i, len(w)-1)
}

// share is true in a share p of all draws.
func share(r *rand.Rand, p float64) bool { return r.Float64() < p }

// between is lo to hi inclusive.
func between(r *rand.Rand, lo, hi int) int { return lo + r.IntN(hi-lo+1) }

// pick is one of a few values that are equally likely.
func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// oneOf is one of a few values with shares that sum to 1.
func oneOf[T any](r *rand.Rand, values []T, shares ...float64) T {
	x := r.Float64()
	for i, p := range shares {
		if x < p {
			return values[i]
		}
		x -= p
	}
	return values[len(shares)-1]
}

// distinct draws up to n values, each once; draws that repeat one are lost.
func distinct[T comparable](n int, draw func() T) []T {
	list := make([]T, 0, n)
	for range n {
		if v := draw(); !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

// logNormal has the given median; a sigma of 0.7 puts nine in ten draws between a third of it and three times as much.
func logNormal(r *rand.Rand, median, sigma float64) float64 {
	return median * math.Exp(sigma*r.NormFloat64())
}

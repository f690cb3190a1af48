package budget

import (
	"math"
	"time"

	"gavel/internal/money"
)

// exposure is how many clicks may still come for the CPC impressions of one ad group that are younger than the event
// window: the sum of their click probabilities and of their variances, in buckets that expire.
type exposure struct {
	buckets [exposureBuckets]exposureBucket
}

type exposureBucket struct {
	number        int64 // which slice of time it holds
	mean, varying float64
}

const (
	exposureBuckets = 32
	// exposureZ and exposureClicks are z and c of the bound bid·(n·ctr + z·√(n·ctr(1−ctr)) + c) ≤ rest: two standard
	// deviations, and one whole click.
	exposureZ      = 2
	exposureClicks = 1
)

// need is what a lease must have left so that one more impression may be promised.
func (e *exposure) need(now Tick, window time.Duration, bid money.Nanos, pctr float64) money.Nanos {
	mean, varying := pctr, pctr*(1-pctr)
	oldest := bucketNumber(now, window) - exposureBuckets
	for i := range e.buckets {
		if b := &e.buckets[i]; b.number > oldest {
			mean += b.mean
			varying += b.varying
		}
	}
	clicks := mean + exposureZ*math.Sqrt(max(0, varying)) + exposureClicks
	return money.CeilScore(float64(bid) * clicks)
}

func (e *exposure) add(now Tick, window time.Duration, pctr float64) int64 {
	n := bucketNumber(now, window)
	b := &e.buckets[n%exposureBuckets]
	if b.number != n {
		*b = exposureBucket{number: n}
	}
	b.mean += pctr
	b.varying += pctr * (1 - pctr)
	return n
}

func (e *exposure) remove(number int64, pctr float64) {
	if b := &e.buckets[number%exposureBuckets]; b.number == number {
		b.mean = max(0, b.mean-pctr)
		b.varying = max(0, b.varying-pctr*(1-pctr))
	}
}

// bucketNumber never returns 0, the number of an empty bucket.
func bucketNumber(now Tick, window time.Duration) int64 {
	width := max(1, int64(window)/(exposureBuckets-1))
	return int64(now)/width + exposureBuckets + 1
}

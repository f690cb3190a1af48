package budget

import (
	"math"
	"sync"
	"time"

	"gavel/internal/money"
)

// What the clicks of an ad group may still cost, so that a lease can be held against it.
//
// The impressions that were served have an expected cost Σ p·price. Some of their clicks are posted already and known, in the
// lease's posted amount. Of the others we know how late clicks are (later, see [delays]): an impression of age a still has the
// share later(a) of its clicks to come. So, in units of the bid,
//
//	open = Σ p·later(age)        seen = Σ p·(1 − later(age))        posted = clicks posted
//
// The predictions p are wrong by a factor κ that each ad group has for itself. Clicks are Poisson with mean κ·Σp, and κ has a
// Gamma prior with mean 1 and the weight of priorClicks clicks: its standard deviation is 1/√10, about 30 %. The clicks that
// were posted where seen were predicted make it a Gamma(priorClicks + posted, priorClicks + seen). What is still to come is
// then negative binomial, with
//
//	m = κ·open        κ = (priorClicks + posted) / (priorClicks + seen)        variance = m + m²/(priorClicks + posted)
//
// and the lease must have bid·(m + z·√variance + c) left: the bound bid·(n·ctr + z·√(n·ctr(1−ctr)) + c) of the design, with what
// was learned of ctr, how sure that is, and with n counting what is still to come. (1 is an upper bound for 1 − ctr.)
const (
	exposureZ   = 3  // z: three standard deviations
	exposureC   = 1  // c: one whole click
	priorClicks = 10 // weight of "the predictions are right", in clicks
)

// ageSlices is in how many parts the event window is cut, for the ages of impressions and of clicks.
const ageSlices = 128

// exposure is the sum of a lease's impressions by the time at which they were served. Amounts are nanos.
type exposure struct {
	served [ageSlices]servedSlice
	outlook
	posted float64
	// expired is the cost of the impressions that are older than the window; of leases that are gone, all that was seen.
	expired, postedBefore float64
}

type servedSlice struct {
	number int64 // which slice of time, 0 for none
	cost   float64
}

// outlook is what the impressions come to, as of the last answer to a want and what was served since.
type outlook struct {
	open, seen float64
	// ageless: nothing is concluded from ages, so all clicks may still come until the window ends. Posted clicks are then
	// evidence that predictions are too low, but clicks that are missing are none that they are too high.
	ageless bool
}

// clicks is how many clicks at the bid are still to come, and the weight of the evidence for that in clicks.
func (o outlook) clicks(bid, posted float64) (m, weight float64) {
	weight = priorClicks + posted/bid
	kappa := weight / (priorClicks + o.seen/bid)
	if o.ageless {
		kappa = max(1, weight/(priorClicks+(o.seen+o.open)/bid))
	}
	return kappa * o.open / bid, weight
}

// need is what a lease must have left so that an impression with the expected cost may be served, too.
func (e *exposure) need(bid money.Nanos, cost float64) money.Nanos {
	if bid <= 0 {
		return 0
	}
	o := e.outlook
	o.open = max(0, o.open+cost)
	m, weight := o.clicks(float64(bid), e.posted)
	return money.CeilScore(float64(bid) * (m + exposureZ*math.Sqrt(m+m*m/weight) + exposureC))
}

// add counts an impression and returns the slice that remove needs to take it back.
func (e *exposure) add(now Tick, window time.Duration, cost float64) int64 {
	n := sliceNumber(now, window)
	s := &e.served[n%ageSlices]
	if s.number != n {
		e.expired += s.cost
		*s = servedSlice{number: n}
	}
	s.cost += cost
	e.open += cost
	return n
}

func (e *exposure) remove(number int64, cost float64) {
	if s := &e.served[number%ageSlices]; s.number == number {
		s.cost = max(0, s.cost-cost)
		e.open = max(0, e.open-cost)
	}
}

// learn takes what was posted on the lease when a want was sent, and weighs every impression by its age. All clicks are posted that
// came longer ago than behind, so the age is the one of then, and what was served later is open as a whole.
//
// Without ages of clicks (later is nil) the outlook is ageless. It also is when that comes to less: while a node is away with its
// journal posting is ever further behind, and ages say ever less.
func (e *exposure) learn(sent Tick, behind, window time.Duration, bid, posted money.Nanos, later *survival) {
	e.posted = e.postedBefore + float64(posted)
	now, known := sliceNumber(sent, window), sliceNumber(sent-Tick(max(0, behind)), window)
	var aged, ageless outlook
	for i := range e.served {
		s := &e.served[i]
		if s.number == 0 {
			continue
		}
		// The youngest impression of a slice is at least one slice less old than the number says.
		if now-s.number-1 >= ageSlices-1 {
			e.expired += s.cost
			*s = servedSlice{}
			continue
		}
		ageless.open += s.cost
		share := 1.0
		if age := known - s.number - 1; age >= 0 && later != nil {
			share = later[age]
		}
		aged.open += share * s.cost
		aged.seen += (1 - share) * s.cost
	}
	aged.seen += e.expired
	ageless.seen, ageless.ageless = e.expired, true
	e.outlook = ageless
	if later == nil || bid <= 0 {
		return
	}
	all, _ := ageless.clicks(float64(bid), e.posted)
	if few, _ := aged.clicks(float64(bid), e.posted); few <= all {
		e.outlook = aged
	}
}

// leave forgets the impressions of a lease that ends: what they may still cost stays with it. What was learned from them stays
// here, if it is known how much of it was seen.
func (e *exposure) leave() {
	if e.ageless {
		*e = exposure{}
		return
	}
	*e = exposure{outlook: outlook{seen: e.seen}, expired: e.seen, posted: e.posted, postedBefore: e.posted}
}

// sliceNumber never returns 0, the number of an empty slice, for times that are not negative.
func sliceNumber(now Tick, window time.Duration) int64 {
	return int64(now)/sliceWidth(window) + 1
}

func sliceWidth(window time.Duration) int64 { return max(1, int64(window)/(ageSlices-1)) }

// survival is the share of clicks that come when their impression is at least so many slices old. survival[0] is 1.
type survival [ageSlices]float64

const (
	// fewestClicks is how many clicks make a survival worth believing: any share is then known to ±7 % or better.
	fewestClicks = 50
	// mostClicks is about how many are remembered: habits change.
	mostClicks = 10_000
)

// delays learns how old impressions are when they are clicked, from all clicks that a node sees: ad groups differ in how many
// clicks they get, much less in how soon.
//
// Clicks are counted by the slice in which their impression was served, and such a cohort is used when it is older than the window.
// Counting each click when it comes would make clicks look earlier than they are whenever traffic grows, because of a young
// cohort only the early ones are there: a rush of 100 s on a budget was over-served by a third that way.
type delays struct {
	mu      sync.Mutex
	first   int64 // the slice of the first click; older cohorts were not seen from their beginning
	cohorts [ageSlices]cohort
	counts  [ageSlices]float64
	total   float64
	later   *survival // what counts come to; nil when it has to be made again
}

type cohort struct {
	number int64 // the slice of time it was served in
	clicks [ageSlices]uint32
}

// seen counts a click.
func (d *delays) seen(now Tick, window, age time.Duration) {
	if age < 0 || age > window {
		return // clocks that do not agree
	}
	n, served := sliceNumber(now, window), sliceNumber(now-Tick(age), window)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.first == 0 {
		d.first = n
	}
	if served <= d.first || served <= n-ageSlices {
		return
	}
	c := &d.cohorts[served%ageSlices]
	if c.number != served {
		d.learn(c)
		*c = cohort{number: served}
	}
	c.clicks[int64(age)/sliceWidth(window)]++
}

// learn adds a complete cohort to the counts.
func (d *delays) learn(c *cohort) {
	for i, clicks := range c.clicks {
		d.counts[i] += float64(clicks)
		d.total += float64(clicks)
	}
	if d.total > mostClicks {
		for i := range d.counts {
			d.counts[i] /= 2
		}
		d.total /= 2
	}
	d.later = nil
}

// survival is nil as long as too few clicks were seen.
func (d *delays) survival() *survival {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.total < fewestClicks {
		return nil
	}
	if d.later == nil {
		// The rule of succession: after n clicks, the next is later than all of them with probability 1/(n+1).
		later, sum := &survival{}, 1.0
		for i := ageSlices - 1; i >= 0; i-- {
			sum += d.counts[i]
			later[i] = sum / (d.total + 1)
		}
		d.later = later
	}
	return d.later
}

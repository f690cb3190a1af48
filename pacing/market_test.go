package pacing_test

import (
	"math"
	"math/rand/v2"
	"time"

	"gavel/campaign"
	"gavel/internal/money"
	"gavel/pacing"
)

// market is a day of auctions in virtual time, in which one ad group meets the highest of the others' bids and pays that. Money stops
// at the limit, as the money protocol does it; the controller sees what was billed some time before.
type market struct {
	r       *rand.Rand
	perHour [24]float64 // auctions by UTC hour
	// price is the median of the others' highest bid per impression in nanos, spread the deviation of its logarithm.
	price, spread float64
	ctr           float64 // 0 = billed by impression
	lag           time.Duration
	every         time.Duration
}

func aMarket(seed uint64) *market {
	m := &market{r: rand.New(rand.NewPCG(seed, 1)), price: 1_000_000, spread: 0.5, lag: 3 * time.Second, every: 5 * time.Second}
	for h := range m.perHour { // a night, a morning, an evening
		m.perHour[h] = 4000 * (1 + 0.8*math.Sin(float64(h-9)/24*2*math.Pi))
	}
	return m
}

// outcome is what a day came to.
type outcome struct {
	spent  money.Nanos
	events int64
	// byHour is what was spent in each hour.
	byHour [24]money.Nanos
	state  pacing.State
	// lowest and highest multiplier of the second half of the day.
	low, high float64
}

func (o *outcome) average() float64 { return float64(o.spent) / float64(max(1, o.events)) }

type charge struct {
	at    time.Time
	price money.Nanos
}

var midnight = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

// day runs an ad group from a time to another, and its state on from s.
func (m *market) day(r pacing.Reading, limit money.Nanos, s pacing.State, from, to time.Time) outcome {
	var o outcome
	o.low, o.high = math.Inf(1), 0
	var pending []charge
	var posted money.Nanos
	var counted int64
	r.Zone, r.Since = time.UTC, from
	for now := from; now.Before(to); now = now.Add(m.every) {
		for len(pending) > 0 && !pending[0].at.After(now) {
			posted, counted = posted+pending[0].price, counted+1
			pending = pending[1:]
		}
		r.Lines = []pacing.Line{{ID: 1, Kind: campaign.BudgetDaily, Period: 20261123, Limit: limit, Posted: posted}}
		r.Billed, r.Charged = counted, posted
		s = pacing.Step(s, r, now)
		if now.Sub(from) > to.Sub(from)/2 {
			o.low, o.high = min(o.low, s.Multiplier), max(o.high, s.Multiplier)
		}
		if !r.Hours.Has(campaign.HourOfWeek(now, time.UTC)) {
			continue
		}
		bid := float64(r.Bid) * r.Strategy.Multiplier(s.Multiplier)
		mean := m.perHour[now.Hour()] * m.every.Hours()
		n := int(mean)
		if m.r.Float64() < mean-float64(n) {
			n++
		}
		for range n {
			price := m.price * math.Exp(m.spread*m.r.NormFloat64())
			at := now.Add(m.lag)
			if m.ctr > 0 {
				price /= m.ctr // what a click costs
			}
			if bid < price || m.ctr > 0 && m.r.Float64() >= m.ctr {
				continue
			}
			c := money.Nanos(price)
			if o.spent+c > limit {
				continue // free, or not shown
			}
			o.spent, o.events = o.spent+c, o.events+1
			o.byHour[now.Hour()] += c
			pending = append(pending, charge{at, c})
		}
	}
	o.state = s
	return o
}

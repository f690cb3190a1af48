package budget

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/internal/money"
)

const testWindow = (ageSlices - 1) * time.Minute // so that a slice is a minute

// shown is one impression of the reference: exposure.go as its comment has it, on a plain list.
type shown struct {
	at   Tick
	cost float64
}

// reference is the bound in nanos. list is what was served until sent, next what was served after that. later is the share of
// clicks that come after an age; nil if it is not known.
func reference(list []shown, sent Tick, behind time.Duration, posted, bid, next float64, later func(age time.Duration) float64) float64 {
	var open, seen, all, expired float64
	for _, s := range list {
		if time.Duration(sent-s.at) > testWindow {
			expired += s.cost
			continue
		}
		share := 1.0
		if age := time.Duration(sent-s.at) - behind; later != nil && age > 0 {
			share = later(age)
		}
		all += s.cost
		open += share * s.cost
		seen += (1 - share) * s.cost
	}
	weight := 10 + posted/bid
	kappa := weight / (10 + (seen+expired)/bid)
	if later == nil || max(1, weight/(10+(all+expired)/bid))*all < kappa*open {
		open = all
		kappa = max(1, weight/(10+(all+expired+next)/bid))
	}
	m := kappa * (open + next) / bid
	return bid * (m + 3*math.Sqrt(m+m*m/weight) + 1)
}

// drawSurvival is a random share of clicks by age.
func drawSurvival(t *rapid.T) *survival {
	later := &survival{1}
	for i := 1; i < ageSlices; i++ {
		later[i] = later[i-1] * rapid.Float64Range(0.8, 1).Draw(t, "stays")
	}
	return later
}

// TestExposureIsWhatTheListSays drives the slices and a plain list of impressions with the same random impressions, cancellations
// and answers. In the list every time is put at the edge of its slice, so both must agree (but for the rounding of floats).
func TestExposureIsWhatTheListSays(t *testing.T) {
	t.Parallel()
	const bid = 1_000_000
	edge := func(at Tick) Tick { return Tick(time.Duration(at).Truncate(time.Minute)) }
	rapid.Check(t, func(t *rapid.T) {
		var e exposure
		var answered, since []shown
		now, sent, behind, posted := Tick(2*testWindow), Tick(0), time.Duration(0), money.Nanos(0)
		exact := func(time.Duration) float64 { return 1 }
		var slices []int64 // of since
		t.Repeat(map[string]func(*rapid.T){
			"time": func(t *rapid.T) { now = now.Add(time.Duration(rapid.Int64Range(0, int64(testWindow/4)).Draw(t, "by"))) },
			"show": func(t *rapid.T) {
				cost := rapid.Float64Range(0, bid).Draw(t, "cost")
				slices = append(slices, e.add(now, testWindow, cost))
				since = append(since, shown{at: edge(now), cost: cost})
			},
			"cancel": func(*rapid.T) {
				if i := len(since) - 1; i >= 0 && since[i].at == edge(now) {
					e.remove(slices[i], since[i].cost)
					since, slices = since[:i], slices[:i]
				}
			},
			"answer": func(t *rapid.T) {
				posted += money.Nanos(rapid.Int64Range(0, 5*bid).Draw(t, "clicks"))
				var later *survival
				exact = nil
				if rapid.Bool().Draw(t, "known") {
					later = drawSurvival(t)
					exact = func(age time.Duration) float64 { return later[age/time.Minute-1] }
				}
				sent, behind = edge(now), time.Duration(rapid.IntRange(0, ageSlices/2).Draw(t, "behind"))*time.Minute
				e.learn(now, behind+time.Duration(now-sent), testWindow, bid, posted, later)
				answered, since, slices = append(answered, since...), nil, nil
			},
			"": func(t *rapid.T) {
				next := rapid.Float64Range(0, bid).Draw(t, "next")
				cost := next
				for _, s := range since {
					next += s.cost
				}
				require.InEpsilon(t, reference(answered, sent, behind, float64(posted), bid, next, exact), float64(e.need(bid, cost)), 1e-5)
			},
		})
	})
}

// TestSlicesAreNotLessCarefulThanAges: with the true age of every impression the bound is at most what the slices say, and not
// less than what they would say for impressions two slices older.
func TestSlicesAreNotLessCarefulThanAges(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		later := drawSurvival(t)
		var e exposure
		asOf := Tick(3 * testWindow)
		exact, careful := 0.0, 0.0
		for range rapid.IntRange(0, 50).Draw(t, "impressions") {
			age := time.Duration(rapid.Int64Range(0, int64(testWindow)-1).Draw(t, "age"))
			cost := rapid.Float64Range(0, 1000).Draw(t, "cost")
			e.add(asOf-Tick(age), testWindow, cost)
			exact += cost * later[age/time.Minute]
			careful += cost * later[max(0, age/time.Minute-1)]
		}
		e.learn(asOf, 0, testWindow, 1, 0, later)
		require.GreaterOrEqual(t, e.open, exact*(1-1e-9))
		require.LessOrEqual(t, e.open, careful*(1+1e-9))
	})
}

func TestExposureLearnsHowWrongPredictionsAre(t *testing.T) {
	t.Parallel()
	const bid = 1000
	soon := &survival{1} // every click comes within a minute
	for _, c := range []struct {
		name   string
		posted int // clicks, where 100 were predicted
		later  *survival
		want   float64 // expected clicks of the next 50 predicted ones
	}{
		{"as predicted", 100, soon, 50},
		{"predictions too low", 130, soon, 50 * 140. / 110},
		{"predictions too high", 70, soon, 50 * 80. / 110},
		{"nothing is known of ages, and clicks are missing", 70, nil, 150},
		{"nothing is known of ages, and clicks abound", 300, nil, 150 * 310. / 160},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var e exposure
			e.add(Tick(time.Hour), testWindow, 100*bid)
			now := Tick(time.Hour + 10*time.Minute)
			e.add(now, testWindow, 50*bid)
			e.learn(now, 0, testWindow, bid, money.Nanos(c.posted*bid), c.later)
			sd := math.Sqrt(c.want + c.want*c.want/float64(10+c.posted))
			require.Equal(t, money.CeilScore(bid*(c.want+3*sd+1)), e.need(bid, 0))
			e.leave()
			require.Equal(t, money.Nanos(bid), e.need(bid, 0), "the next lease starts empty")
		})
	}
}

func TestWhileANodeIsAwayTheBoundIsThatWithoutAges(t *testing.T) {
	t.Parallel()
	const bid = 1000
	need := func(behind time.Duration, later *survival) money.Nanos {
		var e exposure
		e.add(Tick(time.Hour), testWindow, 100*bid)
		e.add(Tick(time.Hour+20*time.Minute), testWindow, 50*bid)
		e.learn(Tick(time.Hour+30*time.Minute), behind, testWindow, bid, 150*bid, later)
		return e.need(bid, 0)
	}
	soon := &survival{1}
	require.Equal(t, money.Nanos(bid), need(0, soon))
	require.Less(t, need(15*time.Minute, soon), need(0, nil), "50 of the 150 clicks may still come")
	require.Equal(t, need(0, nil), need(time.Hour, soon), "all of them may")
}

// clicksOf tells d of the clicks of steady traffic from one time to another; a click comes after 90 s on average, at least 30.
func clicksOf(d *delays, rnd *rand.Rand, from, to Tick, perSecond float64) {
	type click struct{ at, age Tick }
	var all []click
	for at := from; at < to; at += Tick(rnd.ExpFloat64() / perSecond * float64(time.Second)) {
		age := Tick(30*time.Second) + Tick(rnd.ExpFloat64()*float64(time.Minute))
		if at+age < to {
			all = append(all, click{at + age, age})
		}
	}
	for step := from; step < to; step += Tick(time.Second) { // in the order in which they come, by seconds
		kept := all[:0]
		for _, c := range all {
			if c.at >= step && c.at < step+Tick(time.Second) {
				d.seen(c.at, testWindow, time.Duration(c.age))
			} else {
				kept = append(kept, c)
			}
		}
		all = kept
	}
}

// requireDelays holds what was learned against the distribution that clicksOf draws from.
func requireDelays(t *testing.T, got *survival) {
	t.Helper()
	require.NotNil(t, got)
	for i := range 10 {
		late := max(0, time.Duration(i)*time.Minute-30*time.Second)
		require.InDelta(t, math.Exp(-late.Minutes()), got[i], 0.06, "after %d minutes", i)
	}
	require.Less(t, got[20], 0.01)
	require.Positive(t, got[ageSlices-1], "never quite 0")
}

func TestDelaysAreLearnedFromWholeCohorts(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 2))
	var d delays
	clicksOf(&d, rnd, 0, Tick(testWindow), 1)
	require.Nil(t, d.survival(), "late clicks cannot have been seen yet")
	clicksOf(&d, rnd, Tick(testWindow), Tick(3*testWindow), 1)
	requireDelays(t, d.survival())
	// A rush: within two minutes come 30 times as many clicks as in the hours before, all of them early ones.
	clicksOf(&d, rnd, Tick(3*testWindow), Tick(3*testWindow+2*time.Minute), 1000)
	requireDelays(t, d.survival())
}

func TestFewClicksAndImpossibleAgesAreNotBelieved(t *testing.T) {
	t.Parallel()
	var d delays
	d.seen(1, testWindow, 0)
	for i := range 2 * ageSlices {
		now := Tick(2*time.Hour) + Tick(i)*Tick(time.Minute)
		d.seen(now, testWindow, -time.Second)
		d.seen(now, testWindow, testWindow+1)
		if i%3 == 0 {
			d.seen(now, testWindow, time.Minute)
		}
	}
	require.Nil(t, d.survival())
}

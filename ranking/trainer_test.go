package ranking

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/campaign"
)

func smallParams() Params {
	p := DefaultParams()
	p.ClickBits, p.ConversionBits = 12, 8
	return p
}

func newTrainer(t *testing.T, p Params) *Trainer {
	t.Helper()
	tr, err := NewTrainer(p)
	require.NoError(t, err)
	return tr
}

// draw makes examples of four ads: two are clicked twice as often as the others, and slot 1 half as often as slot 0.
func draw(r *rand.Rand) Example {
	ad := 1 + r.Int64N(4)
	c := Context{Placement: "BROWSE", Country: "US", HourOfWeek: r.IntN(168), UserHash: 1 + r.Int64N(50)}
	ex := Example{
		Features: c.Features(), Placement: "BROWSE", Slot: r.IntN(2),
		Item: Item{AdID: campaign.AdID(ad), CampaignID: campaign.CampaignID(ad), Objective: campaign.Awareness, Category: "IAB1"},
	}
	ex.Clicked = r.Float64() < truth(&ex)
	ex.Converted = r.Float64() < 0.2
	return ex
}

func truth(ex *Example) float64 {
	p := 0.02 * float64(1+ex.Item.AdID%2)
	if ex.Slot == 1 {
		p /= 2
	}
	return p
}

func learn(tr *Trainer, r *rand.Rand, n int) {
	for range n {
		ex := draw(r)
		tr.LearnClick(&ex)
		if ex.Clicked {
			tr.LearnConversion(&ex)
		}
	}
}

func TestLearns(t *testing.T) {
	t.Parallel()
	tr := newTrainer(t, smallParams())
	learn(tr, rand.New(rand.NewPCG(1, 1)), 200_000)
	s := tr.Snapshot("v1")
	require.NoError(t, s.Validate())
	for ad := range campaign.AdID(4) {
		c := Context{Placement: "BROWSE", Country: "US", UserHash: 7}
		f := c.Features()
		ex := Example{Item: Item{AdID: ad + 1, CampaignID: campaign.CampaignID(ad + 1), Objective: campaign.Awareness, Category: "IAB1"}}
		sc := s.Scorer(&f)
		require.InEpsilon(t, truth(&ex), sc.PCTR(&ex.Item), 0.2, "ad %d", ad+1)
		require.InEpsilon(t, 0.2, sc.PCVR(&ex.Item), 0.3)
		x, stderr := sc.Uncertain(&ex.Item)
		require.Less(t, math.Abs(x-logit(truth(&ex))), 3*stderr)
		_, unknown := sc.Uncertain(&Item{AdID: 99, CampaignID: 99, AdAccountID: 99})
		require.Greater(t, unknown, stderr)
	}
	factors := s.SlotFactors("BROWSE")
	require.Len(t, factors, 2)
	require.InDelta(t, 0.5, factors[1], 0.05)
	require.Nil(t, s.SlotFactors("SEARCH"))
	m := tr.Metrics()
	require.NoError(t, Gate(&m))
	require.InDelta(t, 1, m.Click.Overall.Calibration(), 0.05)
	require.Less(t, m.Click.Recent.NormalisedEntropy(), 1.0)
	require.InDelta(t, 200_000, m.Click.Overall.Examples, 0)
}

// A trainer that was saved and restored goes on with the same bits, and so does one that made snapshots on the way.
func TestRestoredTrainerGoesOnBitEqual(t *testing.T) {
	t.Parallel()
	one := newTrainer(t, smallParams())
	r := rand.New(rand.NewPCG(2, 1))
	learn(one, r, tickEvery+1000)
	state := one.AppendState(nil)
	two, err := RestoreTrainer(state)
	require.NoError(t, err)
	require.Equal(t, state, two.AppendState(nil))
	require.Equal(t, one.Metrics(), two.Metrics())
	one.Snapshot("on the way")
	for range tickEvery {
		ex := draw(r)
		p, q := one.LearnClick(&ex), two.LearnClick(&ex)
		require.Equal(t, math.Float64bits(p), math.Float64bits(q))
		if !ex.Clicked && r.IntN(100) == 0 {
			one.LearnLateClick(&ex)
			two.LearnLateClick(&ex)
		}
	}
	require.True(t, bytes.Equal(one.AppendState(nil), two.AppendState(nil)))
	require.True(t, bytes.Equal(one.Snapshot("v").Append(nil), two.Snapshot("v").Append(nil)))
}

// A click that comes after its impression was learned ends in the same model as one in time, but for the order.
func TestLateClicks(t *testing.T) {
	t.Parallel()
	late, never := newTrainer(t, smallParams()), newTrainer(t, smallParams())
	r := rand.New(rand.NewPCG(3, 1))
	var queue []Example
	for n := range 200_000 {
		ex := draw(r)
		isLate := ex.Clicked && r.IntN(2) == 0
		ex.Clicked = ex.Clicked && !isLate
		late.LearnClick(&ex)
		never.LearnClick(&ex)
		if isLate {
			queue = append(queue, ex)
		}
		if n%1000 == 999 {
			for i := range queue {
				late.LearnLateClick(&queue[i])
			}
			queue = queue[:0]
		}
	}
	c := Context{Placement: "BROWSE", Country: "US", UserHash: 7}
	f := c.Features()
	ex := Example{Item: Item{AdID: 1, CampaignID: 1, Objective: campaign.Awareness, Category: "IAB1"}}
	with, without := late.Snapshot("v").Scorer(&f), never.Snapshot("v").Scorer(&f)
	require.InEpsilon(t, truth(&ex), with.PCTR(&ex.Item), 0.12)
	require.InEpsilon(t, truth(&ex)/2, without.PCTR(&ex.Item), 0.12)
	m := late.Metrics()
	require.InDelta(t, 1, m.Click.Recent.Calibration(), 0.05)

	converts := newTrainer(t, smallParams())
	for n := range 20_000 {
		ex := draw(r)
		ex.Converted = false
		converts.LearnConversion(&ex)
		if n%5 == 0 {
			converts.LearnLateConversion(&ex)
		}
	}
	sc := converts.Snapshot("v").Scorer(&f)
	require.InEpsilon(t, 0.2, sc.PCVR(&ex.Item), 0.15)
}

// A gradient is the slope of the loss.
func TestGradientOfTheExaminationHypothesis(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		x, factor := rapid.Float64Range(-6, 1).Draw(t, "x"), rapid.Float64Range(0.05, 1).Draw(t, "factor")
		positive := rapid.Bool().Draw(t, "positive")
		lossAt := func(x float64) float64 {
			q := factor * sigmoid(x)
			if positive {
				return -math.Log(q)
			}
			return -math.Log1p(-q)
		}
		const h = 1e-5
		slope := (lossAt(x+h) - lossAt(x-h)) / (2 * h)
		l := newLearner(2)
		g := guess{raw: sigmoid(x), factor: factor, logit: x}
		for i := range g.at {
			g.at[i] = 1
		}
		p := Params{Alpha: 1, L1: 1e6}
		l.learn(&p, &g, positive, 1)
		if got := l.coords[1].z / features; math.Abs(got-slope) > 1e-6 {
			t.Fatalf("gradient %v, slope %v", got, slope)
		}
	})
}

// A weight counts as often as it says.
func TestWeightsOfExamples(t *testing.T) {
	t.Parallel()
	tr := newTrainer(t, smallParams())
	r := rand.New(rand.NewPCG(4, 1))
	for range 100_000 {
		ex := draw(r)
		if !ex.Clicked {
			if r.IntN(10) > 0 {
				continue
			}
			ex.Weight = 10
		}
		tr.LearnClick(&ex)
	}
	m := tr.Metrics()
	require.InEpsilon(t, 100_000, m.Click.Overall.Examples, 0.02)
	require.InDelta(t, 1, m.Click.Overall.Calibration(), 0.06)
	for _, w := range []float64{0, -1, math.NaN(), math.Inf(1), MaxWeight + 1} {
		require.InDelta(t, 1, (&Example{Weight: w}).weight(), 0, "%v", w)
	}
}

func TestGate(t *testing.T) {
	t.Parallel()
	fine := Sums{Examples: 200_000, Positive: 2000, Predicted: 2200, LogLoss: 11_000}
	for name, c := range map[string]struct {
		change func(s *Sums)
		want   string
	}{
		"fine":            {func(*Sums) {}, ""},
		"predicts high":   {func(s *Sums) { s.Predicted = 2600 }, "calibration 1.300"},
		"predicts low":    {func(s *Sums) { s.Predicted = 1400 }, "calibration 0.700"},
		"no better":       {func(s *Sums) { s.LogLoss = 12_000 }, "entropy"},
		"too few to tell": {func(s *Sums) { s.Positive, s.Predicted = 100, 1000 }, ""},
		"not a number":    {func(s *Sums) { s.LogLoss = math.NaN() }, "not finite"},
		"infinite":        {func(s *Sums) { s.Positive, s.Predicted = 1, math.Inf(1) }, "not finite"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fine
			c.change(&s)
			for _, m := range []Metrics{{Click: Progress{Recent: s}}, {Conversion: Progress{Recent: s}}} {
				if err := Gate(&m); c.want == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, c.want)
				}
			}
		})
	}
}

func TestCalibratorFindsAndBounds(t *testing.T) {
	t.Parallel()
	var f fit
	require.Equal(t, identity, f.calibrator())
	r := rand.New(rand.NewPCG(5, 1))
	for range 400_000 {
		x := -4 + r.NormFloat64()
		f.add(x, 1, map[bool]float64{true: 1}[r.Float64() < sigmoid(0.4+1.2*x)])
	}
	c := f.calibrator()
	require.InDelta(t, 0.4, c.LogGamma, 0.15)
	require.InDelta(t, 1.2, c.Kappa, 0.03)
	var wild fit
	for i := range 1000 {
		wild.add(float64(-i%10), 1, 1)
	}
	require.NoError(t, wild.calibrator().check())
}

func TestSlotFactorsNeverRise(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s slotStats
		for i := range rapid.IntRange(0, MaxSlots).Draw(t, "slots") {
			s.expected[i] = rapid.Float64Range(0, 1e5).Draw(t, "expected")
			s.clicks[i] = rapid.Float64Range(0, 1e5).Draw(t, "clicks")
		}
		s.estimate()
		last := 1.0
		for i, f := range s.factor {
			if !(f >= minSlotFactor && f <= last) || i == 0 && f < 1 {
				t.Fatalf("factors %v", s.factor)
			}
			last = f
		}
	})
}

func TestParamsAreChecked(t *testing.T) {
	t.Parallel()
	for i, change := range []func(p *Params){
		func(p *Params) { p.ClickBits = 1 }, func(p *Params) { p.ConversionBits = 23 }, func(p *Params) { p.Alpha = 0 },
		func(p *Params) { p.L1 = math.NaN() }, func(p *Params) { p.L2 = -1 }, func(p *Params) { p.HalfLife = math.Inf(1) }, func(p *Params) { p.Beta = math.Inf(1) },
	} {
		p := DefaultParams()
		change(&p)
		_, err := NewTrainer(p)
		require.Error(t, err, i)
	}
}

// Of the sum of gradients, a correction replaces that of the negative by that of the positive.
func TestCorrectionIsTheDifferenceOfGradients(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := Params{Alpha: 1, L1: 1e6} // all weights stay 0, so that z is the sum of gradients
		g := guess{factor: rapid.Float64Range(0.05, 1).Draw(t, "factor"), raw: rapid.Float64Range(1e-4, 0.5).Draw(t, "p")}
		for i := range g.at {
			g.at[i] = 1
		}
		w := rapid.Float64Range(0.1, 10).Draw(t, "weight")
		late, inTime := newLearner(2), newLearner(2)
		late.learn(&p, &g, false, w)
		late.correct(&p, &g, w)
		inTime.learn(&p, &g, true, w)
		if a, b := late.coords[1].z, inTime.coords[1].z; math.Abs(a-b) > 1e-9*math.Abs(b) {
			t.Fatalf("%v late, %v in time", a, b)
		}
	})
}

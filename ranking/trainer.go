package ranking

import (
	"errors"
	"fmt"
)

// Params are those of a trainer.
type Params struct {
	// ClickBits and ConversionBits are the sizes of the tables: 1<<bits weights, MinBits to MaxBits.
	ClickBits, ConversionBits uint8
	// Alpha and Beta make the learning rate of a weight, Alpha/(Beta+√n); L1 and L2 hold weights near 0: Algorithm 1.
	Alpha, Beta, L1, L2 float64
	// HalfLife is after how many examples one counts half for the calibrator. Slot factors remember four times as long, the recent
	// metrics a tenth of it.
	HalfLife float64
}

// DefaultParams are the parameters that docs/ranking.md measures.
func DefaultParams() Params {
	return Params{ClickBits: MaxBits, ConversionBits: 18, Alpha: 0.07, Beta: 1, L1: 1, L2: 1, HalfLife: 1e7}
}

func (p Params) check() error {
	var problems []error
	for _, b := range [...]uint8{p.ClickBits, p.ConversionBits} {
		if b < MinBits || b > MaxBits {
			problems = append(problems, fmt.Errorf("a table of %d bits: not %d to %d", b, MinBits, MaxBits))
		}
	}
	if !(p.Alpha > 0 && p.Alpha <= 10 && p.Beta >= 0 && p.Beta <= 1e6 && p.L1 >= 0 && p.L1 <= 1e6 && p.L2 >= 0 && p.L2 <= 1e6) {
		problems = append(problems, fmt.Errorf("rates α %v, β %v, λ1 %v, λ2 %v are out of their bounds", p.Alpha, p.Beta, p.L1, p.L2))
	}
	if !(p.HalfLife >= 1 && p.HalfLife <= 1e12) {
		problems = append(problems, fmt.Errorf("a half-life of %v examples is not in [1, 1e12]", p.HalfLife))
	}
	return errors.Join(problems...)
}

// MaxWeight is the most that one example may count.
const MaxWeight = 1000

// Example is an impression and what came of it.
type Example struct {
	Features Features
	Item     Item
	// Placement is BROWSE, SEARCH or OTHER; Slot is the index of the slot on its page, from 0.
	Placement string
	Slot      int
	// PCTR is what was predicted when it was served, 0 = not known.
	PCTR float32
	// Clicked and Converted are what is known at the end of the window; see [Trainer].
	Clicked, Converted bool
	// Weight is how often the example counts, as when only one in Weight of its kind was kept; what is not in (0, MaxWeight] is 1.
	Weight float64
}

func (ex *Example) weight() float64 {
	if !(ex.Weight > 0 && ex.Weight <= MaxWeight) {
		return 1
	}
	return ex.Weight
}

// Trainer learns online. It is deterministic: the same examples in the same order give the same snapshots. Not safe for concurrent use.
//
// Clicks come late. An impression is learned when its click window has closed, as clicked or not; a click that comes later is given to
// LearnLateClick, which takes the negative back and learns the positive: of the sum of gradients, what was wrong is replaced. In
// expectation that is the gradient of the true labels, like the importance weights of Ktena et al. ("Addressing Delayed Feedback for
// Continuous Training", RecSys 2019) but without their variance, since here it is known which negative was false. Conversions work
// the same way, with a window of their own that opens at the click.
type Trainer struct {
	p       Params
	click   learner
	convert learner
	slots   [placements]slotStats
}

// NewTrainer is a trainer that knows the priors of [Default] and nothing else.
func NewTrainer(p Params) (*Trainer, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("trainer: %w", err)
	}
	t := &Trainer{p: p, click: newLearner(p.ClickBits), convert: newLearner(p.ConversionBits)}
	t.click.prior, t.convert.prior = coldPriors()
	for i := range t.slots {
		t.slots[i] = newSlotStats()
	}
	return t, nil
}

// Params are those that the trainer was made with.
func (t *Trainer) Params() Params { return t.p }

// LearnClick learns whether an impression was clicked, and returns the probability that it had predicted before (progressive
// validation): of a click on that slot, not on the first.
func (t *Trainer) LearnClick(ex *Example) float64 {
	slots := &t.slots[placementCode(ex.Placement)]
	slot := slotIndex(ex.Slot)
	x := t.click.predict(&t.p, ex, slots.factor[slot])
	t.click.learn(&t.p, &x, ex.Clicked, ex.weight())
	t.click.metrics.add(ex, x.served, ex.Clicked, ex.weight())
	slots.add(slot, x.first, ex.Clicked, ex.weight())
	if t.click.tick(&t.p) {
		for i := range t.slots {
			t.slots[i].tick(&t.p, t.click.seen)
		}
	}
	return x.served
}

// LearnLateClick corrects an impression that was learned as not clicked.
func (t *Trainer) LearnLateClick(ex *Example) {
	slots := &t.slots[placementCode(ex.Placement)]
	slot := slotIndex(ex.Slot)
	x := t.click.predict(&t.p, ex, slots.factor[slot])
	t.click.correct(&t.p, &x, ex.weight())
	t.click.metrics.correct(ex, x.served, ex.weight())
	slots.clicks[slot] += ex.weight()
}

// LearnConversion learns whether a click led to a conversion, and returns the probability that it had predicted before.
func (t *Trainer) LearnConversion(ex *Example) float64 {
	x := t.convert.predict(&t.p, ex, 1)
	t.convert.learn(&t.p, &x, ex.Converted, ex.weight())
	t.convert.metrics.add(ex, x.served, ex.Converted, ex.weight())
	t.convert.tick(&t.p)
	return x.served
}

// LearnLateConversion corrects a click that was learned as without a conversion.
func (t *Trainer) LearnLateConversion(ex *Example) {
	x := t.convert.predict(&t.p, ex, 1)
	t.convert.correct(&t.p, &x, ex.weight())
	t.convert.metrics.correct(ex, x.served, ex.weight())
}

// Snapshot is the model as it is now, under a name of 1 to 64 bytes.
func (t *Trainer) Snapshot(version string) *Snapshot {
	s := &Snapshot{Version: version, click: t.click.table(), convert: t.convert.table()}
	for i := range t.slots {
		s.slots[i] = t.slots[i].factors()
	}
	return s
}

// Metrics are those of progressive validation so far.
func (t *Trainer) Metrics() Metrics {
	return Metrics{Click: t.click.metrics.report(), Conversion: t.convert.metrics.report()}
}

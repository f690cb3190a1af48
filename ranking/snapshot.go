package ranking

import (
	"errors"
	"fmt"
	"math"
)

// What a model may predict at most. The order of an index goes by lower probabilities, which are common; see modelBounds of cmd/gavel.
const (
	// MaxCTR is the highest click probability.
	MaxCTR = 0.25
	// MaxCVR is the highest probability of a conversion after a click.
	MaxCVR = 0.5
)

// MaxSlots is how many slots of a page have a factor of their own; later ones have that of the last.
const MaxSlots = 20

// Limits of a table of weights: 1<<bits buckets.
const (
	MinBits = 2
	MaxBits = 22
)

// maxVersion bounds the name of a snapshot, in bytes.
const maxVersion = 64

// weightScale is how many steps of a weight make 1.
const weightScale = 1 << 13

// Snapshot is a model at one moment: immutable, safe for concurrent use.
type Snapshot struct {
	// Version names the snapshot in decision records: 1 to 64 bytes.
	Version string
	click   table
	convert table
	slots   [placements][]float64
}

// table is one linear model.
type table struct {
	bits uint8
	// prior are the logits that weights are relative to: what is predicted before anything is learned.
	prior [placements][objectives]float64
	// weights are in steps of 1/weightScale.
	weights []int16
	// known says how much was learned of each weight; see variances.
	known []uint8
	cal   Calibrator
}

func emptyTable(bits uint8) table {
	return table{bits: bits, weights: make([]int16, 1<<bits), known: make([]uint8, 1<<bits), cal: identity}
}

// What a system predicts that has seen nothing yet: click rates of the order that feeds report, search highest (by placement code), times
// how much likelier the ads of an objective are clicked, and conversion rates per click (by objective code).
var (
	coldCTR       = [placements]float64{0.004, 0.005, 0.010}
	coldObjective = [objectives]float64{1, 0.8, 1.2, 1, 1, 0.8}
	coldCVR       = [objectives]float64{0.01, 0.005, 0.01, 0.03, 0.03, 0.005}
)

// Default is the model of a system that has seen nothing yet: a prior per placement and objective.
func Default() *Snapshot {
	s := &Snapshot{Version: "prior-2", click: emptyTable(MinBits), convert: emptyTable(MinBits)}
	s.click.prior, s.convert.prior = coldPriors()
	return s
}

func coldPriors() (click, convert [placements][objectives]float64) {
	for p, ctr := range coldCTR {
		for o, factor := range coldObjective {
			click[p][o] = logit(float64(ctr * factor))
			convert[p][o] = logit(coldCVR[o])
		}
	}
	return click, convert
}

// SlotFactors is α of each slot of a placement, estimated: the probability that an ad there is seen and acted upon, relative to the
// first slot. The first is 1 and they never rise; nil when there is no estimate yet. The caller must not change it.
func (s *Snapshot) SlotFactors(placement string) []float64 { return s.slots[placementCode(placement)] }

// Validate reports what makes a snapshot unfit to serve, all at once: a number that is not finite or out of its bounds, a table of the
// wrong size. Whether it predicts well is for [Gate].
func (s *Snapshot) Validate() error {
	var problems []error
	fail := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if n := len(s.Version); n < 1 || n > maxVersion {
		fail("the version has %d bytes, not 1 to %d", n, maxVersion)
	}
	s.click.check("click", MaxCTR, fail)
	s.convert.check("conversion", MaxCVR, fail)
	for p, factors := range s.slots {
		if len(factors) > MaxSlots {
			fail("%s has factors of %d slots, at most %d are allowed", placementNames[p], len(factors), MaxSlots)
		}
		last := 1.0
		for i, a := range factors {
			if !(a > 0 && a <= last) || i == 0 && math.Float64bits(a) != math.Float64bits(1) {
				fail("the factor %v of slot %d of %s is not in (0, %v], or the first is not 1", a, i, placementNames[p], last)
			}
			last = a
		}
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("model %q: %w", s.Version, err)
	}
	return nil
}

func (t *table) check(name string, highest float64, fail func(format string, args ...any)) {
	if t.bits < MinBits || t.bits > MaxBits || len(t.weights) != 1<<t.bits || len(t.known) != 1<<t.bits {
		fail("the %s table has %d weights and %d counts for %d bits", name, len(t.weights), len(t.known), t.bits)
		return
	}
	for _, i := range [...]int{0, 1 << (t.bits - 1)} {
		if t.weights[i] != 0 || t.known[i] != 0 {
			fail("bucket %d of the %s table is not empty", i, name)
		}
	}
	for p := range t.prior {
		for _, x := range t.prior[p] {
			if !(x >= -maxLogit && sigmoid(x) <= highest) {
				fail("the %s prior %v of %s is not in [-%d, logit of %v]", name, x, placementNames[p], maxLogit, highest)
			}
		}
	}
	if err := t.cal.check(); err != nil {
		fail("%s: %w", name, err)
	}
}

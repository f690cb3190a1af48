package ranking

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Metrics say how good the predictions were that a trainer made before it learned each example (progressive validation: McMahan et
// al. 2013, section 5.1).
type Metrics struct {
	Click, Conversion Progress
}

// Progress are the metrics of one model.
type Progress struct {
	// Overall is over all examples; Recent forgets with a tenth of the half-life of [Params].
	Overall, Recent Sums
	// Slices are over all examples, in order of name, such as "ad=17", "country=5ad1f2c3" (hashed), "placement=BROWSE", "slot=2".
	Slices []Slice
}

// Slice is a part of the examples.
type Slice struct {
	Name string
	Sums
}

// Sums are over examples, each as often as its weight says.
type Sums struct {
	Examples, Positive float64
	// Predicted is the sum of the predicted probabilities; LogLoss that of −ln of the probability of what happened.
	Predicted, LogLoss float64
}

// Calibration is predicted by real positives; 0 when there are none.
func (s *Sums) Calibration() float64 {
	if !(s.Positive > 0) {
		return 0
	}
	return s.Predicted / s.Positive
}

// NormalisedEntropy is the log loss relative to that of always predicting the mean (He et al., "Practical Lessons from Predicting Clicks
// on Ads at Facebook", ADKDD 2014, section 3); below 1 is better than that. 0 when there are only positives or only negatives.
func (s *Sums) NormalisedEntropy() float64 {
	rate := s.Positive / s.Examples
	if !(rate > 0 && rate < 1) {
		return 0
	}
	return s.LogLoss / float64(s.Examples*(float64(-rate*ln(rate))-float64((1-rate)*ln(1-rate))))
}

func (s *Sums) add(p float64, positive bool, weight float64) {
	s.Examples += weight
	s.Predicted += float64(weight * p)
	if positive {
		s.Positive += weight
		s.LogLoss -= float64(weight * ln(p))
	} else {
		s.LogLoss -= float64(weight * ln(1-p))
	}
}

// correct turns a negative into a positive.
func (s *Sums) correct(p, weight float64) {
	s.Positive += weight
	s.LogLoss += float64(weight * (ln(1-p) - ln(p)))
}

func (s *Sums) age(keep float64) {
	s.Examples = float64(s.Examples * keep)
	s.Positive = float64(s.Positive * keep)
	s.Predicted = float64(s.Predicted * keep)
	s.LogLoss = float64(s.LogLoss * keep)
}

// maxSlices bounds the slices of a model; the examples of those that came too late are in none of that kind.
const maxSlices = 4096

// sliceKey names a slice: a kind of slice and a number.
type sliceKey struct {
	kind  uint8
	value uint64
}

// The kinds of slice.
const (
	byAd = iota
	byCategory
	byCountry
	byObjective
	byPlacement
	bySlot
	sliceKinds
)

var sliceNames = [sliceKinds]string{"ad", "category", "country", "objective", "placement", "slot"}

func (k sliceKey) String() string {
	value := strconv.FormatUint(k.value, 10)
	switch k.kind {
	case byCategory:
		value = categoryName(k.value)
	case byCountry:
		value = strconv.FormatUint(k.value, 16)
	case byObjective:
		value = string(objectiveNames[k.value])
	case byPlacement:
		value = placementNames[k.value]
	}
	return sliceNames[k.kind] + "=" + value
}

// progress collects metrics.
type progress struct {
	overall, recent Sums
	sums            []Sums
	keys            []sliceKey
	where           map[sliceKey]int // in sums and keys; never ranged over
}

func newProgress() progress { return progress{where: map[sliceKey]int{}} }

func slicesOf(ex *Example) [sliceKinds]sliceKey {
	return [sliceKinds]sliceKey{
		{byAd, uint64(ex.Item.AdID)},
		{byCategory, categoryCode(ex.Item.Category)},
		{byCountry, uint64(ex.Features[fCountry])},
		{byObjective, uint64(objectiveCode(ex.Item.Objective))},
		{byPlacement, uint64(placementCode(ex.Placement))},
		{bySlot, uint64(slotIndex(ex.Slot))},
	}
}

// slice is where a slice is counted; nil when there is no room for another.
func (m *progress) slice(k sliceKey) *Sums {
	i, ok := m.where[k]
	if !ok {
		if len(m.sums) == maxSlices {
			return nil
		}
		i = len(m.sums)
		m.where[k] = i
		m.sums, m.keys = append(m.sums, Sums{}), append(m.keys, k)
	}
	return &m.sums[i]
}

func (m *progress) add(ex *Example, p float64, positive bool, weight float64) {
	m.overall.add(p, positive, weight)
	m.recent.add(p, positive, weight)
	for _, k := range slicesOf(ex) {
		if s := m.slice(k); s != nil {
			s.add(p, positive, weight)
		}
	}
}

func (m *progress) correct(ex *Example, p, weight float64) {
	m.overall.correct(p, weight)
	m.recent.correct(p, weight)
	for _, k := range slicesOf(ex) {
		if s := m.slice(k); s != nil {
			s.correct(p, weight)
		}
	}
}

func (m *progress) age(keep float64) { m.recent.age(keep) }

func (m *progress) report() Progress {
	p := Progress{Overall: m.overall, Recent: m.recent}
	for i, k := range m.keys {
		p.Slices = append(p.Slices, Slice{Name: k.String(), Sums: m.sums[i]})
	}
	slices.SortFunc(p.Slices, func(a, b Slice) int { return cmp.Compare(a.Name, b.Name) })
	return p
}

// The bounds of [Gate].
const (
	// GatePositives is how many recent clicks (or conversions) there must be before a model is judged.
	GatePositives = 1000
	// GateCalibration is how far recent calibration may be from 1, either way, as a factor.
	GateCalibration = 1.25
	// GateEntropy is the worst recent normalised entropy: a model that is worse than a constant has gone astray.
	GateEntropy = 1.05
)

// Gate says why a model should not replace the one that serves: its recent predictions were off by more than the bounds. Too few
// examples to judge are no reason; nor are numbers that are not finite a pass.
func Gate(m *Metrics) error {
	return errors.Join(m.Click.gate("click"), m.Conversion.gate("conversion"))
}

func (p *Progress) gate(name string) error {
	r := &p.Recent
	if !finite(r.Examples) || !finite(r.Positive) || !finite(r.Predicted) || !finite(r.LogLoss) {
		return fmt.Errorf("%s model: its metrics are not finite", name)
	}
	if r.Positive < GatePositives {
		return nil
	}
	if c := r.Calibration(); !(c >= 1/GateCalibration && c <= GateCalibration) {
		return fmt.Errorf("%s model: recent calibration %.3f is not in [%.2f, %.2f]", name, c, 1/GateCalibration, GateCalibration)
	}
	if ne := r.NormalisedEntropy(); !(ne <= GateEntropy) {
		return fmt.Errorf("%s model: recent normalised entropy %.3f is above %.2f", name, ne, GateEntropy)
	}
	return nil
}

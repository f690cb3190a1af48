// Package ranking predicts how a user will respond to an ad.
//
// A [Model] is an immutable snapshot: the same inputs give the same bits, on any machine, so that a decision can be
// replayed. Predictions are probabilities in (0, [MaxCTR]]; they are scores, never money. The package does no I/O.
package ranking

import "fmt"

// MaxCTR is the highest click probability that a model may predict. Indexes order CPC ads by bid × MaxCTR, so that a
// truncated candidate list never lacks an ad that would have won.
const MaxCTR = 0.25

// Model is a snapshot of click probabilities.
type Model struct {
	// Version names the snapshot in decision records.
	Version string
	// PriorCTR is the click probability per placement (BROWSE, SEARCH, OTHER) before anything is learned.
	PriorCTR map[string]float64
}

// Default is the model of a system that has seen nothing yet: click rates of the order that feeds report, search highest.
func Default() *Model {
	return &Model{Version: "prior-1", PriorCTR: map[string]float64{
		"BROWSE": 0.005,
		"SEARCH": 0.010,
		"OTHER":  0.004,
	}}
}

// Validate reports the first probability outside (0, MaxCTR].
func (m *Model) Validate() error {
	for placement, p := range m.PriorCTR {
		if !(p > 0 && p <= MaxCTR) {
			return fmt.Errorf("model %s: click probability %v of %s is not in (0, %v]", m.Version, p, placement, MaxCTR)
		}
	}
	return nil
}

// PCTR is the probability that an ad shown on the placement is clicked.
func (m *Model) PCTR(placement string) float64 {
	if p, ok := m.PriorCTR[placement]; ok {
		return p
	}
	return m.PriorCTR["OTHER"]
}

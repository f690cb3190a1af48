package auction

import "gavel/ranking"

// Model predicts.
type Model interface {
	// ModelVersion names what is predicted with.
	ModelVersion() string
	// SlotFactors are those that were estimated for a placement, nil when none were; see PageSlot.
	SlotFactors(placement string) []float64
	// Predict fills in PCTR of the candidates, PCVR of those with a CPA goal and, if it is asked for, StdErr.
	Predict(f *ranking.Features, list []Candidate, uncertain bool)
}

// Learned is a snapshot as a Model.
type Learned struct{ *ranking.Snapshot }

var _ Model = Learned{}

// ModelVersion implements Model.
func (l Learned) ModelVersion() string { return l.Version }

// Predict implements Model.
func (l Learned) Predict(f *ranking.Features, list []Candidate, uncertain bool) {
	scorer := l.Scorer(f)
	for i := range list {
		c := &list[i]
		c.PCTR = scorer.PCTR(&c.Item)
		if c.CPAGoal > 0 {
			c.PCVR = scorer.PCVR(&c.Item)
		}
		if uncertain {
			_, c.StdErr = scorer.Uncertain(&c.Item)
		}
	}
}

package ranking

import "fmt"

// Calibrator corrects what a linear model predicts: odds' = γ·odds^κ, which for the small probabilities of ads is τ(p) = γ·p^κ
// (McMahan et al. 2013, section 7) and stays below 1 by itself. On logits it is a line (Platt 1999), so it costs one multiplication.
// Isotonic regression was not chosen: its steps make ties among ads, which the auction would break by ad id, and each step needs
// clicks of its own.
type Calibrator struct {
	// LogGamma is ln γ, in [-1, 1] about the mean logit; Kappa is κ, in [1/2, 3/2].
	LogGamma, Kappa float64
}

var identity = Calibrator{Kappa: 1}

// Bounds of a calibrator: beyond them a model is wrong in a way that no calibrator should hide.
const (
	maxLogGamma = 4
	minKappa    = 0.5
	maxKappa    = 1.5
)

func (c Calibrator) logit(x float64) float64 { return c.LogGamma + float64(c.Kappa*x) }

func (c Calibrator) check() error {
	if !(c.LogGamma >= -maxLogGamma && c.LogGamma <= maxLogGamma && c.Kappa >= minKappa && c.Kappa <= maxKappa) {
		return fmt.Errorf("calibrator ln γ = %v, κ = %v is out of its bounds", c.LogGamma, c.Kappa)
	}
	return nil
}

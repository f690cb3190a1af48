package ranking

import "math"

// fit is what a calibrator is fitted to: how often examples were positive, by predicted logit.
type fit struct{ bins [fitBins]fitBin }

// Bins are a sixteenth of a logit wide, from -12 to 4: with a quarter, taking a bin for its mean predicted 0.26 % too much.
const (
	fitBins  = 256
	fitFrom  = -12
	fitWidth = 1.0 / 16
)

// fitBin sums over examples; logits is the sum of exposure times logit.
type fitBin struct{ exposure, positive, logits float64 }

// add counts an example. Its exposure is its weight times the factor of its slot: for small probabilities that many impressions on the
// first slot say the same.
func (f *fit) add(logit, exposure, positive float64) {
	i := math.Floor((logit - fitFrom) / fitWidth)
	b := &f.bins[int(min(max(i, 0), fitBins-1))]
	b.exposure += exposure
	b.positive += positive
	b.logits += float64(exposure * logit)
}

func (f *fit) age(keep float64) {
	for i := range f.bins {
		b := &f.bins[i]
		b.exposure = float64(b.exposure * keep)
		b.positive = float64(b.positive * keep)
		b.logits = float64(b.logits * keep)
	}
}

// The prior of a calibrator: standard deviations of the shift and of κ − 1, so that a handful of positives does not move it.
const (
	fitShiftSD = 0.3
	fitKappaSD = 0.1
	fitRounds  = 12
)

// calibrator is the most probable one: logistic regression on two parameters by Newton's method, about the mean logit of the positives.
func (f *fit) calibrator() Calibrator {
	var exposure, logits, positive float64
	for i := range f.bins {
		exposure += f.bins[i].exposure
		logits += f.bins[i].logits
		positive += f.bins[i].positive
	}
	if !(exposure > 0 && positive > 0) {
		return identity
	}
	mean := logits / exposure
	var a, b float64 // logit' = logit + a + b·(logit − mean)
	for range fitRounds {
		ga, gb := a/(fitShiftSD*fitShiftSD), b/(fitKappaSD*fitKappaSD)
		haa, hab, hbb := 1/(fitShiftSD*fitShiftSD), 0.0, 1/(fitKappaSD*fitKappaSD)
		for i := range f.bins {
			bin := &f.bins[i]
			if !(bin.exposure > 0) {
				continue
			}
			z := bin.logits / bin.exposure
			d := z - mean
			q := sigmoid(z + a + float64(b*d))
			g := float64(bin.exposure*q) - bin.positive
			h := float64(bin.exposure * float64(q*(1-q)))
			ga += g
			gb += float64(g * d)
			haa += h
			hab += float64(h * d)
			hbb += float64(float64(h*d) * d)
		}
		det := float64(haa*hbb) - float64(hab*hab)
		a = min(max(a-(float64(hbb*ga)-float64(hab*gb))/det, -1), 1)
		b = min(max(b-(float64(haa*gb)-float64(hab*ga))/det, minKappa-1), maxKappa-1)
	}
	c := Calibrator{LogGamma: a - float64(b*mean), Kappa: 1 + b}
	if c.check() != nil {
		return identity
	}
	return c
}

package ranking

import "math"

// Scorer scores the ads of one request. It is a value, made by [Snapshot.Scorer], not safe for concurrent use.
type Scorer struct {
	s         *Snapshot
	f         Features
	placement int
	// shared is the sum of the weights of the context, in steps.
	click, convert int64
	converts       bool
	clickVar       int64 // -1 before it is asked for
}

// Scorer sums what all ads of a request share.
func (s *Snapshot) Scorer(f *Features) Scorer {
	return Scorer{s: s, f: *f, placement: f.placement(), click: s.click.shared(f), clickVar: -1}
}

// PCTR is the probability that the ad, shown on the first slot, is clicked: calibrated, in (0, MaxCTR].
func (sc *Scorer) PCTR(it *Item) float64 {
	t := &sc.s.click
	objective := objectiveCode(it.Objective)
	return min(sigmoid(t.logit(sc.placement, objective, sc.click+t.item(&sc.f, it, objective))), MaxCTR)
}

// PCVR is the probability that a click on the ad leads to a conversion: calibrated, in (0, MaxCVR].
func (sc *Scorer) PCVR(it *Item) float64 {
	t := &sc.s.convert
	if !sc.converts {
		sc.convert, sc.converts = t.shared(&sc.f), true
	}
	objective := objectiveCode(it.Objective)
	return min(sigmoid(t.logit(sc.placement, objective, sc.convert+t.item(&sc.f, it, objective))), MaxCVR)
}

// Uncertain is the calibrated logit of a click and its standard error: a normal approximation of the posterior with independent
// weights (Chapelle, Li, "An Empirical Evaluation of Thompson Sampling", NIPS 2011, Algorithm 3). Thompson sampling draws a logit from
// it, UCB adds a multiple of stderr; [Snapshot.PCTROf] makes a probability of either.
func (sc *Scorer) Uncertain(it *Item) (logit, stderr float64) {
	t := &sc.s.click
	if sc.clickVar < 0 {
		sc.clickVar = 0
		for i, h := range sc.f {
			sc.clickVar += t.variance(uint64(h)*contextMultiplier, tailed(i))
		}
	}
	variance := sc.clickVar
	k := it.keys()
	for _, c := range crosses {
		h := k[c.key]
		if c.context != alone {
			h *= uint64(sc.f[c.context])
		}
		variance += t.variance(h, tailed(c.context))
	}
	objective := objectiveCode(it.Objective)
	return t.logit(sc.placement, objective, sc.click+t.item(&sc.f, it, objective)),
		float64(t.cal.Kappa * math.Sqrt(float64(variance)/varianceScale))
}

// PCTROf is the probability of a click of a calibrated logit, in (0, MaxCTR].
func (s *Snapshot) PCTROf(logit float64) float64 { return min(sigmoid(logit), MaxCTR) }

// logit is the calibrated logit of a sum of weights.
func (t *table) logit(placement, objective int, sum int64) float64 {
	return t.cal.logit(t.prior[placement][objective] + float64(float64(sum)/weightScale))
}

// shared sums the weights of a context.
func (t *table) shared(f *Features) int64 {
	var sum int64
	for i, h := range f {
		sum += int64(t.weights[bucket(uint64(h)*contextMultiplier, t.bits, tailed(i))])
	}
	return sum
}

// item sums the weights that an ad adds: those of crosses, unrolled, since this is most of what scoring costs.
func (t *table) item(f *Features, it *Item, objective int) int64 {
	w := t.weights
	shift := (65 - t.bits) & 63 // the mask says to the compiler that no shift is beyond 63
	tail := uint64(1) << ((t.bits - 1) & 63)
	ad := mix(uint64(it.AdID), keySalt+kAd)
	group := mix(uint64(it.AdGroupID), keySalt+kAdGroup)
	camp := mix(uint64(it.CampaignID), keySalt+kCampaign)
	account := mix(uint64(it.AdAccountID), keySalt+kAdAccount)
	category := mix(categoryCode(it.Category), keySalt+kCategory)
	goal := mix(goalCode(objective, it), keySalt+kGoal)
	demography, i1, i2, i3 := uint64(f[fDemography]), uint64(f[fInterest1]), uint64(f[fInterest2]), uint64(f[fInterest3])
	a := int64(w[ad>>shift]) + int64(w[group>>shift]) + int64(w[camp>>shift]) + int64(w[account>>shift]) + int64(w[category>>shift])
	b := int64(w[goal*uint64(f[fPlacement])>>shift]) + int64(w[ad*uint64(f[fPlacement])>>shift]) + int64(w[ad*uint64(f[fCountry])>>shift]) +
		int64(w[ad*demography>>shift]) + int64(w[ad*uint64(f[fAppType])>>shift])
	c := int64(w[ad*i1>>shift]) + int64(w[ad*i2>>shift]) + int64(w[ad*i3>>shift]) +
		int64(w[category*demography>>shift]) + int64(w[category*i1>>shift]) + int64(w[category*i2>>shift]) + int64(w[category*i3>>shift])
	d := int64(w[camp*uint64(f[fHours])>>shift]) + int64(w[camp*uint64(f[fQuery])>>shift|tail]) + int64(w[account*uint64(f[fUser])>>shift|tail])
	return a + b + c + d
}

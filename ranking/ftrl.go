package ranking

import "math"

// tickEvery is after how many examples the sums that forget are aged and the calibrator is fitted again.
const tickEvery = 1 << 14

// learner is one model in training.
type learner struct {
	bits    uint8
	prior   [placements][objectives]float64
	coords  []coord
	fit     fit
	cal     Calibrator
	seen    uint64 // examples
	metrics progress
}

// coord is z and n of Algorithm 1, and the mean of the weight. In float32 the squared gradients of impressions without a click would
// vanish beside a large n.
type coord struct{ z, n, mean float64 }

// What is served is not the last weight but a mean that leans to the later ones (Shamir, Zhang, "Stochastic Gradient Descent for
// Non-smooth Optimization", ICML 2013, section 4, with η = meanOrder − 1): the last one still sways with the last clicks. Time is
// counted in information, so that a weight of which little is known moves at once.
const (
	meanOrder = 3
	// meanMemory is how much information, in clicks, the mean reaches back over at most: tastes change.
	meanMemory = 50_000
)

func newLearner(bits uint8) learner {
	return learner{bits: bits, coords: make([]coord, 1<<bits), cal: identity, metrics: newProgress()}
}

// weight is the closed form of Algorithm 1: 0 while |z| is at most λ1.
func (c coord) weight(p *Params) float64 {
	if math.Abs(c.z) <= p.L1 {
		return 0
	}
	return (math.Copysign(p.L1, c.z) - c.z) / ((p.Beta+math.Sqrt(c.n))/p.Alpha + p.L2)
}

// guess is a prediction, and what learning from it needs.
type guess struct {
	at      [features]uint32
	weights [features]float64
	raw     float64 // probability on the first slot by the last weights: what the gradient is of
	logit   float64 // by the mean weights, of the first slot, uncalibrated
	factor  float64 // of the slot
	first   float64 // calibrated probability on the first slot
	served  float64 // calibrated probability on the slot it was shown on
}

// update is a step of Algorithm 1 with gradient g, for every feature of the example.
func (l *learner) update(p *Params, x *guess, g, weight float64) {
	half := uint32(1)<<(l.bits-1) - 1
	g2 := float64(g * g)
	info := float64(float64(meanOrder*weight) * float64(x.factor*float64(x.raw*(1-x.raw))))
	for i, at := range x.at {
		if at&half == 0 {
			continue
		}
		c := &l.coords[at]
		n := c.n + g2
		sigma := (math.Sqrt(n) - math.Sqrt(c.n)) / p.Alpha
		c.z += g - float64(sigma*x.weights[i])
		c.n = n
		c.mean += float64((x.weights[i] - c.mean) * min(1, info/min(n, meanMemory)))
	}
}

func (l *learner) predict(p *Params, ex *Example, factor float64) guess {
	x := guess{at: indexes(&ex.Features, &ex.Item, l.bits), factor: factor}
	x.logit = l.prior[ex.Features.placement()][objectiveCode(ex.Item.Objective)]
	last := x.logit
	for i, at := range x.at {
		c := &l.coords[at]
		x.weights[i] = c.weight(p)
		last += x.weights[i]
		x.logit += c.mean
	}
	x.raw = sigmoid(last)
	x.first = sigmoid(l.cal.logit(x.logit))
	x.served = float64(factor * x.first)
	return x
}

// learn takes the gradient of the log loss by the logit. On the first slot that is p − y. On a slot with factor α the click has
// probability αp (the examination hypothesis: Richardson, Dominowska, Ragno 2007), and the gradient is (1−p)(αp−y)/(1−αp).
func (l *learner) learn(p *Params, x *guess, positive bool, weight float64) {
	q := float64(x.factor * x.raw)
	y := 0.0
	if positive {
		y = 1
	}
	l.update(p, x, float64(weight*(float64((1-x.raw)*(q-y))/(1-q))), weight)
	l.fit.add(x.logit, float64(weight*x.factor), float64(weight*y))
	l.seen++
}

// correct is the gradient of a positive less that of the negative that was learned before.
func (l *learner) correct(p *Params, x *guess, weight float64) {
	q := float64(x.factor * x.raw)
	l.update(p, x, -float64(weight*((1-x.raw)/(1-q))), 0)
	l.fit.add(x.logit, 0, weight)
}

// tick ages what forgets, once in tickEvery examples; it says whether it did.
func (l *learner) tick(p *Params) bool {
	if l.seen%tickEvery != 0 {
		return false
	}
	keep := keepOf(p.HalfLife, l.seen)
	l.cal = l.fit.calibrator()
	l.fit.age(keep)
	l.metrics.age(keepOf(p.HalfLife/recentMemory, l.seen))
	return true
}

// keepOf is what is left after a tick of a sum with that half-life. While a trainer is young it forgets faster, k/(k+1) at tick k:
// what the model said when it knew little should not count for long.
func keepOf(halfLife float64, seen uint64) float64 {
	k := float64(seen/tickEvery) + youth
	return min(exp(max(-math.Ln2*tickEvery/halfLife, -maxLogit)), k/(k+1))
}

// recentMemory is how many times sooner the recent metrics forget: they are to show a model that goes astray.
const recentMemory = 10

// youth is at which tick a trainer starts to count.
const youth = 8

// table freezes the weights.
func (l *learner) table() table {
	t := emptyTable(l.bits)
	t.prior, t.cal = l.prior, l.fit.calibrator()
	for i, c := range l.coords {
		if c.n == 0 {
			continue
		}
		w := math.RoundToEven(float64(c.mean * weightScale))
		t.weights[i] = int16(min(max(w, -math.MaxInt16), math.MaxInt16))
		t.known[i] = knownOf(c.n)
	}
	return t
}

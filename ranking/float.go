package ranking

import "math"

// maxLogit bounds every logit: at 30 a probability is within 1e-13 of 0 or 1.
const maxLogit = 30

// exp is e to the power of x for |x| <= 700, within one part in 1e14, with the same bits on every machine. x = k·ln 2 + r, |r| <= ln 2 / 2; e^r by its
// Taylor series.
func exp(x float64) float64 {
	const (
		ln2Hi = 6.93147180369123816490e-01 // Cody and Waite's split, as in package math
		ln2Lo = 1.90821492927058770002e-10
	)
	const shifter = 3 << 51 // adding it rounds to an integer, half to even
	k := (float64(x*math.Log2E) + shifter) - shifter
	r := (x - float64(k*ln2Hi)) - float64(k*ln2Lo)
	r2 := float64(r * r)
	r4 := float64(r2 * r2)
	// Estrin's scheme: the processor works on four sums at once
	a := float64(1+r) + float64(r2*(float64(1.0/2)+float64(r*(1.0/6))))
	b := float64(float64(1.0/24)+float64(r*(1.0/120))) + float64(r2*(float64(1.0/720)+float64(r*(1.0/5040))))
	c := float64(float64(1.0/40320)+float64(r*(1.0/362880))) + float64(r2*(float64(1.0/3628800)+float64(r*(1.0/39916800))))
	y := a + float64(r4*(b+float64(r4*c)))
	return float64(y * math.Float64frombits(uint64(1023+int64(k))<<52))
}

// ln is the natural logarithm of a positive, finite, normal x, with the same bits on every machine (the method of package math:
// FreeBSD's e_log.c).
func ln(x float64) float64 {
	const (
		ln2Hi = 6.93147180369123816490e-01
		ln2Lo = 1.90821492927058770002e-10
		l1    = 6.666666666666735130e-01
		l2    = 3.999999999940941908e-01
		l3    = 2.857142874366239149e-01
		l4    = 2.222219843214978396e-01
		l5    = 1.818357216161805012e-01
		l6    = 1.531383769920937332e-01
		l7    = 1.479819860511658591e-01
	)
	f1, ki := math.Frexp(x)
	if f1 < math.Sqrt2/2 {
		f1 = float64(f1 * 2)
		ki--
	}
	f := f1 - 1
	k := float64(ki)
	s := f / (2 + f)
	s2 := float64(s * s)
	s4 := float64(s2 * s2)
	t1 := float64(s2 * (l1 + float64(s4*(l3+float64(s4*(l5+float64(s4*l7)))))))
	t2 := float64(s4 * (l2 + float64(s4*(l4+float64(s4*l6)))))
	r := t1 + t2
	hfsq := float64(float64(0.5*f) * f)
	return float64(k*ln2Hi) - ((hfsq - (float64(s*(hfsq+r)) + float64(k*ln2Lo))) - f)
}

// sigmoid is 1/(1+e^-x) of x held to ±maxLogit: never 0, never 1.
func sigmoid(x float64) float64 {
	return 1 / (1 + exp(-min(max(x, -maxLogit), maxLogit)))
}

// logit is the inverse of sigmoid.
func logit(p float64) float64 { return ln(p) - ln(1-p) }

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

package ranking

import "math"

// priorPrecision is what is taken to be known of a weight before any example: the inverse of its variance. An ad of which nothing is
// known, not even of its account, has some twenty such weights, so a logit with a standard error of about a half.
const priorPrecision = 100

// The variance of a weight is 1/(priorPrecision + n), n the sum of its squared gradients, which approximates its Fisher information.
// Snapshots hold it as a byte q: 2^(-q/knownPerOctave)/priorPrecision.
const (
	knownPerOctave = 8
	varianceScale  = priorPrecision << 24
)

// octave are 2^24 · 2^(-i/8).
var octave = [knownPerOctave]int64{16777216, 15384774, 14107901, 12937002, 11863283, 10878678, 9975792, 9147842}

// knownOf is the byte of a sum of squared gradients.
func knownOf(n float64) uint8 {
	q := math.Floor(float64(ln(1+n/priorPrecision)*(knownPerOctave/math.Ln2)) + 0.5)
	return uint8(min(q, math.MaxUint8))
}

// variance is that of the weight of a hash, in 1/varianceScale; 0 where there is no feature.
func (t *table) variance(h uint64, tail bool) int64 {
	i := bucket(h, t.bits, tail)
	if i&(1<<(t.bits-1)-1) == 0 {
		return 0
	}
	q := t.known[i]
	return octave[q%knownPerOctave] >> (q / knownPerOctave)
}

package ranking

import (
	"encoding/binary"
	"fmt"
	"math"
)

// AppendState appends all that a trainer knows. One that is restored from it goes on with the same bits.
func (t *Trainer) AppendState(dst []byte) []byte {
	from := len(dst)
	dst = append(dst, stateMagic...)
	dst = append(dst, t.p.ClickBits, t.p.ConversionBits)
	for _, x := range [...]float64{t.p.Alpha, t.p.Beta, t.p.L1, t.p.L2, t.p.HalfLife} {
		dst = appendFloat(dst, x)
	}
	dst = t.click.append(dst)
	dst = t.convert.append(dst)
	for i := range t.slots {
		s := &t.slots[i]
		for j := range s.clicks {
			dst = appendFloat(appendFloat(appendFloat(dst, s.clicks[j]), s.expected[j]), s.factor[j])
		}
	}
	return seal(dst, from)
}

// RestoreTrainer is a trainer as AppendState left it; it fails with [ErrDamaged].
func RestoreTrainer(state []byte) (*Trainer, error) {
	d, err := open(state, stateMagic)
	if err != nil {
		return nil, fmt.Errorf("trainer: %w", err)
	}
	p := Params{ClickBits: d.bits(), ConversionBits: d.bits()}
	for _, x := range [...]*float64{&p.Alpha, &p.Beta, &p.L1, &p.L2, &p.HalfLife} {
		*x = d.float()
	}
	if d.bad {
		return nil, fmt.Errorf("trainer: %w", ErrDamaged)
	}
	t, err := NewTrainer(p)
	if err != nil {
		return nil, err
	}
	d.learner(&t.click, MaxCTR)
	d.learner(&t.convert, MaxCVR)
	for i := range t.slots {
		s := &t.slots[i]
		for j := range s.clicks {
			s.clicks[j], s.expected[j], s.factor[j] = d.amount(), d.amount(), d.float()
			if !(s.factor[j] >= minSlotFactor && s.factor[j] <= 1) {
				d.bad = true
			}
		}
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("trainer: %w", err)
	}
	return t, nil
}

func (l *learner) append(dst []byte) []byte {
	dst = appendPrior(dst, &l.prior)
	dst = binary.AppendUvarint(dst, l.seen)
	dst = appendFloat(appendFloat(dst, l.cal.LogGamma), l.cal.Kappa)
	for _, b := range l.fit.bins {
		dst = appendFloat(appendFloat(appendFloat(dst, b.exposure), b.positive), b.logits)
	}
	dst = l.metrics.append(dst)
	used := 0
	for _, c := range l.coords {
		if c != (coord{}) {
			used++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(used))
	last := 0
	for i, c := range l.coords {
		if c != (coord{}) {
			dst = binary.AppendUvarint(dst, uint64(i-last))
			dst = appendFloat(appendFloat(appendFloat(dst, c.z), c.n), c.mean)
			last = i
		}
	}
	return dst
}

func (d *decoder) learner(l *learner, highest float64) {
	d.prior(&l.prior)
	l.seen = d.uvarint()
	l.cal = Calibrator{LogGamma: d.float(), Kappa: d.float()}
	for i := range l.fit.bins {
		l.fit.bins[i] = fitBin{exposure: d.amount(), positive: d.amount(), logits: d.float()}
		d.bad = d.bad || !finite(l.fit.bins[i].logits)
	}
	d.progress(&l.metrics)
	half := 1<<(l.bits-1) - 1
	d.sparse(l.bits, 24, func(i int, b []byte) bool {
		float := func(at int) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b[at:])) }
		c := coord{z: float(0), n: float(8), mean: float(16)}
		l.coords[i] = c
		return i&half != 0 && finite(c.z) && finite(c.mean) && finite(c.n) && c.n >= 0 && c != (coord{})
	})
	t := table{bits: l.bits, weights: make([]int16, 1<<l.bits), known: make([]uint8, 1<<l.bits), prior: l.prior, cal: l.cal}
	t.check("", highest, func(string, ...any) { d.bad = true })
}

// amount is a number that is finite and not below 0.
func (d *decoder) amount() float64 {
	x := d.float()
	if !(finite(x) && x >= 0) {
		d.bad = true
	}
	return x
}

func (m *progress) append(dst []byte) []byte {
	dst = m.recent.append(m.overall.append(dst))
	dst = binary.AppendUvarint(dst, uint64(len(m.keys)))
	for i, k := range m.keys {
		dst = append(dst, k.kind)
		dst = binary.AppendUvarint(dst, k.value)
		dst = m.sums[i].append(dst)
	}
	return dst
}

func (d *decoder) progress(m *progress) {
	m.overall, m.recent = d.sums(), d.sums()
	for n := d.upTo(maxSlices); n > 0 && !d.bad; n-- {
		k := sliceKey{d.byte(), d.uvarint()}
		if k.kind >= sliceKinds || k.kind == byObjective && k.value >= objectives || k.kind == byPlacement && k.value >= placements ||
			m.where[k] != 0 || len(m.keys) > 0 && m.keys[0] == k {
			d.bad = true
			return
		}
		*m.slice(k) = d.sums()
	}
}

func (s *Sums) append(dst []byte) []byte {
	return appendFloat(appendFloat(appendFloat(appendFloat(dst, s.Examples), s.Positive), s.Predicted), s.LogLoss)
}

func (d *decoder) sums() Sums {
	s := Sums{Examples: d.amount(), Positive: d.amount(), Predicted: d.amount(), LogLoss: d.float()}
	if !finite(s.LogLoss) {
		d.bad = true
	}
	return s
}

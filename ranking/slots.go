package ranking

// slotStats estimates how much less often an ad is clicked on a later slot, from the clicks on each slot and what the model predicts
// for the first one: position and ad are told apart because the same ads are shown on several slots.
type slotStats struct {
	clicks, expected [MaxSlots]float64
	factor           [MaxSlots]float64
}

const (
	// slotPrior is how much of a slot's factor the next has, before anything is known.
	slotPrior = 0.9
	// slotShrink is how many expected clicks the prior counts for.
	slotShrink = 10
	// slotClicks is how many clicks a placement must have before its factors are given out.
	slotClicks = 100
	// minSlotFactor bounds factors from below: prices are divided by them.
	minSlotFactor = 0.01
	// slotMemory is how many times longer factors remember than the calibrator: pages change less often than tastes.
	slotMemory = 4
)

func newSlotStats() slotStats {
	var s slotStats
	s.estimate()
	return s
}

func slotIndex(slot int) int { return min(max(slot, 0), MaxSlots-1) }

func (s *slotStats) add(slot int, expected float64, clicked bool, weight float64) {
	s.expected[slot] += float64(expected * weight)
	if clicked {
		s.clicks[slot] += weight
	}
}

func (s *slotStats) tick(p *Params, seen uint64) {
	s.estimate()
	keep := keepOf(slotMemory*p.HalfLife, seen)
	for i := range s.clicks {
		s.clicks[i] = float64(s.clicks[i] * keep)
		s.expected[i] = float64(s.expected[i] * keep)
	}
}

// estimate is clicks by expected clicks of each slot, shrunk to the prior, made never rising by pooling adjacent violators (Ayer et
// al. 1955), and relative to the first.
func (s *slotStats) estimate() {
	type block struct {
		sum, weight float64
		slots       int
	}
	var blocks [MaxSlots]block
	n := 0
	prior := 1.0
	used := s.used()
	for i := range used {
		b := block{s.clicks[i] + float64(slotShrink*prior), s.expected[i] + slotShrink, 1}
		for n > 0 && float64(b.sum*blocks[n-1].weight) > float64(blocks[n-1].sum*b.weight) {
			n--
			b = block{b.sum + blocks[n].sum, b.weight + blocks[n].weight, b.slots + blocks[n].slots}
		}
		blocks[n] = b
		n++
		prior = float64(prior * slotPrior)
	}
	i := 0
	for _, b := range blocks[:n] {
		f := max(float64(b.sum*blocks[0].weight)/float64(b.weight*blocks[0].sum), minSlotFactor)
		for range b.slots {
			s.factor[i] = min(f, 1)
			i++
		}
	}
	for ; i < MaxSlots; i++ {
		s.factor[i] = 1
		if i > 0 {
			s.factor[i] = max(float64(s.factor[i-1]*slotPrior), minSlotFactor)
		}
	}
}

// used is how many slots there are up to the last that was ever used.
func (s *slotStats) used() int {
	n := MaxSlots
	for n > 0 && !(s.expected[n-1] > 0) {
		n--
	}
	return n
}

// factors are those of the slots that were ever used; nil when there is too little to go by.
func (s *slotStats) factors() []float64 {
	now := *s
	now.estimate()
	clicks := 0.0
	for _, c := range s.clicks {
		clicks += c
	}
	if clicks < slotClicks {
		return nil
	}
	return append([]float64(nil), now.factor[:now.used()]...)
}

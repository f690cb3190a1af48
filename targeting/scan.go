package targeting

import (
	"math"
	"math/bits"
	"slices"
	"strings"
)

// plan is one query made ready for an index, and where its scan has come to. It is kept in a pool with all its memory.
type plan struct {
	facts facts
	// everything says that all rows are wanted, whatever the query.
	everything bool
	limit      int // of dst; negative: none
	base       stream
	deltas     [2]stream
	page       []*Ad // the ads of one row that is in several streams
}

// part is a segment in an index, with the ads that are not there any more.
type part struct {
	*Segment
	// dead has a bit for each ad that was removed or replaced; nil if none was. It does not change.
	dead []uint64
	gone int
}

func (p *part) live() int { return len(p.ads) - p.gone }

func (p *part) isDead(i int) bool { return p.dead != nil && p.dead[i/64]>>(i%64)&1 == 1 }

// stream gives the rows of some parts that match, in order.
type stream struct {
	parts []*part // what is left; the first is being read
	query segmentQuery
	ready bool // query is that of the first part

	first int   // word at which the next block begins
	words block // what is left of the present block
	word  int   // place in words
}

func (s *stream) reset(parts []*part) { s.parts, s.ready = parts, false }

// release forgets what the plan points to, so that an old snapshot can be collected.
func (p *plan) release() {
	for _, s := range []*stream{&p.base, &p.deltas[0], &p.deltas[1]} {
		s.parts = nil
		s.query.release()
	}
	clear(p.page)
	p.facts.Query = nil
	clear(p.facts.interests)
}

// begin makes the first part ready.
func (s *stream) begin(p *plan) {
	s.ready, s.first, s.word, s.words = true, 0, blockWords, block{}
	s.query.reset()
	if !p.everything {
		s.query.make(s.parts[0].Segment, &p.facts)
	}
}

// run appends the ads of the rows that stand before a row of another stream, all if that is nil, until dst has the plan's limit
// or the stream is at its end.
func (s *stream) run(p *plan, before *Group, dst []*Ad) []*Ad {
	bound := math.Inf(-1)
	if before != nil {
		bound = before.Bound
	}
	for len(s.parts) > 0 {
		if !s.ready {
			s.begin(p)
		}
		here := s.parts[0]
		for !s.query.empty {
			// Most blocks stand before the other stream's row as a whole.
			whole := before == nil || s.word < blockWords && here.group(min(s.first*64, here.rows())-1).Bound > bound
			for s.word < blockWords {
				w := s.words[s.word]
				for w != 0 {
					row := (s.first-blockWords+s.word)*64 + bits.TrailingZeros64(w)
					if !whole && here.isFrom(row, bound, before) {
						s.words[s.word] = w
						return dst
					}
					w &= w - 1
					if dst = s.emit(p, row, dst); len(dst) == p.limit {
						s.words[s.word] = w
						return dst
					}
				}
				s.word++
			}
			if !s.nextBlock(here.rows()) {
				break
			}
		}
		s.parts, s.ready = s.parts[1:], false
	}
	return dst
}

// isFrom reports whether a row does not stand before a group with a bound.
func (s *Segment) isFrom(row int, bound float64, group *Group) bool {
	b := s.group(row).Bound
	return b <= bound && (b < bound || compareRows(s.group(row), group) >= 0)
}

// head is the next row that may match, without taking it: its part and its number, or nil at the end.
func (s *stream) head(p *plan) (*part, int) {
	for len(s.parts) > 0 {
		if !s.ready {
			s.begin(p)
		}
		for !s.query.empty {
			for ; s.word < blockWords; s.word++ {
				if w := s.words[s.word]; w != 0 {
					return s.parts[0], (s.first-blockWords+s.word)*64 + bits.TrailingZeros64(w)
				}
			}
			if !s.nextBlock(s.parts[0].rows()) {
				break
			}
		}
		s.parts, s.ready = s.parts[1:], false
	}
	return nil, 0
}

// take removes the row that head has shown.
func (s *stream) take() { s.words[s.word] &= s.words[s.word] - 1 }

// nextBlock finds the next block with a row that may match.
func (s *stream) nextBlock(rows int) bool {
	for s.first*64 < rows {
		first := s.first
		s.first += blockWords
		if s.query.block(first, rows, &s.words) {
			s.word = 0
			return true
		}
	}
	s.words, s.word = block{}, blockWords
	return false
}

// emit appends the ads of a row of the first part that match, as many as the limit allows.
func (s *stream) emit(p *plan, row int, dst []*Ad) []*Ad {
	here := s.parts[0]
	if s.query.ask.has(row) && !here.wordedCode(row).confirm(&p.facts) {
		return dst
	}
	picky := s.query.pick.has(row)
	i, end := int(here.first[row]), int(here.first[row+1])
	if end == i+1 && here.dead == nil && !picky && len(s.query.without) == 0 {
		return append(dst, &here.ads[i])
	}
	for ; i < end; i++ {
		if here.isDead(i) {
			continue
		}
		ad := &here.ads[i]
		if picky && slices.Contains(p.facts.ExcludeAdAccounts, ad.AdAccountID) || slices.Contains(s.query.without, uint32(i)) {
			continue
		}
		if dst = append(dst, ad); len(dst) == p.limit {
			break
		}
	}
	return dst
}

func (f *facts) excludes(ad *Ad) bool {
	return len(f.ExcludeAds) > 0 && slices.Contains(f.ExcludeAds, ad.AdID) ||
		len(f.ExcludeAdAccounts) > 0 && slices.Contains(f.ExcludeAdAccounts, ad.AdAccountID)
}

// confirm asks the schedule, the hours and the keywords.
func (c code) confirm(f *facts) bool {
	r := reader{s: string(c)}
	_, parts := r.head()
	if parts&partSchedule != 0 && !isWithin(f.micros, int64(r.uvarint()), int64(r.uvarint())) {
		return false
	}
	if parts&partHours != 0 {
		hours := r.hours()
		if !isInHours(&hours, f.hourIn(r.text())) {
			return false
		}
	}
	if parts&partKeywords == 0 {
		return true
	}
	return confirmKeywords(&r, f)
}

// confirmKeywords is matchKeywords on a code. Most keywords fail by their first word, which is looked for among all words first.
func confirmKeywords(r *reader, f *facts) bool {
	positive, hit := false, false
	for range r.count(2) {
		k := keyword{how: r.matchType()}
		text := r.text()
		negative := k.isNegative()
		positive = positive || !negative
		if hit && !negative || !f.hasFirstWord(text) {
			continue
		}
		f.word = append(f.word[:0], text...)
		k.text = f.word
		switch {
		case !k.hits(f.phrases):
		case negative:
			return false
		default:
			hit = true
		}
	}
	return hit || !positive
}

// hasFirstWord reports whether the phrases have the first word of a keyword, as appendWords makes them.
func (f *facts) hasFirstWord(text string) bool {
	if len(text) < 3 {
		return false
	}
	first := text[:strings.IndexByte(text[1:], ' ')+2]
	for _, w := range f.words {
		if len(w) == len(first) && string(w) == first {
			return true
		}
	}
	return false
}

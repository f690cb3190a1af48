package auction

import (
	"bytes"
	"cmp"
	"slices"
)

// search finds the best order of ads when two of one category may not follow each other.
//
// It relaxes the rule: only active categories are kept apart, at first those that collide when the ads stand in order of value. If the
// best page of the relaxed problem breaks the rule, the categories that break it become active, and it searches again. A best page
// that keeps the rule is the best of all.
//
// One search builds pages from the top, all partial pages of one length at a time. What matters of a partial page is how many ads
// of each active category it has, how many others, and which category is last: within a category ads come in order of value. Of partial
// pages that agree in this, the best one stays. Two facts keep them few, see grow and bound.
type search struct {
	// list are the entrants in order of value.
	list []entrant
	// perCategory is how many of each are in the list, categoryLimit the most.
	perCategory   []uint8
	categoryLimit int
	// kept says which categories are kept apart; what it has learned on one market of a page is of use on the next.
	kept []bool

	weights []float64
	// members are the entrants of each active category, loose those of none, in order.
	members [maxActive][maxPerCategory]uint8
	sizes   [maxActive]uint8
	loose   [maxEntrants]uint8
	looseN  uint8
	// group and rank are where an entrant is in these: members[group][rank], or loose[rank] for group noCategory.
	group [maxEntrants]int8
	rank  [maxEntrants]uint8

	// activeOf is the number of an active category, noCategory of one that is not; those that are kept apart and have two ads are.
	activeOf []int8
	active   int

	level, next []partial
	found       partial
	// work counts partial pages, narrowed the times that there were too many; for tests.
	work, narrowed int
	// limit is maxLevel if it is 0.
	limit int
}

// Limits that follow from MaxPageSlots: see entrantLimit. An active category has at least two entrants.
const (
	maxPerCategory = (MaxPageSlots + 1) / 2
	maxEntrants    = MaxPageSlots + 2*maxPerCategory
	maxActive      = maxEntrants / 2
)

// entrant is an ad in a search.
type entrant struct {
	margin    float64
	contender int32
	category  int32
}

// partial is the top of a page.
type partial struct {
	value float64
	// bound is what a page that begins like this is worth at most.
	bound float64
	// used is how many ads of each active category it has, in 4 bits each; usedLoose how many others.
	used      [2]uint64
	usedLoose uint8
	// last is the active category of the last ad, noCategory if there is none.
	last int8
	n    uint8
	// ads are entrants.
	ads [MaxPageSlots]uint8
}

const perWord = 16 // counts in a word

func (p *partial) count(category int) uint8 {
	return uint8(p.used[category/perWord] >> (category % perWord * 4) & 15)
}

// sameState says that whatever can follow p can follow o.
func (p *partial) sameState(o *partial) bool {
	return p.used == o.used && p.usedLoose == o.usedLoose && p.last == o.last
}

// before is true for a page that is worth more, or as much with a better ad in the first place that differs.
func (p *partial) before(o *partial) bool {
	if p.value != o.value {
		return p.value > o.value
	}
	for i := range min(p.n, o.n) {
		if p.ads[i] != o.ads[i] {
			return p.ads[i] < o.ads[i]
		}
	}
	return p.n > o.n
}

// reset forgets which categories were kept apart on another page.
func (s *search) reset() { s.kept, s.work, s.narrowed = s.kept[:0], 0, 0 }

// clear empties the list; of one category it will hold at most limit.
func (s *search) clear(limit int) {
	s.list, s.perCategory, s.categoryLimit = s.list[:0], s.perCategory[:0], limit
}

// add adds the next in order, unless there are enough of its category.
func (s *search) add(e entrant) {
	if e.category != noCategory {
		for len(s.perCategory) <= int(e.category) {
			s.perCategory = append(s.perCategory, 0)
		}
		if int(s.perCategory[e.category]) >= s.categoryLimit {
			return
		}
		s.perCategory[e.category]++
	}
	s.list = append(s.list, e)
}

// orderBreaksRule says that the ads in order of value do not keep the rule.
func (s *search) orderBreaksRule() bool {
	for i := 1; i < len(s.list); i++ {
		if c := s.list[i].category; c != noCategory && c == s.list[i-1].category {
			return true
		}
	}
	return false
}

// run finds the best page over places of such weights; there is one at least.
func (s *search) run(weights []float64) {
	s.weights = weights
	s.found = partial{last: noCategory, n: uint8(min(len(weights), len(s.list)))}
	for i := range s.found.n {
		s.found.ads[i] = i
	}
	for s.separate() {
		s.divide()
		s.solve()
	}
}

// best is the page that run found: entrants in order of place.
func (s *search) best() []uint8 { return s.found.ads[:s.found.n] }

// separate has the categories kept apart that the page found breaks the rule with, and reports whether there are any.
func (s *search) separate() bool {
	for len(s.kept) < len(s.perCategory) {
		s.kept = append(s.kept, false)
	}
	broken := false
	for i := 1; i < int(s.found.n); i++ {
		if c := s.list[s.found.ads[i]].category; c != noCategory && c == s.list[s.found.ads[i-1]].category {
			s.kept[c], broken = true, true
		}
	}
	return broken
}

// divide sorts the entrants into those of active categories and loose ones.
func (s *search) divide() {
	s.activeOf, s.active, s.looseN = s.activeOf[:0], 0, 0
	for c, n := range s.perCategory {
		number := int8(noCategory)
		if s.kept[c] && n > 1 {
			number = int8(s.active)
			s.sizes[s.active] = 0
			s.active++
		}
		s.activeOf = append(s.activeOf, number)
	}
	for i := range s.list {
		e, c := uint8(i), s.list[i].category
		if c == noCategory || s.activeOf[c] == noCategory {
			s.group[e], s.rank[e] = noCategory, s.looseN
			s.loose[s.looseN] = e
			s.looseN++
			continue
		}
		g := s.activeOf[c]
		s.group[e], s.rank[e] = g, s.sizes[g]
		s.members[g][s.sizes[g]] = e
		s.sizes[g]++
	}
}

// maxLevel is how many partial pages of one length are followed, the most promising ones. Markets of ads and users never come near it;
// made ones do, with many categories of almost equal ads (see TestTheSearchStaysSmall). There the answer may be less than the best
// page, never less than what dive finds, and it keeps every rule.
const maxLevel = 64

// noise is the relative error of sums of the same terms in another order, and more.
const noise = 1e-12

// solve finds the best page of the relaxed problem.
func (s *search) solve() {
	root := partial{last: noCategory}
	root.bound = s.bound(&root)
	s.dive(&root)
	if s.found.value >= float64(root.bound*(1-noise)) {
		return // no page is worth more; and no page that is worth as much has a better ad in the first place that differs
	}
	enough := s.found.value * (1 - noise)
	s.found = partial{last: noCategory}
	s.level = append(s.level[:0], root)
	for range s.weights {
		s.next = s.next[:0]
		for i := range s.level {
			s.grow(&s.level[i], enough)
		}
		if limit := cmp.Or(s.limit, maxLevel); len(s.next) > limit {
			s.narrowed++
			slices.SortFunc(s.next, func(a, b partial) int {
				return cmp.Or(cmp.Compare(b.bound, a.bound), bytes.Compare(a.ads[:], b.ads[:]))
			})
			s.next = s.next[:limit]
		}
		s.level, s.next = s.next, s.level
	}
	for i := range s.level {
		s.finish(&s.level[i])
	}
}

func (s *search) finish(p *partial) {
	if p.before(&s.found) {
		s.found = *p
	}
}

// dive builds one page, each time with the ad that leaves the highest bound, the better ad if there are several.
func (s *search) dive(root *partial) {
	s.found = *root
	for range s.weights {
		s.next = s.next[:0]
		from := s.found
		s.grow(&from, 0)
		if len(s.next) == 0 {
			return
		}
		most := 0.0
		for i := range s.next {
			most = max(most, s.next[i].bound)
		}
		s.found.bound = -1
		for i := range s.next {
			p := &s.next[i]
			if p.bound >= float64(most*(1-noise)) && (s.found.bound < 0 || p.ads[from.n] < s.found.ads[from.n]) {
				s.found = *p
			}
		}
	}
}

// grow adds to the next level what can follow p and may come to enough, and keeps p as an answer if nothing can follow.
//
// Beside the best ad h that may stand here, only an ad p of an active category P with another one left comes into question. For
// take a best page with p here: if h is not on it, put h for p; if h is further down, swap the two, and neither costs value. Only two
// of P side by side can forbid that, around the place that h leaves: so there is a second one, two places on or more.
func (s *search) grow(p *partial, enough float64) {
	best := maxEntrants
	if p.usedLoose < s.looseN {
		best = int(s.loose[p.usedLoose])
	}
	for g := range s.active {
		if n := p.count(g); g != int(p.last) && n < s.sizes[g] {
			best = min(best, int(s.members[g][n]))
		}
	}
	if best == maxEntrants {
		s.finish(p)
		return
	}
	s.follow(p, uint8(best), enough)
	if int(p.n)+2 >= len(s.weights) {
		return
	}
	for g := range s.active {
		if n := p.count(g); g != int(p.last) && n+1 < s.sizes[g] && int(s.members[g][n]) != best {
			s.follow(p, s.members[g][n], enough)
		}
	}
}

// follow adds p with another ad to the next level.
func (s *search) follow(p *partial, ad uint8, enough float64) {
	child := *p
	child.ads[p.n] = ad
	child.value += float64(s.weights[p.n] * s.list[ad].margin)
	child.n++
	child.last = s.group[ad]
	if child.last == noCategory {
		child.usedLoose++
	} else {
		child.used[child.last/perWord] += 1 << (child.last % perWord * 4)
	}
	child.bound = child.value + s.bound(&child)
	if child.bound < enough {
		return
	}
	s.work++
	for i := range s.next {
		if o := &s.next[i]; o.sameState(&child) {
			if child.before(o) {
				*o = child
			}
			return
		}
	}
	s.next = append(s.next, child)
}

// bound is never less than what can still be added to p. Write Σ w_j·m_j as Σ (w_j − w_{j+1})·(m_1 + … + m_j): no factor is below 0, and
// the sum of the next j ads is at most that of the best j of which no category has more than can be kept apart: ⌈j/2⌉ of them, or
// ⌊j/2⌋ for the category of the last ad, and no more than there are others to stand between.
func (s *search) bound(p *partial) float64 {
	var most [maxActive]uint8
	left := int(s.looseN - p.usedLoose)
	for g := range s.active {
		left += int(s.sizes[g] - p.count(g))
	}
	for g := range s.active {
		others := left - int(s.sizes[g]-p.count(g)) + 1
		if g == int(p.last) {
			others--
		}
		most[g] = uint8(min(others, maxPerCategory))
	}
	bound := 0.0
	for j := 1; j <= len(s.weights)-int(p.n); j++ {
		next := 0.0
		if at := int(p.n) + j; at < len(s.weights) {
			next = s.weights[at]
		}
		if step := s.weights[int(p.n)+j-1] - next; step > 0 {
			bound += float64(step * s.bestSum(p, j, &most))
		}
	}
	return bound
}

// bestSum is the sum of the best j entrants that are not in p, with no more of a category than can be kept apart, nor than most.
func (s *search) bestSum(p *partial, j int, most *[maxActive]uint8) float64 {
	var taken [maxActive]uint8
	sum := 0.0
	for e, n := 0, 0; e < len(s.list) && n < j; e++ {
		if g := s.group[e]; g == noCategory {
			if s.rank[e] < p.usedLoose {
				continue
			}
		} else {
			limit := uint8(j+1) / 2
			if g == p.last {
				limit = uint8(j) / 2
			}
			if s.rank[e] < p.count(int(g)) || taken[g] >= min(limit, most[g]) {
				continue
			}
			taken[g]++
		}
		sum += s.list[e].margin
		n++
	}
	return sum
}

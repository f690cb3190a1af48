package targeting

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
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
	asked block // the rows of the block whose code must be asked
	picky block // the rows of the block with an advertiser that the query excludes by itself
}

// segmentQuery is a query made ready for a segment: the columns to AND, best first.
type segmentQuery struct {
	// all must each hold; none must not.
	all  []union
	none []column
	// columns are those of all.
	columns []column
	// ask are the rows whose code must be asked: what columns cannot say.
	ask []column
	// pick are the rows with an advertiser that the query excludes: there may be ads of others beside.
	pick []column
	// without are the places of the ads that the query excludes.
	without []uint32
	// empty says that no row can match.
	empty bool
}

// cost is about how many nanoseconds a block takes.
func (q *segmentQuery) cost(u *union, rows int) float64 {
	const perDense, perListed = 8, 1.5
	listed := 0
	for _, c := range q.columns[u.dense:u.to] {
		listed += c.count
	}
	return perDense*float64(1+u.dense-u.from) + perListed*float64(listed)*blockRows/float64(rows)
}

// union is a set of rows as the OR of columns, those of segmentQuery.columns from from to to, the dense ones up to dense.
type union struct {
	from, dense, to int
	count           int // of the rows, at most
	// rank is what it costs to take a row away: the cheapest key comes first, which for keys of equal cost is the most selective.
	rank float64
}

func (s *stream) reset(parts []*part) { s.parts, s.ready = parts, false }

// release forgets what the plan points to, so that an old snapshot can be collected.
func (p *plan) release() {
	for _, s := range []*stream{&p.base, &p.deltas[0], &p.deltas[1]} {
		s.parts = nil
		clear(s.query.columns)
		clear(s.query.none)
		clear(s.query.ask)
		clear(s.query.pick)
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
			orAll(s.query.ask, &s.asked, first)
			orAll(s.query.pick, &s.picky, first)
			return true
		}
	}
	s.words, s.word = block{}, blockWords
	return false
}

// orAll makes b the rows of the block that are in any of the columns, if there are columns.
func orAll(columns []column, b *block, first int) {
	if len(columns) == 0 {
		return
	}
	*b = block{}
	for i := range columns {
		columns[i].or(b, first)
	}
}

// isIn says of the present block whether a row is in the rows of columns.
func isIn(columns []column, b *block, row int) bool {
	return len(columns) > 0 && b[row/64%blockWords]>>(row%64)&1 == 1
}

// emit appends the ads of a row of the first part that match, as many as the limit allows.
func (s *stream) emit(p *plan, row int, dst []*Ad) []*Ad {
	here := s.parts[0]
	if isIn(s.query.ask, &s.asked, row) && !here.code(row).confirm(&p.facts) {
		return dst
	}
	picky := isIn(s.query.pick, &s.picky, row)
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
	positive, hit := false, false
	for range r.count(2) {
		how, text := r.matchType(), r.text()
		k := keyword{how: how}
		f.word = append(f.word[:0], text...)
		k.text = f.word
		switch {
		case k.isNegative():
			if k.hits(f.phrases) {
				return false
			}
		case hit:
		default:
			positive, hit = true, k.hits(f.phrases)
		}
	}
	return hit || !positive
}

func (q *segmentQuery) reset() {
	q.all, q.none, q.columns, q.empty = q.all[:0], q.none[:0], q.columns[:0], false
	q.ask, q.pick, q.without = q.ask[:0], q.pick[:0], q.without[:0]
}

// make turns the facts into columns of a segment.
func (q *segmentQuery) make(s *Segment, f *facts) {
	restrict(q, &s.placement, string(f.Placement))
	restrict(q, &s.place, f.Country, f.DMA, f.Region)
	restrict(q, &s.gender, f.gender)
	restrict(q, &s.age, ageBit(f.Age))
	restrict(q, &s.appType, f.AppType)
	if f.locale == f.language {
		restrict(q, &s.locale, f.language)
	} else {
		restrict(q, &s.locale, f.language, f.locale)
	}
	restrict(q, &s.interest, f.interests...)
	if f.tooMuchText {
		restrict(q, &s.text)
	} else {
		q.restrictWords(s, f)
	}
	if f.AudiencesKnown {
		restrict(q, &s.include, f.Audiences...)
		for _, id := range f.Audiences {
			if c, ok := s.exclude.values[id]; ok {
				q.none = append(q.none, c)
			}
		}
	} else {
		restrict(q, &s.include)
		restrict(q, &s.exclude)
	}
	q.restrictTime(s, f)
	for _, id := range f.ExcludeAdAccounts {
		if c, ok := s.account.values[id]; ok {
			q.pick = append(q.pick, c)
		}
	}
	for _, id := range f.ExcludeAds {
		if i := s.find(id); i >= 0 {
			q.without = append(q.without, uint32(i))
		}
	}
	for i := range q.all {
		u := &q.all[i]
		q.empty = q.empty || u.count == 0
		u.rank = q.cost(u, s.rows()) / float64(max(s.rows()-u.count, 1))
	}
	slices.SortFunc(q.all, func(a, b union) int { return cmp.Compare(a.rank, b.rank) })
}

// restrict demands that a row is open to a key or has one of the values.
func restrict[K comparable](q *segmentQuery, d *dimension[K], values ...K) {
	if d.restricted == 0 {
		return
	}
	u := union{from: len(q.columns)}
	for _, v := range values {
		if c, ok := d.values[v]; ok {
			q.columns = append(q.columns, c)
		}
	}
	q.close(u, &d.open, d.folded)
}

// restrictTime demands that a row is on, and says which rows must be asked themselves.
func (q *segmentQuery) restrictTime(s *Segment, f *facts) {
	if s.spans != nil || s.weekly != nil {
		t := s.timetable(f.micros)
		if t.on.count < s.rows() {
			u := union{from: len(q.columns)}
			q.columns = append(q.columns, t.on)
			q.close(u, nil, true)
		}
		if t.edge != nil {
			q.ask = append(q.ask, column{dense: t.edge})
		}
	}
}

// restrictWords demands a word of a positive keyword, and says which rows must be asked: where more than a word must be found, and
// where a word of a negative keyword was. Without a text no keyword hits: who must have one is not in word, and the rest passes.
func (q *segmentQuery) restrictWords(s *Segment, f *facts) {
	if s.word.restricted > 0 {
		u := union{from: len(q.columns)}
		q.columns = appendWordColumns(q.columns, &s.word, f)
		q.close(u, &s.word.open, s.word.folded)
	}
	if s.worded != nil && len(f.phrases) > 0 {
		q.ask = append(q.ask, column{dense: s.worded})
	}
	q.ask = appendWordColumns(q.ask, &s.negative, f)
}

// appendWordColumns appends the columns of the words of the phrases.
func appendWordColumns(dst []column, d *dimension[string], f *facts) []column {
	if len(d.values) == 0 {
		return dst
	}
	for _, phrase := range f.phrases {
		for word := range words(phrase) {
			if c, ok := d.values[string(word)]; ok {
				dst = append(dst, c)
			}
		}
	}
	return dst
}

// close adds the open column, unless a dense one has it, and puts dense columns before lists.
func (q *segmentQuery) close(u union, open *column, folded bool) {
	u.dense = u.from
	for i := u.from; i < len(q.columns); i++ {
		if q.columns[i].dense != nil {
			q.columns[i], q.columns[u.dense] = q.columns[u.dense], q.columns[i]
			u.dense++
		}
	}
	if (!folded || u.dense == u.from) && open.count > 0 {
		q.columns = append(q.columns, *open)
		last := len(q.columns) - 1
		q.columns[u.dense], q.columns[last] = q.columns[last], q.columns[u.dense]
		u.dense++
	}
	u.to = len(q.columns)
	for _, c := range q.columns[u.from:u.to] {
		u.count += c.count
	}
	q.all = append(q.all, u)
}

// block finds the rows of the block that begins at a word, as far as columns can say, and reports whether there are any.
func (q *segmentQuery) block(first, rows int, b *block) bool {
	for i := range b {
		b[i] = ^uint64(0)
	}
	if rest := rows - first*64; rest < blockRows {
		clear(b[(rest+63)/64:])
		if rest%64 != 0 {
			b[rest/64] = 1<<(rest%64) - 1
		}
	}
	for i := range q.all {
		if !q.and(&q.all[i], first, b) {
			return false
		}
	}
	for i := range q.none {
		var not block
		q.none[i].or(&not, first)
		for w := range b {
			b[w] &^= not[w]
		}
	}
	return true
}

// and keeps what a union has of a block, and reports whether anything is left.
func (q *segmentQuery) and(u *union, first int, b *block) bool {
	var left uint64
	if u.to == u.from+1 && u.dense == u.to {
		only := q.columns[u.from].blockAt(first)
		for w := range b {
			b[w] &= only[w]
			left |= b[w]
		}
		return left != 0
	}
	var may block
	for i := u.from; i < u.dense; i++ {
		for w, rows := range q.columns[i].blockAt(first) {
			may[w] |= rows
		}
	}
	end := first*64 + blockRows
	for i := u.dense; i < u.to; i++ {
		// Most lists have nothing in most blocks.
		if list := q.columns[i].list; len(list) > 0 && int(list[0]) < end {
			q.columns[i].orList(&may, first)
		}
	}
	for w := range b {
		b[w] &= may[w]
		left |= b[w]
	}
	return left != 0
}

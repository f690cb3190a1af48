package targeting

import (
	"cmp"
	"math/bits"
	"slices"
)

// segmentQuery is a query made ready for a segment: the columns to AND, best first. Columns of a query are words; lists of rows are
// spread over words of its own.
type segmentQuery struct {
	// all must each hold; none must not.
	all  []union
	none column
	// columns are those of all.
	columns []column
	// ask are the rows whose code must be asked, for what columns cannot say; pick those with an advertiser that the query excludes:
	// there may be ads of others beside.
	ask, pick column
	// without are the places of the ads that the query excludes.
	without []uint32
	// empty says that no row can match.
	empty bool

	found   []column   // those of one key
	scratch [][]uint64 // the words of spread lists, the first used of them
	used    int
}

// union is a set of rows as the OR of columns: segmentQuery.columns from from to to.
type union struct {
	from, to int
	count    int // of the rows, at most
	// rank is what it costs to take a row away: the cheapest key comes first, which for keys of equal cost is the most selective.
	rank float64
}

func (q *segmentQuery) reset() {
	q.all, q.columns, q.without = q.all[:0], q.columns[:0], q.without[:0]
	q.none, q.ask, q.pick, q.empty, q.used = column{}, column{}, column{}, false, 0
}

// release forgets the columns of segments.
func (q *segmentQuery) release() {
	clear(q.columns)
	clear(q.found)
	q.none, q.ask, q.pick = column{}, column{}, column{}
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
	if f.AudiencesKnown {
		restrict(q, &s.include, f.Audiences...)
		q.none = q.together(s, find(q, &s.exclude, f.Audiences))
	} else {
		restrict(q, &s.include)
		restrict(q, &s.exclude)
	}
	q.restrictText(s, f)
	q.restrictTime(s, f)
	q.pick = q.together(s, find(q, &s.account, f.ExcludeAdAccounts))
	for _, id := range f.ExcludeAds {
		if i := s.find(id); i >= 0 {
			q.without = append(q.without, uint32(i))
		}
	}
	for i := range q.all {
		u := &q.all[i]
		q.empty = q.empty || u.count == 0
		u.rank = float64(1+u.to-u.from) / float64(max(s.rows()-u.count, 1))
	}
	slices.SortFunc(q.all, func(a, b union) int { return cmp.Compare(a.rank, b.rank) })
}

// restrict demands that a row is open to a key or has one of the values.
func restrict[K comparable](q *segmentQuery, d *dimension[K], values ...K) {
	if d.restricted > 0 {
		q.demand(find(q, d, values), &d.open, d.folded)
	}
}

// find lists the columns of values.
func find[K comparable](q *segmentQuery, d *dimension[K], values []K) []column {
	q.found = q.found[:0]
	if len(d.values) == 0 {
		return nil
	}
	for _, v := range values {
		if c, ok := d.values[v]; ok {
			q.found = append(q.found, c)
		}
	}
	return q.found
}

// findWords lists the columns of the words of the phrases.
func (q *segmentQuery) findWords(d *dimension[string], f *facts) []column {
	q.found = q.found[:0]
	if len(d.values) == 0 {
		return nil
	}
	for _, word := range f.words {
		if c, ok := d.values[string(word)]; ok {
			q.found = append(q.found, c)
		}
	}
	return q.found
}

// restrictText demands a word of a positive keyword, and says which rows must be asked: where more than a word must be found, and
// where a word of a negative keyword was. Without a text no keyword hits: who must have one is not in word, and the rest passes.
func (q *segmentQuery) restrictText(s *Segment, f *facts) {
	if f.tooMuchText {
		restrict(q, &s.text)
		return
	}
	if s.word.restricted > 0 {
		q.demand(q.findWords(&s.word, f), &s.word.open, s.word.folded)
	}
	found := q.findWords(&s.negative, f)
	if s.worded != nil && len(f.phrases) > 0 {
		found = append(found, column{dense: s.worded})
		q.found = found
	}
	q.ask = q.together(s, found)
}

// restrictTime demands that a row is on, and says which rows must be asked themselves.
func (q *segmentQuery) restrictTime(s *Segment, f *facts) {
	if s.spans == nil && s.weekly == nil {
		return
	}
	t := s.timetable(f.micros)
	if t.on.count < s.rows() {
		q.found = append(q.found[:0], t.on)
		q.demand(q.found, nil, true)
	}
	if t.edge != nil {
		q.found = append(q.found[:0], column{dense: t.edge}, q.ask)
		q.ask = q.together(s, q.found)
	}
}

// demand adds a key that must hold: a row has one of the columns, or is open. folded says that dense columns have the open rows.
func (q *segmentQuery) demand(found []column, open *column, folded bool) {
	u := union{from: len(q.columns)}
	lists := 0
	for _, c := range found {
		u.count += c.count
		if c.dense != nil {
			q.columns = append(q.columns, c)
		} else {
			lists++
		}
	}
	needsOpen := (!folded || len(q.columns) == u.from) && open.count > 0
	if needsOpen {
		u.count += open.count
	}
	switch {
	case lists > 0:
		var start []uint64
		if needsOpen {
			start = open.dense
		}
		q.columns = append(q.columns, q.spread(found, start, len(open.dense)))
	case needsOpen:
		q.columns = append(q.columns, *open)
	}
	u.to = len(q.columns)
	q.all = append(q.all, u)
}

// together is the OR of columns, which may be none.
func (q *segmentQuery) together(s *Segment, found []column) column {
	var only column
	n := 0
	for _, c := range found {
		if c.dense != nil || c.list != nil {
			only = c
			n++
		}
	}
	if n == 0 || n == 1 && only.dense != nil {
		return only
	}
	all := q.spread(found, nil, wordsFor(s.rows()))
	for _, c := range found {
		for i, w := range c.dense {
			all.dense[i] |= w
		}
	}
	return all
}

// spread writes the rows of the lists among columns over words that begin as start, or empty.
func (q *segmentQuery) spread(found []column, start []uint64, n int) column {
	if q.used == len(q.scratch) {
		q.scratch = append(q.scratch, make([]uint64, maxRows/64))
	}
	words := q.scratch[q.used][:n]
	q.used++
	clear(words[copy(words, start):])
	for i := range found {
		for _, row := range found[i].list {
			words[row/64] |= 1 << (row % 64)
		}
	}
	return column{dense: words}
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
		u := &q.all[i]
		if !and(q.columns[u.from:u.to], first, b) {
			return false
		}
	}
	if q.none.dense != nil {
		for w, not := range q.none.blockAt(first) {
			b[w] &^= not
		}
	}
	return true
}

// and keeps what the columns have of a block, one of which is enough, and reports whether anything is left.
func and(columns []column, first int, b *block) bool {
	var left uint64
	switch len(columns) {
	case 0:
		return false
	case 1:
		x := columns[0].blockAt(first)
		for w := range b {
			b[w] &= x[w]
			left |= b[w]
		}
		return left != 0
	case 2:
		x, y := columns[0].blockAt(first), columns[1].blockAt(first)
		for w := range b {
			b[w] &= x[w] | y[w]
			left |= b[w]
		}
		return left != 0
	}
	x, y, z := columns[0].blockAt(first), columns[1].blockAt(first), columns[2].blockAt(first)
	var may block
	for w := range may {
		may[w] = x[w] | y[w] | z[w]
	}
	for columns = columns[3:]; len(columns) > 1; columns = columns[2:] {
		x, y = columns[0].blockAt(first), columns[1].blockAt(first)
		for w := range may {
			may[w] |= x[w] | y[w]
		}
	}
	if len(columns) == 1 {
		x = columns[0].blockAt(first)
		for w := range may {
			may[w] |= x[w]
		}
	}
	for w := range b {
		b[w] &= may[w]
		left |= b[w]
	}
	return left != 0
}

// has says of a dense column, or of none, whether a row is in it.
func (c *column) has(row int) bool { return c.dense != nil && c.dense[row/64]>>(row%64)&1 == 1 }

// wordedCode is the code of a row that has keywords to be asked, most often found without the way over its ads.
func (s *Segment) wordedCode(row int) code {
	if s.worded == nil || s.worded[row/64]>>(row%64)&1 == 0 {
		return s.code(row)
	}
	before := s.worded[row/64] & (1<<(row%64) - 1)
	return s.wordedCodes[int(s.wordedBefore[row/64])+bits.OnesCount64(before)]
}

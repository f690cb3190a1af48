package targeting

import (
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"gavel/campaign"
)

// Index answers Match for many ads at once. It is immutable and safe for concurrent use.
//
// Ads stand in the order of [Compare], by rows: a row is the ads with one bound and one targeting. Rows are in segments of up to
// 65,536. For each key of the spec and each value a segment has a column of bits, one per row; a query ANDs, block by block, what
// its values allow, most selective key first, and leaves a block as soon as it is empty. What columns cannot say, the
// words of a keyword around its rarest one, is asked of the rows that are left. The first k answers are the k with the highest
// bounds, so the scan stops there.
//
// What has changed since the base was made is in two small segments beside it, and as tombstones on it; see Apply and Merge.
type Index struct {
	// base has parts whose rows do not overlap, best first. deltas are what has changed: fresh, then middle; each may be nil.
	base   []*part
	deltas [2]*part
	tables Tables
	count  int
	// merging says that the middle is on its way into the base.
	merging bool

	plans *sync.Pool // of *plan, handed from snapshot to snapshot
}

// The deltas.
const (
	fresh = iota
	middle
)

func newIndex(base []*part, t Tables) *Index {
	ix := &Index{base: base, tables: t, plans: &sync.Pool{New: func() any { return new(plan) }}}
	for _, p := range base {
		ix.count += p.live()
	}
	return ix
}

// Build makes an index. Of two ads with one id the later counts. It keeps neither the ads nor the slice.
func Build(ads []*Ad, t Tables) *Index { return newIndex(split(inOrder(ads)), t) }

// Match appends to dst the first k ads of the index order that match the query, all if k is negative. What it finds is what
// the rule finds. It allocates only to grow dst. The ads belong to the index, and stay valid as long as somebody has them.
func (ix *Index) Match(q *Query, k int, dst []*Ad) []*Ad {
	if k == 0 || ix.count == 0 {
		return dst
	}
	p := ix.plans.Get().(*plan)
	p.limit, p.everything = len(dst)+k, false
	if k < 0 {
		p.limit = -1
	}
	p.facts.learn(q, &ix.tables)
	dst = ix.scan(p, dst)
	p.release()
	ix.plans.Put(p)
	return dst
}

// scan reads base and deltas together, in order.
func (ix *Index) scan(p *plan, dst []*Ad) []*Ad {
	p.base.reset(ix.base)
	var streams [2]*stream
	n := 0
	for i, d := range ix.deltas {
		if d != nil {
			streams[n] = &p.deltas[n]
			streams[n].reset(ix.deltas[i : i+1])
			n++
		}
	}
	for n > 0 {
		// The best row of the deltas, and whether another delta has the same row.
		var best *stream
		var here *part
		row, tied := 0, false
		for i := 0; i < n; i++ {
			s := streams[i]
			h, r := s.head(p)
			if h == nil {
				streams[i], n = streams[n-1], n-1
				i--
				continue
			}
			order := -1
			if best != nil {
				order = compareRows(h.group(r), here.group(row))
			}
			if order < 0 {
				best, here, row, tied = s, h, r, false
			} else if order == 0 {
				tied = true
			}
		}
		if best == nil {
			break
		}
		group := here.group(row)
		if dst = p.base.run(p, group, dst); len(dst) == p.limit {
			return dst
		}
		if h, r := p.base.head(p); tied || h != nil && compareRows(h.group(r), group) == 0 {
			dst = ix.together(p, streams[:n], group, dst)
		} else {
			best.take()
			dst = best.emit(p, row, dst)
		}
		if len(dst) == p.limit {
			return dst
		}
	}
	return p.base.run(p, nil, dst)
}

// together appends the ads of one row that stands in several streams, in order of their ids.
func (ix *Index) together(p *plan, streams []*stream, group *Group, dst []*Ad) []*Ad {
	limit := p.limit
	p.limit, p.page = -1, p.page[:0]
	take := func(s *stream) {
		if h, r := s.head(p); h != nil && compareRows(h.group(r), group) == 0 {
			s.take()
			p.page = s.emit(p, r, p.page)
		}
	}
	take(&p.base)
	for _, s := range streams {
		take(s)
	}
	p.limit = limit
	slices.SortFunc(p.page, Compare)
	for _, ad := range p.page {
		if dst = append(dst, ad); len(dst) == limit {
			break
		}
	}
	return dst
}

// Len is the number of ads.
func (ix *Index) Len() int { return ix.count }

// Tables are those of the snapshot. They must not be changed.
func (ix *Index) Tables() *Tables { return &ix.tables }

// Ad finds an ad by its id.
func (ix *Index) Ad(id campaign.AdID) (*Ad, bool) {
	for _, p := range ix.parts() {
		if i := p.find(id); i >= 0 && !p.isDead(i) {
			return &p.ads[i], true
		}
	}
	return nil, false
}

// parts walks the parts, the newest first.
func (ix *Index) parts() iter.Seq2[int, *part] {
	return func(yield func(int, *part) bool) {
		for i, p := range ix.deltas {
			if p != nil && !yield(i-len(ix.deltas), p) {
				return
			}
		}
		for i, p := range ix.base {
			if !yield(i, p) {
				return
			}
		}
	}
}

// Ads walks all ads, in no particular order.
func (ix *Index) Ads() iter.Seq[*Ad] {
	return func(yield func(*Ad) bool) {
		for _, p := range ix.parts() {
			for i := range p.ads {
				if !p.isDead(i) && !yield(&p.ads[i]) {
					return
				}
			}
		}
	}
}

// All walks every ad in the order of the index with what Match says of it. It is for explaining: what it yields costs as much as
// the rule.
func (ix *Index) All(q *Query) iter.Seq2[*Ad, Miss] {
	return func(yield func(*Ad, Miss) bool) {
		p := plan{everything: true, limit: -1}
		p.facts.learn(q, &ix.tables)
		for _, ad := range ix.scan(&p, make([]*Ad, 0, ix.count)) {
			miss := MissExcluded
			if !p.facts.excludes(ad) {
				miss = ad.Rule().miss(&p.facts)
			}
			if !yield(ad, miss) {
				return
			}
		}
	}
}

// Bytes is about how much memory the index takes beside what ads and groups point to: what matching needs.
func (ix *Index) Bytes() int64 {
	var n int64
	for _, p := range ix.parts() {
		n += int64(p.bytes() + len(p.dead)*8)
	}
	return n
}

// Replica holds the index that serves, and lets it be exchanged while it is read. The zero value holds an empty index.
type Replica struct {
	current atomic.Pointer[Index]
}

// Current is the index to serve from; never nil. Read it once per request.
func (r *Replica) Current() *Index {
	if ix := r.current.Load(); ix != nil {
		return ix
	}
	return Build(nil, Tables{})
}

// Store makes ix the current one. It must not be nil.
func (r *Replica) Store(ix *Index) { r.current.Store(ix) }

package targeting

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"gavel/campaign"
)

// Change is one step of an index: what an entry of its log carries.
type Change struct {
	// Upserts are added, or replace the ads with their ids; of two with one id the later counts. An ad that is also in Removals is
	// removed.
	Upserts  []*Ad
	Removals []campaign.AdID
	// Lists has the current list of audiences that have another one now; 0 for none.
	Lists map[campaign.AudienceID]campaign.ListID
	// Interests is the whole taxonomy if it has changed; nil if not.
	Interests []campaign.Interest
}

const (
	// maxFresh is the most rows of the delta that every change makes anew; then it goes to the middle.
	maxFresh = 512
	// minMiddle and maxMiddle bound how many ads the middle has before it goes to the base; in between it is a 32nd of all.
	minMiddle, maxMiddle = 4096, 32768
	// fill is how many rows a segment is made with: there is room for some more.
	fill = 60 << 10
	// tooSmall is the number of rows below which a segment is joined with the next.
	tooSmall = fill / 4
)

// Apply returns an index with the change made; the old index stays valid. It costs about a microsecond for each of the last 512
// changed ads, and once in 512 changes one for each ad of the middle; call Merge in between. Interests that are no taxonomy are an
// error, and then nothing of the change is made.
func (ix *Index) Apply(c Change) (*Index, error) {
	next := *ix
	next.base = slices.Clone(ix.base)
	if c.Lists != nil {
		next.tables.Lists = ix.tables.with(c.Lists)
	}
	if c.Interests != nil {
		t, err := NewTaxonomy(c.Interests)
		if err != nil {
			return nil, fmt.Errorf("apply change: %w", err)
		}
		next.tables.Interests = t
	}
	if len(c.Upserts) == 0 && len(c.Removals) == 0 {
		return &next, nil
	}
	added := inOrder(c.Upserts)
	gone := make(map[campaign.AdID]bool, len(c.Removals)+len(added))
	for _, id := range c.Removals {
		gone[id] = true
	}
	added = slices.DeleteFunc(added, func(ad Ad) bool { return gone[ad.AdID] })
	for i := range added {
		gone[added[i].AdID] = true
	}
	next.bury(gone)
	next.add(added)
	return &next, nil
}

// bury marks ads as not there any more. Parts are replaced, not changed.
func (ix *Index) bury(ids map[campaign.AdID]bool) {
	places := map[**part][]int{}
	look := func(at **part, id campaign.AdID) bool {
		if *at == nil {
			return false
		}
		i := (*at).find(id)
		if i < 0 || (*at).isDead(i) {
			return false
		}
		places[at] = append(places[at], i)
		return true
	}
	for id := range ids {
		found := look(&ix.deltas[fresh], id) || look(&ix.deltas[middle], id)
		for i := 0; !found && i < len(ix.base); i++ {
			found = look(&ix.base[i], id)
		}
	}
	for at, list := range places {
		*at = (*at).without(list...)
		ix.count -= len(list)
	}
}

// add puts ads in order, of which none is there, into the smallest delta that takes them.
func (ix *Index) add(ads []Ad) {
	ix.count += len(ads)
	ads = mergeAds(ix.deltas[fresh].alive(), ads)
	if countRows(ads) <= maxFresh {
		ix.deltas[fresh] = newPart(ads)
		return
	}
	ads = mergeAds(ix.deltas[middle].alive(), ads)
	ix.deltas[fresh] = nil
	if countRows(ads) <= maxRows {
		ix.deltas[middle] = newPart(ads)
		return
	}
	ix.deltas[middle], ix.merging = nil, false
	ix.base = ix.absorbed(ads)
}

// without is the part without the ads at some places.
func (p *part) without(places ...int) *part {
	next := *p
	next.dead = make([]uint64, (len(p.ads)+63)/64)
	copy(next.dead, p.dead)
	for _, i := range places {
		next.dead[i/64] |= 1 << (i % 64)
	}
	next.gone = countBits(next.dead)
	return &next
}

// alive are the ads that are left of a part, in order; none of nil.
func (p *part) alive() []Ad {
	if p == nil {
		return nil
	}
	ads := make([]Ad, 0, p.live())
	for i := range p.ads {
		if !p.isDead(i) {
			ads = append(ads, p.ads[i])
		}
	}
	return ads
}

// newPart is a part of ads in order, nil of none.
func newPart(ads []Ad) *part {
	if len(ads) == 0 {
		return nil
	}
	return &part{Segment: newSegment(ads)}
}

// Merge makes a step in bringing what has changed into the base, and returns the index, which answers the same. more says that
// there is more to do now. A step takes one segment, about 50 ms; call it beside serving, never for a request.
func (ix *Index) Merge() (next *Index, more bool) {
	m := ix.deltas[middle]
	if m == nil || !ix.merging && m.live() <= min(max(ix.count/32, minMiddle), maxMiddle) {
		return ix.mergeTombs()
	}
	next = new(*ix)
	at := 0
	for at < len(m.ads) && m.isDead(at) {
		at++
	}
	if at == len(m.ads) {
		next.deltas[middle], next.merging = nil, false
		return next, false
	}
	// The part of the base in whose range the first ad of the middle is, and all ads of the middle that are in it too.
	i := max(sort.Search(len(ix.base), func(i int) bool { return compareRows(ix.base[i].group(0), m.ads[at].Group) > 0 })-1, 0)
	var moved []Ad
	var places []int
	for j, end := at, at+ix.reach(i, m.ads[at:]); j < end; j++ {
		if !m.isDead(j) {
			moved, places = append(moved, m.ads[j]), append(places, j)
		}
	}
	next.base = ix.replaced(i, moved)
	next.deltas[middle], next.merging = m.without(places...), true
	if next.deltas[middle].live() == 0 {
		next.deltas[middle], next.merging = nil, false
	}
	return next, next.merging
}

// mergeTombs makes the first part of the base anew of which more than a quarter is dead.
func (ix *Index) mergeTombs() (next *Index, more bool) {
	i := slices.IndexFunc(ix.base, func(p *part) bool { return p.gone > len(p.ads)/4 })
	if i < 0 {
		return ix, false
	}
	next = new(*ix)
	next.base = ix.replaced(i, nil)
	return next, true
}

// reach is how many of the ads, which are in order, stand before the part of the base after part i.
func (ix *Index) reach(i int, ads []Ad) int {
	if i+1 >= len(ix.base) {
		return len(ads)
	}
	limit := ix.base[i+1].group(0)
	return sort.Search(len(ads), func(j int) bool { return compareRows(ads[j].Group, limit) >= 0 })
}

// replaced is the base with ads added to a part and what is dead taken out, the part divided when it is too large, and joined with
// the one after when it is too small.
func (ix *Index) replaced(i int, added []Ad) []*part {
	if len(ix.base) == 0 {
		return split(added)
	}
	ads, end := mergeAds(ix.base[i].alive(), added), i+1
	if countRows(ads) < tooSmall && end < len(ix.base) && ix.base[end].rows()+tooSmall <= maxRows {
		ads, end = append(ads, ix.base[end].alive()...), end+1
	}
	return slices.Concat(ix.base[:i], split(ads), ix.base[end:])
}

// Compact returns the index with everything in the base and nothing dead. It costs as much as all the merging that is due; the
// parts in which nothing has changed are kept.
func (ix *Index) Compact() *Index {
	next := new(*ix)
	next.deltas, next.merging = [2]*part{}, false
	next.base = ix.absorbed(mergeAds(ix.deltas[middle].alive(), ix.deltas[fresh].alive()))
	return next
}

// absorbed is the base with ads in order added and nothing dead.
func (ix *Index) absorbed(ads []Ad) []*part {
	var base []*part
	for i, p := range ix.base {
		n := ix.reach(i, ads)
		if n == 0 && p.gone == 0 {
			base = append(base, p)
			continue
		}
		base = append(base, split(mergeAds(p.alive(), ads[:n]))...)
		ads = ads[n:]
	}
	return append(base, split(ads)...)
}

// Segments are those of an index that is [Index.Compact], best first. Of any other it panics.
func (ix *Index) Segments() []*Segment {
	list := make([]*Segment, len(ix.base))
	for i, p := range ix.base {
		if p.gone > 0 || ix.deltas != [2]*part{} {
			panic("targeting: segments of an index that is not compact")
		}
		list[i] = p.Segment
	}
	return list
}

// FromSegments makes an index of what Segments has answered. Segments in the wrong order are ErrCorrupt.
func FromSegments(segments []*Segment, t Tables) (*Index, error) {
	base := make([]*part, 0, len(segments))
	for i, s := range segments {
		if s.rows() == 0 || i > 0 && compareRows(segments[i-1].group(segments[i-1].rows()-1), s.group(0)) >= 0 {
			return nil, fmt.Errorf("segment %d does not stand after the one before: %w", i, ErrCorrupt)
		}
		base = append(base, &part{Segment: s})
	}
	return newIndex(base, t), nil
}

// split makes parts of ads in order: one if they fit, else of equal size, each with room for more.
func split(ads []Ad) []*part {
	rows := countRows(ads)
	if rows == 0 {
		return nil
	}
	pieces := 1
	if rows > maxRows {
		pieces = (rows + fill - 1) / fill
	}
	parts := make([]*part, 0, pieces)
	row, from := 0, 0
	for i := 1; i <= len(ads); i++ {
		if i < len(ads) && compareRows(ads[i-1].Group, ads[i].Group) == 0 {
			continue
		}
		row++
		if row >= rows*(len(parts)+1)/pieces {
			parts = append(parts, newPart(slices.Clone(ads[from:i])))
			from = i
		}
	}
	return parts
}

func countRows(ads []Ad) int {
	n := 0
	for i := range ads {
		if i == 0 || compareRows(ads[i-1].Group, ads[i].Group) != 0 {
			n++
		}
	}
	return n
}

// inOrder returns copies of the ads in the order of the index, the last of each id.
func inOrder(ads []*Ad) []Ad {
	last := make(map[campaign.AdID]int, len(ads))
	for i, ad := range ads {
		last[ad.AdID] = i
	}
	// Keys without pointers: sorting a million ads by what they point to takes ten times as long.
	type sortKey struct {
		bound float64
		key   uint64 // the first half of the group's
		id    campaign.AdID
		at    int
	}
	keys := make([]sortKey, 0, len(last))
	for i, ad := range ads {
		if last[ad.AdID] == i {
			keys = append(keys, sortKey{ad.Bound, binary.BigEndian.Uint64(ad.key[:]), ad.AdID, i})
		}
	}
	slices.SortFunc(keys, func(a, b sortKey) int {
		switch {
		case a.bound != b.bound:
			return cmp.Compare(b.bound, a.bound)
		case a.key != b.key:
			return cmp.Compare(a.key, b.key)
		}
		return cmp.Or(bytes.Compare(ads[a.at].key[8:], ads[b.at].key[8:]), cmp.Compare(a.id, b.id))
	})
	list := make([]Ad, len(keys))
	for i, k := range keys {
		list[i] = *ads[k.at]
	}
	return list
}

// mergeAds makes one list of two that are in order.
func mergeAds(a, b []Ad) []Ad {
	if len(a) == 0 {
		return b
	}
	list := make([]Ad, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if Compare(&a[0], &b[0]) <= 0 {
			list, a = append(list, a[0]), a[1:]
		} else {
			list, b = append(list, b[0]), b[1:]
		}
	}
	return append(append(list, a...), b...)
}

package targeting

import (
	"math/bits"
	"slices"
)

// plan is one query made ready for an index: the columns to AND, most selective first.
type plan struct {
	facts facts
	// all must each hold; none must not.
	all  []union
	none []column
	// columns are those of all.
	columns []column
}

// union is a set of ads as the OR of columns. The columns are plan.columns[from:to].
type union struct {
	from, to int
	count    int // of the ads, at most
}

// Match appends to dst the first k ads of the index order that match the query, all if k is negative. What it finds is what
// the rule finds. It allocates only to grow dst.
func (ix *Index) Match(q *Query, k int, dst []*Ad) []*Ad {
	if k == 0 || len(ix.ads) == 0 {
		return dst
	}
	p := ix.plans.Get().(*plan)
	defer ix.release(p)
	p.facts.learn(q)
	ix.plan(p)
	limit := len(dst) + k
	if k < 0 {
		limit = -1
	}
	for first := 0; first < wordsFor(len(ix.ads)); first += blockWords {
		b, empty := p.block(first, len(ix.ads))
		if empty {
			continue
		}
		for i, w := range b {
			for ; w != 0; w &= w - 1 {
				ad := ix.ads[(first+i)*64+bits.TrailingZeros64(w)]
				if !confirm(ad, &p.facts) {
					continue
				}
				dst = append(dst, ad)
				if len(dst) == limit {
					return dst
				}
			}
		}
	}
	return dst
}

// confirm asks what the columns cannot say.
func confirm(ad *Ad, f *facts) bool {
	return ad.isOn(f) && matchKeywords(ad.positive, ad.negative, f.phrases) &&
		!slices.Contains(f.ExcludeAds, ad.AdID) && !slices.Contains(f.ExcludeAdAccounts, ad.AdAccountID)
}

// release forgets what the plan points to, so that an old snapshot can be collected.
func (ix *Index) release(p *plan) {
	clear(p.columns)
	clear(p.none)
	p.facts.Query = nil
	p.all, p.none, p.columns = p.all[:0], p.none[:0], p.columns[:0]
	ix.plans.Put(p)
}

// plan turns the facts into columns.
func (ix *Index) plan(p *plan) {
	f := &p.facts
	restrict(p, &ix.placement, string(f.Placement))
	restrict(p, &ix.place, f.Country, f.DMA, f.Region)
	restrict(p, &ix.gender, f.gender)
	restrict(p, &ix.age, ageBit(f.Age))
	restrict(p, &ix.appType, f.AppType)
	if f.locale == f.language {
		restrict(p, &ix.locale, f.language)
	} else {
		restrict(p, &ix.locale, f.language, f.locale)
	}
	restrict(p, &ix.interest, f.Interests...)
	if f.tooMuchText {
		restrict(p, &ix.text)
	} else {
		ix.restrictWords(p)
	}
	if f.AudiencesKnown {
		restrict(p, &ix.include, f.Audiences...)
		for _, id := range f.Audiences {
			if c, ok := ix.exclude.values[id]; ok {
				p.none = append(p.none, c)
			}
		}
	} else {
		restrict(p, &ix.include)
		restrict(p, &ix.exclude)
	}
	slices.SortFunc(p.all, func(a, b union) int { return a.count - b.count })
}

// restrict demands that an ad is open to a key or has one of the values.
func restrict[K comparable](p *plan, d *dimension[K], values ...K) {
	if d.restricted == 0 {
		return
	}
	u := union{from: len(p.columns)}
	p.add(&u, d.open)
	for _, v := range values {
		if c, ok := d.values[v]; ok {
			p.add(&u, c)
		}
	}
	p.all = append(p.all, u)
}

// restrictWords is restrict for the words of the phrases, which are not strings.
func (ix *Index) restrictWords(p *plan) {
	if ix.word.restricted == 0 {
		return
	}
	u := union{from: len(p.columns)}
	p.add(&u, ix.word.open)
	for _, phrase := range p.facts.phrases {
		for word := range words(phrase) {
			if c, ok := ix.word.values[string(word)]; ok {
				p.add(&u, c)
			}
		}
	}
	p.all = append(p.all, u)
}

func (p *plan) add(u *union, c column) {
	p.columns = append(p.columns, c)
	u.to = len(p.columns)
	u.count += c.count
}

// block is the ads of the block that begins at a word, as far as columns can say, and whether there are none.
func (p *plan) block(first, ads int) (b block, empty bool) {
	for i := range b {
		b[i] = ^uint64(0)
	}
	if rest := ads - first*64; rest < blockWords*64 {
		clear(b[wordsFor(rest):])
		if rest%64 != 0 {
			b[rest/64] = 1<<(rest%64) - 1
		}
	}
	for i := range p.all {
		u := &p.all[i]
		var may block
		for c := u.from; c < u.to; c++ {
			p.columns[c].or(&may, first)
		}
		var left uint64
		for w := range b {
			b[w] &= may[w]
			left |= b[w]
		}
		if left == 0 {
			return b, true
		}
	}
	for i := range p.none {
		var not block
		p.none[i].or(&not, first)
		for w := range b {
			b[w] &^= not[w]
		}
	}
	return b, false
}

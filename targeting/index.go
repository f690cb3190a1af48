package targeting

import (
	"cmp"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"gavel/campaign"
)

// Index answers Match for many ads at once. It is immutable and safe for concurrent use.
//
// Ads are ordered by Bound, highest first, ties by ad id, lowest first. For each key of the spec and each value there is a
// column of bits, one per ad; a query ANDs, block by block, what its values allow. What columns cannot say (schedule, the
// words of a keyword around its longest one, the request's own exclusions) is asked of the ads that are left. The first k
// answers are the k with the highest bounds, so the scan stops there.
type Index struct {
	ads []*Ad
	ids map[campaign.AdID]uint32

	placement dimension[string]
	place     dimension[string]
	gender    dimension[string]
	age       dimension[int]
	appType   dimension[string]
	locale    dimension[string]
	interest  dimension[string]
	// word has the longest word of each positive keyword; text has no values: its open column is the ads without keywords.
	word, text       dimension[string]
	include, exclude dimension[campaign.AudienceID]

	plans *sync.Pool // of *plan, handed from snapshot to snapshot
}

// Build makes an index. Of two ads with one id the later counts. It keeps the ads, not the slice.
func Build(ads []*Ad) *Index {
	return build(inOrder(ads), &sync.Pool{New: func() any { return new(plan) }})
}

// Apply returns an index with the upserts added or replaced and the removals gone; an ad in both is removed. The old index
// stays valid.
func (ix *Index) Apply(upserts []*Ad, removals []campaign.AdID) *Index {
	gone := make(map[campaign.AdID]bool, len(upserts)+len(removals))
	for _, id := range removals {
		gone[id] = true
	}
	added := inOrder(upserts)
	added = slices.DeleteFunc(added, func(ad *Ad) bool { return gone[ad.AdID] })
	for _, ad := range added {
		gone[ad.AdID] = true
	}
	merged := make([]*Ad, 0, len(ix.ads)+len(added))
	for _, ad := range ix.ads {
		if gone[ad.AdID] {
			continue
		}
		for len(added) > 0 && byBound(added[0], ad) < 0 {
			merged, added = append(merged, added[0]), added[1:]
		}
		merged = append(merged, ad)
	}
	return build(append(merged, added...), ix.plans)
}

// Len is the number of ads.
func (ix *Index) Len() int { return len(ix.ads) }

// Ad finds an ad by its id.
func (ix *Index) Ad(id campaign.AdID) (*Ad, bool) {
	pos, ok := ix.ids[id]
	if !ok {
		return nil, false
	}
	return ix.ads[pos], true
}

// Ads walks all ads in the order of the index.
func (ix *Index) Ads() iter.Seq[*Ad] { return slices.Values(ix.ads) }

// All walks every ad in the order of the index with what Match says of it. It is for explaining: it costs as much as the rule.
func (ix *Index) All(q *Query) iter.Seq2[*Ad, Miss] {
	return func(yield func(*Ad, Miss) bool) {
		var f facts
		f.learn(q)
		for _, ad := range ix.ads {
			if !yield(ad, match(ad, &f)) {
				return
			}
		}
	}
}

// byBound is the order of the index.
func byBound(a, b *Ad) int {
	if c := cmp.Compare(b.Bound, a.Bound); c != 0 {
		return c
	}
	return cmp.Compare(a.AdID, b.AdID)
}

// inOrder returns the ads in the order of the index, the last of each id.
func inOrder(ads []*Ad) []*Ad {
	last := make(map[campaign.AdID]*Ad, len(ads))
	for _, ad := range ads {
		last[ad.AdID] = ad
	}
	list := make([]*Ad, 0, len(last))
	for _, ad := range last {
		list = append(list, ad)
	}
	slices.SortFunc(list, byBound)
	return list
}

// build takes ads in order.
func build(ads []*Ad, plans *sync.Pool) *Index {
	n := len(ads)
	ix := &Index{ads: ads, ids: make(map[campaign.AdID]uint32, n), plans: plans}
	placement, place, gender := newDimensionBuilder[string](n), newDimensionBuilder[string](n), newDimensionBuilder[string](n)
	age, appType, locale := newDimensionBuilder[int](n), newDimensionBuilder[string](n), newDimensionBuilder[string](n)
	interest, word, text := newDimensionBuilder[string](n), newDimensionBuilder[string](n), newDimensionBuilder[string](n)
	include, exclude := newDimensionBuilder[campaign.AudienceID](n), newDimensionBuilder[campaign.AudienceID](n)
	for i, ad := range ads {
		pos, spec := uint32(i), &ad.Spec
		ix.ids[ad.AdID] = pos
		if ad.PlacementGroup == placementAll {
			placement.pass(pos)
		} else {
			placement.add(pos, ad.PlacementGroup)
		}
		if spec.Locations == nil {
			place.addAll(pos, spec.Regions)
		} else {
			place.addAll(pos, spec.Locations)
			for _, region := range spec.Regions {
				place.add(pos, region)
			}
		}
		gender.addAll(pos, spec.Genders)
		addAges(age, pos, spec.Ages)
		appType.addAll(pos, spec.AppTypes)
		locale.addAll(pos, spec.Locales)
		interest.addAll(pos, spec.Interests)
		addKeywords(word, text, pos, ad)
		include.addAll(pos, spec.AudienceInclude)
		exclude.addAll(pos, spec.AudienceExclude)
	}
	ix.placement, ix.place, ix.gender = placement.build(), place.build(), gender.build()
	ix.age, ix.appType, ix.locale = age.build(), appType.build(), locale.build()
	ix.interest, ix.word, ix.text = interest.build(), word.build(), text.build()
	ix.include, ix.exclude = include.build(), exclude.build()
	return ix
}

func addAges(age *dimensionBuilder[int], pos uint32, ages Ages) {
	if ages == AnyAge {
		age.pass(pos)
	}
	for bit := range ageBits {
		if ages>>bit&1 == 1 {
			age.add(pos, bit)
		}
	}
}

func addKeywords(word, text *dimensionBuilder[string], pos uint32, ad *Ad) {
	if len(ad.Keywords) == 0 {
		text.pass(pos)
	}
	if len(ad.positive) == 0 {
		word.pass(pos)
	}
	for i := range ad.positive {
		if w := ad.positive[i].longestWord(); len(w) > 0 {
			word.add(pos, string(w))
		}
	}
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
	return Build(nil)
}

// Store makes ix the current one. It must not be nil.
func (r *Replica) Store(ix *Index) { r.current.Store(ix) }

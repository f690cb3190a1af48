package targetbench

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"gavel/campaign"
	"gavel/targeting"
)

// Columns say, for engines that know sets of ads only, what the sets are: for each key and value those that allow it, and for
// each key those that it does not restrict. Ads are numbered in the order of the index. A query is one union for each key, the
// intersection of these unions, less the ads that exclude one of the user's audiences.
type Columns struct {
	data  *Data
	rules []*targeting.Rule // of each ad; shared by those that are alike; only while columns are made
	// ageClass puts ages between which no ad tells into one class, by years from 18 to 66: a dozen columns instead of 49.
	ageClass map[int]int
	// checks are, for each ad, what columns cannot say of it; nil for nothing.
	checks []*check
	named  int // checks that are not nil
}

// check is what is asked of an ad that the columns have left.
type check struct {
	start, end int64 // Unix microseconds, 0 = open
	hours      campaign.WeekHours
	zone       *time.Location
	rule       *targeting.Rule // nil for an ad without keywords
}

// Key is a part of targeting.
type Key uint8

// The keys. Exclude is the one whose values take ads out.
const (
	Placement Key = iota
	Place
	Gender
	Age
	AppType
	Locale
	Interest
	Word
	Include
	Exclude
	keys
)

// Term names a column: the ads that allow a value of a key, or with neither Text nor ID those that the key does not restrict.
type Term struct {
	Key  Key
	Text string
	ID   int64
}

// Open is the column of the ads that a key does not restrict.
func Open(k Key) Term { return Term{Key: k} }

// maxAge stands for all ages above 65.
const maxAge = 66

// NewColumns looks at the ads.
func NewColumns(d *Data) *Columns {
	c := &Columns{data: d, ageClass: map[int]int{}, checks: make([]*check, len(d.Ads)), rules: make([]*targeting.Rule, len(d.Ads))}
	sets := map[targeting.Ages]bool{}
	for i, ad := range d.Ads {
		if i > 0 && ad.Group == d.Ads[i-1].Group {
			c.rules[i], c.checks[i] = c.rules[i-1], c.checks[i-1]
			continue
		}
		rule := ad.Rule()
		c.rules[i] = rule
		sets[rule.Ages] = true
		_, hasKeywords := d.words[ad.AdGroupID]
		if !hasKeywords && rule.StartMicros == 0 && rule.EndMicros == 0 && rule.Hours.IsZero() {
			continue
		}
		c.checks[i] = &check{start: rule.StartMicros, end: rule.EndMicros, hours: rule.Hours, zone: ad.Zone}
		c.named++
		if hasKeywords {
			c.checks[i].rule = rule
		}
	}
	delete(sets, targeting.AnyAge)
	c.classify(slices.Sorted(maps.Keys(sets)))
	return c
}

// classify gives two ages the same class when every set has both or neither.
func (c *Columns) classify(sets []targeting.Ages) {
	classes := map[string]int{}
	for age := 18; age <= maxAge; age++ {
		var in strings.Builder
		for _, set := range sets {
			in.WriteString(strconv.FormatBool(set.Has(age)))
		}
		if _, known := classes[in.String()]; !known {
			classes[in.String()] = len(classes) + 1
		}
		c.ageClass[age] = classes[in.String()]
	}
}

// of yields the columns that an ad is in, each once.
func (c *Columns) of(i int) iter.Seq[Term] {
	return func(yield func(Term) bool) {
		r := c.rules[i]
		places := slices.Concat(r.Locations, r.Regions)
		placement := []string{r.PlacementGroup}
		if r.PlacementGroup == "ALL" {
			placement = nil
		}
		_ = texts(yield, Placement, placement) && texts(yield, Place, places) && texts(yield, Gender, r.Genders) &&
			c.ages(yield, r.Ages) && texts(yield, AppType, r.AppTypes) && texts(yield, Locale, r.Locales) &&
			texts(yield, Interest, r.Interests) && texts(yield, Word, c.data.words[c.data.Ads[i].AdGroupID]) &&
			ids(yield, Include, r.AudienceInclude) && ids(yield, Exclude, r.AudienceExclude)
	}
}

func texts(yield func(Term) bool, k Key, values []string) bool {
	if len(values) == 0 {
		return yield(Open(k))
	}
	for _, v := range values {
		if !yield(Term{Key: k, Text: v}) {
			return false
		}
	}
	return true
}

func ids(yield func(Term) bool, k Key, values []campaign.AudienceID) bool {
	if len(values) == 0 {
		return yield(Open(k))
	}
	for _, v := range values {
		if !yield(Term{Key: k, ID: int64(v)}) {
			return false
		}
	}
	return true
}

func (c *Columns) ages(yield func(Term) bool, set targeting.Ages) bool {
	if set == targeting.AnyAge {
		return yield(Open(Age))
	}
	var seen uint64
	for age := 18; age <= maxAge; age++ {
		class := c.ageClass[age]
		if !set.Has(age) || seen>>class&1 == 1 {
			continue
		}
		seen |= 1 << class
		if !yield(Term{Key: Age, ID: int64(class)}) {
			return false
		}
	}
	return true
}

// Plan is a query in terms of columns. Its lists are reused by the next call.
type Plan struct {
	// All has the unions: an ad must be in one column of each. The first of each is the open one.
	All [][]Term
	// None are the columns that an ad must not be in.
	None []Term

	unions    [keys][]Term
	ancestors []string
}

// Plan fills p for a query.
func (c *Columns) Plan(q *targeting.Query, p *Plan) {
	for k := range p.unions {
		p.unions[k] = append(p.unions[k][:0], Open(Key(k)))
	}
	p.add(Placement, string(q.Placement))
	p.add(Place, q.Country, q.DMA, q.Region)
	p.add(Gender, cmp.Or(q.Gender, "unknown"))
	if class, ok := c.ageClass[min(q.Age, maxAge)]; ok {
		p.unions[Age] = append(p.unions[Age], Term{Key: Age, ID: int64(class)})
	}
	p.add(AppType, q.AppType)
	language, region, _ := strings.Cut(q.Locale, "-")
	p.add(Locale, language)
	if region != "" {
		p.add(Locale, q.Locale)
	}
	p.add(Interest, q.Interests...)
	for _, id := range q.Interests {
		p.ancestors = c.data.Tables.Interests.AppendAncestors(p.ancestors[:0], id)
		p.add(Interest, p.ancestors...)
	}
	p.words(q.SearchQuery)
	for _, phrase := range q.Keywords {
		p.words(phrase)
	}
	p.None = p.None[:0]
	p.All = append(p.All[:0], p.unions[:Exclude]...)
	if !q.AudiencesKnown { // who includes or excludes anybody does not serve
		p.All = append(p.All, p.unions[Exclude])
		return
	}
	for _, id := range q.Audiences {
		p.unions[Include] = append(p.unions[Include], Term{Key: Include, ID: int64(id)})
		p.None = append(p.None, Term{Key: Exclude, ID: int64(id)})
	}
	p.All[Include] = p.unions[Include]
}

func (p *Plan) add(k Key, values ...string) {
	for _, v := range values {
		if t := (Term{Key: k, Text: v}); v != "" && !slices.Contains(p.unions[k], t) {
			p.unions[k] = append(p.unions[k], t)
		}
	}
}

func (p *Plan) words(phrase string) {
	for word := range strings.FieldsSeq(targeting.NormalizeText(phrase)) {
		p.add(Word, word)
	}
}

// Keep appends to dst, until it holds k ads (all if k is negative), those of the ads at positions that match. The positions are
// what the columns have left, in ascending order.
func (c *Columns) Keep(q *targeting.Query, k int, positions iter.Seq[uint32], dst []*targeting.Ad) []*targeting.Ad {
	a := asking{query: q, tables: &c.data.Tables, micros: q.Now.UnixMicro()}
	for pos := range positions {
		if len(dst) == k {
			break
		}
		ad := c.data.Ads[pos]
		if slices.Contains(q.ExcludeAdAccounts, ad.AdAccountID) || slices.Contains(q.ExcludeAds, ad.AdID) {
			continue
		}
		if ch := c.checks[pos]; ch == nil || a.passes(ch) {
			dst = append(dst, ad)
		}
	}
	return dst
}

// asking is a query whose hour in each zone is worked out once.
type asking struct {
	query  *targeting.Query
	tables *targeting.Tables
	micros int64
	zones  []*time.Location
	hours  []int
}

func (a *asking) passes(c *check) bool {
	if a.micros < c.start || c.end != 0 && a.micros >= c.end {
		return false
	}
	if !c.hours.IsZero() && !c.hours.Has(a.hourIn(c.zone)) {
		return false
	}
	return c.rule == nil || c.rule.Miss(a.query, a.tables) == targeting.Matched
}

func (a *asking) hourIn(zone *time.Location) int {
	i := slices.Index(a.zones, zone)
	if i < 0 {
		i = len(a.zones)
		a.zones, a.hours = append(a.zones, zone), append(a.hours, campaign.HourOfWeek(a.query.Now, zone))
	}
	return a.hours[i]
}

// Each calls yield for every column of every ad, in the order of the ads. It can be called once.
func (c *Columns) Each(yield func(t Term, ad uint32)) {
	for i := range c.data.Ads {
		for t := range c.of(i) {
			yield(t, uint32(i))
		}
	}
	c.rules = nil
}

// Bytes is what the checks need.
func (c *Columns) Bytes() int64 {
	return int64(len(c.checks))*int64(unsafe.Sizeof(uintptr(0))) + int64(c.named)*int64(unsafe.Sizeof(check{}))
}

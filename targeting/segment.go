package targeting

import (
	"sync/atomic"

	"gavel/campaign"
)

// Segment is up to 65,536 rows in the order of an index, with a column for each value that their targeting names. A row is the
// ads with one bound and one targeting, however many they are. It is immutable and safe for concurrent use.
type Segment struct {
	// ads are by row, and within a row by id; first is where each row begins, with the number of ads at the end.
	ads   []Ad
	first []uint32

	// spans are the schedules of the rows, nil if no row has one; weekly are the rows with hours of the week. latest is what both
	// mean now.
	spans  []span
	weekly []weekly
	latest atomic.Pointer[timetable]
	// worded are the rows with a keyword that must hit and is more than a word; nil if there are none. wordedCodes are their codes,
	// and wordedBefore is how many of them stand before each word of worded.
	worded       []uint64
	wordedCodes  []code
	wordedBefore []uint32

	dimensions

	// table finds an ad by its id: open addressing; 0 is empty, else the place in ads plus 1.
	table []uint32
}

// dimensions are the columns of a segment.
type dimensions struct {
	placement dimension[string]
	place     dimension[string]
	gender    dimension[string]
	age       dimension[int]
	appType   dimension[string]
	locale    dimension[string]
	interest  dimension[string]
	// word has one word of each positive keyword, negative one of each other: the rarest of the segment, since without it the
	// keyword is not found. text has no values: its open column is the rows without keywords.
	word, negative, text dimension[string]
	// account has the advertisers of each row.
	account          dimension[campaign.AdAccountID]
	include, exclude dimension[campaign.AudienceID]
}

// newSegment makes a segment of ads in order, no two with one id, that fit into maxRows rows. It copies them.
func newSegment(ads []Ad) *Segment {
	s := &Segment{ads: ads}
	for i := range ads {
		if i == 0 || compareRows(ads[i-1].Group, ads[i].Group) != 0 {
			s.first = append(s.first, uint32(i))
		}
	}
	s.first = append(s.first, uint32(len(ads)))
	s.setTable()
	s.setTimes()
	s.dimensions = s.columns()
	return s
}

// adBytes is the size of an Ad.
const adBytes = 32

// rows is how many rows there are.
func (s *Segment) rows() int { return len(s.first) - 1 }

// Ads is how many ads there are.
func (s *Segment) Ads() int { return len(s.ads) }

// group is a group of the row; all of the row have its bound and its targeting.
func (s *Segment) group(row int) *Group { return s.ads[s.first[row]].Group }

func (s *Segment) code(row int) code { return s.group(row).code }

// setTable reports whether all ids are different.
func (s *Segment) setTable() bool {
	size := 8
	for size < len(s.ads)*3/2 {
		size *= 2
	}
	s.table = make([]uint32, size)
	for i := range s.ads {
		at := slot(s.ads[i].AdID, size)
		for ; s.table[at] != 0; at = (at + 1) & (size - 1) {
			if s.ads[s.table[at]-1].AdID == s.ads[i].AdID {
				return false
			}
		}
		s.table[at] = uint32(i + 1)
	}
	return true
}

// slot spreads ids, which may be consecutive, over a table whose size is a power of two.
func slot(id campaign.AdID, size int) int {
	return int(uint64(id)*0x9e3779b97f4a7c15>>32) & (size - 1)
}

// find is the place of an ad in ads, -1 if it is not here.
func (s *Segment) find(id campaign.AdID) int {
	for at := slot(id, len(s.table)); s.table[at] != 0; at = (at + 1) & (len(s.table) - 1) {
		if i := int(s.table[at] - 1); s.ads[i].AdID == id {
			return i
		}
	}
	return -1
}

// columns makes the columns from the codes.
func (s *Segment) columns() dimensions {
	n := s.rows()
	b := columnsBuilder{
		placement: newDimensionBuilder[string](n), place: newDimensionBuilder[string](n), gender: newDimensionBuilder[string](n),
		age: newDimensionBuilder[int](n), appType: newDimensionBuilder[string](n), locale: newDimensionBuilder[string](n),
		interest: newDimensionBuilder[string](n), word: newDimensionBuilder[string](n), negative: newDimensionBuilder[string](n), text: newDimensionBuilder[string](n),
		include: newDimensionBuilder[campaign.AudienceID](n), exclude: newDimensionBuilder[campaign.AudienceID](n),
		account: newDimensionBuilder[campaign.AdAccountID](n), frequency: s.wordFrequencies(),
	}
	// What these have is taken away, or asked for itself.
	b.exclude.folded, b.negative.folded, b.account.folded = false, false, false
	for row := range n {
		b.add(row, s.code(row))
		for i := s.first[row]; i < s.first[row+1]; i++ {
			b.account.add(row, s.ads[i].AdAccountID)
		}
	}
	return dimensions{
		placement: b.placement.build(), place: b.place.build(), gender: b.gender.build(), age: b.age.build(), appType: b.appType.build(),
		locale: b.locale.build(), interest: b.interest.build(), word: b.word.build(), negative: b.negative.build(), text: b.text.build(),
		include: b.include.build(), exclude: b.exclude.build(), account: b.account.build(),
	}
}

type columnsBuilder struct {
	placement, place, gender, appType, locale, interest, word, negative, text *dimensionBuilder[string]
	age                                                                       *dimensionBuilder[int]
	include, exclude                                                          *dimensionBuilder[campaign.AudienceID]
	account                                                                   *dimensionBuilder[campaign.AdAccountID]
	// frequency is how many keywords of the segment have each word.
	frequency map[string]int
}

// add reads the code of a row.
func (b *columnsBuilder) add(row int, c code) {
	r := reader{s: string(c)}
	placement, parts := r.head()
	if placementGroups[placement] == placementAll {
		b.placement.pass(row)
	} else {
		b.placement.add(row, placementGroups[placement])
	}
	if parts&partSchedule != 0 {
		r.uvarint()
		r.uvarint()
	}
	if parts&partHours != 0 {
		r.hours()
		r.text()
	}
	b.addKeywords(row, parts&partKeywords != 0, &r)
	addTexts(b.place, row, parts&partPlaces != 0, &r)
	addNames(b.gender, row, parts&partGenders != 0, genderNames[:], &r)
	if parts&partAges == 0 {
		b.age.pass(row)
	} else {
		ages := r.uint64()
		for bit := range ageBits {
			if ages>>bit&1 == 1 {
				b.age.add(row, bit)
			}
		}
	}
	addNames(b.appType, row, parts&partAppTypes != 0, appTypeNames[:], &r)
	addTexts(b.locale, row, parts&partLocales != 0, &r)
	addTexts(b.interest, row, parts&partInterests != 0, &r)
	addAudiences(b.include, row, parts&partInclude != 0, &r)
	addAudiences(b.exclude, row, parts&partExclude != 0, &r)
}

func addTexts(b *dimensionBuilder[string], row int, restricted bool, r *reader) {
	if !restricted {
		b.pass(row)
		return
	}
	for range r.count(1) {
		b.add(row, r.text())
	}
}

func addNames(b *dimensionBuilder[string], row int, restricted bool, names []string, r *reader) {
	if !restricted {
		b.pass(row)
		return
	}
	set := r.byte()
	for i, name := range names {
		if set>>i&1 == 1 {
			b.add(row, name)
		}
	}
}

func addAudiences(b *dimensionBuilder[campaign.AudienceID], row int, restricted bool, r *reader) {
	if !restricted {
		b.pass(row)
		return
	}
	var id uint64
	for range r.count(1) {
		id += r.uvarint()
		b.add(row, campaign.AudienceID(id))
	}
}

func (b *columnsBuilder) addKeywords(row int, there bool, r *reader) {
	positive := false
	if there {
		for range r.count(2) {
			k := keyword{how: r.matchType()}
			words := b.word
			if k.isNegative() {
				words = b.negative
			} else {
				positive = true
			}
			rarest, times := "", 0
			eachWord(r.text(), func(word string) {
				n := b.frequency[word]
				if rarest == "" || n < times || n == times && (len(word) > len(rarest) || len(word) == len(rarest) && word < rarest) {
					rarest, times = word, n
				}
			})
			if rarest != "" {
				words.add(row, rarest)
			}
		}
	} else {
		b.text.pass(row)
	}
	if !positive {
		b.word.pass(row)
	}
}

// wordFrequencies counts the words of all keywords of all rows.
func (s *Segment) wordFrequencies() map[string]int {
	frequency := map[string]int{}
	for row := range s.rows() {
		r := reader{s: string(s.code(row))}
		if !r.toKeywords() {
			continue
		}
		for range r.count(2) {
			r.matchType()
			eachWord(r.text(), func(word string) { frequency[word]++ })
		}
	}
	return frequency
}

// bytes is about how much memory the segment takes beside the ads themselves.
func (s *Segment) bytes() int {
	n := len(s.ads)*adBytes + len(s.first)*4 + (len(s.spans)+len(s.worded))*8 + len(s.wordedCodes)*16 + len(s.wordedBefore)*4 + len(s.weekly)*32 + len(s.table)*4
	d := &s.dimensions
	for _, t := range []*dimension[string]{&d.placement, &d.place, &d.gender, &d.appType, &d.locale, &d.interest, &d.word, &d.negative, &d.text} {
		n += t.bytes(24)
	}
	return n + d.age.bytes(8) + d.include.bytes(8) + d.exclude.bytes(8) + d.account.bytes(8)
}

package targeting

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"gavel/campaign"
)

// code is all that decides whether an ad matches, as bytes: what the ads of one row have in common, and what columns are made
// of. Equal targeting has equal codes. In order: the placement group (1 byte), the parts that are there (2 bytes, little endian,
// one bit each), and those parts:
//
//	schedule   start and end, Unix microseconds, 0 = open: two varints
//	hours      24 bytes, little endian; the IANA zone
//	keywords   their number; of each the match type (1 byte) and the words as appendWords makes them
//	places     countries, markets and regions, sorted
//	genders    1 byte, bit i for the i-th of genderNames
//	ages       8 bytes, little endian
//	app types  1 byte, bit i for the i-th of appTypeNames
//	locales    sorted
//	interests  sorted
//	include    audiences, sorted, as differences
//	exclude    likewise
//
// Numbers are unsigned varints, texts a length and bytes, lists a number and what there is so many of.
type code string

// The parts of a code. What columns cannot say comes first, so that it is found at once.
const (
	partSchedule = 1 << iota
	partHours
	partKeywords
	partPlaces
	partGenders
	partAges
	partAppTypes
	partLocales
	partInterests
	partInclude
	partExclude
	allParts = 1<<iota - 1
)

// codeKey is a hash of a code. Two codes with one key count as equal, and an advertiser may try to write such a pair: hence 128
// bits of SHA-256, for which nobody can.
type codeKey [16]byte

func (c code) hash() codeKey {
	sum := sha256.Sum256([]byte(c))
	return codeKey(sum[:16])
}

var (
	placementGroups = [...]string{placementAll, string(PlacementBrowse), string(PlacementSearch), string(PlacementOther)}
	genderNames     = [...]string{"female", "male", "unknown"}
	appTypeNames    = [...]string{"android_mobile", "android_tablet", "ipad", "iphone", "web", "web_mobile"}
	matchTypes      = [...]campaign.MatchType{
		campaign.MatchBroad, campaign.MatchPhrase, campaign.MatchExact, campaign.MatchExactNegative, campaign.MatchPhraseNegative,
	}
)

// placementAll is the placement group of ads for every placement.
const placementAll = "ALL"

// placementCode is the place of a group in placementGroups, -1 for an unknown one.
func placementCode(group string) int { return slices.Index(placementGroups[:], group) }

// Rule is an ad's targeting in plain form, to be read and to be asked: see [Rule.Miss].
type Rule struct {
	// PlacementGroup is ALL or a placement.
	PlacementGroup string
	// StartMicros (inclusive) and EndMicros (exclusive) are Unix microseconds; 0 = open.
	StartMicros, EndMicros int64
	// Hours are those of the week in Zone, an IANA zone; Zone is "" if Hours are all.
	Hours campaign.WeekHours
	Zone  string
	// Spec is without what it was written as.
	Spec

	keywords []keyword
}

// appendCode appends the rule as a code.
func (r *Rule) appendCode(dst []byte) []byte {
	spec := &r.Spec
	places := slices.Sorted(slices.Values(slices.Concat(spec.Locations, spec.Regions)))
	parts := 0
	for i, there := range [...]bool{
		r.StartMicros != 0 || r.EndMicros != 0, !r.Hours.IsZero(), len(r.keywords) > 0,
		places != nil, spec.Genders != nil, spec.Ages != AnyAge, spec.AppTypes != nil, spec.Locales != nil, spec.Interests != nil,
		spec.AudienceInclude != nil, spec.AudienceExclude != nil,
	} {
		if there {
			parts |= 1 << i
		}
	}
	dst = append(dst, byte(placementCode(r.PlacementGroup)))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(parts))
	if parts&partSchedule != 0 {
		dst = binary.AppendUvarint(dst, uint64(r.StartMicros))
		dst = binary.AppendUvarint(dst, uint64(r.EndMicros))
	}
	if parts&partHours != 0 {
		for _, w := range r.Hours {
			dst = binary.LittleEndian.AppendUint64(dst, w)
		}
		dst = appendText(dst, r.Zone)
	}
	if parts&partKeywords != 0 {
		dst = binary.AppendUvarint(dst, uint64(len(r.keywords)))
		for _, k := range r.keywords {
			dst = append(dst, byte(slices.Index(matchTypes[:], k.how)))
			dst = appendText(dst, string(k.text))
		}
	}
	return appendSpec(dst, parts, spec, places)
}

func appendSpec(dst []byte, parts int, spec *Spec, places []string) []byte {
	if parts&partPlaces != 0 {
		dst = appendTexts(dst, places)
	}
	if parts&partGenders != 0 {
		dst = append(dst, namesToBits(genderNames[:], spec.Genders))
	}
	if parts&partAges != 0 {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(spec.Ages))
	}
	if parts&partAppTypes != 0 {
		dst = append(dst, namesToBits(appTypeNames[:], spec.AppTypes))
	}
	if parts&partLocales != 0 {
		dst = appendTexts(dst, spec.Locales)
	}
	if parts&partInterests != 0 {
		dst = appendTexts(dst, spec.Interests)
	}
	if parts&partInclude != 0 {
		dst = appendAudiences(dst, spec.AudienceInclude)
	}
	if parts&partExclude != 0 {
		dst = appendAudiences(dst, spec.AudienceExclude)
	}
	return dst
}

// rule is the code in plain form. The code must be valid.
func (c code) rule() *Rule {
	var r Rule
	if err := c.read(&r); err != nil {
		panic("targeting: a code that is not valid is in an index: " + err.Error())
	}
	return &r
}

// zone is that of the hours of the week, "" if the code has none.
func (c code) zone() string {
	r := reader{s: string(c)}
	_, parts := r.head()
	if parts&partHours == 0 {
		return ""
	}
	if parts&partSchedule != 0 {
		r.uvarint()
		r.uvarint()
	}
	r.bytes(24)
	return r.text()
}

// valid reports whether the code can be read to its end. It allocates nothing.
func (c code) valid() bool {
	r := reader{s: string(c)}
	placement, parts := r.head()
	if placement >= len(placementGroups) || parts&^allParts != 0 {
		return false
	}
	if parts&partSchedule != 0 {
		r.uvarint()
		r.uvarint()
	}
	if parts&partHours != 0 {
		r.bytes(24)
		r.text()
	}
	if parts&partKeywords != 0 {
		for range r.count(2) {
			r.matchType()
			if words := r.text(); words != "" && (len(words) < 3 || words[0] != ' ' || words[len(words)-1] != ' ') {
				return false
			}
		}
	}
	r.skipTexts(parts&partPlaces != 0)
	if parts&partGenders != 0 && r.byte()>>len(genderNames) != 0 {
		return false
	}
	if parts&partAges != 0 {
		r.bytes(8)
	}
	if parts&partAppTypes != 0 && r.byte()>>len(appTypeNames) != 0 {
		return false
	}
	r.skipTexts(parts&partLocales != 0)
	r.skipTexts(parts&partInterests != 0)
	for _, part := range [...]int{partInclude, partExclude} {
		if parts&part != 0 {
			for range r.count(1) {
				r.uvarint()
			}
		}
	}
	return !r.bad && r.s == ""
}

func (c code) read(rule *Rule) error {
	r := reader{s: string(c)}
	placement, parts := r.head()
	if placement >= len(placementGroups) || parts&^allParts != 0 {
		return fmt.Errorf("code of placement %d with parts %x: %w", placement, parts, ErrCorrupt)
	}
	rule.PlacementGroup = placementGroups[placement]
	if parts&partSchedule != 0 {
		rule.StartMicros, rule.EndMicros = int64(r.uvarint()), int64(r.uvarint())
	}
	if parts&partHours != 0 {
		rule.Hours, rule.Zone = r.hours(), r.text()
	}
	if parts&partKeywords != 0 {
		n := r.count(2)
		rule.keywords = make([]keyword, n)
		for i := range rule.keywords {
			rule.keywords[i].how = r.matchType()
			rule.keywords[i].text = []byte(r.text())
		}
	}
	if parts&partPlaces != 0 {
		for _, p := range r.texts() {
			if isRegion(p) {
				rule.Regions = append(rule.Regions, p)
			} else {
				rule.Locations = append(rule.Locations, p)
			}
		}
	}
	if parts&partGenders != 0 {
		rule.Genders = bitsToNames(genderNames[:], r.byte())
	}
	if parts&partAges != 0 {
		rule.Ages = Ages(r.uint64())
	}
	if parts&partAppTypes != 0 {
		rule.AppTypes = bitsToNames(appTypeNames[:], r.byte())
	}
	if parts&partLocales != 0 {
		rule.Locales = r.texts()
	}
	if parts&partInterests != 0 {
		rule.Interests = r.texts()
	}
	if parts&partInclude != 0 {
		rule.AudienceInclude = r.audiences()
	}
	if parts&partExclude != 0 {
		rule.AudienceExclude = r.audiences()
	}
	if r.bad || r.s != "" {
		return fmt.Errorf("code of %d bytes: %w", len(c), ErrCorrupt)
	}
	return nil
}

func namesToBits(names, values []string) (set byte) {
	for _, v := range values {
		set |= 1 << slices.Index(names, v)
	}
	return set
}

func bitsToNames(names []string, set byte) []string {
	list := make([]string, 0, bits.OnesCount8(set))
	for i, name := range names {
		if set>>i&1 == 1 {
			list = append(list, name)
		}
	}
	return list
}

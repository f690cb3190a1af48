package targeting

import (
	"cmp"
	"encoding/json"
	"slices"

	"gavel/campaign"
)

// The keys of a spec that Gavel evaluates.
const (
	keyLocation  = "LOCATION"
	keyGeo       = "GEO"
	keyGender    = "GENDER"
	keyAgeBucket = "AGE_BUCKET"
	keyMinAge    = "MINIMUM_AGE"
	keyMaxAge    = "MAXIMUM_AGE"
	keyAppType   = "APPTYPE"
	keyLocale    = "LOCALE"
	keyInterest  = "INTEREST"
	keyInclude   = "AUDIENCE_INCLUDE"
	keyExclude   = "AUDIENCE_EXCLUDE"
	keyStrategy  = "TARGETING_STRATEGY"
	keyShopping  = "SHOPPING_RETARGETING"
)

// The values of TARGETING_STRATEGY.
const (
	strategyChoose    = "CHOOSE_YOUR_OWN"
	strategyFind      = "FIND_NEW_CUSTOMERS"
	strategyReconnect = "RECONNECT_WITH_USERS"
)

func genders() []string { return []string{"female", "male", "unknown"} }

func appTypes() []string {
	return []string{"android_mobile", "android_tablet", "ipad", "iphone", "web", "web_mobile"}
}

func ageBucketNames() []string {
	return []string{"18-24", "19+", "20+", "21+", "25-34", "35-44", "45-49", "50-54", "55-64", "65+"}
}

// Limits on a spec.
const (
	// MaxSpecBytes is the most bytes of a spec's JSON.
	MaxSpecBytes = 128 << 10
	// MaxLocations is the most values of LOCATION; MaxRegions of GEO; MaxLocales of LOCALE.
	MaxLocations = 500
	MaxRegions   = 2500
	MaxLocales   = 100
	// MaxInterests is the most values of INTEREST; MaxInterestBytes the longest of them.
	MaxInterests     = 1000
	MaxInterestBytes = 64
	// MaxAudiences is the most values of AUDIENCE_INCLUDE, and of AUDIENCE_EXCLUDE.
	MaxAudiences = 500
	// maxProblems is how many problems of one spec are listed.
	maxProblems = 20
)

// Spec is a targeting spec, checked and in canonical form: values sorted, each once. The zero value is for everyone. It is
// immutable: copies share their slices.
type Spec struct {
	// Locations are countries (ISO 3166-1 alpha-2) and US market areas (three digits); Regions are ISO 3166-2.
	Locations, Regions []string
	Genders            []string
	// Ages holds the ages that AGE_BUCKET or MINIMUM_AGE and MAXIMUM_AGE allow; AnyAge if there is neither.
	Ages Ages
	// AppTypes are app types; Locales are languages ("en") and languages in a region ("en-US").
	AppTypes, Locales []string
	Interests         []string
	// AudienceInclude and AudienceExclude are audiences, sorted.
	AudienceInclude, AudienceExclude []campaign.AudienceID

	// As they were written, for Canonical.
	ageBuckets     []string
	minAge, maxAge string
	strategy       []string
}

// Canonical is the spec as JSON: keys in one fixed order, values sorted, nothing that means nothing. Parsing it again gives an
// equal spec, so two specs that mean the same by the same keys have the same bytes.
func (s Spec) Canonical() json.RawMessage {
	doc := struct {
		Location  []string `json:"LOCATION,omitempty"`
		Geo       []string `json:"GEO,omitempty"`
		Gender    []string `json:"GENDER,omitempty"`
		AgeBucket []string `json:"AGE_BUCKET,omitempty"`
		MinAge    string   `json:"MINIMUM_AGE,omitempty"`
		MaxAge    string   `json:"MAXIMUM_AGE,omitempty"`
		AppType   []string `json:"APPTYPE,omitempty"`
		Locale    []string `json:"LOCALE,omitempty"`
		Interest  []string `json:"INTEREST,omitempty"`
		Include   []string `json:"AUDIENCE_INCLUDE,omitempty"`
		Exclude   []string `json:"AUDIENCE_EXCLUDE,omitempty"`
		Strategy  []string `json:"TARGETING_STRATEGY,omitempty"`
	}{
		s.Locations, s.Regions, s.Genders, s.ageBuckets, s.minAge, s.maxAge, s.AppTypes, s.Locales, s.Interests,
		digits(s.AudienceInclude), digits(s.AudienceExclude), s.strategy,
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		panic("targeting: strings that do not marshal: " + err.Error())
	}
	return raw
}

// Ages is a set of ages, one bit each: bit 0 is 18, bit 47 is 65, bit 48 is 66 and over. Nobody under 18 is in any set.
type Ages uint64

// AnyAge is no restriction: also those whose age is not known, and those under 18.
const AnyAge Ages = 0

const (
	youngest = 18
	// oldest is the last age with a bit of its own; the bit after it is for all above.
	oldest  = 65
	ageBits = oldest - youngest + 2
)

// ageBit is the bit of an age in years; -1 for an age that no set holds, and for 0, which is "not known".
func ageBit(age int) int {
	if age < youngest {
		return -1
	}
	return min(age, oldest+1) - youngest
}

// Has reports whether the set allows an age in years; 0 is "not known".
func (a Ages) Has(age int) bool {
	bit := ageBit(age)
	return a == AnyAge || bit >= 0 && a>>bit&1 == 1
}

// agesBetween is first to last inclusive, in years; a last above 65 is without end.
func agesBetween(first, last int) Ages {
	lo, hi := ageBit(first), ageBit(last)
	return Ages(1)<<(hi+1) - Ages(1)<<lo
}

// open is a last age without end.
const open = oldest + 1

// ageBucket is the range of a value of AGE_BUCKET.
func ageBucket(name string) (Ages, bool) {
	switch name {
	case "18-24":
		return agesBetween(18, 24), true
	case "19+":
		return agesBetween(19, open), true
	case "20+":
		return agesBetween(20, open), true
	case "21+":
		return agesBetween(21, open), true
	case "25-34":
		return agesBetween(25, 34), true
	case "35-44":
		return agesBetween(35, 44), true
	case "45-49":
		return agesBetween(45, 49), true
	case "50-54":
		return agesBetween(50, 54), true
	case "55-64":
		return agesBetween(55, 64), true
	case "65+":
		return agesBetween(65, open), true
	}
	return 0, false
}

// has reports whether a sorted list holds v.
func has[T cmp.Ordered](sorted []T, v T) bool {
	_, found := slices.BinarySearch(sorted, v)
	return found
}

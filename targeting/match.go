package targeting

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"gavel/campaign"
)

// Match is the rule: it returns Matched, or the first part of the targeting, in the order of the Miss constants, that keeps the
// ad from the query. Whatever else decides about ads must answer the same.
func Match(ad *Ad, q *Query, t *Tables) Miss {
	if slices.Contains(q.ExcludeAds, ad.AdID) || slices.Contains(q.ExcludeAdAccounts, ad.AdAccountID) {
		return MissExcluded
	}
	return ad.Rule().Miss(q, t)
}

// Miss is [Match] without the query's own exclusions.
func (r *Rule) Miss(q *Query, t *Tables) Miss {
	var f facts
	f.learn(q, t)
	return r.miss(&f)
}

// Scan is the rule asked of every ad, one after the other: what [Index] must answer, and what it is measured against.
type Scan struct {
	ads    []*Ad // in order
	rules  []*Rule
	tables Tables
}

// NewScan returns a scan of ads, each id once.
func NewScan(ads []*Ad, t Tables) *Scan {
	s := &Scan{ads: slices.SortedFunc(slices.Values(ads), Compare), rules: make([]*Rule, len(ads)), tables: t}
	for i, ad := range s.ads {
		if s.rules[i] = ad.Rule(); i > 0 && ad.code == s.ads[i-1].code {
			s.rules[i] = s.rules[i-1]
		}
	}
	return s
}

// Match appends the first k ads in the order of an index that match the query, all if k is negative.
func (s *Scan) Match(q *Query, k int, dst []*Ad) []*Ad {
	var f facts
	f.learn(q, &s.tables)
	for i, ad := range s.ads {
		if k == 0 {
			break
		}
		if !f.excludes(ad) && s.rules[i].miss(&f) == Matched {
			dst = append(dst, ad)
			k--
		}
	}
	return dst
}

// facts are a query with its ids and texts in the forms that targeting is compared with.
type facts struct {
	*Query
	micros int64 // of Now
	gender string
	// language is "en"; locale is "en-US", or the language if no region is known; both "" if nothing is.
	language, locale string
	// interests are the user's with their ancestors; audiences those that the query knows.
	interests []string
	// phrases are the search query and the page keywords that have words, as appendWords makes them.
	phrases [][]byte
	// words are those of the phrases, with the space on either side.
	words [][]byte
	// tooMuchText says that the phrases are not to be judged.
	tooMuchText bool

	text  []byte // what phrases point into
	word  []byte // room for one keyword
	zones []zoneHour
	// locations are the zones that were ever asked for.
	locations map[string]*time.Location
}

// zoneHour is the hour of the week in a zone.
type zoneHour struct {
	zone string
	hour int
}

// learn fills f from q and keeps the buffers that f has.
func (f *facts) learn(q *Query, t *Tables) {
	f.Query, f.micros = q, q.Now.UnixMicro()
	f.gender = q.Gender
	if f.gender == "" {
		f.gender = "unknown"
	}
	f.language, f.locale = "", ""
	if language, region, ok := splitLocale(q.Locale); ok {
		f.language, f.locale = language, language
		if region != "" {
			f.locale = q.Locale
			if !isCanonicalLocale(q.Locale, language, region) {
				f.locale = joinLocale(language, region)
			}
		}
	}
	f.interests = t.Interests.appendWithAncestors(f.interests[:0], q.Interests)
	f.zones = f.zones[:0]
	f.phrases, f.words, f.text, f.tooMuchText = f.phrases[:0], f.words[:0], f.text[:0], len(q.Keywords) > MaxPageKeywords
	if f.tooMuchText {
		return
	}
	f.addPhrase(q.SearchQuery)
	for _, k := range q.Keywords {
		f.addPhrase(k)
	}
	for _, phrase := range f.phrases {
		for word := range words(phrase) {
			f.words = append(f.words, word)
		}
	}
}

// hourIn is the hour of the week in a zone; -1 for a zone that is not known.
func (f *facts) hourIn(zone string) int {
	for _, z := range f.zones {
		if z.zone == zone {
			return z.hour
		}
	}
	hour := -1
	location, known := f.locations[zone]
	if !known {
		location, _ = time.LoadLocation(zone) // nil for an unknown one
		if f.locations == nil {
			f.locations = map[string]*time.Location{}
		}
		f.locations[zone] = location
	}
	if location != nil {
		hour = campaign.HourOfWeek(f.Now, location)
	}
	f.zones = append(f.zones, zoneHour{zone, hour})
	return hour
}

// isCanonicalLocale spares joinLocale's allocation.
func isCanonicalLocale(s, language, region string) bool {
	return len(s) == len(language)+1+len(region) && strings.HasPrefix(s, language) && s[len(language)] == '-' && strings.HasSuffix(s, region)
}

func (f *facts) addPhrase(s string) {
	if len(s) > MaxPhraseBytes {
		f.tooMuchText = true
		return
	}
	start := len(f.text)
	f.text = appendWords(f.text, s)
	if len(f.text) > start {
		// A later append may move f.text; this phrase then keeps the old array, whose bytes do not change.
		f.phrases = append(f.phrases, f.text[start:len(f.text):len(f.text)])
	}
}

func (r *Rule) miss(f *facts) Miss {
	switch {
	case !r.isOn(f):
		return MissSchedule
	case r.PlacementGroup != placementAll && r.PlacementGroup != string(f.Placement):
		return MissPlacement
	case !r.allowsPlace(f):
		return MissLocation
	case r.Genders != nil && !has(r.Genders, f.gender):
		return MissGender
	case !r.Ages.Has(f.Age):
		return MissAge
	case r.AppTypes != nil && !has(r.AppTypes, f.AppType):
		return MissAppType
	case r.Locales != nil && !has(r.Locales, f.language) && !has(r.Locales, f.locale):
		return MissLocale
	case r.Spec.Interests != nil && !hasAny(r.Spec.Interests, f.interests):
		return MissInterest
	case !r.allowsText(f):
		return MissKeyword
	case !r.allowsAudiences(f):
		return MissAudience
	}
	return Matched
}

// isOn reports whether the query's time is within the schedule, and in one of its hours.
func (r *Rule) isOn(f *facts) bool {
	return isWithin(f.micros, r.StartMicros, r.EndMicros) && (r.Hours.IsZero() || isInHours(&r.Hours, f.hourIn(r.Zone)))
}

func isWithin(now, start, end int64) bool {
	return (start == 0 || now >= start) && (end == 0 || now < end)
}

// isInHours reports whether hours that are restricted have an hour, which is negative when it is not known.
func isInHours(hours *campaign.WeekHours, hour int) bool { return hour >= 0 && hours.Has(hour) }

// allowsPlace holds LOCATION and GEO, which are one set of places.
func (r *Rule) allowsPlace(f *facts) bool {
	if r.Locations == nil && r.Regions == nil {
		return true
	}
	return slices.ContainsFunc([]string{f.Country, f.DMA, f.Region}, func(place string) bool {
		return has(r.Locations, place) || has(r.Regions, place)
	})
}

func (r *Rule) allowsText(f *facts) bool {
	if f.tooMuchText && len(r.keywords) > 0 {
		return false
	}
	return matchKeywords(r.keywords, f.phrases)
}

func (r *Rule) allowsAudiences(f *facts) bool {
	if r.AudienceInclude == nil && r.AudienceExclude == nil {
		return true
	}
	if !f.AudiencesKnown || hasAny(r.AudienceExclude, f.Audiences) {
		return false
	}
	return r.AudienceInclude == nil || hasAny(r.AudienceInclude, f.Audiences)
}

// hasAny reports whether a sorted list holds one of values.
func hasAny[T cmp.Ordered](sorted, values []T) bool {
	return slices.ContainsFunc(values, func(v T) bool { return has(sorted, v) })
}

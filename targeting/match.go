package targeting

import (
	"cmp"
	"slices"
	"strings"
)

// Match is the rule: it returns Matched, or the first part of the targeting, in the order of the Miss constants, that keeps the
// ad from the query. Whatever else decides about ads must answer the same.
func Match(ad *Ad, q *Query) Miss {
	var f facts
	f.learn(q)
	return match(ad, &f)
}

// facts are a query with its texts in the forms that specs are compared with.
type facts struct {
	*Query
	gender string
	// language is "en"; locale is "en-US", or the language if no region is known; both "" if nothing is.
	language, locale string
	// phrases are the search query and the page keywords that have words, as appendWords makes them.
	phrases [][]byte
	// tooMuchText says that the phrases are not to be judged.
	tooMuchText bool

	text []byte // what phrases point into
}

// learn fills f from q and keeps the buffers that f has.
func (f *facts) learn(q *Query) {
	f.Query = q
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
	f.phrases, f.text, f.tooMuchText = f.phrases[:0], f.text[:0], len(q.Keywords) > MaxPageKeywords
	if f.tooMuchText {
		return
	}
	f.addPhrase(q.SearchQuery)
	for _, k := range q.Keywords {
		f.addPhrase(k)
	}
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

func match(ad *Ad, f *facts) Miss {
	spec := &ad.Spec
	switch {
	case slices.Contains(f.ExcludeAds, ad.AdID) || slices.Contains(f.ExcludeAdAccounts, ad.AdAccountID):
		return MissExcluded
	case !ad.isOn(f):
		return MissSchedule
	case ad.PlacementGroup != placementAll && ad.PlacementGroup != string(f.Placement):
		return MissPlacement
	case !spec.allowsPlace(f):
		return MissLocation
	case spec.Genders != nil && !has(spec.Genders, f.gender):
		return MissGender
	case !spec.Ages.Has(f.Age):
		return MissAge
	case spec.AppTypes != nil && !has(spec.AppTypes, f.AppType):
		return MissAppType
	case spec.Locales != nil && !has(spec.Locales, f.language) && !has(spec.Locales, f.locale):
		return MissLocale
	case spec.Interests != nil && !hasAny(spec.Interests, f.Interests):
		return MissInterest
	case !ad.allowsText(f):
		return MissKeyword
	case !spec.allowsAudiences(f):
		return MissAudience
	}
	return Matched
}

// isOn reports whether the query's time is within the schedule.
func (ad *Ad) isOn(f *facts) bool {
	return (ad.StartTime.IsZero() || !f.Now.Before(ad.StartTime)) && (ad.EndTime.IsZero() || f.Now.Before(ad.EndTime))
}

// allowsPlace holds LOCATION and GEO, which are one set of places.
func (s *Spec) allowsPlace(f *facts) bool {
	if s.Locations == nil && s.Regions == nil {
		return true
	}
	return has(s.Locations, f.Country) || has(s.Locations, f.DMA) || has(s.Regions, f.Region)
}

func (ad *Ad) allowsText(f *facts) bool {
	if f.tooMuchText && len(ad.Keywords) > 0 {
		return false
	}
	return matchKeywords(ad.positive, ad.negative, f.phrases)
}

func (s *Spec) allowsAudiences(f *facts) bool {
	if s.AudienceInclude == nil && s.AudienceExclude == nil {
		return true
	}
	if !f.AudiencesKnown || hasAny(s.AudienceExclude, f.Audiences) {
		return false
	}
	return s.AudienceInclude == nil || hasAny(s.AudienceInclude, f.Audiences)
}

// hasAny reports whether a sorted list holds one of values.
func hasAny[T cmp.Ordered](sorted, values []T) bool {
	return slices.ContainsFunc(values, func(v T) bool { return has(sorted, v) })
}

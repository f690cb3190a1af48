package targeting

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/language"

	"gavel/campaign"
	"gavel/internal/fault"
)

// Problem is one thing wrong with a spec: Name is the path of the value ("GENDER[1]"), Message says it to the advertiser.
type Problem = fault.Field

// ParseSpec reads the JSON of a targeting_spec. It returns the spec, or every problem in it (the first 20), in a fixed order.
//
// A key that is missing or null means everyone; so do no bytes at all. An empty list of whom to include would be for nobody
// and is a problem; an empty AUDIENCE_EXCLUDE excludes nobody. A value given twice counts once; a key given twice is a
// problem, because readers of JSON disagree on which one counts. Whether an interest or an audience exists is not asked here.
func ParseSpec(raw []byte) (Spec, []Problem) {
	if len(raw) == 0 {
		return Spec{}, nil
	}
	if len(raw) > MaxSpecBytes {
		return Spec{}, []Problem{{Message: fmt.Sprintf("is longer than %d bytes", MaxSpecBytes)}}
	}
	values, problem := splitObject(raw)
	if problem != "" {
		return Spec{}, []Problem{{Message: problem}}
	}
	p := parser{values: values}
	spec := p.spec()
	if len(p.problems) > 0 {
		return Spec{}, p.problems[:min(len(p.problems), maxProblems)]
	}
	return spec, nil
}

// Canonicalize checks the JSON of a targeting_spec and returns its canonical form, or its problems; see ParseSpec.
func Canonicalize(raw json.RawMessage) (json.RawMessage, []Problem) {
	spec, problems := ParseSpec(raw)
	if len(problems) > 0 {
		return nil, problems
	}
	return spec.Canonical(), nil
}

// splitObject is the members of one JSON object, or what is wrong with it.
func splitObject(raw []byte) (map[string]json.RawMessage, string) {
	if !utf8.Valid(raw) {
		return nil, "is not valid UTF-8"
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, "must be a JSON object"
	}
	values := map[string]json.RawMessage{}
	for dec.More() {
		t, err := dec.Token()
		key, isString := t.(string)
		if err != nil || !isString {
			return nil, "is not valid JSON"
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, "is not valid JSON"
		}
		if _, twice := values[key]; twice {
			return nil, fmt.Sprintf("has the key %s twice", quote(key))
		}
		values[key] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, "is not valid JSON"
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, "has something after the object"
	}
	return values, ""
}

// parser takes keys out of values; what is left at the end is unknown.
type parser struct {
	values   map[string]json.RawMessage
	problems fault.Fields
}

func (p *parser) spec() Spec {
	var s Spec
	s.Locations = p.list(keyLocation, MaxLocations, checkLocation)
	s.Regions = p.list(keyGeo, MaxRegions, checkRegion)
	s.Genders = p.list(keyGender, 3, oneOf(genders()...))
	s.ageBuckets = p.list(keyAgeBucket, 10, oneOf(ageBucketNames()...))
	p.ages(&s)
	s.AppTypes = p.list(keyAppType, 6, oneOf(appTypes()...))
	s.Locales = p.list(keyLocale, MaxLocales, checkLocale)
	s.Interests = p.list(keyInterest, MaxInterests, checkInterest)
	if isEmptyList(p.values[keyExclude]) {
		delete(p.values, keyExclude)
	}
	includes, excludes := p.has(keyInclude), p.has(keyExclude)
	s.AudienceInclude = audiences(p.list(keyInclude, MaxAudiences, checkAudience))
	s.AudienceExclude = audiences(p.list(keyExclude, MaxAudiences, checkAudience))
	s.strategy = p.list(keyStrategy, 1, oneOf(strategyChoose, strategyFind, strategyReconnect))
	p.checkStrategy(s.strategy, includes, excludes)
	if v, given := p.take(keyShopping); given && !isEmptyList(v) {
		p.problems.Add(keyShopping, "is not supported: there is no retargeting by shopping events")
	}
	for _, key := range slices.Sorted(maps.Keys(p.values)) {
		p.problems.Add(printable(key), "is not a key of a targeting spec")
	}
	return s
}

// take removes a key; null is as good as missing.
func (p *parser) take(key string) (value json.RawMessage, given bool) {
	value, given = p.values[key]
	delete(p.values, key)
	return value, given && string(value) != "null"
}

// has reports whether a key is given and not null.
func (p *parser) has(key string) bool {
	value, given := p.values[key]
	return given && string(value) != "null"
}

// text reads a string; ok is false if the key is missing or its value is not a string, and then what is wrong with it is told.
func (p *parser) text(key string) (s string, ok bool) {
	raw, given := p.take(key)
	if !given {
		return "", false
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		p.problems.Add(key, "must be a string")
		return "", false
	}
	return s, true
}

// list reads a list of strings; check gives each its canonical form or says what is wrong with it. The result is sorted, each
// value once, and nil if the key is missing.
func (p *parser) list(key string, most int, check func(string) (canonical, problem string)) []string {
	raw, given := p.take(key)
	if !given {
		return nil
	}
	values, isList := texts(raw)
	if !isList {
		p.problems.Add(key, "must be a list of strings")
		return nil
	}
	if len(values) == 0 {
		p.problems.Add(key, "is empty, which would be for nobody: leave the key out to mean everyone")
		return nil
	}
	list := make([]string, 0, len(values))
	for i, s := range values {
		if s == nil {
			p.problems.Add(fault.Index(key, i), "must be a string")
			continue
		}
		canonical, problem := check(*s)
		if problem != "" {
			p.problems.Add(fault.Index(key, i), problem)
			continue
		}
		list = append(list, canonical)
	}
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) > most {
		p.problems.Add(key, fmt.Sprintf("has %d values, at most %d are allowed", len(list), most))
	}
	return list
}

// texts reads a list; what is not a string in it is nil.
func texts(raw json.RawMessage) (values []*string, isList bool) {
	if json.Unmarshal(raw, &values) == nil { // in one go, as nearly always
		return values, true
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) != nil {
		return nil, false
	}
	values = make([]*string, len(parts))
	for i, part := range parts {
		if json.Unmarshal(part, &values[i]) != nil {
			values[i] = nil
		}
	}
	return values, true
}

// checkStrategy holds a spec to the intention that TARGETING_STRATEGY states; the other keys alone decide who is targeted.
func (p *parser) checkStrategy(strategy []string, includes, excludes bool) {
	if len(strategy) != 1 {
		return
	}
	switch strategy[0] {
	case strategyReconnect:
		if !includes {
			p.problems.Add(keyStrategy, "RECONNECT_WITH_USERS needs AUDIENCE_INCLUDE: the users to reconnect with")
		}
	case strategyFind:
		if !excludes {
			p.problems.Add(keyStrategy, "FIND_NEW_CUSTOMERS needs AUDIENCE_EXCLUDE: the customers that are not new")
		}
		if includes {
			p.problems.Add(keyStrategy, "FIND_NEW_CUSTOMERS cannot be combined with AUDIENCE_INCLUDE: who is in a list is known already")
		}
	}
}

func isEmptyList(raw json.RawMessage) bool {
	var values []json.RawMessage
	return len(raw) > 0 && raw[0] == '[' && json.Unmarshal(raw, &values) == nil && len(values) == 0
}

// ages combines the two ways to say ages.
func (p *parser) ages(s *Spec) {
	for _, b := range s.ageBuckets {
		bits, _ := ageBucket(b)
		s.Ages |= bits
	}
	hasMin, hasMax := p.has(keyMinAge), p.has(keyMaxAge)
	minAge, okMin := p.text(keyMinAge)
	maxAge, okMax := p.text(keyMaxAge)
	switch {
	case !hasMin && !hasMax:
		return
	case s.ageBuckets != nil:
		p.problems.Add(keyAgeBucket, "cannot be combined with MINIMUM_AGE and MAXIMUM_AGE")
		return
	case !hasMin:
		p.problems.Add(keyMinAge, "is required with MAXIMUM_AGE")
		return
	case !hasMax:
		p.problems.Add(keyMaxAge, "is required with MINIMUM_AGE")
		return
	}
	first, okFirst := parseAge(minAge)
	if okMin && !okFirst {
		p.problems.Add(keyMinAge, fmt.Sprintf(`%s is not one of "18" to "65"`, quote(minAge)))
	}
	last, okLast := parseAge(maxAge)
	if maxAge == "65+" {
		last, okLast = open, true
	}
	if okMax && !okLast {
		p.problems.Add(keyMaxAge, fmt.Sprintf(`%s is not one of "18" to "65" or "65+"`, quote(maxAge)))
	}
	if !okFirst || !okLast {
		return
	}
	if first > last {
		p.problems.Add(keyMinAge, fmt.Sprintf("%s is above MAXIMUM_AGE %s", quote(minAge), quote(maxAge)))
		return
	}
	s.minAge, s.maxAge, s.Ages = minAge, maxAge, agesBetween(first, last)
}

func parseAge(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && len(s) == 2 && youngest <= n && n <= oldest
}

func checkLocation(s string) (string, string) {
	if isCountry(s) || isDMA(s) {
		return s, ""
	}
	return "", quote(s) + " is neither an ISO 3166-1 country code in capitals nor a US market area of three digits"
}

func checkRegion(s string) (string, string) {
	switch {
	case isRegion(s):
		return s, ""
	case isPostalCode(s):
		return "", quote(s) + " looks like a postal code: ad requests carry none, so only ISO 3166-2 regions are supported"
	}
	return "", quote(s) + " is not an ISO 3166-2 region code"
}

func checkLocale(s string) (string, string) {
	code, region, ok := splitLocale(s)
	canonical := joinLocale(code, region)
	if !ok || len(canonical) != len(s) {
		return "", quote(s) + ` is neither a language ("en") nor a language in a region ("en-US")`
	}
	if _, problem := checkLanguage(code); problem != "" {
		return "", problem
	}
	if region == "" || isCountry(region) {
		return canonical, ""
	}
	if area, err := language.ParseRegion(region); err != nil || area.String() != region || len(region) != 3 {
		return "", quote(s) + " has a region that is neither an ISO 3166-1 country nor a UN M.49 area"
	}
	return canonical, ""
}

// checkLanguage holds a code to the languages that there are, by their current and shortest code: a device says "he", so an ad
// for "heb" or "iw" would never be shown.
func checkLanguage(code string) (language.Base, string) {
	base, err := language.ParseBase(code)
	if err != nil || code == "und" {
		return base, quote(code) + " is not a language of ISO 639"
	}
	if current, err := language.DeprecatedBase.Canonicalize(language.Make(base.String())); err == nil {
		base, _ = current.Base()
	}
	if base.String() != code {
		return base, quote(code) + " is written " + quote(base.String())
	}
	return base, ""
}

func joinLocale(language, region string) string {
	if region == "" {
		return language
	}
	return language + "-" + region
}

func checkInterest(s string) (string, string) {
	ok := len(s) <= MaxInterestBytes && all(s, func(c byte) bool { return '!' <= c && c <= '~' })
	if !ok {
		return "", fmt.Sprintf("%s is not an interest id of 1 to %d visible ASCII characters", quote(s), MaxInterestBytes)
	}
	return s, ""
}

func checkAudience(s string) (string, string) {
	id, err := strconv.ParseInt(s, 10, 64)
	if err != nil || id <= 0 || !isDigits(s) {
		return "", quote(s) + " is not an audience id"
	}
	return strconv.FormatInt(id, 10), ""
}

func oneOf(names ...string) func(string) (string, string) {
	return func(s string) (string, string) {
		if slices.Contains(names, s) {
			return s, ""
		}
		return "", fmt.Sprintf("%s is not one of %s", quote(s), strings.Join(names, ", "))
	}
}

// audiences turns canonical ids, sorted as text, into sorted numbers.
func audiences(ids []string) []campaign.AudienceID {
	if len(ids) == 0 {
		return nil
	}
	list := make([]campaign.AudienceID, len(ids))
	for i, s := range ids {
		n, _ := strconv.ParseInt(s, 10, 64) // checkAudience has
		list[i] = campaign.AudienceID(n)
	}
	slices.Sort(list)
	return list
}

func digits(ids []campaign.AudienceID) []string {
	list := make([]string, len(ids))
	for i, id := range ids {
		list[i] = strconv.FormatInt(int64(id), 10)
	}
	return list
}

// quote shows a value of the input in a message, shortened.
func quote(s string) string { return strconv.Quote(printable(s)) }

func printable(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

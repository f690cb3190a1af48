package targetbench

import (
	"encoding/json"
	"fmt"
	"slices"
)

// document is a targeting_spec as it is written.
type document struct {
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
}

func (d *document) text() string {
	for _, list := range [][]string{d.Location, d.Geo, d.Gender, d.AgeBucket, d.AppType, d.Locale, d.Interest, d.Include, d.Exclude} {
		slices.Sort(list)
	}
	raw, err := json.Marshal(d)
	if err != nil {
		panic("targetbench: strings that do not marshal: " + err.Error())
	}
	return string(raw)
}

// spec is a broad one of all accounts, one that the account has used before, or one of its own.
func (g *groups) spec() string {
	switch x := g.r.Float64(); {
	case x < 0.10:
		return pick(g.r, g.broad)
	case x < 0.35 && len(g.recent) > 0:
		return pick(g.r, g.recent)
	}
	spec := g.ownSpec()
	if len(g.recent) < 8 {
		g.recent = append(g.recent, spec)
	} else {
		g.recent[g.r.IntN(len(g.recent))] = spec
	}
	return spec
}

// broadSpec is a country, and at most a gender, an age range and one interest.
func (g *groups) broadSpec() string {
	d := document{Location: []string{countries[g.country.draw(g.r)]}}
	if share(g.r, 0.4) {
		d.Gender = []string{pick(g.r, genders[:2])}
	}
	if share(g.r, 0.4) {
		g.ages(&d)
	}
	if share(g.r, 0.7) {
		d.Interest = g.someInterests(g.r, 1, 0)
	}
	return d.text()
}

func (g *groups) ownSpec() string {
	var d document
	g.places(&d)
	if share(g.r, 0.4) {
		d.Gender = []string{oneOf(g.r, genders, 0.6, 0.38, 0.02)}
		if share(g.r, 0.1) {
			d.Gender = []string{"male", "unknown"}
		}
	}
	if share(g.r, 0.6) {
		g.ages(&d)
	}
	if share(g.r, 0.35) {
		d.AppType = distinct(between(g.r, 1, 3), func() string { return pick(g.r, appTypes) })
	}
	if share(g.r, 0.45) {
		language, locale := localeOf(g.home)
		d.Locale = []string{oneOf(g.r, []string{language, locale}, 0.5, 0.5)}
		if language != "en" && share(g.r, 0.2) {
			d.Locale = append(d.Locale, "en")
		}
	}
	if share(g.r, 0.85) {
		d.Interest = g.someInterests(g.r, between(g.r, 1, 5), 0.6)
	}
	if share(g.r, 0.3) {
		d.Include = g.ownAudiences(3)
	}
	if share(g.r, 0.2) {
		d.Exclude = g.ownAudiences(2)
	}
	return d.text()
}

// places are mostly countries, the account's own first; sometimes regions or market areas; seldom everywhere.
func (g *groups) places(d *document) {
	switch x := g.r.Float64(); {
	case x < 0.08: // everywhere
	case x < 0.70:
		d.Location = []string{g.home}
		if share(g.r, 0.35) {
			d.Location = append(d.Location, distinct(between(g.r, 1, 4), func() string { return countries[g.country.draw(g.r)] })...)
			slices.Sort(d.Location)
			d.Location = slices.Compact(d.Location)
		}
	case x < 0.9 || g.home != "US":
		d.Geo = distinct(between(g.r, 1, 5), func() string { return g.regionOf(g.r, g.home) })
	default:
		d.Location = distinct(between(g.r, 1, 6), func() string { return pick(g.r, g.marketArea[g.state.draw(g.r)]) })
	}
}

func (g *groups) ages(d *document) {
	if share(g.r, 0.4) {
		d.AgeBucket = distinct(between(g.r, 1, 3), func() string { return pick(g.r, buckets) })
		return
	}
	first := pick(g.r, firstAges)
	last := pick(g.r, lastAges)
	for last < first {
		last = pick(g.r, lastAges)
	}
	d.MinAge, d.MaxAge = fmt.Sprint(first), fmt.Sprint(last)
	if last > 65 {
		d.MaxAge = "65+"
	}
}

func (g *groups) ownAudiences(most int) []string {
	return distinct(between(g.r, 1, most), func() string { return fmt.Sprint(pick(g.r, g.audiences)) })
}

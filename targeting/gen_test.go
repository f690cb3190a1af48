package targeting_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/campaign"
	"gavel/internal/money"
	"gavel/targeting"
)

var bounds = targeting.Bounds{MaxCTR: 0.1, MaxCVR: 0.5}

// tables have interests 1 > 2 > 3 and 4 > 5, and no lists.
var tables = targeting.Tables{Interests: func() *targeting.Taxonomy {
	t, err := targeting.NewTaxonomy([]campaign.Interest{
		{ID: "1", Name: "one"},
		{ID: "2", ParentID: "1", Name: "two"},
		{ID: "3", ParentID: "2", Name: "three"},
		{ID: "4", Name: "four"},
		{ID: "5", ParentID: "4", Name: "five"},
	})
	if err != nil {
		panic(err)
	}
	return t
}()}

// noon is the time around which the schedules of generated ads lie.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// The values that generated specs and queries draw from: few, so that they meet.
var (
	countries  = []string{"US", "DE", "FR", "JP"}
	markets    = []string{"501", "807"}
	regions    = []string{"US-CA", "US-NY", "DE-BY"}
	genders    = []string{"unknown", "male", "female"}
	appTypes   = []string{"android_mobile", "android_tablet", "ipad", "iphone", "web", "web_mobile"}
	locales    = []string{"en", "en-US", "de", "de-DE"}
	interests  = []string{"1", "2", "3", "4", "5"}
	audiences  = []campaign.AudienceID{11, 12, 13, 14}
	buckets    = []string{"18-24", "19+", "20+", "21+", "25-34", "35-44", "45-49", "50-54", "55-64", "65+"}
	texts      = []string{"red", "shoes", "red shoes", "Red, SHOES!", "buy red shoes", "shoes red", "men's coat", "ÉTÉ", "!"}
	matchTypes = []campaign.MatchType{
		campaign.MatchBroad, campaign.MatchPhrase, campaign.MatchExact, campaign.MatchExactNegative, campaign.MatchPhraseNegative,
	}
)

// draws is what a generator needs of chance; *rapid.T gives cases that shrink, a seeded generator gives many.
type draws interface {
	n(n int) int // 0..n-1
}

type rapidDraws struct{ t *rapid.T }

func (d rapidDraws) n(n int) int { return rapid.IntRange(0, n-1).Draw(d.t, "n") }

type randDraws struct{ *rand.Rand }

func (d randDraws) n(n int) int { return d.IntN(n) }

func one[T any](d draws, from []T) T { return from[d.n(len(from))] }

// some is each value with a probability of one in three, in any order, some twice.
func some[T any](d draws, from []T) []T {
	var list []T
	for _, v := range from {
		switch d.n(9) {
		case 0, 1:
			list = append(list, v)
		case 2:
			list = append([]T{v}, append(list, v)...)
		}
	}
	return list
}

// aSpec is a spec as an advertiser might write it.
func aSpec(d draws) json.RawMessage {
	doc := map[string]any{}
	set := func(key string, values []string) {
		if d.n(3) == 0 && len(values) > 0 {
			doc[key] = values
		}
	}
	set("LOCATION", append(some(d, countries), some(d, markets)...))
	set("GEO", some(d, regions))
	set("GENDER", some(d, genders))
	set("APPTYPE", some(d, appTypes))
	set("LOCALE", some(d, locales))
	set("INTEREST", some(d, interests))
	set("AUDIENCE_INCLUDE", digits(some(d, audiences)))
	set("AUDIENCE_EXCLUDE", digits(some(d, audiences)))
	switch d.n(5) {
	case 0:
		set("AGE_BUCKET", some(d, buckets))
	case 1:
		first := 18 + d.n(48)
		last := fmt.Sprint(first + d.n(66-first))
		if d.n(3) == 0 {
			last = "65+"
		}
		doc["MINIMUM_AGE"], doc["MAXIMUM_AGE"] = fmt.Sprint(first), last
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return raw
}

func digits(ids []campaign.AudienceID) []string {
	var list []string
	for _, id := range ids {
		list = append(list, fmt.Sprint(id))
	}
	return list
}

func aServingAd(d draws, id campaign.AdID) campaign.ServingAd {
	s := campaign.ServingAd{
		AdID: id, AdGroupID: campaign.AdGroupID(d.n(50)), CampaignID: 1, AdAccountID: campaign.AdAccountID(d.n(5)),
		Currency: "USD", TimeZone: one(d, []string{"UTC", "America/New_York"}),
		BillableEvent:  one(d, []campaign.BillableEvent{campaign.BillImpression, campaign.BillClickthrough}),
		BidMicros:      money.Micros(1 + d.n(20)),
		PlacementGroup: one(d, []string{"ALL", "ALL", "SEARCH", "BROWSE", "OTHER"}),
		Targeting:      aSpec(d),
	}
	if d.n(2) == 0 {
		withTerms(d, &s)
	}
	for range max(0, d.n(6)-3) {
		s.Keywords = append(s.Keywords, campaign.Keyword{MatchType: one(d, matchTypes), Value: one(d, texts)})
	}
	if d.n(6) == 0 {
		for range 1 + d.n(60) {
			s.Hours = s.Hours.With(d.n(campaign.HoursInWeek))
		}
		s.Hours = s.Hours.With(campaign.HourOfWeek(noon.Add(time.Duration(d.n(3))*time.Hour), time.UTC))
	}
	if d.n(5) == 0 {
		s.StartTime = aMoment(d)
	}
	if d.n(5) == 0 {
		s.EndTime = aMoment(d)
	}
	return s
}

var perMilles = []campaign.PerMille{0, 1, 800, 1000, 1200, 10_000}

// withTerms gives the ad what goes beyond a bid.
func withTerms(d draws, s *campaign.ServingAd) {
	s.Objective = one(d, []campaign.Objective{"", campaign.Awareness, campaign.WebConversion, campaign.VideoCompletion})
	s.Category = one(d, []string{"", "IAB1", "IAB26"})
	s.BidStrategy = one(d, []campaign.BidStrategy{campaign.MaxBid, campaign.AutomaticBid, campaign.TargetAvg})
	s.BidFloorMicros = money.Micros(d.n(int(s.BidMicros) + 1))
	s.CPAGoalMicros = money.Micros(max(0, d.n(2000)-1000))
	var o campaign.BidOptions
	if d.n(2) == 0 {
		o.AppTypes = map[string]campaign.PerMille{one(d, appTypes): one(d, perMilles)}
		o.Placements = map[string]campaign.PerMille{one(d, []string{"search", "browse", "related_pins"}): one(d, perMilles)}
		o.Audiences = map[campaign.AudienceID]campaign.PerMille{one(d, audiences): one(d, perMilles), one(d, audiences): one(d, perMilles)}
	}
	var err error
	if s.Multipliers, err = campaign.NewBidMultipliers(o, one(d, []campaign.PerMille{0, 100, 2500, 10_000})); err != nil {
		panic(err)
	}
}

func anAd(t require.TestingT, d draws, id campaign.AdID) *targeting.Ad {
	ad, err := targeting.NewAd(aServingAd(d, id), bounds)
	require.NoError(t, err)
	return ad
}

// aMoment is an hour around noon, or close to one: schedules are looked up by the minute.
func aMoment(d draws) time.Time {
	return noon.Add(time.Duration(d.n(5)-2)*time.Hour + one(d, []time.Duration{0, 0, 0, -1, 1, time.Second, -time.Minute, time.Minute}))
}

func maybe[T any](d draws, from []T) (v T) {
	if d.n(4) > 0 {
		v = one(d, from)
	}
	return v
}

func aQuery(d draws) *targeting.Query {
	q := &targeting.Query{
		Now:       aMoment(d),
		Placement: maybe(d, []targeting.Placement{targeting.PlacementBrowse, targeting.PlacementSearch, targeting.PlacementOther}),
		Country:   maybe(d, countries), Region: maybe(d, regions), DMA: maybe(d, markets),
		Gender: maybe(d, genders), Age: maybe(d, []int{13, 17, 18, 24, 25, 34, 44, 50, 64, 65, 66, 90}),
		Locale:  maybe(d, []string{"en", "en-US", "EN_us", "de-AT", "zh-Hant-TW", "?"}),
		AppType: maybe(d, appTypes), Interests: some(d, interests),
		SearchQuery: maybe(d, texts), Keywords: some(d, texts),
		Audiences: some(d, audiences), AudiencesKnown: d.n(4) > 0,
	}
	switch d.n(20) {
	case 0:
		q.ExcludeAds = []campaign.AdID{campaign.AdID(d.n(100)), campaign.AdID(d.n(100))}
	case 1:
		q.ExcludeAdAccounts = []campaign.AdAccountID{campaign.AdAccountID(d.n(5))}
	case 2:
		q.Keywords = make([]string, targeting.MaxPageKeywords+1)
	}
	return q
}

// ad builds an ad from a spec for a named test.
func ad(t testing.TB, spec string, change ...func(*campaign.ServingAd)) *targeting.Ad {
	t.Helper()
	s := campaign.ServingAd{
		AdID: 1, AdGroupID: 2, CampaignID: 3, AdAccountID: 4, Currency: "USD", TimeZone: "UTC",
		BillableEvent: campaign.BillImpression, BidMicros: 1000, PlacementGroup: "ALL", Targeting: json.RawMessage(spec),
	}
	for _, f := range change {
		f(&s)
	}
	a, err := targeting.NewAd(s, bounds)
	require.NoError(t, err)
	return a
}

// matches asks the rule and the index, which must agree.
func matches(t testing.TB, a *targeting.Ad, q targeting.Query) targeting.Miss {
	t.Helper()
	miss := targeting.Match(a, &q, &tables)
	found := targeting.Build([]*targeting.Ad{a}, tables).Match(&q, 1, nil)
	require.Equal(t, miss == targeting.Matched, len(found) == 1, "the rule says %s", miss)
	return miss
}

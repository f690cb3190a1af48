package targeting_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/campaign"
	"gavel/internal/money"
	"gavel/targeting"
)

func TestWhatIsKnownMeetsTheSpec(t *testing.T) {
	t.Parallel()
	type q = targeting.Query
	ids := func(n ...campaign.AudienceID) []campaign.AudienceID { return n }
	tests := map[string]struct {
		spec string
		q    q
		want targeting.Miss
	}{
		"an empty spec is for everyone":             {`{}`, q{Country: "US", Gender: "male", Age: 30}, targeting.Matched},
		"country":                                   {`{"LOCATION":["US"]}`, q{Country: "US"}, targeting.Matched},
		"another country":                           {`{"LOCATION":["US"]}`, q{Country: "DE"}, targeting.MissLocation},
		"a region does not imply its country":       {`{"LOCATION":["US"]}`, q{Region: "US-CA"}, targeting.MissLocation},
		"market area":                               {`{"LOCATION":["807"]}`, q{Country: "US", DMA: "807"}, targeting.Matched},
		"region":                                    {`{"GEO":["US-CA"]}`, q{Country: "US", Region: "US-CA"}, targeting.Matched},
		"another region":                            {`{"GEO":["US-CA"]}`, q{Country: "US", Region: "US-NY"}, targeting.MissLocation},
		"either place will do: the region":          {`{"LOCATION":["DE"],"GEO":["US-CA"]}`, q{Country: "US", Region: "US-CA"}, targeting.Matched},
		"either place will do: the country":         {`{"LOCATION":["DE"],"GEO":["US-CA"]}`, q{Country: "DE", Region: "DE-BY"}, targeting.Matched},
		"neither place":                             {`{"LOCATION":["DE"],"GEO":["US-CA"]}`, q{Country: "US", Region: "US-NY"}, targeting.MissLocation},
		"gender":                                    {`{"GENDER":["male"]}`, q{Gender: "male"}, targeting.Matched},
		"language covers its regions":               {`{"LOCALE":["en"]}`, q{Locale: "en-GB"}, targeting.Matched},
		"a region of a language is not the other":   {`{"LOCALE":["en-US"]}`, q{Locale: "en-GB"}, targeting.MissLocale},
		"nor the language":                          {`{"LOCALE":["en-US"]}`, q{Locale: "en"}, targeting.MissLocale},
		"a locale as systems write it":              {`{"LOCALE":["en-US"]}`, q{Locale: "en_us"}, targeting.Matched},
		"a script is left out":                      {`{"LOCALE":["zh-TW"]}`, q{Locale: "zh-Hant-TW"}, targeting.Matched},
		"app type":                                  {`{"APPTYPE":["web"]}`, q{AppType: "web"}, targeting.Matched},
		"another app type":                          {`{"APPTYPE":["web"]}`, q{AppType: "web_mobile"}, targeting.MissAppType},
		"several interests against several":         {`{"INTEREST":["1","2"]}`, q{Interests: []string{"3", "2"}}, targeting.Matched},
		"the same interests against themselves":     {`{"INTEREST":["1","2"]}`, q{Interests: []string{"2", "1"}}, targeting.Matched},
		"several interests, none in common":         {`{"INTEREST":["1","2"]}`, q{Interests: []string{"6", "4"}}, targeting.MissInterest},
		"an interest below the targeted one":        {`{"INTEREST":["1"]}`, q{Interests: []string{"3"}}, targeting.Matched},
		"an interest above the targeted one":        {`{"INTEREST":["3"]}`, q{Interests: []string{"1", "2"}}, targeting.MissInterest},
		"audience":                                  {`{"AUDIENCE_INCLUDE":["11"]}`, q{Audiences: ids(12, 11), AudiencesKnown: true}, targeting.Matched},
		"not in the audience":                       {`{"AUDIENCE_INCLUDE":["11"]}`, q{Audiences: ids(12), AudiencesKnown: true}, targeting.MissAudience},
		"only-negative spec, not in it":             {`{"AUDIENCE_EXCLUDE":["11"]}`, q{Audiences: ids(12), AudiencesKnown: true}, targeting.Matched},
		"only-negative spec, in no audience":        {`{"AUDIENCE_EXCLUDE":["11"]}`, q{AudiencesKnown: true}, targeting.Matched},
		"only-negative spec, in it":                 {`{"AUDIENCE_EXCLUDE":["11"]}`, q{Audiences: ids(11), AudiencesKnown: true}, targeting.MissAudience},
		"same audience in include and exclude":      {`{"AUDIENCE_INCLUDE":["11"],"AUDIENCE_EXCLUDE":["11"]}`, q{Audiences: ids(11), AudiencesKnown: true}, targeting.MissAudience},
		"included by one, excluded by another":      {`{"AUDIENCE_INCLUDE":["11"],"AUDIENCE_EXCLUDE":["12"]}`, q{Audiences: ids(11, 12), AudiencesKnown: true}, targeting.MissAudience},
		"included by the one that is not excluded":  {`{"AUDIENCE_INCLUDE":["11","12"],"AUDIENCE_EXCLUDE":["12"]}`, q{Audiences: ids(11), AudiencesKnown: true}, targeting.Matched},
		"the first miss in the order of the checks": {`{"GENDER":["male"],"APPTYPE":["web"],"LOCATION":["US"]}`, q{Country: "US", Gender: "female"}, targeting.MissGender},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, matches(t, ad(t, tt.spec), tt.q))
		})
	}
}

func TestWhatIsNotKnownMeetsNoRestriction(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spec string
		want targeting.Miss
	}{
		"everyone":         {`{}`, targeting.Matched},
		"location":         {`{"LOCATION":["US"]}`, targeting.MissLocation},
		"geo":              {`{"GEO":["US-CA"]}`, targeting.MissLocation},
		"gender":           {`{"GENDER":["male","female"]}`, targeting.MissGender},
		"unknown gender":   {`{"GENDER":["unknown"]}`, targeting.Matched},
		"all ages":         {`{"MINIMUM_AGE":"18","MAXIMUM_AGE":"65+"}`, targeting.MissAge},
		"age bucket":       {`{"AGE_BUCKET":["19+"]}`, targeting.MissAge},
		"app type":         {`{"APPTYPE":["web"]}`, targeting.MissAppType},
		"locale":           {`{"LOCALE":["en"]}`, targeting.MissLocale},
		"interest":         {`{"INTEREST":["1"]}`, targeting.MissInterest},
		"audience include": {`{"AUDIENCE_INCLUDE":["1"]}`, targeting.MissAudience},
		"audience exclude": {`{"AUDIENCE_EXCLUDE":["1"]}`, targeting.MissAudience},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// Audiences that came without AudiencesKnown must not count either.
			require.Equal(t, tt.want, matches(t, ad(t, tt.spec), targeting.Query{Audiences: []campaign.AudienceID{1}}))
		})
	}
}

func TestPlacementScheduleAndExclusions(t *testing.T) {
	t.Parallel()
	group := func(g string) func(*campaign.ServingAd) { return func(s *campaign.ServingAd) { s.PlacementGroup = g } }
	search := targeting.Query{Placement: targeting.PlacementSearch}
	require.Equal(t, targeting.Matched, matches(t, ad(t, `{}`, group("SEARCH")), search))
	require.Equal(t, targeting.MissPlacement, matches(t, ad(t, `{}`, group("BROWSE")), search))
	require.Equal(t, targeting.MissPlacement, matches(t, ad(t, `{}`, group("BROWSE")), targeting.Query{}))
	require.Equal(t, targeting.Matched, matches(t, ad(t, `{}`, group("ALL")), targeting.Query{}))

	hour := ad(t, `{}`, func(s *campaign.ServingAd) { s.StartTime, s.EndTime = noon, noon.Add(time.Hour) })
	require.Equal(t, targeting.MissSchedule, matches(t, hour, targeting.Query{Now: noon.Add(-1)}))
	require.Equal(t, targeting.Matched, matches(t, hour, targeting.Query{Now: noon}))
	require.Equal(t, targeting.Matched, matches(t, hour, targeting.Query{Now: noon.Add(time.Hour - 1)}))
	require.Equal(t, targeting.MissSchedule, matches(t, hour, targeting.Query{Now: noon.Add(time.Hour)}))

	require.Equal(t, targeting.MissExcluded, matches(t, hour, targeting.Query{ExcludeAds: []campaign.AdID{9, 1}}))
	require.Equal(t, targeting.MissExcluded, matches(t, hour, targeting.Query{ExcludeAdAccounts: []campaign.AdAccountID{4}}))
}

func TestNewAdRefusesWhatItCannotUnderstand(t *testing.T) {
	t.Parallel()
	good := campaign.ServingAd{
		AdID: 1, AdGroupID: 2, CampaignID: 3, AdAccountID: 4, Currency: "USD", TimeZone: "UTC",
		BillableEvent: campaign.BillImpression, BidMicros: 1000, PlacementGroup: "ALL", Targeting: []byte(`{}`),
	}
	_, err := targeting.NewAd(good, bounds)
	require.NoError(t, err)
	tests := map[string]func(*campaign.ServingAd){
		"spec":           func(s *campaign.ServingAd) { s.Targeting = []byte(`{"GENDER":[]}`) },
		"billable event": func(s *campaign.ServingAd) { s.BillableEvent = "INSTALL" },
		"bid of 0":       func(s *campaign.ServingAd) { s.BidMicros = 0 },
		"bid too large":  func(s *campaign.ServingAd) { s.BillableEvent, s.BidMicros = campaign.BillClickthrough, 1<<62 },
		"placement":      func(s *campaign.ServingAd) { s.PlacementGroup = "" },
		"time zone":      func(s *campaign.ServingAd) { s.TimeZone = "Mars/Olympus" },
		"no time zone":   func(s *campaign.ServingAd) { s.TimeZone = "" },
		"local zone":     func(s *campaign.ServingAd) { s.TimeZone = "Local" },
		"objective":      func(s *campaign.ServingAd) { s.Objective = "FAME" },
		"bid strategy":   func(s *campaign.ServingAd) { s.BidStrategy = "LUCK" },
		"category":       func(s *campaign.ServingAd) { s.Category = "IAB27" },
		"floor":          func(s *campaign.ServingAd) { s.BidFloorMicros = s.BidMicros + 1 },
		"negative floor": func(s *campaign.ServingAd) { s.BidFloorMicros = -1 },
		"negative goal":  func(s *campaign.ServingAd) { s.CPAGoalMicros = -1 },
		"match type":     func(s *campaign.ServingAd) { s.Keywords = []campaign.Keyword{{MatchType: "FUZZY", Value: "x"}} },
		"many keywords":  func(s *campaign.ServingAd) { s.Keywords = make([]campaign.Keyword, targeting.MaxKeywords+1) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := good
			change(&s)
			a, err := targeting.NewAd(s, bounds)
			require.Error(t, err)
			require.ErrorContains(t, err, "parse ad 1: ")
			require.Nil(t, a)
		})
	}
	for _, p := range []float64{0, -1, 1.1} {
		_, err := targeting.NewAd(good, targeting.Bounds{MaxCTR: p, MaxCVR: 0.5})
		require.Error(t, err)
		_, err = targeting.NewAd(good, targeting.Bounds{MaxCTR: 0.5, MaxCVR: p})
		require.Error(t, err)
	}
}

func TestBoundIsNanosPerImpression(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 1000, ad(t, `{}`).Bound, 0)
	click := ad(t, `{}`, func(s *campaign.ServingAd) { s.BillableEvent = campaign.BillClickthrough })
	require.InDelta(t, 1000*1000*0.1, click.Bound, 1e-6)
}

// TestBoundCoversEveryBid: whatever a request, a model within its promise and a controller make of a bid, the bound is not below it.
func TestBoundCoversEveryBid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := rapidDraws{t}
		s := aServingAd(d, 1)
		withTerms(d, &s)
		s.BidMicros *= money.Micros(rapid.Int64Range(1, 50_000_000_000).Draw(t, "scale"))
		s.CPAGoalMicros *= money.Micros(rapid.Int64Range(1, 1_000_000_000).Draw(t, "goal scale"))
		a, err := targeting.NewAd(s, bounds)
		require.NoError(t, err)
		q := aQuery(d)
		pCTR := rapid.Float64Range(0, bounds.MaxCTR).Draw(t, "pCTR")
		pCVR := rapid.Float64Range(0, bounds.MaxCVR).Draw(t, "pCVR")
		base := a.Offer().Base(rapid.Float64Range(0, 10).Draw(t, "pacing"), pCTR, pCVR)
		value := float64(a.Multipliers.Effective(base, q.AppType, string(q.Placement), q.Audiences, q.AudiencesKnown))
		if a.BillableEvent == campaign.BillClickthrough {
			value *= pCTR
		}
		require.LessOrEqual(t, value, a.Bound)
	})
}

func TestBoundOfWhatRaisesABid(t *testing.T) {
	t.Parallel()
	twice := multipliers(t, campaign.BidOptions{Audiences: map[campaign.AudienceID]campaign.PerMille{7: 2000}, Placements: map[string]campaign.PerMille{"search": 500}}, 0)
	for name, c := range map[string]struct {
		change func(*campaign.ServingAd)
		want   float64
	}{
		"an automatic bid is at most its cap":    {func(s *campaign.ServingAd) { s.BidStrategy = campaign.AutomaticBid }, 1000},
		"an average may be three times":          {func(s *campaign.ServingAd) { s.BidStrategy = campaign.TargetAvg }, 3000},
		"the largest multiplier":                 {func(s *campaign.ServingAd) { s.Multipliers = twice }, 2000},
		"a goal below the bid":                   {func(s *campaign.ServingAd) { s.CPAGoalMicros = 10 }, 10 * 1000 * 0.1 * 0.5},
		"a goal above the bid":                   {func(s *campaign.ServingAd) { s.CPAGoalMicros = 10_000 }, 1000},
		"a goal below the bid, multiplied twice": {func(s *campaign.ServingAd) { s.CPAGoalMicros = 10; s.Multipliers = twice }, 2 * 10 * 1000 * 0.1 * 0.5},
	} {
		require.InDelta(t, c.want, ad(t, `{}`, c.change).Bound, 1e-9, name)
	}
}

func TestMissNames(t *testing.T) {
	t.Parallel()
	require.Equal(t, "matched", targeting.Matched.String())
	require.Equal(t, "audience", targeting.MissAudience.String())
	require.Equal(t, "unknown", targeting.Miss(99).String())
}

// byteDraws lets the fuzzer choose the case.
type byteDraws struct{ data *[]byte }

func (d byteDraws) n(n int) int {
	if len(*d.data) == 0 {
		return 0
	}
	b := (*d.data)[0]
	*d.data = (*d.data)[1:]
	return int(b) % n
}

func FuzzIndex(f *testing.F) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 8 {
		seed := make([]byte, 600)
		for i := range seed {
			seed[i] = byte(r.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := byteDraws{&data}
		var ads []*targeting.Ad
		for id := range min(len(data)/40, 50) {
			ads = append(ads, anAd(t, d, campaign.AdID(id+1)))
		}
		q, k := aQuery(d), d.n(10)-1
		require.Equal(t, byRule(ads, q, k), idsOf(targeting.Build(ads, tables).Match(q, k, nil)))
	})
}

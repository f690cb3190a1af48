package targeting_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/targeting"
)

// TestWhatIsNoValueMeetsNoRestriction: an attribute that means nothing is as good as unknown, never as good as a match.
func TestWhatIsNoValueMeetsNoRestriction(t *testing.T) {
	t.Parallel()
	type q = targeting.Query
	for name, tt := range map[string]struct {
		spec string
		q    q
		want targeting.Miss
	}{
		"country in small letters":          {`{"LOCATION":["US"]}`, q{Country: "us"}, targeting.MissLocation},
		"a market area elsewhere":           {`{"LOCATION":["807"]}`, q{DMA: "501", Country: "US"}, targeting.MissLocation},
		"a market area is not its country":  {`{"LOCATION":["US"]}`, q{DMA: "807"}, targeting.MissLocation},
		"a country is not its market areas": {`{"LOCATION":["807"]}`, q{Country: "US"}, targeting.MissLocation},
		"a country is not its regions":      {`{"GEO":["US-CA"]}`, q{Country: "US"}, targeting.MissLocation},
		"gender of another word":            {`{"GENDER":["male","female","unknown"]}`, q{Gender: "m"}, targeting.MissGender},
		"unknown gender is none of two":     {`{"GENDER":["male","female"]}`, q{Gender: "unknown"}, targeting.MissGender},
		"unknown gender, targeted":          {`{"GENDER":["unknown"]}`, q{}, targeting.Matched},
		"a child":                           {`{"MINIMUM_AGE":"18","MAXIMUM_AGE":"65+"}`, q{Age: 17}, targeting.MissAge},
		"a negative age":                    {`{"AGE_BUCKET":["19+"]}`, q{Age: -30}, targeting.MissAge},
		"a child, no restriction":           {`{}`, q{Age: 9}, targeting.Matched},
		"app type of another case":          {`{"APPTYPE":["web"]}`, q{AppType: "WEB"}, targeting.MissAppType},
		"locale without meaning":            {`{"LOCALE":["en"]}`, q{Locale: "english"}, targeting.MissLocale},
		"locale of signs":                   {`{"LOCALE":["en"]}`, q{Locale: "--"}, targeting.MissLocale},
		"area of a language":                {`{"LOCALE":["es-419"]}`, q{Locale: "es-419"}, targeting.Matched},
		"interest that is nowhere":          {`{"INTEREST":["1"]}`, q{Interests: []string{"x", ""}}, targeting.MissInterest},
		"interest outside of the taxonomy":  {`{"INTEREST":["x"]}`, q{Interests: []string{"x"}}, targeting.Matched},
		"audience that nobody is in":        {`{"AUDIENCE_INCLUDE":["11"]}`, q{AudiencesKnown: true}, targeting.MissAudience},
		"audiences without knowing them":    {`{"AUDIENCE_INCLUDE":["11"]}`, q{Audiences: []campaign.AudienceID{11}}, targeting.MissAudience},
		"excluding, without knowing":        {`{"AUDIENCE_EXCLUDE":["11"]}`, q{}, targeting.MissAudience},
		"excluding nobody, without knowing": {`{"AUDIENCE_EXCLUDE":[]}`, q{}, targeting.Matched},
		"a strategy alone decides nothing":  {`{"TARGETING_STRATEGY":["CHOOSE_YOUR_OWN"]}`, q{}, targeting.Matched},
		"reconnect with whom it is not":     {`{"TARGETING_STRATEGY":["RECONNECT_WITH_USERS"],"AUDIENCE_INCLUDE":["11"]}`, q{AudiencesKnown: true}, targeting.MissAudience},
		"new customer":                      {`{"TARGETING_STRATEGY":["FIND_NEW_CUSTOMERS"],"AUDIENCE_EXCLUDE":["11"]}`, q{AudiencesKnown: true}, targeting.Matched},
		"old customer":                      {`{"TARGETING_STRATEGY":["FIND_NEW_CUSTOMERS"],"AUDIENCE_EXCLUDE":["11"]}`, q{Audiences: []campaign.AudienceID{11}, AudiencesKnown: true}, targeting.MissAudience},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, matches(t, ad(t, tt.spec), tt.q))
		})
	}
}

// TestHoursOfTheWeek: in the zone of the account, at the edges, and when clocks change.
func TestHoursOfTheWeek(t *testing.T) {
	t.Parallel()
	at := func(zone string, hours ...int) *targeting.Ad {
		return ad(t, `{}`, func(s *campaign.ServingAd) {
			s.TimeZone = zone
			for _, h := range hours {
				s.Hours = s.Hours.With(h)
			}
		})
	}
	const sunday2, monday0, sunday23 = 6*24 + 2, 0, 167
	utc := func(month time.Month, day, hour, minute, second int) time.Time {
		return time.Date(2026, month, day, hour, minute, second, 0, time.UTC)
	}
	for name, tt := range map[string]struct {
		ad   *targeting.Ad
		now  time.Time
		want targeting.Miss
	}{
		"no hours are all":                  {at("UTC"), utc(11, 23, 3, 0, 0), targeting.Matched},
		"first second":                      {at("UTC", monday0), utc(11, 23, 0, 0, 0), targeting.Matched},
		"last second":                       {at("UTC", monday0), utc(11, 23, 0, 59, 59), targeting.Matched},
		"a second later":                    {at("UTC", monday0), utc(11, 23, 1, 0, 0), targeting.MissSchedule},
		"a second earlier":                  {at("UTC", monday0), utc(11, 22, 23, 59, 59), targeting.MissSchedule},
		"last hour of the week":             {at("UTC", sunday23), utc(11, 29, 23, 30, 0), targeting.Matched},
		"Sunday there, Saturday here":       {at("Asia/Tokyo", sunday2), utc(11, 28, 17, 30, 0), targeting.Matched},
		"Sunday here, not there":            {at("Asia/Tokyo", sunday2), utc(11, 29, 2, 30, 0), targeting.MissSchedule},
		"a zone of half hours":              {at("Asia/Kolkata", sunday2), utc(11, 28, 20, 30, 0), targeting.Matched},
		"a zone of half hours, before":      {at("Asia/Kolkata", sunday2), utc(11, 28, 20, 29, 59), targeting.MissSchedule},
		"skipped in March: before":          {at("Europe/Berlin", sunday2), utc(3, 29, 0, 59, 59), targeting.MissSchedule},
		"skipped in March: after":           {at("Europe/Berlin", sunday2), utc(3, 29, 1, 0, 0), targeting.MissSchedule},
		"the hour after the one skipped":    {at("Europe/Berlin", sunday2+1), utc(3, 29, 1, 0, 0), targeting.Matched},
		"repeated in October: first time":   {at("Europe/Berlin", sunday2), utc(10, 25, 0, 30, 0), targeting.Matched},
		"repeated in October: second time":  {at("Europe/Berlin", sunday2), utc(10, 25, 1, 30, 0), targeting.Matched},
		"repeated in October: after both":   {at("Europe/Berlin", sunday2), utc(10, 25, 2, 0, 0), targeting.MissSchedule},
		"within hours, outside of the time": {ad(t, `{}`, func(s *campaign.ServingAd) { s.Hours, s.EndTime = s.Hours.With(monday0), utc(11, 23, 0, 10, 0) }), utc(11, 23, 0, 10, 0), targeting.MissSchedule},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, matches(t, tt.ad, targeting.Query{Now: tt.now}))
		})
	}
}

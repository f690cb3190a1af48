package targetbench

import (
	"fmt"
	"math/rand/v2"

	"gavel/campaign"
)

// How many different values the market has.
const (
	topics       = 24
	subtopics    = 8     // of each topic
	leavesMost   = 7     // of each subtopic; at least 2
	audienceMost = 5_000 // lists of users
	vocabulary   = 3_000 // words of search queries and keywords
	marketAreas  = 210
	regionsEach  = 12 // of a country other than the US
)

// countries by traffic, most first.
var countries = []string{
	"US", "BR", "MX", "DE", "FR", "GB", "CA", "IT", "ES", "JP", "IN", "AU", "NL", "PL", "AR", "CO", "CL", "BE", "SE", "CH",
	"AT", "PT", "CZ", "RO", "HU", "GR", "DK", "FI", "NO", "IE", "NZ", "ZA", "TR", "KR", "TH", "PH", "ID", "MY", "SG", "PE",
}

// languages are those spoken most; English elsewhere.
var languages = map[string]string{
	"BR": "pt", "MX": "es", "DE": "de", "FR": "fr", "IT": "it", "ES": "es", "JP": "ja", "NL": "nl", "PL": "pl", "AR": "es", "CO": "es",
	"CL": "es", "BE": "fr", "SE": "sv", "CH": "de", "AT": "de", "PT": "pt", "CZ": "cs", "RO": "ro", "HU": "hu", "GR": "el", "DK": "da",
	"FI": "fi", "NO": "nb", "TR": "tr", "KR": "ko", "TH": "th", "ID": "id", "MY": "ms", "PE": "es",
}

// states by population, most first.
var states = []string{
	"CA", "TX", "FL", "NY", "PA", "IL", "OH", "GA", "NC", "MI", "NJ", "VA", "WA", "AZ", "TN", "MA", "IN", "MO", "MD", "WI", "CO", "MN",
	"SC", "AL", "LA", "KY", "OR", "OK", "CT", "UT", "IA", "NV", "AR", "MS", "KS", "NM", "NE", "ID", "WV", "HI", "NH", "ME", "MT", "RI",
	"DE", "SD", "ND", "AK", "VT", "WY",
}

var (
	appTypes  = []string{"android_mobile", "android_tablet", "ipad", "iphone", "web", "web_mobile"}
	genders   = []string{"female", "male", "unknown"}
	timeZones = []string{
		"America/Los_Angeles", "America/New_York", "America/Chicago", "Europe/Berlin", "Europe/London", "America/Sao_Paulo", "Asia/Tokyo", "UTC",
	}
	currencies = []string{"USD", "EUR", "GBP", "BRL", "JPY"}
	// firstAges and lastAges are where advertisers cut; 66 is "65+".
	firstAges = []int{18, 21, 25, 30, 35, 45, 55}
	lastAges  = []int{24, 34, 44, 49, 54, 64, 66}
	buckets   = []string{"18-24", "25-34", "35-44", "45-49", "50-54", "55-64", "65+"}
)

// values is what the specs and queries of a market draw from.
type values struct {
	country, state, region weights
	marketArea             [][]string // of each state

	interests []campaign.Interest
	// popular orders interests by popularity; topicOf and ofTopic are positions in interests.
	popular  []int
	interest weights
	topicOf  []int
	ofTopic  [][]int

	audience weights
	words    []string
	word     weights
	hours    []campaign.WeekHours
}

func newValues(r *rand.Rand) *values {
	v := &values{
		country: zipf(len(countries), 1.1), state: zipf(len(states), 0.8), region: zipf(regionsEach, 0.7),
		marketArea: make([][]string, len(states)), audience: zipf(audienceMost, 0.8), word: zipf(vocabulary, 1),
	}
	for i := range marketAreas {
		v.marketArea[i%len(states)] = append(v.marketArea[i%len(states)], fmt.Sprint(500+i))
	}
	v.taxonomy(r)
	v.spell(r)
	v.hours = []campaign.WeekHours{
		hoursOf(func(_, hour int) bool { return hour >= 8 && hour < 20 }),
		hoursOf(func(day, hour int) bool { return day < 5 && hour >= 9 && hour < 17 }),
		hoursOf(func(_, hour int) bool { return hour >= 18 && hour < 23 }),
		hoursOf(func(day, _ int) bool { return day >= 5 }),
		hoursOf(func(_, hour int) bool { return hour >= 11 && hour < 14 || hour >= 17 && hour < 21 }),
	}
	return v
}

func (v *values) taxonomy(r *rand.Rand) {
	v.ofTopic = make([][]int, topics)
	add := func(topic int, parent, name string) string {
		at := len(v.interests)
		id := fmt.Sprintf("9%011d", (at+1)*7_919)
		v.interests = append(v.interests, campaign.Interest{ID: id, ParentID: parent, Name: name})
		v.topicOf, v.ofTopic[topic] = append(v.topicOf, topic), append(v.ofTopic[topic], at)
		return id
	}
	for t := range topics {
		top := add(t, "", fmt.Sprintf("topic %d", t))
		for s := range subtopics {
			sub := add(t, top, fmt.Sprintf("topic %d.%d", t, s))
			for l := range between(r, 2, leavesMost) {
				add(t, sub, fmt.Sprintf("topic %d.%d.%d", t, s, l))
			}
		}
	}
	v.popular = r.Perm(len(v.interests))
	v.interest = zipf(len(v.interests), 0.8)
}

// spell makes words that are pronounceable and all different.
func (v *values) spell(r *rand.Rand) {
	consonants, vowels := []string{"b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "sh", "ch", "st", "tr"}, []string{"a", "e", "i", "o", "u"}
	known := map[string]bool{}
	for len(v.words) < vocabulary {
		word := ""
		for range between(r, 2, 4) {
			word += pick(r, consonants) + pick(r, vowels)
		}
		if !known[word] {
			known[word] = true
			v.words = append(v.words, word)
		}
	}
}

func hoursOf(is func(day, hour int) bool) campaign.WeekHours {
	var h campaign.WeekHours
	for i := range campaign.HoursInWeek {
		if is(i/24, i%24) {
			h = h.With(i)
		}
	}
	return h
}

// someInterests draws up to n interests: the first by popularity, most of the others from its topic.
func (v *values) someInterests(r *rand.Rand, n int, loyal float64) []string {
	topic := -1
	return distinct(n, func() string {
		if topic >= 0 && share(r, loyal) {
			return v.interests[pick(r, v.ofTopic[topic])].ID
		}
		at := v.popular[v.interest.draw(r)]
		if topic < 0 {
			topic = v.topicOf[at]
		}
		return v.interests[at].ID
	})
}

// regionOf draws a region of a country: ISO 3166-2 in shape, real in the US.
func (v *values) regionOf(r *rand.Rand, country string) string {
	if country == "US" {
		return "US-" + states[v.state.draw(r)]
	}
	return fmt.Sprintf("%s-%02d", country, v.region.draw(r)+1)
}

// phrase draws n words.
func (v *values) phrase(r *rand.Rand, n int) string {
	text := ""
	for i := range n {
		if i > 0 {
			text += " "
		}
		text += v.words[v.word.draw(r)]
	}
	return text
}

func localeOf(country string) (language, locale string) {
	language = languages[country]
	if language == "" {
		language = "en"
	}
	return language, language + "-" + country
}

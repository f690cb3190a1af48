package openbandit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
)

// What the hashed features become, by the rank of a value's frequency: the dataset does not say what they were.
var (
	genders   = []string{"male", "female", "unknown"}
	ages      = []int{29, 38, 21, 48, 0} // 0: not known
	countries = []string{"JP", "US", "TW", "KR", "GB", "DE", "FR", "SG", "CA"}
	appTypes  = []string{"iphone", "iphone", "iphone", "iphone", "android_mobile", "android_mobile", "web_mobile", "web"}
)

// The features of a user and what they become.
const (
	genderFeature = iota
	ageFeature
	interestFeature
	countryFeature
)

// viewsPerUser is how many page loads a synthetic user makes on average.
const viewsPerUser = 8

// User is who loads a page.
type User struct {
	ID       string
	Gender   string
	Age      int // in years, 0 if not known
	Country  string
	AppType  string
	Interest string // the value of the feature, without the run's name
	Item     int    // what the user looks at on this page load
}

// population makes the users of a log's rows.
type population struct {
	ranks [userFeatures]map[string]int
	size  map[[userFeatures]string]uint64 // how many users share these features
}

func newPopulation(rows []Row) *population {
	p := &population{size: map[[userFeatures]string]uint64{}}
	for n := range p.ranks {
		p.ranks[n] = ranksOf(rows, n)
	}
	for i := range rows {
		p.size[rows[i].User]++
	}
	for features, views := range p.size {
		p.size[features] = 1 + views/viewsPerUser
	}
	return p
}

// ranksOf gives the values of a feature their rank by frequency, the most frequent 0.
func ranksOf(rows []Row, feature int) map[string]int {
	counts := map[string]int{}
	for i := range rows {
		counts[rows[i].User[feature]]++
	}
	ranks := make(map[string]int, len(counts))
	for n, v := range byFrequency(counts) {
		ranks[v] = n
	}
	return ranks
}

// byFrequency lists the keys, the most frequent first, ties in their own order.
func byFrequency(counts map[string]int) []string {
	values := make([]string, 0, len(counts))
	for v := range counts {
		values = append(values, v)
	}
	slices.SortFunc(values, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	return values
}

// values lists the values of a feature in the order of their ranks.
func (p *population) values(feature int) []string {
	list := make([]string, len(p.ranks[feature]))
	for v, n := range p.ranks[feature] {
		list[n] = v
	}
	return list
}

// user is the one who made a row's page load. The same row has the same user in every run; users keep all but their Item.
func (p *population) user(r *Row) User {
	features := xxh3.HashString(strings.Join(r.User[:], " "))
	number := xxh3.HashString(fmt.Sprintf("%s %d %d", r.Policy, r.Line, r.At.UnixNano())) % p.size[r.User]
	id := fmt.Sprintf("ob-%08x-%d", uint32(features), number)
	return User{
		ID:     id,
		Gender: genders[p.ranks[genderFeature][r.User[genderFeature]]%len(genders)],
		Age:    ages[p.ranks[ageFeature][r.User[ageFeature]]%len(ages)],
		// Past the list the ranks begin again: rare values share a country.
		Country:  countries[p.ranks[countryFeature][r.User[countryFeature]]%len(countries)],
		AppType:  appTypes[xxh3.HashString(id)%uint64(len(appTypes))],
		Interest: r.User[interestFeature],
		Item:     r.Item,
	}
}

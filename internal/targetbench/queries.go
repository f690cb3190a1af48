package targetbench

import (
	"fmt"
	"math/rand/v2"

	"gavel/campaign"
	"gavel/targeting"
)

// Queries makes n queries, each of another user at [Now].
func (m *Market) Queries(n int) []*targeting.Query {
	r := seeded(m.seed, streamQueries)
	list := make([]*targeting.Query, n)
	for i := range list {
		list[i] = m.query(r)
	}
	return list
}

// query is one user on one page. What a feed service often does not know is missing in a share of them.
func (m *Market) query(r *rand.Rand) *targeting.Query {
	v := m.values
	placements := []targeting.Placement{targeting.PlacementBrowse, targeting.PlacementSearch, targeting.PlacementOther}
	q := &targeting.Query{
		Now: Now, Placement: oneOf(r, placements, 0.6, 0.25, 0.15), Country: countries[v.country.draw(r)],
		AppType: oneOf(r, []string{"iphone", "android_mobile", "web", "web_mobile", "ipad", "android_tablet"}, 0.4, 0.28, 0.15, 0.08, 0.06, 0.03),
	}
	if q.Country == "US" {
		state := v.state.draw(r)
		q.Region = "US-" + states[state]
		if share(r, 0.7) {
			q.DMA = pick(r, v.marketArea[state])
		}
	} else if share(r, 0.9) {
		q.Region = v.regionOf(r, q.Country)
	}
	if share(r, 0.85) {
		q.Gender = oneOf(r, genders, 0.65, 0.32, 0.03)
	}
	if share(r, 0.8) {
		q.Age = min(18+int(r.ExpFloat64()*18), 80)
	}
	if share(r, 0.95) {
		_, q.Locale = localeOf(q.Country)
		if share(r, 0.12) {
			q.Locale = "en-US"
		}
	}
	if share(r, 0.95) {
		q.Interests = v.someInterests(r, between(r, 3, 10), 0.4)
	}
	if q.AudiencesKnown = share(r, 0.97); q.AudiencesKnown {
		q.Audiences = distinct(between(r, 0, 20), func() campaign.AudienceID {
			return FirstAudience + campaign.AudienceID(v.audience.draw(r)*audienceStep%Audiences)
		})
	}
	switch q.Placement {
	case targeting.PlacementSearch:
		q.SearchQuery = v.phrase(r, between(r, 1, 4))
	case targeting.PlacementOther:
		q.Keywords = distinct(between(r, 2, 5), func() string { return v.phrase(r, between(r, 1, 2)) })
	}
	if share(r, 0.05) {
		q.ExcludeAdAccounts = distinct(between(r, 1, 3), func() campaign.AdAccountID { return FirstAccount + campaign.AdAccountID(r.ExpFloat64()*10) })
	}
	return q
}

// audienceStep, which shares no factor with Audiences, spreads the large audiences over the ids.
const audienceStep = 2_357

// Describe is a query in a line, for an engine that answered it wrongly.
func Describe(q *targeting.Query) string {
	return fmt.Sprintf("%s %s/%s/%s %s %d %s %s interests=%v audiences=%v query=%q keywords=%q exclude=%v", q.Placement, q.Country, q.Region, q.DMA,
		q.Gender, q.Age, q.Locale, q.AppType, q.Interests, q.Audiences, q.SearchQuery, q.Keywords, q.ExcludeAdAccounts)
}

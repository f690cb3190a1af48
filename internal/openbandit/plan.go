package openbandit

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"

	"github.com/zeebo/xxh3"

	"gavel/internal/money"
)

// What a campaign bills.
const (
	billImpression = "IMPRESSION"
	billClick      = "CLICKTHROUGH"
)

// The kinds of budget.
const (
	daily    = "DAILY"
	lifetime = "LIFETIME"
)

// The scopes of a budget line.
const (
	scopeCampaign = "CAMPAIGN"
	scopeAdGroup  = "AD_GROUP"
)

// endTime is when capped and lifetime ad groups end: so late that no run sees it, and the same in every run, so that a
// repeated create has the same body.
const endTime = 4_102_444_800 // 2100-01-01 UTC

// Limit is what a campaign or an ad group may spend in each period.
type Limit struct {
	Scope string // CAMPAIGN or AD_GROUP
	Kind  string // DAILY or LIFETIME
	Most  money.Micros
}

// Audience is whom an ad group targets. What is empty does not restrict.
type Audience struct {
	Interests []string // values of the interest feature
	// Visitors restricts to those who look at the shop's item: the row of their page load is of it.
	Visitors bool
	Genders  []string
	// AgeBuckets are v5's; MinAge and MaxAge are the same in years, 0 without a restriction.
	AgeBuckets     []string
	MinAge, MaxAge int
	Countries      []string
	AppTypes       []string
}

// Shop is an item as an advertiser: one account, campaign, ad group and ad.
type Shop struct {
	Item     Item
	TimeZone string
	Billable string
	// Bid is per 1,000 impressions or per click.
	Bid money.Micros
	// BudgetType is that of the ad group: DAILY, LIFETIME, or CBO_ADGROUP when the campaign has the budget.
	BudgetType   string
	Limits       []Limit
	Audience     Audience
	FrequencyCap int // impressions per user in 30 days, 0 without
}

// Plan is all that a run does.
type Plan struct {
	Run   string
	Log   *Log
	Shops []Shop // in the order of the log's items
	users *population
}

var runName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,23}$`)

// NewPlan plans a run. The name makes it one of its own: a second run of the same name continues with the same campaigns.
func NewPlan(l *Log, run string) (*Plan, error) {
	if !runName.MatchString(run) {
		return nil, errors.New("the name of a run has 1 to 24 small letters, digits and dashes")
	}
	p := &Plan{Run: run, Log: l, users: newPopulation(l.Rows)}
	style := map[string]int{}
	for _, i := range l.Items {
		style[i.Features[1]]++
	}
	styles := byFrequency(style)
	for n, item := range l.Items {
		p.Shops = append(p.Shops, p.shop(n, item, slices.Index(styles, item.Features[1])))
	}
	return p, nil
}

// timeZones are those of the advertisers: a day of a daily budget begins at four different moments.
var timeZones = []string{"UTC", "Asia/Tokyo", "America/Los_Angeles", "Europe/Berlin"}

// shop plans the n-th item. style is the rank of its item_feature_2.
func (p *Plan) shop(n int, item Item, style int) Shop {
	s := Shop{Item: item, TimeZone: timeZones[n%len(timeZones)], Billable: billImpression, Bid: bidOf(item), Audience: p.audience(item, style)}
	// All budgets together hold about the 60,000 impressions of the small-size log, so that many run out on the way
	// and even the lowest bid has its turn. An item's holds this many impressions at its bid.
	impressions := [...]int64{300, 1_200, 2_000, 3_000, 4_000}[n%5]
	budget := s.Bid * money.Micros(impressions) / 1000
	if n%3 == 2 {
		// Retargeting, paid per click: a visitor is worth twice as much, at one click in 200 impressions. The price of every
		// click that may come must be there, so the least of these budgets serves a few hundred impressions.
		s.Billable, s.Bid, s.Audience = billClick, 2*s.Bid/5, Audience{Visitors: true}
		budget = s.Bid * [...]money.Micros{3, 6, 8, 12, 20}[n%5]
	}
	s.setBudget(n%4, budget)
	if s.Billable == billImpression && (n%4 == 1 || n%7 == 0) {
		s.FrequencyCap = 2 + n%3
	}
	return s
}

// bidOf is 1.50 to 6.50 per 1,000 impressions, by the item's score.
func bidOf(i Item) money.Micros {
	const middle, least, most = 3_000_000, 1_500_000, 6_500_000
	return money.Micros(min(max(middle+math.Round(i.Score*1e6), least), most))
}

// setBudget lays the budget in one of four ways.
func (s *Shop) setBudget(kind int, budget money.Micros) {
	s.BudgetType = daily
	switch kind {
	case 0:
		s.Limits = []Limit{{scopeAdGroup, daily, budget}}
	case 1:
		s.BudgetType, s.Limits = lifetime, []Limit{{scopeAdGroup, lifetime, budget}}
	case 2: // the campaign's cap ends it before the ad group's own budget does
		s.Limits = []Limit{{scopeAdGroup, daily, 2 * budget}, {scopeCampaign, lifetime, budget}}
	case 3:
		s.BudgetType, s.Limits = "CBO_ADGROUP", []Limit{{scopeCampaign, daily, budget}}
	}
}

// audience is whom an item is for: everyone, or by taste, gender, age and device, or taste and country.
func (p *Plan) audience(item Item, style int) Audience {
	switch style % 5 {
	case 1:
		return Audience{Interests: p.taste(item)}
	case 2:
		return Audience{Genders: []string{"male"}}
	case 3:
		return Audience{AgeBuckets: []string{"18-24", "25-34"}, MinAge: 18, MaxAge: 34, AppTypes: []string{"iphone", "android_mobile", "web_mobile"}}
	case 4:
		return Audience{Interests: p.taste(item), Countries: []string{"JP", "US", "TW"}}
	}
	return Audience{}
}

// taste is about half of the interests, the same for all items of a brand (item_feature_1), never none.
func (p *Plan) taste(item Item) []string {
	var some []string
	all := p.users.values(interestFeature)
	for _, v := range all {
		if xxh3.HashString(item.Features[0]+v)%2 == 0 {
			some = append(some, v)
		}
	}
	if len(some) == 0 {
		return all[:1]
	}
	return some
}

// Admits reports whether the shop's audience allows a user.
func (s *Shop) Admits(u *User) bool {
	a := &s.Audience
	in := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	age := a.MinAge == 0 || u.Age >= a.MinAge && u.Age <= a.MaxAge
	return age && (!a.Visitors || u.Item == s.Item.ID) && in(a.Interests, u.Interest) && in(a.Genders, u.Gender) && in(a.Countries, u.Country) && in(a.AppTypes, u.AppType)
}

// everyone is the interest that all users of a run have; interest names one that some have.
func (p *Plan) everyone() string { return "ob." + p.Run + ".all" }

func (p *Plan) interest(value string) string { return "ob." + p.Run + "." + value[:8] }

// visitor is the interest of those who look at an item.
func (p *Plan) visitor(item int) string { return fmt.Sprintf("ob.%s.item-%d", p.Run, item) }

// Interest is one that ads of a run target or its users have.
type Interest struct{ ID, Name string }

// Interests lists all interests of the run, each once: a server that has a taxonomy refuses ads that target what is not in it.
func (p *Plan) Interests() []Interest {
	list := []Interest{{p.everyone(), "Open Bandit " + p.Run + ": everyone"}}
	for _, v := range p.users.values(interestFeature) {
		in := Interest{p.interest(v), "Open Bandit " + p.Run + ": feature " + v[:8]}
		if !slices.Contains(list, in) { // ids are shortened values
			list = append(list, in)
		}
	}
	for _, i := range p.Log.Items {
		list = append(list, Interest{p.visitor(i.ID), fmt.Sprintf("Open Bandit %s: looks at item %d", p.Run, i.ID)})
	}
	return list
}

// spec is the shop's audience as a v5 targeting_spec. It always restricts to the run's own users.
func (p *Plan) spec(s *Shop) map[string][]string {
	a := &s.Audience
	interests := []string{p.everyone()}
	switch {
	case a.Visitors:
		interests = []string{p.visitor(s.Item.ID)}
	case len(a.Interests) > 0:
		interests = interests[:0]
		for _, v := range a.Interests {
			interests = append(interests, p.interest(v))
		}
	}
	spec := map[string][]string{"INTEREST": interests}
	for key, list := range map[string][]string{"GENDER": a.Genders, "AGE_BUCKET": a.AgeBuckets, "LOCATION": a.Countries, "APPTYPE": a.AppTypes} {
		if len(list) > 0 {
			spec[key] = list
		}
	}
	return spec
}

// slots is how many ads a page asks for: the log's positions.
const slots = 3

// pageRequest is the body of POST /v1/ads.
type pageRequest struct {
	RequestID string        `json:"request_id"`
	Placement string        `json:"placement"`
	Slots     []slotRequest `json:"slots"`
	User      userRequest   `json:"user"`
	Device    struct {
		AppType string `json:"app_type"`
	} `json:"device"`
	Explain bool `json:"explain,omitempty"`
}

type slotRequest struct {
	ID       string `json:"id"`
	Position int    `json:"position"`
}

type userRequest struct {
	ID        string   `json:"id"`
	Country   string   `json:"country"`
	Gender    string   `json:"gender"`
	Age       int      `json:"age,omitempty"`
	Interests []string `json:"interests"`
}

// page is the request of the n-th row, and its user.
func (p *Plan) page(n int) (pageRequest, User) {
	r := &p.Log.Rows[n]
	u := p.users.user(r)
	id := fmt.Sprintf("ob-%s-%s-%d", p.Run, r.Policy, r.Line)
	req := pageRequest{RequestID: id, Placement: "BROWSE", User: userRequest{
		ID: u.ID, Country: u.Country, Gender: u.Gender, Age: u.Age, Interests: []string{p.everyone(), p.interest(u.Interest), p.visitor(u.Item)},
	}}
	req.Device.AppType = u.AppType
	for i := 1; i <= slots; i++ {
		req.Slots = append(req.Slots, slotRequest{ID: "s" + strconv.Itoa(i), Position: i})
	}
	return req, u
}

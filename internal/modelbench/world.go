// Package modelbench measures how well package ranking predicts: on impressions of a made-up world whose click probabilities are known,
// and on the log of a real feed.
package modelbench

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gavel/campaign"
	"gavel/ranking"
)

// The size of a world. All who look and all that is shown have their places in a Zipf distribution.
const (
	users      = 200_000
	countries  = 10
	regions    = 5 // of each country
	interests  = 40
	queries    = 300
	accounts   = 40
	campaigns  = 80
	ads        = 200
	categories = 12
	hourParts  = 16
)

var (
	placementNames = [...]string{"BROWSE", "SEARCH", "OTHER"}
	placementShare = [...]float64{0.6, 0.25, 0.15}
	objectives     = [...]campaign.Objective{campaign.Awareness, campaign.Consideration, campaign.WebConversion, campaign.CatalogSales}
	genders        = [...]string{"female", "male", ""}
	appTypes       = [...]string{"iphone", "android_mobile", "web", "web_mobile", "ipad"}
	ages           = [...]int{16, 20, 30, 40, 50, 60, 70}
	// slotFactors are the true α of each placement.
	slotFactors = [...][]float64{{1, 0.75, 0.6, 0.5}, {1, 0.6, 0.4, 0.3}, {1, 0.85, 0.7, 0.6}}
)

// user is one who looks.
type user struct {
	features                          ranking.Features
	country, region, gender, age, app int
	interests                         []int
}

// ad is one that is shown. taste is the part of its logit that does not depend on who looks.
type ad struct {
	item               ranking.Item
	category, campaign int
	taste              float64
}

// world is a truth: the logit of a click on the first slot is a sum of normal effects, each of which is a feature of the model or a
// cross that it has. It has more crosses than that, and they must be found to be nothing.
type world struct {
	seed  uint64
	users []user
	ads   []ad
	// moments are the features of placement, query and hour.
	moments               [len(placementNames)][queries][hourParts]ranking.Features
	userOf, adOf, queryOf *zipf
	base                  [len(placementNames)]float64
}

// The standard deviations of the effects, in logits.
const (
	sdCountry = 0.25
	sdPerson  = 0.15
	sdQuery   = 0.2
	sdHours   = 0.15
	sdAd      = 0.25
	sdKin     = 0.2 // account, campaign, category
	sdCross   = 0.1
	sdTaste   = 0.25 // category with an interest or a kind of person
)

func newWorld(seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a run must be repeatable
	w := &world{seed: seed, userOf: newZipf(users, 0.4), adOf: newZipf(ads, 0.9), queryOf: newZipf(queries, 0.8)}
	country, interest := newZipf(countries, 0.7), newZipf(interests, 0.6)
	for i := range users {
		u := user{country: country.draw(r), region: r.IntN(regions), gender: r.IntN(len(genders)), age: r.IntN(len(ages)), app: r.IntN(len(appTypes))}
		var names []string
		for range 1 + r.IntN(ranking.MaxInterests) {
			n := interest.draw(r)
			known := false
			for _, m := range u.interests {
				known = known || m == n
			}
			if !known {
				u.interests = append(u.interests, n)
				names = append(names, fmt.Sprintf("interest-%d", n))
			}
		}
		c := ranking.Context{
			Country: fmt.Sprintf("C%d", u.country), Region: fmt.Sprintf("C%d-%d", u.country, u.region), Gender: genders[u.gender], Age: ages[u.age],
			AppType: appTypes[u.app], Locale: fmt.Sprintf("l%d", u.country/2), HourOfWeek: -1, Interests: names, UserHash: int64(i + 1),
		}
		u.features = c.Features()
		w.users = append(w.users, u)
	}
	w.makeAds(r)
	w.makeMoments()
	for p, name := range placementNames {
		w.base[p] = map[string]float64{"BROWSE": -3.85, "SEARCH": -3.45, "OTHER": -4.1}[name]
	}
	return w
}

func (w *world) makeAds(r *rand.Rand) {
	categoryOf := make([]int, accounts)
	for i := range categoryOf {
		categoryOf[i] = r.IntN(categories)
	}
	for i := range ads {
		c := r.IntN(campaigns)
		account := c % accounts
		a := ad{campaign: c, category: categoryOf[account]}
		a.item = ranking.Item{
			AdID: campaign.AdID(1_000_000 + i), AdGroupID: campaign.AdGroupID(2_000_000 + i/2), CampaignID: campaign.CampaignID(3_000_000 + c),
			AdAccountID: campaign.AdAccountID(4_000_000 + account), Objective: objectives[c%len(objectives)],
			Category: fmt.Sprintf("IAB%d", 1+a.category), BillableEvent: campaign.BillClickthrough,
		}
		a.taste = w.effect(sdAd, 1, i, 0) + w.effect(sdKin, 2, c, 0) + w.effect(sdKin, 3, account, 0) + w.effect(sdKin, 4, a.category, 0)
		w.ads = append(w.ads, a)
	}
}

func (w *world) makeMoments() {
	for p, name := range placementNames {
		for q := range queries {
			for h := range hourParts {
				c := ranking.Context{Placement: name, HourOfWeek: h % 8 * 3}
				if h >= 8 {
					c.HourOfWeek += 5 * 24
				}
				if name == "SEARCH" {
					c.Query = fmt.Sprintf("query %d", q)
				}
				w.moments[p][q][h] = c.Features()
			}
		}
	}
}

// effect is the normal effect of a pair of values, the same whenever it is asked for.
func (w *world) effect(sd float64, kind, a, b int) float64 {
	h := splitmix(splitmix(splitmix(w.seed^uint64(kind)<<48)+uint64(a)) + uint64(b))
	u1 := (float64(h>>11) + 0.5) / (1 << 53)
	u2 := float64(splitmix(h)>>11) / (1 << 53)
	return sd * math.Sqrt(-2*math.Log(u1)) * math.Cos(2*math.Pi*u2)
}

func splitmix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// impression is one view, its true probability of a click, and what else tells it apart.
type impression struct {
	ex             ranking.Example
	truth          float64 // on its slot
	conversion     float64 // the true probability after a click
	country, place int
}

// effects are tables of all pairs, so that a draw costs little.
type effects struct {
	country, app, query [1024]float64
	person              [len(genders)][len(ages)]float64
	hours               [hourParts]float64
	interest            [interests]float64
	adCountry           [ads][countries]float64
	adApp               [ads][len(appTypes)]float64
	adPlace             [ads][len(placementNames)]float64
	categoryPerson      [categories][len(genders)][len(ages)]float64
	categoryInterest    [categories][interests]float64
	campaignHours       [campaigns][hourParts]float64
	convert             [categories][len(genders)][len(ages)]float64
}

func (w *world) effects() *effects {
	e := &effects{}
	for i := range e.query {
		e.country[i], e.app[i], e.query[i] = w.effect(sdCountry, 5, i, 0), w.effect(sdPerson, 6, i, 0), w.effect(sdQuery, 7, i, 0)
	}
	for g := range genders {
		for a := range ages {
			e.person[g][a] = w.effect(sdPerson, 8, g, a)
			for c := range categories {
				e.categoryPerson[c][g][a] = w.effect(sdTaste, 9+c, g, a)
				e.convert[c][g][a] = w.effect(0.4, 100+c, g, a)
			}
		}
	}
	for h := range hourParts {
		e.hours[h] = w.effect(sdHours, 30, h, 0)
		for c := range campaigns {
			e.campaignHours[c][h] = w.effect(sdCross, 31, c, h)
		}
	}
	for i := range interests {
		e.interest[i] = w.effect(sdPerson, 32, i, 0)
		for c := range categories {
			e.categoryInterest[c][i] = w.effect(sdTaste, 33, c, i)
		}
	}
	for a := range ads {
		for c := range countries {
			e.adCountry[a][c] = w.effect(sdCross, 34, a, c)
		}
		for c := range appTypes {
			e.adApp[a][c] = w.effect(sdCross, 35, a, c)
		}
		for p := range placementNames {
			e.adPlace[a][p] = w.effect(sdCross, 36, a, p)
		}
	}
	return e
}

// draw makes an impression.
func (w *world) draw(r *rand.Rand, e *effects, im *impression) {
	u, n := &w.users[w.userOf.draw(r)], w.adOf.draw(r)
	a := &w.ads[n]
	p := 0
	for x := r.Float64(); p < len(placementShare)-1 && x >= placementShare[p]; p++ {
		x -= placementShare[p]
	}
	q, h := w.queryOf.draw(r), r.IntN(hourParts)
	slot := r.IntN(len(slotFactors[p]))
	if a.taste > 0 { // better ads are higher up: the model must not take their merit for the slot's
		slot = min(slot, r.IntN(len(slotFactors[p])))
	}
	x := w.base[p] + a.taste + e.country[u.country] + e.app[u.app] + e.person[u.gender][u.age] + e.hours[h] + e.adCountry[n][u.country] +
		e.adApp[n][u.app] + e.adPlace[n][p] + e.categoryPerson[a.category][u.gender][u.age] + e.campaignHours[a.campaign][h]
	for _, i := range u.interests {
		x += e.interest[i] + e.categoryInterest[a.category][i]
	}
	if placementNames[p] == "SEARCH" {
		x += e.query[q]
	}
	im.truth = slotFactors[p][slot] * min(1/(1+math.Exp(-x)), ranking.MaxCTR)
	im.conversion = 1 / (1 + math.Exp(3.2-e.convert[a.category][u.gender][u.age]-w.effect(0.3, 90, a.campaign, 0)))
	im.country, im.place = u.country, p
	f := u.features
	for i, v := range w.moments[p][q][h] {
		f[i] |= v
	}
	im.ex = ranking.Example{Features: f, Item: a.item, Placement: placementNames[p], Slot: slot}
}

// zipf draws from 0 to n-1, i with a probability proportional to 1/(i+1)^s, by Vose's alias method.
type zipf struct {
	keep  []float64
	other []int
}

func newZipf(n int, s float64) *zipf {
	z := &zipf{make([]float64, n), make([]int, n)}
	sum := 0.0
	for i := range n {
		z.keep[i] = math.Pow(float64(i+1), -s)
		sum += z.keep[i]
	}
	var small, large []int
	for i := range n {
		z.keep[i] *= float64(n) / sum
		if z.keep[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		z.other[s] = l
		if z.keep[l] -= 1 - z.keep[s]; z.keep[l] < 1 {
			large, small = large[:len(large)-1], append(small, l)
		}
	}
	for _, i := range append(small, large...) {
		z.keep[i] = 1
	}
	return z
}

func (z *zipf) draw(r *rand.Rand) int {
	i := r.IntN(len(z.keep))
	if r.Float64() < z.keep[i] {
		return i
	}
	return z.other[i]
}

package targeting_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"gavel/campaign"
	"gavel/internal/money"
	"gavel/targeting"
)

// aMarket is ads as a network might have them: half restrict the place, a third the gender and the age, most an interest.
func aMarket(b *testing.B, n int) []*targeting.Ad {
	b.Helper()
	r := rand.New(rand.NewPCG(11, 12))
	parser := targeting.NewParser(bounds)
	ads := make([]*targeting.Ad, n)
	for i := range ads {
		spec := "{"
		add := func(chance float64, text string, args ...any) {
			if r.Float64() < chance {
				if spec != "{" {
					spec += ","
				}
				spec += fmt.Sprintf(text, args...)
			}
		}
		add(0.5, `"LOCATION":["%s"]`, one(randDraws{r}, countries))
		add(0.3, `"GENDER":["%s"]`, one(randDraws{r}, genders))
		add(0.3, `"MINIMUM_AGE":"%d","MAXIMUM_AGE":"65+"`, 18+r.IntN(40))
		add(0.3, `"APPTYPE":["%s"]`, one(randDraws{r}, appTypes))
		add(0.7, `"INTEREST":["%d","%d","%d"]`, r.IntN(500), r.IntN(500), r.IntN(500))
		add(0.1, `"AUDIENCE_EXCLUDE":["%d"]`, 1+r.IntN(1000))
		ad, err := parser.Parse(campaign.ServingAd{
			AdID: campaign.AdID(i + 1), AdGroupID: 1, CampaignID: 1, AdAccountID: campaign.AdAccountID(i % 1000), Currency: "USD",
			TimeZone: "UTC", BillableEvent: campaign.BillImpression, BidMicros: money.Micros(1 + r.IntN(1_000_000)), PlacementGroup: "ALL",
			Targeting: []byte(spec + "}"),
		})
		if err != nil {
			b.Fatal(err)
		}
		ads[i] = ad
	}
	return ads
}

func BenchmarkMatch(b *testing.B) {
	q := &targeting.Query{
		Now: noon, Placement: targeting.PlacementBrowse, Country: "US", Region: "US-CA", Gender: "female", Age: 27, Locale: "en-US",
		AppType: "iphone", Interests: []string{"17", "170", "333"}, Audiences: []campaign.AudienceID{5, 77}, AudiencesKnown: true,
	}
	for _, n := range []int{1_000, 100_000} {
		ads := aMarket(b, n)
		ix := targeting.Build(ads, targeting.Tables{})
		for _, k := range []int{200, -1} {
			b.Run(fmt.Sprintf("ads=%d/k=%d", n, k), func(b *testing.B) {
				b.ReportAllocs()
				dst := ix.Match(q, k, nil)
				for b.Loop() {
					dst = ix.Match(q, k, dst[:0])
				}
				b.ReportMetric(float64(len(dst)), "matches")
			})
		}
		b.Run(fmt.Sprintf("ads=%d/rule", n), func(b *testing.B) {
			for b.Loop() {
				for _, ad := range ads {
					_ = targeting.Match(ad, q, &targeting.Tables{})
				}
			}
		})
		b.Run(fmt.Sprintf("ads=%d/apply-one", n), func(b *testing.B) {
			for b.Loop() {
				_, _ = ix.Apply(targeting.Change{Upserts: ads[:1]})
			}
		})
	}
}

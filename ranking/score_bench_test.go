package ranking

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"gavel/campaign"
)

// 500 ads of 128 users in turn, on a full table: what an auction does, out of cache as it would be.
func benchmarkScore(b *testing.B, score func(s *Snapshot, f *Features, items []Item)) {
	b.Helper()
	r := rand.New(rand.NewPCG(1, 4))
	s := randomSnapshot(r, MaxBits)
	contexts := make([]Features, 128)
	for i := range contexts {
		c := Context{
			Placement: "BROWSE", Country: fmt.Sprint(r.IntN(30)), Region: fmt.Sprint(r.IntN(200)), Gender: "female", AppType: fmt.Sprint(r.IntN(6)), Locale: "en",
			Age: 18 + r.IntN(50), HourOfWeek: r.IntN(168), Interests: []string{fmt.Sprint(r.IntN(90)), fmt.Sprint(r.IntN(90)), fmt.Sprint(r.IntN(90))},
			Query: fmt.Sprint(r.IntN(900)), UserHash: r.Int64(),
		}
		contexts[i] = c.Features()
	}
	items := make([]Item, 500)
	for i := range items {
		c := r.Int64N(100)
		items[i] = Item{
			AdID: campaign.AdID(1e12 + i), AdGroupID: campaign.AdGroupID(2e12 + i/2), CampaignID: campaign.CampaignID(3e12 + c),
			AdAccountID: campaign.AdAccountID(4e12 + c/2), Objective: objectiveNames[1+c%5], Category: fmt.Sprintf("IAB%d", 1+c%26),
			BillableEvent: campaign.BillClickthrough,
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		score(s, &contexts[i%len(contexts)], items)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(items)), "ns/ad")
}

func BenchmarkScore(b *testing.B) {
	benchmarkScore(b, func(s *Snapshot, f *Features, items []Item) {
		sc := s.Scorer(f)
		for i := range items {
			sink += sc.PCTR(&items[i])
		}
	})
}

func BenchmarkScoreReference(b *testing.B) {
	benchmarkScore(b, func(s *Snapshot, f *Features, items []Item) {
		for i := range items {
			sink += reference(s, &s.click, f, &items[i], MaxCTR)
		}
	})
}

func BenchmarkUncertain(b *testing.B) {
	benchmarkScore(b, func(s *Snapshot, f *Features, items []Item) {
		sc := s.Scorer(f)
		for i := range items {
			x, stderr := sc.Uncertain(&items[i])
			sink += x + stderr
		}
	})
}

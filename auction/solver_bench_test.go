package auction_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/auction"
	"gavel/campaign"
	"gavel/internal/money"
)

// market is a page and candidates as auctions see them: of 20 categories, three to an account.
func market(r *rand.Rand, ads, slots int, apart bool) world {
	w := world{page: auction.DefaultRules().Page("BROWSE", make([]auction.Slot, slots), nil)}
	w.page.SeparateCategories = apart
	for i := range ads {
		account := r.Int64N(int64(ads)/3 + 1)
		w.bidders = append(w.bidders, auction.Bidder{
			AdID: campaign.AdID(i + 1), CampaignID: campaign.CampaignID(account), AdAccountID: campaign.AdAccountID(account), Category: fmt.Sprintf("IAB%d", account%20),
			Bid: money.Nanos(200_000 + r.Int64N(5_000_000)), Rate: 1, Floor: 100_000,
		})
	}
	return w
}

//nolint:paralleltest // it counts allocations
func TestPagesAllocateNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var s auction.Solver
	var placed []auction.Placed
	for _, apart := range []bool{false, true} {
		w := market(r, 500, 20, apart)
		placed = s.Solve(&w.page, w.bidders, placed[:0])
		require.Zero(t, testing.AllocsPerRun(20, func() { placed = s.Solve(&w.page, w.bidders, placed[:0]) }))
	}
}

func BenchmarkSolve(b *testing.B) {
	for _, size := range [][2]int{{200, 4}, {500, 10}, {500, 20}} {
		for _, apart := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dx%d/apart=%v", size[0], size[1], apart), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 1))
				var worlds []world
				for range 100 {
					worlds = append(worlds, market(r, size[0], size[1], apart))
				}
				var s auction.Solver
				var placed []auction.Placed
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					w := &worlds[i%len(worlds)]
					placed = s.Solve(&w.page, w.bidders, placed[:0])
				}
			})
		}
	}
}

package auction_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/auction"
)

// TestPageAndPricesAreThoseOfBruteForce: with every rule on, the page is the very one that trying everything finds, and each price is
// right to the nano. One solver makes all pages, so nothing of one may be left in the next.
func TestPageAndPricesAreThoseOfBruteForce(t *testing.T) {
	t.Parallel()
	var s auction.Solver
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t, limits{bidders: 8, slots: 5})
		want, _ := refPage(&w.page, w.bidders)
		got := s.Solve(&w.page, w.bidders, nil)
		require.Len(t, got, len(want))
		for k := range want {
			require.Equal(t, want[k], placing{got[k].Slot, got[k].Bidder}, "place %d", k)
			price, by := refPrice(&w.page, w.bidders, want, k)
			require.Equal(t, price, got[k].Price, "price at place %d", k)
			if w.page.Pricing == auction.GSP {
				require.Equal(t, by, got[k].PricedBy, "place %d", k)
			}
		}
	})
}

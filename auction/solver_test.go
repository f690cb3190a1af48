package auction_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/auction"
	"gavel/internal/money"
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

// categories makes a market of ads of such categories, in order of bid, each of an account of its own.
func categories(pricing auction.Pricing, slots int, names []string, bids ...money.Nanos) world {
	w := simple(pricing, slices.Repeat([]float64{1}, slots), bids...)
	w.page.SeparateCategories = true
	for i, name := range names {
		w.bidders[i].Category = name
	}
	return w
}

// TestTheBestAdIsNotAlwaysFirst: with the 10 first, one of the two 9s could not follow the other.
func TestTheBestAdIsNotAlwaysFirst(t *testing.T) {
	t.Parallel()
	w := categories(auction.VCG, 3, []string{"IAB1", "IAB2", "IAB2"}, 10, 9, 9)
	placed := solve(&w)
	require.Len(t, placed, 3)
	require.Equal(t, []int{1, 0, 2}, []int{placed[0].Bidder, placed[1].Bidder, placed[2].Bidder})
	require.Zero(t, placed[1].Price, "at a bid of 0 it would still stand there")

	w.page.Pricing = auction.GSP
	placed = solve(&w)
	require.Equal(t, auction.Placed{Slot: 0, Bidder: 1, Price: 9, PricedBy: 0}, placed[0], "the next ad is worth more: the price is the bid")
	require.Equal(t, auction.Placed{Slot: 2, Bidder: 2, Price: 0, PricedBy: auction.ByFloor}, placed[2])
}

// TestTheNextAdIsOneThatCouldStandThere under GSP: not one of the category above, nor of the winner's own account.
func TestTheNextAdIsOneThatCouldStandThere(t *testing.T) {
	t.Parallel()
	w := categories(auction.GSP, 2, []string{"IAB1", "IAB2", "IAB1", "IAB2", ""}, 10, 9, 8, 7, 6)
	w.bidders[3].AdAccountID = w.bidders[1].AdAccountID
	placed := solve(&w)
	require.Equal(t, []auction.Placed{{Slot: 0, Bidder: 0, Price: 9, PricedBy: 1}, {Slot: 1, Bidder: 1, Price: 6, PricedBy: 4}}, placed)
	reasons := new(auction.Solver).Reasons(&w.page, w.bidders, placed, nil)
	require.Equal(t, []auction.Reason{auction.Won, auction.Won, auction.LostToHigherBid, auction.LostToHigherBid, auction.LostToHigherBid}, reasons)

	w = categories(auction.GSP, 2, []string{"IAB1", "IAB1", ""}, 10, 9, 2)
	placed = solve(&w)
	require.Equal(t, []auction.Placed{{Slot: 0, Bidder: 0, Price: 9, PricedBy: 1}, {Slot: 1, Bidder: 2, Price: 0, PricedBy: auction.ByFloor}}, placed)
	reasons = new(auction.Solver).Reasons(&w.page, w.bidders, placed, nil)
	require.Equal(t, []auction.Reason{auction.Won, auction.CompetingCategory, auction.Won}, reasons)
}

// TestKeepingTwoAdsApartDoesNotPay: the ad that bids 3 is worth less than the item it displaces, 8, but it lets a second ad of IAB1 on the
// page. It may not stand; and with a bid of 59 it pays the least bid with which it could, not less for the company it keeps.
func TestKeepingTwoAdsApartDoesNotPay(t *testing.T) {
	t.Parallel()
	w := categories(auction.VCG, 3, []string{"IAB1", "IAB1", "IAB2"}, 12, 12, 3)
	w.page.Organic = 8
	require.Len(t, solve(&w), 1)
	w.bidders[2].Bid = 59
	for _, p := range solve(&w) {
		if p.Bidder == 2 {
			require.Equal(t, auction.Placed{Slot: p.Slot, Bidder: 2, Price: 8, PricedBy: auction.ByOrganic}, p)
		}
	}
	require.Len(t, solve(&w), 3)
}

// TestReasonsOfAPageWithAGap: of three slots the middle one stays empty.
func TestReasonsOfAPageWithAGap(t *testing.T) {
	t.Parallel()
	w := simple(auction.GSP, []float64{1, 1, 1}, 10, 9, 8, 7, 2)
	w.page.MinGap, w.page.Organic = 1, 3
	placed := solve(&w)
	require.Equal(t, []auction.Placed{{Slot: 0, Bidder: 0, Price: 9, PricedBy: 1}, {Slot: 2, Bidder: 1, Price: 8, PricedBy: 2}}, placed)
	require.Equal(t, []auction.Reason{auction.Won, auction.Won, auction.AdLoad, auction.LostToHigherBid, auction.BelowOrganic},
		new(auction.Solver).Reasons(&w.page, w.bidders, placed, nil))
}

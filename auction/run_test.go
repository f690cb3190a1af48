package auction_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/auction"
	"gavel/budget"
	"gavel/campaign"
	"gavel/internal/money"
	"gavel/ranking"
	"gavel/targeting"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// purse lets each ad group spend an amount; one that is absent has no limit.
type purse struct {
	left      map[campaign.AdGroupID]money.Nanos
	reserved  map[campaign.AdGroupID]money.Nanos
	exhausted bool
	pledged   map[campaign.AdGroupID]bool        // not exhausted, whatever exhausted says
	pending   map[campaign.AdGroupID]money.Nanos // what the next Await brings
	log       map[budget.Reservation]money.Nanos
	next      budget.LeaseID
}

func newPurse(left map[campaign.AdGroupID]money.Nanos) *purse {
	return &purse{left: left, reserved: map[campaign.AdGroupID]money.Nanos{}, log: map[budget.Reservation]money.Nanos{}}
}

func (p *purse) Reserve(_ budget.Tick, req budget.Request) (budget.Reservation, budget.Refusal) {
	id := req.Key.AdGroupID
	if left, limited := p.left[id]; limited && left-p.reserved[id] < req.Price {
		if p.exhausted && !p.pledged[id] {
			return budget.Reservation{BlockedBy: "AD_GROUP DAILY"}, budget.Exhausted
		}
		return budget.Reservation{}, budget.NoLease
	}
	p.reserved[id] += req.Price
	p.next++
	r := budget.Reservation{Key: req.Key, LeaseID: p.next}
	p.log[r] = req.Price
	return r, budget.Reserved
}

// Await brings what was pending once.
func (p *purse) Await(context.Context) bool {
	came := p.pending != nil
	for id, amount := range p.pending {
		p.left[id] = amount
	}
	p.pending = nil
	return came
}

func (p *purse) Cancel(r budget.Reservation) {
	p.reserved[r.Key.AdGroupID] -= p.log[r]
	delete(p.log, r)
}

type users struct {
	state targeting.UserState
	err   error
}

func (u users) LoadUser(context.Context, int64) (targeting.UserState, error) { return u.state, u.err }

type ads struct{ ix *targeting.Index }

func (a ads) Current() *targeting.Index { return a.ix }

// ad makes an ad of account and ad group id/10 with a CPM bid in micros, or with a CPC bid if it is negative.
func ad(t testing.TB, id int64, bid int64, change ...func(*campaign.ServingAd)) *targeting.Ad {
	t.Helper()
	s := campaign.ServingAd{
		AdID: campaign.AdID(id), AdGroupID: campaign.AdGroupID(id), CampaignID: 1, AdAccountID: campaign.AdAccountID(id / 10),
		Currency: "USD", TimeZone: "UTC", BillableEvent: campaign.BillImpression, BidMicros: money.Micros(bid), PlacementGroup: "ALL", Targeting: []byte(`{}`),
	}
	if bid < 0 {
		s.BillableEvent, s.BidMicros = campaign.BillClickthrough, money.Micros(-bid)
	}
	for _, f := range change {
		f(&s)
	}
	a, err := targeting.NewAd(s, targeting.Bounds{MaxCTR: ranking.MaxCTR, MaxCVR: 1})
	require.NoError(t, err)
	return a
}

// prior is the model of a system that has seen nothing: a click rate of 0.005.
type prior struct{}

func (prior) Current() auction.Model       { return prior{} }
func (prior) ModelVersion() string         { return "prior" }
func (prior) SlotFactors(string) []float64 { return nil }

func (prior) Predict(_ *ranking.Features, list []auction.Candidate, _ bool) {
	for i := range list {
		list[i].PCTR = 0.005
	}
}

// paces are what the controllers say of ad groups.
type paces map[campaign.AdGroupID]float64

func (p paces) Of(id campaign.AdGroupID, s campaign.BidStrategy) float64 { return s.Multiplier(p[id]) }

// secondPrice are rules with a floor of 1000 micros per 1,000 impressions, whose slots are alike.
func secondPrice() *auction.Rules {
	r := auction.DefaultRules()
	r.Browse.Pricing, r.Browse.FloorCPMMicros = auction.GSP, 1000
	return r
}

func auctioneer(p *purse, u users, list ...*targeting.Ad) *auction.Auctioneer {
	return &auction.Auctioneer{
		Ads: ads{targeting.Build(list, targeting.Tables{})}, Users: u, Budget: p, Models: prior{}, Paces: paces{}, Rules: secondPrice(),
		Config: auction.Config{UserTimeout: time.Second, Candidates: 4},
	}
}

func request(slots int) *auction.Request {
	r := &auction.Request{AuctionID: uuid.New(), Query: targeting.Query{Now: noon, Placement: targeting.PlacementBrowse}}
	for i := range slots {
		r.Slots = append(r.Slots, auction.Slot{ID: fmt.Sprintf("s%d", i), Position: i})
	}
	return r
}

func reasons(d *auction.Decision) map[campaign.AdID]auction.Reason {
	m := map[campaign.AdID]auction.Reason{}
	for _, c := range d.Considered() {
		m[c.AdID] = c.Reason
	}
	for _, u := range d.Unmatched {
		m[u.Ad.AdID] = u.Reason
	}
	return m
}

func TestSecondPrice(t *testing.T) {
	t.Parallel()
	p := newPurse(nil)
	// 8,000,000 micros a click × 0.005 = 40,000,000 nanos an impression: between the two CPM bids.
	d := auctioneer(p, users{}, ad(t, 10, 50_000_000), ad(t, 20, -8_000_000), ad(t, 30, 20_000_000)).Run(t.Context(), request(3))
	require.Len(t, d.Awards, 3)
	require.Equal(t, money.Nanos(40_000_000), d.Awards[0].Price, "the value of the click ad")
	require.Equal(t, campaign.AdID(20), d.Awards[0].PricedBy)
	require.Equal(t, money.Nanos(4_000_000_000), d.Awards[1].Price, "20,000,000 nanos an impression ÷ 0.005")
	require.Equal(t, money.Nanos(1000), d.Awards[2].Price, "the floor")
	require.Zero(t, d.Awards[2].PricedBy)
}

func TestABrokeWinnerIsReplacedAndThePagePricedAgain(t *testing.T) {
	t.Parallel()
	for _, exhausted := range []bool{true, false} {
		p := newPurse(map[campaign.AdGroupID]money.Nanos{10: 5})
		p.exhausted = exhausted
		d := auctioneer(p, users{}, ad(t, 10, 9000), ad(t, 20, 8000), ad(t, 30, 7000)).Run(t.Context(), request(2))
		require.Len(t, d.Awards, 2)
		require.Equal(t, campaign.AdID(20), d.Awards[0].Ad.AdID)
		require.Equal(t, money.Nanos(7000), d.Awards[0].Price)
		require.Equal(t, money.Nanos(1000), d.Awards[1].Price)
		want, line := auction.BudgetPending, ""
		if exhausted {
			want, line = auction.BudgetExhausted, "AD_GROUP DAILY"
		}
		require.Equal(t, want, reasons(d)[10])
		require.Equal(t, line, d.Considered()[0].BlockedBy)
		require.Equal(t, money.Nanos(7000), p.reserved[20], "only the prices of the page stay reserved")
		require.Equal(t, money.Nanos(0), p.reserved[10])
	}
}

func TestAnEmptyPageWaitsForAFirstLease(t *testing.T) {
	t.Parallel()
	p := newPurse(map[campaign.AdGroupID]money.Nanos{10: 0, 11: 0, 20: 0})
	p.pending = map[campaign.AdGroupID]money.Nanos{10: 1_000_000}
	a := auctioneer(p, users{}, ad(t, 10, 9000), ad(t, 11, 8000), ad(t, 20, 7000))
	a.Config.LeaseWait = time.Second
	d := a.Run(t.Context(), request(2))
	require.Len(t, d.Awards, 1)
	require.Equal(t, map[campaign.AdID]auction.Reason{10: auction.Won, 11: auction.AdvertiserOnPage, 20: auction.BudgetPending}, reasons(d))
	require.Len(t, p.log, 1)
}

func TestOneAdOfAnAdvertiserAndItDoesNotRaiseItsOwnPrice(t *testing.T) {
	t.Parallel()
	d := auctioneer(newPurse(nil), users{}, ad(t, 10, 9000), ad(t, 11, 8000), ad(t, 30, 7000)).Run(t.Context(), request(2))
	require.Equal(t, money.Nanos(7000), d.Awards[0].Price)
	require.Equal(t, auction.AdvertiserOnPage, reasons(d)[11])
}

func TestTheSecondAdOfABrokeAdGroupsAdvertiserGetsItsChance(t *testing.T) {
	t.Parallel()
	p := newPurse(map[campaign.AdGroupID]money.Nanos{10: 0})
	d := auctioneer(p, users{}, ad(t, 10, 9000), ad(t, 11, 8000)).Run(t.Context(), request(1))
	require.Equal(t, campaign.AdID(11), d.Awards[0].Ad.AdID)
}

func TestMoreThanTheFirstCandidatesAreAskedBeforeASlotStaysEmpty(t *testing.T) {
	t.Parallel()
	left := map[campaign.AdGroupID]money.Nanos{}
	var list []*targeting.Ad
	for i := int64(1); i <= 100; i++ {
		list = append(list, ad(t, i*10, 10_000-i))
		if i < 100 {
			left[campaign.AdGroupID(i*10)] = 0
		}
	}
	p := newPurse(left)
	d := auctioneer(p, users{}, list...).Run(t.Context(), request(2))
	require.Len(t, d.Awards, 1, "the one that can pay, at the end of the list")
	require.Equal(t, campaign.AdID(1000), d.Awards[0].Ad.AdID)
	require.Equal(t, []auction.NoFill{{SlotID: "s1", Reason: auction.NoEligibleAd}}, d.NoFill)
	require.Len(t, p.log, 1, "reservations of earlier rounds are cancelled")
}

func TestFrequencyCapsFailClosed(t *testing.T) {
	t.Parallel()
	capped := ad(t, 10, 9000, func(s *campaign.ServingAd) { s.FrequencyCap = 2 })
	run := func(u users, hash int64) auction.Reason {
		req := request(1)
		req.UserHash = hash
		return reasons(auctioneer(newPurse(nil), u, capped).Run(t.Context(), req))[10]
	}
	seen := func(n int) users {
		return users{state: targeting.UserState{Views: map[campaign.AdGroupID]int{10: n}}}
	}
	require.Equal(t, auction.Won, run(seen(1), 1))
	require.Equal(t, auction.FrequencyCap, run(seen(2), 1))
	require.Equal(t, auction.UserStateUnknown, run(users{err: errors.New("redis is away")}, 1))
	require.Equal(t, auction.UserStateUnknown, run(seen(0), 0), "a request without a user")
}

func TestFloorAndExplanation(t *testing.T) {
	t.Parallel()
	elsewhere := ad(t, 20, 9000, func(s *campaign.ServingAd) { s.Targeting = []byte(`{"LOCATION":["DE"]}`) })
	req := request(1)
	req.Explain = true
	d := auctioneer(newPurse(nil), users{}, ad(t, 10, 999), elsewhere).Run(t.Context(), req)
	require.Empty(t, d.Awards)
	require.Equal(t, map[campaign.AdID]auction.Reason{10: auction.BelowFloor, 20: auction.MissLocation}, reasons(d))
}

// TestPricesLieBetweenFloorAndBid: individual rationality on random auctions, and a page that does not depend on the order
// in which the ads come.
func TestPricesLieBetweenFloorAndBid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var list []*targeting.Ad
		left := map[campaign.AdGroupID]money.Nanos{}
		for i := range rapid.IntRange(0, 30).Draw(rt, "ads") {
			bid := rapid.Int64Range(1, 20_000).Draw(rt, "bid")
			if rapid.Bool().Draw(rt, "cpc") {
				bid = -bid
			}
			id := int64(10*(1+i/2) + i%2)
			list = append(list, ad(t, id, bid))
			if rapid.Bool().Draw(rt, "limited") {
				left[campaign.AdGroupID(id)] = money.Nanos(rapid.Int64Range(0, 20_000).Draw(rt, "left"))
			}
		}
		slots := rapid.IntRange(1, 5).Draw(rt, "slots")
		d := auctioneer(newPurse(left), users{}, list...).Run(t.Context(), request(slots))
		shuffled := rapid.Permutation(list).Draw(rt, "order")
		again := auctioneer(newPurse(left), users{}, shuffled...).Run(t.Context(), request(slots))
		require.Len(rt, again.Awards, len(d.Awards))
		require.Len(rt, d.NoFill, slots-len(d.Awards))
		accounts := map[campaign.AdAccountID]bool{}
		for i, w := range d.Awards {
			require.Equal(rt, w.Ad.AdID, again.Awards[i].Ad.AdID)
			require.Equal(rt, w.Price, again.Awards[i].Price)
			bid, floor := money.Nanos(w.Ad.BidMicros), money.Nanos(1000)
			if w.Ad.BillableEvent == campaign.BillClickthrough {
				bid, floor = bid*1000, money.CeilScore(1000/w.PCTR)
			}
			require.LessOrEqual(rt, w.Price, bid)
			require.GreaterOrEqual(rt, w.Price, min(floor, bid))
			require.False(rt, accounts[w.Ad.AdAccountID])
			accounts[w.Ad.AdAccountID] = true
			if i > 0 {
				require.LessOrEqual(rt, w.Value, d.Awards[i-1].Value)
			}
		}
	})
}

// TestEveryReasonIsDocumented holds docs/no-bid-reasons.md against the code.
func TestEveryReasonIsDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/no-bid-reasons.md")
	require.NoError(t, err)
	documented := map[auction.Reason]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (\\d+) \\| `(\\w+)` \\| (.+?) \\|").FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.ParseUint(row[1], 10, 16)
		require.NoError(t, err)
		documented[auction.Reason(n)] = row[2] + " " + row[3]
	}
	require.Len(t, documented, len(auction.Reasons()))
	for _, r := range auction.Reasons() {
		require.Equal(t, r.String()+" "+r.Meaning(), documented[r])
	}
}

// TestListsBecomeAudiences translates the lists of a user by the tables of the index that the request is decided with.
func TestListsBecomeAudiences(t *testing.T) {
	t.Parallel()
	spec := func(text string) func(*campaign.ServingAd) {
		return func(s *campaign.ServingAd) { s.Targeting = []byte(text) }
	}
	list := []*targeting.Ad{
		ad(t, 10, 5_000_000, spec(`{"AUDIENCE_INCLUDE":["11"]}`)), ad(t, 20, 4_000_000, spec(`{"AUDIENCE_EXCLUDE":["12"]}`)), ad(t, 30, 3_000_000),
	}
	p := newPurse(nil)
	run := func(lists ...campaign.ListID) map[campaign.AdID]auction.Reason {
		a := auctioneer(p, users{state: targeting.UserState{Lists: lists}})
		a.Ads = ads{targeting.Build(list, targeting.Tables{Lists: map[campaign.ListID]campaign.AudienceID{1: 11, 2: 12}})}
		req := request(3)
		req.UserHash = 1
		return reasons(a.Run(t.Context(), req))
	}
	won := func(ids ...campaign.AdID) map[campaign.AdID]auction.Reason {
		m := map[campaign.AdID]auction.Reason{}
		for _, id := range ids {
			m[id] = auction.Won
		}
		return m
	}
	require.Equal(t, won(10, 20, 30), run(1))
	require.Equal(t, won(30), run(2))
	require.Equal(t, won(10, 30), run(1, 2, 3))
	require.Equal(t, won(20, 30), run(3), "a list that is not current is no audience")
}

// TestBidsAreThoseOfTheOffer holds the auction's own arithmetic to campaign's, by which an index orders ads: they differ by roundings only.
func TestBidsAreThoseOfTheOffer(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		bid := rapid.Int64Range(1000, 100_000_000).Draw(rt, "bid")
		if rapid.Bool().Draw(rt, "cpc") {
			bid = -bid
		}
		multiplier := campaign.PerMille(rapid.Int64Range(100, 10_000).Draw(rt, "multiplier"))
		list := ad(t, 10, bid, func(s *campaign.ServingAd) {
			s.BidStrategy = rapid.SampledFrom([]campaign.BidStrategy{campaign.MaxBid, campaign.AutomaticBid, campaign.TargetAvg}).Draw(rt, "strategy")
			s.CPAGoalMicros = money.Micros(rapid.Int64Range(0, 50_000_000).Draw(rt, "goal"))
			var err error
			s.Multipliers, err = campaign.NewBidMultipliers(campaign.BidOptions{}, multiplier)
			require.NoError(rt, err)
		})
		pace := float64(rapid.IntRange(1, 4000).Draw(rt, "pace per mille")) / 1000
		model := &goldenModel{ads: map[campaign.AdID]goldenAd{10: {
			ClickRate: rapid.Float64Range(0.0001, 0.25).Draw(rt, "pCTR"), Conversion: rapid.Float64Range(0.0001, 0.5).Draw(rt, "pCVR"),
		}}}
		a := auctioneer(newPurse(nil), users{}, list)
		a.Models, a.Paces = model, paces{10: pace}
		c := a.Run(t.Context(), request(1)).Considered()[0]
		base := list.Offer().Base(pace, c.PCTR, model.ads[10].Conversion)
		want := list.Multipliers.Effective(base, "", "BROWSE", nil, false)
		require.InDelta(rt, float64(want), float64(c.Fate.Bid), 41, "a nano that is lost before a pace of 3, one before a multiplier of 10, and one after")
	})
}

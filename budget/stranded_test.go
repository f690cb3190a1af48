package budget_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/budget"
	"gavel/campaign"
	"gavel/internal/money"
)

// strandedDay is a daily budget for impressions in virtual time. Once it has run out for some node, requests still come for a
// while, and then the day ends.
type strandedDay struct {
	// perSecond is how many requests each node gets in a second.
	perSecond []float64
	// impressions is about how many the budget buys. Prices are from the floor, a share of the highest price, up to that.
	impressions int
	floor       float64
	after       time.Duration
	seed        uint64
}

const (
	cpmPrice = money.Nanos(10_000_000)
	cpmBid   = 10 * cpmPrice          // nobody else bids nearly as much
	cpmTurn  = 100 * time.Millisecond // as the keeper's
)

// run plays the day and returns what is never charged, in impressions at the highest price. Every impression is charged when it is
// served, so that is what was not served.
func (d strandedDay) run(t require.TestingT) (stranded float64) {
	rnd := rand.New(rand.NewPCG(d.seed, 3))
	total := 0.0
	for _, n := range d.perSecond {
		total += n
	}
	b := newBank(money.Nanos(float64(d.impressions)*(1+d.floor)/2*float64(cpmPrice)), len(d.perSecond), eventTTL)
	wallets := make([]*budget.Wallet, len(d.perSecond))
	for i := range wallets {
		wallets[i] = newWallet()
	}
	turn, now, end := budget.Tick(0), budget.Tick(0), budget.Tick(math.MaxInt64)
	turns := func(until budget.Tick) {
		for ; turn <= until; turn = turn.Add(cpmTurn) {
			for _, i := range rnd.Perm(len(wallets)) {
				b.turn(wallets[i], turn, 0)
			}
		}
	}
	for ; now < end; now += budget.Tick(rnd.ExpFloat64() / total * float64(time.Second)) {
		turns(now)
		price := money.Nanos((d.floor + (1-d.floor)*rnd.Float64()) * float64(cpmPrice))
		r, refusal := wallets[d.node(rnd.Float64()*total)].Reserve(now, budget.Request{
			Key: key, Billable: campaign.BillImpression, Price: price, PriceMax: cpmBid,
		})
		switch refusal {
		case budget.Reserved:
			_, _, outcome := b.books.Post(r.LeaseID, price)
			require.Equal(t, budget.Billed, outcome)
		case budget.Exhausted:
			end = min(end, now.Add(d.after))
		}
	}
	turns(now.Add(5 * ttl)) // nobody renews any more, and every lease ends
	p := b.books.Periods[1]
	require.Zero(t, p.Escrow, "all is given back")
	return float64(p.Limit-p.Posted) / float64(cpmPrice)
}

// node is the one whose share of all requests covers the draw.
func (d strandedDay) node(draw float64) int {
	for i, n := range d.perSecond[:len(d.perSecond)-1] {
		if draw < n {
			return i
		}
		draw -= n
	}
	return len(d.perSecond) - 1
}

// TestStranded prints what is left of a budget at the end of the day, by how long before it has run out.
func TestStranded(t *testing.T) {
	t.Parallel()
	seeds := uint64(simulatedDays)
	if testing.Short() {
		seeds = 1
	}
	ends := []time.Duration{0, ttl, 3 * ttl, 6 * ttl}
	t.Logf("impressions that a budget for 5,000 has left, the worst of %d days, when the day ends so long after a node found nothing", seeds)
	t.Logf("%-28s %6v %6v %6v %6v", "requests/s of the nodes", ends[0], ends[1], ends[2], ends[3])
	for _, perSecond := range [][]float64{{50}, {50, 50}, {50, 1}, {50, 0.1}, {20, 20, 20, 20}, {50, 1, 1, 1}, {50, 0.04, 0.04, 0.04}, {40, 10, 2, 0.4}} {
		row := fmt.Sprintf("%-28s", fmt.Sprint(perSecond))
		for _, after := range ends {
			worst := 0.0
			for seed := range seeds {
				d := strandedDay{perSecond: perSecond, impressions: 5000, floor: 0.5, after: after, seed: seed}
				worst = max(worst, d.run(t))
			}
			row += fmt.Sprintf(" %6.2f", worst)
			if after >= 3*ttl {
				require.LessOrEqual(t, worst, float64(len(perSecond)), "the price of one impression per node: %s", row)
			}
		}
		t.Log(row)
	}
}

// TestStrandedIsAtMostOneImpressionPerNode on any number of nodes, any split of the traffic, any prices and any budget.
func TestStrandedIsAtMostOneImpressionPerNode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := strandedDay{
			perSecond:   []float64{rapid.Float64Range(5, 100).Draw(t, "busy")},
			impressions: rapid.IntRange(1, 3000).Draw(t, "impressions"),
			floor:       rapid.Float64Range(0.01, 1).Draw(t, "floor"),
			after:       6 * ttl,
			seed:        rapid.Uint64().Draw(t, "seed"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "other nodes") {
			d.perSecond = append(d.perSecond, math.Pow(10, rapid.Float64Range(-2, 2).Draw(t, "log10 of requests/s")))
		}
		require.LessOrEqual(t, d.run(t), float64(len(d.perSecond)))
	})
}

//go:build linux

package auction_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"gavel/auction"
	"gavel/budget"
	"gavel/campaign"
	"gavel/targeting"
)

// boundless promises any price at once.
type boundless struct{}

func (boundless) Reserve(budget.Tick, budget.Request) (budget.Reservation, budget.Refusal) {
	return budget.Reservation{}, budget.Reserved
}
func (boundless) Cancel(budget.Reservation)  {}
func (boundless) Await(context.Context) bool { return false }

// funded is a wallet and a bank that never runs out.
type funded struct {
	*budget.Wallet
	next budget.LeaseID
}

// turn is the keeper's.
func (f *funded) turn(now budget.Tick) {
	for _, want := range f.Wants(now, func() uuid.UUID { return uuid.UUID{} }) {
		id := want.Extend
		if id == 0 {
			f.next++
			id = f.next
		}
		f.Settle(now, budget.Granted{Want: want, LeaseID: id, Amount: 1 << 50})
	}
	f.Expired(now)
}

// threadCPU is the CPU time of the thread, which the caller has locked. Getrusage is too coarse.
func threadCPU(b *testing.B) time.Duration {
	b.Helper()
	var t unix.Timespec
	require.NoError(b, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t))
	return time.Duration(t.Nano())
}

var benchCountries = []string{"US", "DE", "FR", "GB", "BR", "JP", "IN", "MX"}

// benchAds are n ads of n/5 ad groups; half are for one country, a quarter pays per click.
func benchAds(b *testing.B, n int) []*targeting.Ad {
	b.Helper()
	rnd := rand.New(rand.NewPCG(3, 4))
	ads := make([]*targeting.Ad, n)
	for i := range ads {
		bid := int64(1_000_000 + rnd.IntN(50_000_000))
		if i/5%4 == 0 {
			bid = -bid / 5
		}
		ads[i] = ad(b, int64(i+1), bid, func(s *campaign.ServingAd) {
			s.AdGroupID, s.AdAccountID = campaign.AdGroupID(1+i/5), campaign.AdAccountID(1+i/50)
			if rnd.IntN(2) == 0 {
				s.Targeting = fmt.Appendf(nil, `{"LOCATION":[%q]}`, benchCountries[rnd.IntN(len(benchCountries))])
			}
		})
	}
	return ads
}

// BenchmarkReserve runs the same pages with a wallet, from which every ad needs a reservation, and without. Both in turns (ABBA), because a
// machine that is shared changes its speed; in CPU time of the thread, because that is what bounds ads per second. Leases are
// topped up outside of it: that work is the keeper's, once per 100 ms and not per ad.
func BenchmarkReserve(b *testing.B) {
	const block = 50 // pages
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // between the rounds
	list := benchAds(b, 10_000)
	wallet := &funded{Wallet: budget.NewWallet(budget.WalletConfig{TTL: 10 * time.Second, EventTTL: time.Hour})}
	with, without := auctioneer(nil, users{}, list...), auctioneer(nil, users{}, list...)
	with.Budget, without.Budget = wallet, boundless{}
	with.Config.Candidates, without.Config.Candidates = 200, 200

	now, page := budget.Tick(0), 0
	run := func(a *auction.Auctioneer) (cpu time.Duration, won []campaign.AdID) {
		requests := make([]*auction.Request, block)
		for i := range requests {
			requests[i] = request(4)
			requests[i].Tick, requests[i].Query.Country = now, benchCountries[(page+i)%len(benchCountries)]
		}
		decisions := make([]*auction.Decision, block)
		start := threadCPU(b)
		for i, r := range requests {
			decisions[i] = a.Run(b.Context(), r)
		}
		cpu = threadCPU(b) - start
		for _, d := range decisions {
			for _, w := range d.Awards {
				won = append(won, w.Ad.AdID)
			}
		}
		return cpu, won
	}
	for range 20 { // leases for every winner
		run(with)
		wallet.turn(now)
	}
	var reserved, free, ratio []float64 // ads/s of every round
	for b.Loop() {
		var cpu [2]time.Duration
		var won [2][]campaign.AdID
		order := []int{0, 1, 1, 0}
		if len(ratio)%2 == 1 {
			order = []int{1, 0, 0, 1}
		}
		for _, which := range order {
			took, ads := run([]*auction.Auctioneer{with, without}[which])
			cpu[which] += took
			won[which] = append(won[which], ads...)
		}
		require.True(b, slices.Equal(won[0], won[1]), "every winner got its reservation")
		reserved = append(reserved, float64(len(won[0]))/cpu[0].Seconds())
		free = append(free, float64(len(won[1]))/cpu[1].Seconds())
		ratio = append(ratio, reserved[len(reserved)-1]/free[len(free)-1])
		page += block
		now = now.Add(50 * time.Millisecond)
		wallet.turn(now)
		runtime.GC()
	}
	b.ReportMetric(median(reserved), "ads/s-reserved")
	b.ReportMetric(median(free), "ads/s-free")
	b.ReportMetric(median(ratio), "ratio")
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

package budget_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/budget"
	"gavel/campaign"
	"gavel/internal/money"
)

const (
	ttl      = 10 * time.Second
	eventTTL = time.Hour
)

var key = budget.Key{AdGroupID: 7, Day: 20261123}

func newWallet() *budget.Wallet {
	return budget.NewWallet(budget.WalletConfig{TTL: ttl, EventTTL: eventTTL})
}

func cpm(price money.Nanos) budget.Request {
	return budget.Request{Key: key, Billable: campaign.BillImpression, Price: price, PriceMax: price}
}

// hold makes the wallet ask at sent and answers it.
func hold(t *testing.T, w *budget.Wallet, sent, answered budget.Tick, id budget.LeaseID, amount money.Nanos) {
	t.Helper()
	wants := w.Wants(sent, uuid.New)
	require.Len(t, wants, 1)
	w.Settle(answered, budget.Granted{Want: wants[0], LeaseID: id, Amount: amount})
}

func TestReserveAsksThenPromisesNoMoreThanTheLease(t *testing.T) {
	t.Parallel()
	w := newWallet()
	_, refusal := w.Reserve(0, cpm(30))
	require.Equal(t, budget.NoLease, refusal)
	hold(t, w, 0, 0, 1, 100)
	for range 3 {
		_, refusal = w.Reserve(1, cpm(30))
		require.Equal(t, budget.Reserved, refusal)
	}
	_, refusal = w.Reserve(1, cpm(30))
	require.Equal(t, budget.NoLease, refusal, "10 are left, 30 are needed")
	r, refusal := w.Reserve(1, cpm(10))
	require.Equal(t, budget.Reserved, refusal)
	w.Cancel(r)
	_, refusal = w.Reserve(1, cpm(10))
	require.Equal(t, budget.Reserved, refusal, "what was cancelled can be promised again")
}

func TestTheTimeToServeCountsFromTheRequestNotFromTheAnswer(t *testing.T) {
	t.Parallel()
	w := newWallet()
	_, _ = w.Reserve(0, cpm(1))
	hold(t, w, 0, budget.Tick(9*time.Second), 1, 100)
	_, refusal := w.Reserve(budget.Tick(ttl)-1, cpm(1))
	require.Equal(t, budget.Reserved, refusal)
	_, refusal = w.Reserve(budget.Tick(ttl), cpm(1))
	require.Equal(t, budget.NoLease, refusal)
	require.Equal(t, []budget.Promise{{LeaseID: 1, Amount: 1}}, w.Expired(budget.Tick(ttl)))
}

func TestALateAnswerIsNeverServedFrom(t *testing.T) {
	t.Parallel()
	w := newWallet()
	_, _ = w.Reserve(0, cpm(1))
	hold(t, w, 0, budget.Tick(ttl+1), 1, 100)
	_, refusal := w.Reserve(budget.Tick(ttl+1), cpm(1))
	require.Equal(t, budget.NoLease, refusal)
	require.Equal(t, []budget.Promise{{LeaseID: 1, Amount: 0}}, w.Expired(budget.Tick(ttl+1)))
}

func TestADenialIsBelievedForASecond(t *testing.T) {
	t.Parallel()
	w := newWallet()
	_, _ = w.Reserve(0, cpm(1))
	wants := w.Wants(0, uuid.New)
	require.Empty(t, w.Wants(0, uuid.New), "asked once, not twice")
	w.Settle(0, budget.Granted{Want: wants[0], BlockedBy: "CAMPAIGN DAILY"})
	r, refusal := w.Reserve(1, cpm(1))
	require.Equal(t, budget.Exhausted, refusal)
	require.Equal(t, "CAMPAIGN DAILY", r.BlockedBy)
	require.Empty(t, w.Wants(1, uuid.New))
	require.Len(t, w.Wants(budget.Tick(time.Second), uuid.New), 1)
}

func TestAnUnansweredRequestIsForgottenWithItsId(t *testing.T) {
	t.Parallel()
	w := newWallet()
	_, _ = w.Reserve(0, cpm(1))
	first := w.Wants(0, uuid.New)
	w.Failed(first[0])
	second := w.Wants(0, uuid.New)
	require.NotEqual(t, first[0].RequestID, second[0].RequestID)
}

func TestAnIdleKeyIsForgotten(t *testing.T) {
	t.Parallel()
	w := newWallet()
	_, _ = w.Reserve(0, cpm(1))
	hold(t, w, 0, 0, 1, 100)
	late := budget.Tick(4 * ttl)
	require.Empty(t, w.Wants(late, uuid.New), "nobody asked for it in three times to live")
	require.Len(t, w.Expired(late), 1)
	rest, leases := w.Held(late)
	require.Zero(t, rest)
	require.Zero(t, leases)
}

func TestClickExposureIsBoundedByTheLease(t *testing.T) {
	t.Parallel()
	const bid = money.Nanos(1000)
	w := newWallet()
	req := budget.Request{Key: key, Billable: campaign.BillClickthrough, Price: bid, PriceMax: bid, PCTR: 0.1}
	_, _ = w.Reserve(0, req)
	hold(t, w, 0, 0, 1, 10*bid)
	n := 0
	for {
		if _, refusal := w.Reserve(1, req); refusal != budget.Reserved {
			break
		}
		n++
	}
	// With m = 0.1·n: m + 3·√(m + m²/10) + 1 ≤ 10 holds for m = 3 (9.92), not for m = 3.1 (10.14).
	require.Equal(t, 30, n)
	after := budget.Tick(2 * eventTTL)
	_, refusal := w.Reserve(after, req)
	require.Equal(t, budget.NoLease, refusal, "the lease's time is over, not its exposure")
}

// TestPromisesNeverExceedGrants: whatever order requests, answers, expiries and cancellations come in, the live promises of
// a lease never exceed its amount.
func TestPromisesNeverExceedGrants(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWallet()
		now := budget.Tick(0)
		granted := map[budget.LeaseID]money.Nanos{}
		promised := map[budget.LeaseID]money.Nanos{}
		var open []budget.Want
		type promise struct {
			r     budget.Reservation
			price money.Nanos
		}
		var live []promise
		next := budget.LeaseID(1)
		t.Repeat(map[string]func(*rapid.T){
			"time": func(t *rapid.T) { now += budget.Tick(rapid.Int64Range(0, int64(3*ttl/2)).Draw(t, "by")) },
			"reserve": func(t *rapid.T) {
				price := money.Nanos(rapid.Int64Range(1, 40).Draw(t, "price"))
				if r, refusal := w.Reserve(now, cpm(price)); refusal == budget.Reserved {
					promised[r.LeaseID] += price
					live = append(live, promise{r, price})
				}
			},
			"cancel": func(t *rapid.T) {
				if len(live) == 0 {
					return
				}
				i := rapid.IntRange(0, len(live)-1).Draw(t, "which")
				w.Cancel(live[i].r)
				promised[live[i].r.LeaseID] -= live[i].price
				live = append(live[:i], live[i+1:]...)
			},
			"ask": func(*rapid.T) { open = append(open, w.Wants(now, uuid.New)...) },
			"answer": func(t *rapid.T) {
				if len(open) == 0 {
					return
				}
				amount := money.Nanos(rapid.Int64Range(1, 100).Draw(t, "amount"))
				granted[next] = amount
				w.Settle(now, budget.Granted{Want: open[0], LeaseID: next, Amount: amount})
				open, next = open[1:], next+1
			},
			"lose": func(*rapid.T) {
				if len(open) > 0 {
					w.Failed(open[0])
					open = open[1:]
				}
			},
			"expire": func(t *rapid.T) {
				for _, p := range w.Expired(now) {
					require.Equal(t, promised[p.LeaseID], p.Amount, "what is said to be promised is what was promised")
					live = keep(live, func(l promise) bool { return l.r.LeaseID != p.LeaseID })
				}
			},
			"": func(t *rapid.T) {
				for id, sum := range promised {
					require.LessOrEqual(t, sum, granted[id])
				}
			},
		})
	})
}

func keep[T any](list []T, ok func(T) bool) []T {
	var kept []T
	for _, v := range list {
		if ok(v) {
			kept = append(kept, v)
		}
	}
	return kept
}

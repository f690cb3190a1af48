package budget_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/budget"
	"gavel/internal/money"
)

// TestBooksKeepTheirInvariants drives random grants, charges, shrinks, extensions, closes and limit cuts over two ad groups
// that share a campaign and an account, and compares every step with sums kept beside.
func TestBooksKeepTheirInvariants(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		books := &budget.Books{Periods: map[int64]*budget.Period{}, Leases: map[budget.LeaseID]*budget.Lease{}}
		for id := int64(1); id <= 4; id++ {
			p := &budget.Period{ID: id, Limited: rapid.Bool().Draw(t, "limited")}
			if p.Limited {
				p.Limit = money.Nanos(rapid.Int64Range(0, 1000).Draw(t, "limit"))
				p.Cap = p.Limit
			}
			books.Periods[id] = p
		}
		lines := [][]int64{{1, 3, 4}, {2, 3, 4}}
		posted := map[int64]money.Nanos{}
		next := budget.LeaseID(1)
		t.Repeat(map[string]func(*rapid.T){
			"grant": func(t *rapid.T) {
				ids := lines[rapid.IntRange(0, 1).Draw(t, "group")]
				amount, blocked := books.Grant(ids, budget.GrantSize{
					PriceMax: money.Nanos(rapid.Int64Range(1, 50).Draw(t, "priceMax")),
					Wish:     money.Nanos(rapid.Int64Range(0, 500).Draw(t, "wish")), Nodes: rapid.IntRange(1, 3).Draw(t, "nodes"),
				})
				if amount == 0 {
					_ = blocked
					return
				}
				books.Leases[next] = &budget.Lease{ID: next, PeriodIDs: ids, Amount: amount, Open: true}
				next++
			},
			"post": func(t *rapid.T) {
				id := anyLease(t, next)
				price := money.Nanos(rapid.Int64Range(0, 80).Draw(t, "price"))
				charge, fromFree, outcome := books.Post(id, price)
				if books.Leases[id] == nil {
					require.Equal(t, budget.Invalid, outcome)
					return
				}
				require.True(t, charge == 0 || charge == price)
				require.LessOrEqual(t, fromFree, charge)
				require.Equal(t, outcome == budget.OverBudget, charge != price)
				for _, pid := range books.Leases[id].PeriodIDs {
					posted[pid] += charge
				}
			},
			"shrink": func(t *rapid.T) {
				books.Shrink(anyLease(t, next), money.Nanos(rapid.Int64Range(0, 200).Draw(t, "promised")))
			},
			"close": func(t *rapid.T) { books.Close(anyLease(t, next)) },
			"extend": func(t *rapid.T) {
				id := anyLease(t, next)
				was, open := money.Nanos(0), false
				if l := books.Leases[id]; l != nil {
					was, open = l.Amount, l.Open
				}
				g := books.Answer(budget.Want{Extend: id, PriceMax: 7, Wish: 20}, nil, 1, time.Time{})
				if !open {
					require.Equal(t, budget.BlockedLeaseClosed, g.BlockedBy)
					return
				}
				require.Equal(t, id, g.LeaseID)
				require.GreaterOrEqual(t, g.Amount, was)
				require.Equal(t, books.Leases[id].Amount, g.Amount)
			},
			"change limit": func(t *rapid.T) {
				p := books.Periods[rapid.Int64Range(1, 4).Draw(t, "period")]
				if p.Limited {
					p.Limit = money.Nanos(rapid.Int64Range(0, 1500).Draw(t, "limit"))
					p.Cap = max(p.Limit, p.Posted+p.Escrow)
				}
			},
			"": func(t *rapid.T) { requireConsistent(t, books, posted) },
		})
	})
}

func anyLease(t *rapid.T, next budget.LeaseID) budget.LeaseID {
	return budget.LeaseID(rapid.Int64Range(1, int64(next)).Draw(t, "lease"))
}

func requireConsistent(t *rapid.T, books *budget.Books, posted map[int64]money.Nanos) {
	held := map[int64]money.Nanos{}
	for _, l := range books.Leases {
		require.GreaterOrEqual(t, l.Posted, money.Nanos(0))
		require.LessOrEqual(t, l.Posted, l.Amount)
		for _, id := range l.PeriodIDs {
			if l.Open {
				held[id] += l.Amount - l.Posted
			}
		}
	}
	for id, p := range books.Periods {
		require.Equal(t, posted[id], p.Posted, "posted is what was charged (I4)")
		require.Equal(t, held[id], p.Escrow, "escrow is what open leases hold (I6)")
		if p.Limited {
			require.LessOrEqual(t, p.Posted+p.Escrow, p.Cap, "I1")
			require.Equal(t, max(p.Limit, p.Posted+p.Escrow), p.Cap, "the cap follows down to the limit")
		}
	}
}

func TestGrantTapersAndNamesTheLineThatIsEmpty(t *testing.T) {
	t.Parallel()
	books := &budget.Books{Periods: map[int64]*budget.Period{
		1: {ID: 1, Limited: true, Limit: 1000, Cap: 1000, Name: "AD_GROUP DAILY"},
		2: {ID: 2, Name: "AD_ACCOUNT LIFETIME"},
	}}
	size := budget.GrantSize{PriceMax: 10, Wish: 10_000, Nodes: 2}
	var amounts []money.Nanos
	for {
		amount, blocked := books.Grant([]int64{1, 2}, size)
		if amount == 0 {
			require.Equal(t, "AD_GROUP DAILY", blocked)
			break
		}
		amounts = append(amounts, amount)
	}
	require.Equal(t, money.Nanos(250), amounts[0], "a quarter: half of one of two nodes' share")
	require.Equal(t, money.Nanos(1000), books.Periods[1].Escrow, "everything is granted in the end")
	require.IsNonIncreasing(t, amounts)
}

func TestBooksPanicRatherThanPassTheCap(t *testing.T) {
	t.Parallel()
	books := &budget.Books{
		Periods: map[int64]*budget.Period{1: {ID: 1, Limited: true, Limit: 10, Cap: 10, Escrow: 5}},
		Leases:  map[budget.LeaseID]*budget.Lease{1: {ID: 1, PeriodIDs: []int64{1}, Amount: 50, Open: true}},
	}
	require.Panics(t, func() { books.Post(1, 50) })
}

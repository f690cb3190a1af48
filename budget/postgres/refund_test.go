package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"gavel/budget"
	"gavel/budget/postgres"
)

func (w *world) refund(t *testing.T, events ...budget.EventID) (outcomes []postgres.RefundOutcome) {
	t.Helper()
	items, err := w.store.Refund(t.Context(), postgres.RefundOrder{Events: events, Reason: "invalid traffic"})
	require.NoError(t, err)
	require.Len(t, items, len(events))
	for i, item := range items {
		require.Equal(t, events[i], item.EventID)
		outcomes = append(outcomes, item.Outcome)
	}
	return outcomes
}

func (w *world) ledger(t *testing.T) (account string) {
	t.Helper()
	require.NoError(t, w.db.Get(&account, `SELECT string_agg(x, ', ' ORDER BY x) FROM (
		SELECT regexp_replace(account, '[0-9]+', 'N') || ' ' || sum(debit_nanos) || ' ' || sum(credit_nanos) AS x FROM ledger_entries GROUP BY account) e`))
	return account
}

func TestARefundGivesTheBudgetBackOnce(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 4*price)
	n := w.join(t)
	g := grant(t, n, w.want(0, 100*price), w.want(0, 100*price), w.want(0, 100*price))
	lease := g[0].LeaseID
	events := []budget.Event{w.event(lease, price), w.event(lease, price), w.event(lease, price), w.event(lease, price), w.event(lease, price)}
	view := w.event(lease, 0)
	view.EventID.Kind = budget.Viewable
	require.Equal(t, []budget.Outcome{budget.Billed, budget.Billed, budget.OverBudget, budget.OverBudget, budget.OverBudget, budget.Billed}, commit(t, n, append(events, view)...))
	require.Zero(t, grant(t, n, w.want(0, price))[0].Amount, "nothing is left")

	a, b, over := events[0].EventID, events[1].EventID, events[2].EventID
	require.Equal(t, []postgres.RefundOutcome{postgres.Refunded, postgres.AlreadyRefunded, postgres.NothingToRefund, postgres.NothingToRefund, postgres.UnknownEvent},
		w.refund(t, a, a, over, view.EventID, budget.EventID{Day: day, ImpressionID: uuid.New(), Kind: budget.Impression}))
	require.Equal(t, []postgres.RefundOutcome{postgres.AlreadyRefunded}, w.refund(t, a))
	posted, escrow := w.period(t, "AD_ACCOUNT")
	require.Equal(t, int64(price), posted)
	require.Equal(t, int64(2*price), escrow, "what was posted does not become escrow again")
	require.Equal(t, "advertiser:N 2000 1000, revenue 1000 2000", w.ledger(t))
	require.Equal(t, price, grant(t, n, w.want(0, price))[0].Amount, "the budget is there again")

	require.Equal(t, []postgres.RefundOutcome{postgres.Refunded}, w.refund(t, b))
	var charged, refunds, refunded int64
	require.NoError(t, w.db.QueryRow(`SELECT sum(charge_nanos), sum(refunds), sum(refund_nanos) FROM event_rollups`).Scan(&charged, &refunds, &refunded))
	require.Equal(t, []int64{2000, 2, 2000}, []int64{charged, refunds, refunded})
	var kinds string
	require.NoError(t, w.db.Get(&kinds, `SELECT string_agg(kind, ' ' ORDER BY id) FROM ledger_transactions`))
	require.Equal(t, "BATCH REFUND REFUND", kinds)
	require.Equal(t, []budget.Outcome{budget.Duplicate}, commit(t, n, events[0]), "a refunded event stays recorded")
}

func TestADryRunOfARefundChangesNothing(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	n := w.join(t)
	e := w.event(grant(t, n, w.want(0, 4*price))[0].LeaseID, price)
	commit(t, n, e)
	for range 2 {
		items, err := w.store.Refund(t.Context(), postgres.RefundOrder{Events: []budget.EventID{e.EventID}, Reason: "test", DryRun: true})
		require.NoError(t, err)
		require.Equal(t, postgres.Refunded, items[0].Outcome)
		require.Equal(t, price, items[0].Amount)
		require.Equal(t, "USD", items[0].Currency)
	}
	posted, _ := w.period(t, "AD_GROUP")
	require.Equal(t, int64(price), posted)
	_, err := w.store.Refund(t.Context(), postgres.RefundOrder{Events: []budget.EventID{e.EventID}})
	require.ErrorContains(t, err, "reason")
}

// TestARefundAfterTheLeaseIsClosedAndTheLimitIsCut: the cap follows what is refunded down.
func TestARefundAfterTheLeaseIsClosedAndTheLimitIsCut(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	n, g := w.oldLease(t)
	e := w.event(g.LeaseID, price)
	commit(t, n, e, w.event(g.LeaseID, price))
	beat(t, n, g.MaxExp.Add(time.Second))
	closed, err := w.store.CloseDue(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, 1, closed)
	_, err = w.db.Exec(`UPDATE budget_periods p SET limit_nanos = 1, cap_nanos = posted_nanos + escrow_nanos
		FROM budgets b WHERE b.id = p.budget_id AND b.scope = 'AD_GROUP' AND b.kind = 'DAILY'`)
	require.NoError(t, err)
	require.Equal(t, []postgres.RefundOutcome{postgres.Refunded}, w.refund(t, e.EventID))
	var ceiling int64
	require.NoError(t, w.db.Get(&ceiling, `SELECT cap_nanos FROM budget_periods WHERE limit_nanos = 1`))
	require.Equal(t, int64(price), ceiling)
}

func TestARefundIsRaced(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 0, 0)
	n := w.join(t)
	g := grant(t, n, w.want(0, 200*price), w.want(1, 200*price))
	var events []budget.Event
	var ids []budget.EventID
	for i := range 60 {
		e := w.event(g[i%2].LeaseID, price)
		events, ids = append(events, e), append(ids, e.EventID)
	}
	commit(t, n, events...)
	ctx := context.WithoutCancel(t.Context())
	refunded := make(chan int, 4)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			done := 0
			for j := range 6 {
				part := ids[(i*7+j*10)%50:][:10]
				items, err := w.store.Refund(ctx, postgres.RefundOrder{Events: part, Reason: "race"})
				if err != nil {
					t.Errorf("refund: %v", err)
				}
				for _, item := range items {
					if item.Outcome == postgres.Refunded {
						done++
					}
				}
				if _, err := n.Commit(ctx, []budget.Event{w.event(g[0].LeaseID, price)}); err != nil {
					t.Errorf("commit: %v", err)
				}
			}
			refunded <- done
		})
	}
	wg.Wait()
	sum := 0
	for range 4 {
		sum += <-refunded
	}
	var rows, rollups int
	require.NoError(t, w.db.Get(&rows, `SELECT count(*) FROM refunds`))
	require.NoError(t, w.db.Get(&rollups, `SELECT sum(refunds) FROM event_rollups`))
	require.Equal(t, rows, sum)
	require.Equal(t, rows, rollups)
	require.Positive(t, rows)
	w.requireNoDeadlock(t)
}

func TestChargesAreSelectedByAccountAdAndTime(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 0, 0)
	n := w.join(t)
	g := grant(t, n, w.want(0, 5000*price), w.want(1, 5000*price))
	start := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	var events []budget.Event
	for i := range 2500 {
		e := w.event(g[i%2].LeaseID, price)
		e.AdID = w.ads[i%2]
		e.AcceptedAt = start.Add(time.Duration(i) * time.Second)
		if i%2 == 0 {
			e.Day = day + 1
		}
		events = append(events, e)
	}
	free := w.event(g[0].LeaseID, 0)
	free.AcceptedAt = start
	commit(t, n, append(events, free)...)
	account := int64(0)
	require.NoError(t, w.db.Get(&account, `SELECT id FROM ad_accounts`))
	for _, c := range []struct {
		name string
		pick postgres.Charges
		want int
	}{
		{"all", postgres.Charges{AdAccountID: account, From: start, To: start.Add(time.Hour)}, 2500},
		{"from is in, to is not", postgres.Charges{AdAccountID: account, From: start.Add(time.Second), To: start.Add(3 * time.Second)}, 2},
		{"one ad", postgres.Charges{AdAccountID: account, AdID: int64(w.ads[1]), From: start, To: start.Add(time.Hour)}, 1250},
		{"another account", postgres.Charges{AdAccountID: account + 1, From: start, To: start.Add(time.Hour)}, 0},
		{"another time", postgres.Charges{AdAccountID: account, From: start.Add(-time.Hour), To: start}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := map[budget.EventID]bool{}
			require.NoError(t, w.store.EachCharge(t.Context(), c.pick, func(ids []budget.EventID) error {
				if len(ids) > 1000 {
					return fmt.Errorf("%d at once", len(ids))
				}
				for _, id := range ids {
					seen[id] = true
				}
				return nil
			}))
			require.Len(t, seen, c.want)
		})
	}
	items, err := w.store.Refund(t.Context(), postgres.RefundOrder{Events: idsOf(events), Reason: "more than one transaction"})
	require.NoError(t, err)
	require.Len(t, items, 2500)
	var transactions int
	require.NoError(t, w.db.Get(&transactions, `SELECT count(*) FROM ledger_transactions WHERE kind = 'REFUND'`))
	require.Equal(t, 3, transactions)
}

func idsOf(events []budget.Event) (ids []budget.EventID) {
	for _, e := range events {
		ids = append(ids, e.EventID)
	}
	return ids
}

package postgres_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"gavel/budget"
	"gavel/budget/postgres"
	"gavel/campaign"
)

// TestEverythingAtOnceOverTheSameBooks: grants, extensions, batches with duplicates in any order, refunds, give-backs and closes over the same few
// periods, leases and ads. No error reaches a caller, every event is billed once, and the audit at the end is clean.
func TestEverythingAtOnceOverTheSameBooks(t *testing.T) {
	t.Parallel()
	const (
		nodes   = 4
		workers = 3 // of each node
		rounds  = 25
		groups  = 6
	)
	w := setup(t, 0, 0, 0, 400*price, 0, 50*price, 0)
	require.Len(t, w.groups, groups)
	var (
		mu             sync.Mutex
		leases         []budget.LeaseID
		events         []budget.Event // what was delivered before, to be delivered again
		count          = map[budget.Outcome]int{}
		fresh, refunds atomic.Int64
		wg             sync.WaitGroup
	)
	ctx := context.WithoutCancel(t.Context())
	work := func(n *postgres.Node, r *rand.Rand) error {
		wants := make([]budget.Want, 1+r.IntN(groups))
		for i := range wants {
			wants[i] = w.want(r.IntN(groups), 10*price)
			mu.Lock()
			if len(leases) > 0 && r.IntN(4) == 0 {
				wants[i].Extend = leases[r.IntN(len(leases))]
			}
			mu.Unlock()
			if wants[i].Extend != 0 { // a lease is extended for what it was granted for
				wants[i].Key = w.keyOf(t, wants[i].Extend)
			}
		}
		granted, err := n.Grant(ctx, time.Now(), wants)
		if err != nil {
			return err
		}
		mu.Lock()
		for _, g := range granted {
			if g.LeaseID != 0 {
				leases = append(leases, g.LeaseID)
			}
		}
		var batch []budget.Event
		for range 10 {
			if len(leases) > 0 && (len(events) == 0 || r.IntN(3) > 0) {
				e := w.event(leases[r.IntN(len(leases))], price)
				e.AdID = w.ads[r.IntN(groups)]
				e.AcceptedAt = e.AcceptedAt.Add(time.Duration(r.IntN(3)) * time.Hour)
				if r.IntN(20) == 0 {
					e.LeaseID = 999_999_999
				}
				events = append(events, e)
				batch = append(batch, e)
				fresh.Add(1)
			} else if len(events) > 0 {
				batch = append(batch, events[r.IntN(len(events))])
			}
		}
		mu.Unlock()
		r.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
		outcomes, err := n.Commit(ctx, batch)
		if err != nil {
			return err
		}
		mu.Lock()
		for _, o := range outcomes {
			count[o]++
		}
		mu.Unlock()
		if r.IntN(2) == 0 {
			items, err := w.store.Refund(ctx, postgres.RefundOrder{Events: idsOf(batch), Reason: "race"})
			if err != nil {
				return err
			}
			for _, item := range items {
				if item.Outcome == postgres.Refunded {
					refunds.Add(1)
				}
			}
		}
		if len(granted) > 0 && r.IntN(3) == 0 {
			if err := n.GiveBack(ctx, []budget.Promise{{LeaseID: granted[0].LeaseID, Amount: price}}); err != nil {
				return err
			}
		}
		if _, err := n.Beat(ctx, time.Now().Add(time.Duration(r.IntN(100))*time.Millisecond)); err != nil {
			return err
		}
		_, err = w.store.CloseDue(ctx, 5)
		return err
	}
	short := postgres.GrantTimes{TTL: 20 * time.Millisecond, EventTTL: 20 * time.Millisecond}
	for i := range nodes {
		n, _, err := w.store.Join(t.Context(), uuid.New(), time.Time{}, short)
		require.NoError(t, err)
		for j := range workers {
			r := rand.New(rand.NewPCG(uint64(i), uint64(j)))
			wg.Go(func() {
				for range rounds {
					if err := work(n, r); err != nil {
						t.Errorf("node %d: %v", i, err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
	var recorded int
	require.NoError(t, w.db.Get(&recorded, `SELECT count(*) FROM events`))
	require.Equal(t, int(fresh.Load()), recorded)
	require.Equal(t, recorded, count[budget.Billed]+count[budget.OverBudget]+count[budget.Invalid])
	for _, o := range []budget.Outcome{budget.Billed, budget.OverBudget, budget.Invalid, budget.Duplicate} {
		require.Positive(t, count[o], o)
	}
	var closed int
	require.NoError(t, w.db.Get(&closed, `SELECT count(*) FROM leases WHERE state = 'CLOSED'`))
	require.Positive(t, closed)
	w.requireNoDeadlock(t)
	var refunded int64
	require.NoError(t, w.db.Get(&refunded, `SELECT sum(refunds) FROM event_rollups`))
	require.Equal(t, refunds.Load(), refunded)
	require.Positive(t, refunded)
	t.Logf("%v, %d refunded, %d leases closed", count, refunded, closed)
	w.requireRollups(t)
}

// requireNoDeadlock says that nobody was saved by a retry: a deadlock costs its victims a second.
func (w *world) requireNoDeadlock(t *testing.T) {
	t.Helper()
	w.db.SetMaxIdleConns(0) // a session that ends reports what it counted
	require.Eventually(t, func() bool {
		var sessions int
		return w.db.Get(&sessions, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`) == nil && sessions == 0
	}, 10*time.Second, 10*time.Millisecond)
	var deadlocks int
	require.NoError(t, w.db.Get(&deadlocks, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`))
	require.Zero(t, deadlocks, "everybody locks in one order")
}

// TestTheSameEventsOfAnUnknownLeaseInAnyOrder: no lease is there to make the batches wait for one another, only the events and the rollups.
func TestTheSameEventsOfAnUnknownLeaseInAnyOrder(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 0)
	const size = 300
	rounds := make([][]budget.Event, 10)
	for i := range rounds {
		for range size {
			e := w.event(999_999_999, price)
			e.AdID = campaign.AdID(1 + len(rounds[i])%20)
			rounds[i] = append(rounds[i], e)
		}
	}
	ctx := context.WithoutCancel(t.Context())
	var invalid atomic.Int64
	var wg sync.WaitGroup
	for i := range 4 {
		n := w.join(t)
		r := rand.New(rand.NewPCG(1, uint64(i)))
		wg.Go(func() {
			for _, events := range rounds {
				events := slices.Clone(events)
				r.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })
				outcomes, err := n.Commit(ctx, events)
				if err != nil {
					t.Errorf("commit: %v", err)
				}
				for _, o := range outcomes {
					if o == budget.Invalid {
						invalid.Add(1)
					}
				}
				// And each its own, so that the rollups are written by all at once.
				if _, err := n.Commit(ctx, own(events)); err != nil {
					t.Errorf("commit: %v", err)
				}
			}
		})
	}
	wg.Wait()
	require.Equal(t, int64(size*len(rounds)), invalid.Load())
	w.requireNoDeadlock(t)
	w.requireRollups(t)
}

// own are the same events with other identities.
func own(events []budget.Event) []budget.Event {
	events = slices.Clone(events)
	for i := range events {
		events[i].ImpressionID = uuid.New()
	}
	return events
}

func (w *world) keyOf(t *testing.T, id budget.LeaseID) (key budget.Key) {
	t.Helper()
	if err := w.db.QueryRowx(`SELECT ad_group_id, day FROM leases WHERE id = $1`, int64(id)).Scan(&key.AdGroupID, &key.Day); err != nil {
		t.Errorf("find lease: %v", err)
	}
	return key
}

// requireRollups adds the events up again.
func (w *world) requireRollups(t *testing.T) {
	t.Helper()
	var wrong int
	require.NoError(t, w.db.Get(&wrong, `
		SELECT count(*) FROM event_rollups r FULL JOIN (
			SELECT ad_account_id, day, date_trunc('hour', accepted_at) AS hour, ad_id, kind, count(*) AS events,
				count(*) FILTER (WHERE outcome = 'BILLED') AS billed, count(*) FILTER (WHERE outcome = 'OVER_BUDGET') AS over_budget,
				sum(charge_nanos) AS charge_nanos, coalesce(sum(price_nanos) FILTER (WHERE outcome = 'OVER_BUDGET'), 0) AS over_budget_nanos
			FROM events GROUP BY 1, 2, 3, 4, 5
		) e USING (ad_account_id, day, hour, ad_id, kind)
		WHERE (r.events, r.billed, r.over_budget, r.charge_nanos, r.over_budget_nanos) IS DISTINCT FROM (e.events, e.billed, e.over_budget, e.charge_nanos, e.over_budget_nanos)`))
	require.Zero(t, wrong)
}

// TestARowThatIsLockedForLongHoldsUpItsOwnOnly: who waits for it does not keep the gate of the account closed meanwhile.
func TestARowThatIsLockedForLongHoldsUpItsOwnOnly(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 0, 0)
	n := w.join(t)
	g := grant(t, n, w.want(0, 20*price), w.want(1, 20*price))
	held := w.hold(t, `SELECT FROM budget_periods p JOIN budgets b ON b.id = p.budget_id WHERE b.scope = 'AD_GROUP' AND b.scope_id = $1 FOR UPDATE OF p`, int64(w.groups[0]))
	outcomes := make(chan []budget.Outcome)
	ctx := context.WithoutCancel(t.Context())
	go func() {
		got, err := n.Commit(ctx, []budget.Event{w.event(g[0].LeaseID, price)})
		if err != nil {
			t.Errorf("commit: %v", err)
		}
		outcomes <- got
	}()
	w.waitForLock(t)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		got, err := w.join(t).Commit(ctx, []budget.Event{w.event(g[1].LeaseID, price)})
		cancel()
		require.NoError(t, err)
		require.Equal(t, []budget.Outcome{budget.Billed}, got)
	}
	select {
	case <-outcomes:
		t.Fatal("the row is locked")
	default:
	}
	require.NoError(t, held.Rollback())
	require.Equal(t, []budget.Outcome{budget.Billed}, <-outcomes)
}

package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"gavel/budget"
	"gavel/budget/postgres"
	"gavel/internal/money"
)

// oldLease grants one that the clocks of Postgres and the node have left behind, so that only the watermarks hold it open.
func (w *world) oldLease(t *testing.T) (*postgres.Node, budget.Granted) {
	t.Helper()
	n, _, err := w.store.Join(t.Context(), uuid.New(), time.Time{}, postgres.GrantTimes{TTL: time.Millisecond, EventTTL: time.Millisecond})
	require.NoError(t, err)
	return n, grant(t, n, w.want(0, 3*price))[0]
}

// waitForLock returns when a backend of this database waits for a lock.
func (w *world) waitForLock(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		var waiting bool
		err := w.db.Get(&waiting, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`)
		return err == nil && waiting
	}, 10*time.Second, 2*time.Millisecond)
}

// hold begins a transaction that holds what query locks, until release is called.
func (w *world) hold(t *testing.T, query string, args ...any) *sqlx.Tx {
	t.Helper()
	tx, err := w.db.Beginx()
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	_, err = tx.Exec(query, args...)
	require.NoError(t, err)
	return tx
}

func TestALeaseThatIsExtendedWhileItIsAboutToCloseStaysOpen(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	n, g := w.oldLease(t)
	beat(t, n, g.MaxExp.Add(time.Second))
	extension := w.hold(t, `UPDATE leases SET max_exp = max_exp + interval '1 hour' WHERE id = $1`, int64(g.LeaseID))
	type result struct {
		closed int
		err    error
	}
	done := make(chan result)
	go func() {
		closed, err := w.store.CloseDue(context.WithoutCancel(t.Context()), 10)
		done <- result{closed, err}
	}()
	w.waitForLock(t)
	require.NoError(t, extension.Commit())
	r := <-done
	require.NoError(t, r.err)
	require.Zero(t, r.closed)
	require.Equal(t, []budget.Outcome{budget.Billed}, commit(t, n, w.event(g.LeaseID, price)))
	var free int64
	require.NoError(t, w.db.Get(&free, `SELECT free_nanos FROM events`))
	require.Zero(t, free, "it came out of the lease")
}

func TestTwoGrantsOfOneRequestAtOnceAreOne(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	n := w.join(t)
	_ = grant(t, n, w.want(0, price)) // the periods exist
	blocked := w.hold(t, `SELECT FROM budget_periods FOR UPDATE`)
	want := w.want(0, 2*price)
	answers := make(chan []budget.Granted, 2)
	for range 2 {
		go func() {
			granted, err := n.Grant(context.WithoutCancel(t.Context()), time.Now(), []budget.Want{want})
			if err != nil {
				t.Errorf("grant: %v", err)
			}
			answers <- granted
		}()
	}
	w.waitForLock(t)
	require.NoError(t, blocked.Rollback())
	require.Equal(t, <-answers, <-answers)
}

// TestAGrantDoesNotPassAFence: who is fenced while its grant waits for a budget has it granted before the fence, or not at all.
func TestAGrantDoesNotPassAFence(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	n := w.join(t)
	_ = grant(t, n, w.want(0, price))
	blocked := w.hold(t, `SELECT FROM budget_periods FOR UPDATE`)
	granted := make(chan error)
	go func() {
		_, err := n.Grant(context.WithoutCancel(t.Context()), time.Now(), []budget.Want{w.want(0, price)})
		granted <- err
	}()
	w.waitForLock(t)
	beat(t, n, time.Now()) // a beat does not wait for the grant
	fenced := make(chan error)
	go func() { fenced <- w.store.Fence(context.WithoutCancel(t.Context()), n.ID) }()
	select {
	case err := <-fenced:
		t.Fatalf("fenced while a grant was under way: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	require.NoError(t, blocked.Rollback())
	require.NoError(t, <-granted)
	require.NoError(t, <-fenced)
	_, err := n.Grant(t.Context(), time.Now(), []budget.Want{w.want(0, price)})
	require.ErrorIs(t, err, budget.ErrFenced)
}

func TestFencingANodeLetsItsLeasesClose(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	lost, g := w.oldLease(t)
	other := w.join(t)
	beat(t, other, g.MaxExp.Add(time.Second))
	closed, err := w.store.CloseDue(t.Context(), 10)
	require.NoError(t, err)
	require.Zero(t, closed)

	require.NoError(t, w.store.Fence(t.Context(), lost.ID))
	require.ErrorIs(t, w.store.Fence(t.Context(), lost.ID), postgres.ErrNotLive)
	require.ErrorIs(t, w.store.Fence(t.Context(), uuid.New()), postgres.ErrUnknownNode)
	closed, err = w.store.CloseDue(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, 1, closed)
	_, err = lost.Beat(t.Context(), time.Now())
	require.ErrorIs(t, err, budget.ErrFenced)
	require.Equal(t, []budget.Outcome{budget.Billed}, commit(t, lost, w.event(g.LeaseID, price)), "what its journal held is billed from what is free")

	back, start, err := w.store.Join(t.Context(), lost.ID, time.Time{}, times)
	require.NoError(t, err)
	require.Equal(t, lost.Epoch+1, back.Epoch)
	require.True(t, start.After(g.MaxExp), "it accepts nothing for what is closed")
}

func TestSilentNodesAreFencedByANodeThatWasThereAllTheTime(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	alive, silent := w.join(t), w.join(t)
	fence := func(want ...uuid.UUID) {
		t.Helper()
		got, err := alive.FenceSilent(t.Context(), time.Minute)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	ago := func(n *postgres.Node, column, interval string) {
		t.Helper()
		_, err := w.db.Exec(`UPDATE nodes SET `+column+` = now() - $2::interval WHERE id = $1`, n.ID, interval)
		require.NoError(t, err)
	}
	fence()
	ago(silent, "heartbeat_at", "2 minutes")
	fence() // alive has just come: perhaps Postgres was away for both
	ago(alive, "heard_since", "2 minutes")
	ago(alive, "heartbeat_at", "11 seconds")
	fence() // alive itself is late: a clock has jumped
	beat(t, alive, time.Now())
	fence() // and its beat after the gap begins anew
	ago(alive, "heard_since", "2 minutes")
	beat(t, alive, time.Now())
	fence(silent.ID)
	fence()
}

func TestNodesAreListedWithWhatTheyHold(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	a, b := w.join(t), w.join(t)
	g := grant(t, a, w.want(0, 2*price), w.want(0, 2*price))
	commit(t, a, w.event(g[0].LeaseID, price))
	require.NoError(t, b.Leave(t.Context()))
	nodes, err := w.store.Nodes(t.Context())
	require.NoError(t, err)
	require.Len(t, nodes, 2)
	require.Equal(t, a.ID, nodes[0].ID)
	require.Equal(t, 2, nodes[0].OpenLeases)
	require.Equal(t, map[string]money.Nanos{"USD": g[0].Amount + g[1].Amount - price}, nodes[0].Escrow)
	require.Less(t, nodes[0].Silent, time.Minute)
	require.Equal(t, budget.Stopped, nodes[1].State)
	require.Zero(t, nodes[1].OpenLeases)
}

func TestANodeStartsAtTheTimeOfPostgres(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	var now time.Time
	require.NoError(t, w.db.Get(&now, `SELECT now()`))
	_, start, err := w.store.Join(t.Context(), uuid.New(), time.Time{}, times)
	require.NoError(t, err)
	require.WithinDuration(t, now, start, time.Minute)
	newest := now.Add(time.Hour).Truncate(time.Microsecond)
	_, start, err = w.store.Join(t.Context(), uuid.New(), newest, times)
	require.NoError(t, err)
	require.True(t, start.Equal(newest), "its journal is ahead")
}

// TestTheFirstJoinOfANodeIsRaced: two processes that claim to be one node do not share an epoch.
func TestTheFirstJoinOfANodeIsRaced(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	id := uuid.New()
	epochs := make(chan int64, 4)
	for range 4 {
		go func() {
			n, _, err := w.store.Join(context.WithoutCancel(t.Context()), id, time.Time{}, times)
			if err != nil {
				t.Errorf("join: %v", err)
				epochs <- -1
				return
			}
			epochs <- n.Epoch
		}()
	}
	var got []int64
	for range 4 {
		got = append(got, <-epochs)
	}
	require.ElementsMatch(t, []int64{1, 2, 3, 4}, got)
}

package postgres_test

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"gavel/budget"
	"gavel/budget/postgres"
	"gavel/campaign"
	"gavel/internal/money"
	"gavel/internal/testenv"
)

const (
	day   = 20261123
	price = money.Nanos(1000)
)

var times = postgres.GrantTimes{TTL: 10 * time.Second, EventTTL: time.Hour}

// world is a database with one account, one campaign and ad groups, and the audit at its end.
type world struct {
	db     *sqlx.DB
	store  *postgres.Store
	groups []campaign.AdGroupID
	ads    []campaign.AdID
}

// setup makes ad groups with the given daily limits in nanos under one campaign with a lifetime limit; 0 means no limit.
func setup(t *testing.T, campaignLimit money.Nanos, daily ...money.Nanos) *world {
	t.Helper()
	db, err := sqlx.Connect("postgres", testenv.Postgres(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	w := &world{db: db, store: postgres.New(db)}
	t.Cleanup(func() { w.requireClean(t) })
	var account, camp int64
	require.NoError(t, db.Get(&account, `INSERT INTO ad_accounts (name, country, currency) VALUES ('a', 'US', 'USD') RETURNING id`))
	require.NoError(t, db.Get(&camp, `INSERT INTO campaigns (ad_account_id, name, status, objective_type) VALUES ($1, 'c', 'ACTIVE', 'AWARENESS') RETURNING id`, account))
	w.lines(t, account, "AD_ACCOUNT", account, 0, 0)
	w.lines(t, account, "CAMPAIGN", camp, 0, campaignLimit)
	for _, limit := range daily {
		var group, ad int64
		require.NoError(t, db.Get(&group, `INSERT INTO ad_groups (ad_account_id, campaign_id, name, status, billable_event, bid_micros, budget_type, budget_micros)
			VALUES ($1, $2, 'g', 'ACTIVE', 'IMPRESSION', 1000, 'DAILY', 1) RETURNING id`, account, camp))
		require.NoError(t, db.Get(&ad, `INSERT INTO ads (ad_account_id, campaign_id, ad_group_id, name, status, creative_type, destination_url)
			VALUES ($1, $2, $3, 'ad', 'ACTIVE', 'REGULAR', 'https://example.com') RETURNING id`, account, camp, group))
		w.lines(t, account, "AD_GROUP", group, limit, 0)
		w.groups, w.ads = append(w.groups, campaign.AdGroupID(group)), append(w.ads, campaign.AdID(ad))
	}
	return w
}

func (w *world) lines(t *testing.T, account int64, scope string, id int64, daily, lifetime money.Nanos) {
	t.Helper()
	for kind, limit := range map[string]money.Nanos{"DAILY": daily, "LIFETIME": lifetime} {
		_, err := w.db.Exec(`INSERT INTO budgets (ad_account_id, scope, scope_id, kind, limit_nanos) VALUES ($1, $2, $3, $4, nullif($5, 0))`, account, scope, id, kind, int64(limit))
		require.NoError(t, err)
	}
}

func (w *world) requireClean(t *testing.T) {
	t.Helper()
	audit, err := w.store.Audit(context.Background())
	require.NoError(t, err)
	require.Empty(t, audit.Violations)
	require.True(t, audit.Clean)
}

func (w *world) join(t *testing.T) *postgres.Node {
	t.Helper()
	n, _, err := w.store.Join(t.Context(), uuid.New(), time.Time{}, times)
	require.NoError(t, err)
	return n
}

func beat(t *testing.T, n *postgres.Node, watermark time.Time) {
	t.Helper()
	now, err := n.Beat(t.Context(), watermark)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), now, time.Minute)
}

func (w *world) want(group int, wish money.Nanos) budget.Want {
	return budget.Want{RequestID: uuid.New(), Key: budget.Key{AdGroupID: w.groups[group], Day: day}, PriceMax: price, Wish: wish}
}

func grant(t *testing.T, n *postgres.Node, wants ...budget.Want) []budget.Granted {
	t.Helper()
	granted, err := n.Grant(t.Context(), time.Now(), wants)
	require.NoError(t, err)
	require.Len(t, granted, len(wants))
	return granted
}

func (w *world) event(lease budget.LeaseID, amount money.Nanos) budget.Event {
	return budget.Event{
		EventID: budget.EventID{Day: day, ImpressionID: uuid.New(), Kind: budget.Impression},
		LeaseID: lease, AdID: w.ads[0], Price: amount, AcceptedAt: time.Now(),
	}
}

func commit(t *testing.T, n *postgres.Node, events ...budget.Event) []budget.Outcome {
	t.Helper()
	outcomes, err := n.Commit(t.Context(), events)
	require.NoError(t, err)
	require.Len(t, outcomes, len(events))
	return outcomes
}

func (w *world) period(t *testing.T, scope string) (posted, escrow int64) {
	t.Helper()
	require.NoError(t, w.db.QueryRowx(`SELECT posted_nanos, escrow_nanos FROM budget_periods p JOIN budgets b ON b.id = p.budget_id
		WHERE scope = $1 AND kind = 'LIFETIME' ORDER BY p.id LIMIT 1`, scope).Scan(&posted, &escrow))
	return posted, escrow
}

func TestAGrantIsTakenFromEveryLineAndRepeatedByItsRequest(t *testing.T) {
	t.Parallel()
	w := setup(t, 10*price, 100*price)
	n := w.join(t)
	want := w.want(0, 50*price)
	first := grant(t, n, want)[0]
	require.Equal(t, 5*price, first.Amount, "half of what the campaign has, the line with the least")
	require.WithinDuration(t, time.Now().Add(times.TTL+times.EventTTL), first.MaxExp, 5*time.Second)
	again := grant(t, n, want)[0]
	require.Equal(t, first.LeaseID, again.LeaseID)
	require.Equal(t, first.Amount, again.Amount)
	for _, scope := range []string{"AD_GROUP", "CAMPAIGN", "AD_ACCOUNT"} {
		posted, escrow := w.period(t, scope)
		require.Zero(t, posted)
		require.Equal(t, int64(5*price), escrow, scope)
	}
}

func TestAPausedAdGroupGetsNothing(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 100*price)
	n := w.join(t)
	_, err := w.db.Exec(`UPDATE ad_groups SET status = 'PAUSED'`)
	require.NoError(t, err)
	g := grant(t, n, w.want(0, price))[0]
	require.Zero(t, g.LeaseID)
	require.Equal(t, "NOT ACTIVE", g.BlockedBy)
}

func TestEventsAreBilledOnceFromTheLeaseThenFromTheRestThenNotAtAll(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 4*price)
	n := w.join(t)
	g := grant(t, n, w.want(0, 100*price))[0]
	require.Equal(t, 2*price, g.Amount)
	events := []budget.Event{w.event(g.LeaseID, price), w.event(g.LeaseID, price), w.event(g.LeaseID, price), w.event(g.LeaseID, price), w.event(g.LeaseID, price)}
	require.Equal(t, []budget.Outcome{budget.Billed, budget.Billed, budget.Billed, budget.Billed, budget.OverBudget}, commit(t, n, events...))
	require.Equal(t, []budget.Outcome{budget.Duplicate, budget.Duplicate}, commit(t, n, events[0], events[4]))
	twice := w.event(g.LeaseID, price)
	require.Equal(t, []budget.Outcome{budget.OverBudget, budget.Duplicate}, commit(t, n, twice, twice))
	posted, escrow := w.period(t, "AD_ACCOUNT")
	require.Equal(t, int64(4*price), posted)
	require.Zero(t, escrow)
	require.Equal(t, []budget.Outcome{budget.Invalid}, commit(t, n, w.event(999_999, price)), "a lease that does not exist")
}

// TestTheLastNanoIsRaced: many clients, many nodes, one small budget. Nothing is charged past it, whatever the interleaving.
func TestTheLastNanoIsRaced(t *testing.T) {
	t.Parallel()
	w := setup(t, 25*price, 20*price, 20*price)
	var wg sync.WaitGroup
	outcomes := make(chan budget.Outcome, 1000)
	for range 4 {
		n := w.join(t)
		for range 4 {
			wg.Go(func() {
				for range 8 {
					granted, err := n.Grant(t.Context(), time.Now(), []budget.Want{w.want(0, 3*price), w.want(1, 3*price)})
					if err != nil {
						t.Errorf("grant: %v", err)
						return
					}
					for _, g := range granted {
						if g.LeaseID == 0 {
							continue
						}
						got, err := n.Commit(t.Context(), []budget.Event{w.event(g.LeaseID, price), w.event(g.LeaseID, price)})
						if err != nil {
							t.Errorf("commit: %v", err)
						}
						for _, o := range got {
							outcomes <- o
						}
					}
				}
			})
		}
	}
	wg.Wait()
	close(outcomes)
	billed := 0
	for o := range outcomes {
		if o == budget.Billed {
			billed++
		}
	}
	posted, _ := w.period(t, "CAMPAIGN")
	require.Equal(t, int64(billed)*int64(price), posted)
	require.LessOrEqual(t, posted, int64(25*price))
}

// TestOneTokenOnEveryNode delivers each of many events a hundred times, spread over two nodes at once.
func TestOneTokenOnEveryNode(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 0)
	a, b := w.join(t), w.join(t)
	g := grant(t, a, w.want(0, 100*price))[0]
	events := make([]budget.Event, 10)
	for i := range events {
		events[i] = w.event(g.LeaseID, price)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	counts := map[budget.Outcome]int{}
	for i := range 100 {
		n := []*postgres.Node{a, b}[i%2]
		wg.Go(func() {
			got, err := n.Commit(t.Context(), events)
			if err != nil {
				t.Errorf("commit: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, o := range got {
				counts[o]++
			}
		})
	}
	wg.Wait()
	require.Equal(t, map[budget.Outcome]int{budget.Billed: 10, budget.Duplicate: 990}, counts)
}

func TestALeaseClosesOnlyWhenEveryLiveNodesWatermarkHasPassed(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	short := postgres.GrantTimes{TTL: time.Millisecond, EventTTL: time.Millisecond}
	a, _, err := w.store.Join(t.Context(), uuid.New(), time.Time{}, short)
	require.NoError(t, err)
	b := w.join(t)
	g := grant(t, a, w.want(0, 100*price))[0]
	late := g.MaxExp.Add(time.Second)
	beat(t, a, late)
	closed, err := w.store.CloseDue(t.Context(), 10)
	require.NoError(t, err)
	require.Zero(t, closed, "b may hold an event of it in its journal, whatever the clock says")
	require.Equal(t, []budget.Outcome{budget.Billed}, commit(t, b, w.event(g.LeaseID, price)))
	beat(t, b, late)
	closed, err = w.store.CloseDue(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, 1, closed)
	posted, escrow := w.period(t, "AD_GROUP")
	require.Equal(t, int64(price), posted)
	require.Zero(t, escrow, "at rest nothing is held (I6)")

	_, floor, err := w.store.Join(t.Context(), uuid.New(), time.Time{}, short)
	require.NoError(t, err)
	require.False(t, floor.Before(late.Truncate(time.Microsecond)), "a node that joins must not accept what is closed")
}

func TestWatermarksAndEpochs(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	id := uuid.New()
	first, _, err := w.store.Join(t.Context(), id, time.Time{}, times)
	require.NoError(t, err)
	high := time.Now().Add(time.Minute)
	beat(t, first, high)
	beat(t, first, high.Add(-time.Hour))
	second, floor, err := w.store.Join(t.Context(), id, time.Time{}, times)
	require.NoError(t, err)
	require.WithinDuration(t, high, floor, time.Millisecond, "a watermark never goes back, not over a restart either")
	require.Equal(t, first.Epoch+1, second.Epoch)
	_, err = first.Beat(t.Context(), high)
	require.ErrorIs(t, err, budget.ErrFenced)
	_, err = first.Grant(t.Context(), time.Now(), []budget.Want{w.want(0, price)})
	require.ErrorIs(t, err, budget.ErrFenced)
	require.NoError(t, second.Leave(t.Context()))
	require.ErrorIs(t, second.Leave(t.Context()), budget.ErrFenced)
}

func TestGiveBackKeepsWhatWasPromisedAndIsIdempotent(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	n := w.join(t)
	g := grant(t, n, w.want(0, 100*price))[0]
	promise := []budget.Promise{{LeaseID: g.LeaseID, Amount: 2 * price}}
	for range 2 {
		require.NoError(t, n.GiveBack(t.Context(), promise))
		_, escrow := w.period(t, "AD_GROUP")
		require.Equal(t, int64(2*price), escrow)
	}
	require.NoError(t, w.join(t).GiveBack(t.Context(), []budget.Promise{{LeaseID: g.LeaseID}}))
	_, escrow := w.period(t, "AD_GROUP")
	require.Equal(t, int64(2*price), escrow, "another node's lease is not touched")
}

func TestAnExtensionAddsAndMovesTheExpiry(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	n := w.join(t)
	first := grant(t, n, w.want(0, price))[0]
	more := w.want(0, 2*price)
	more.Extend, more.PriceMax = first.LeaseID, 2*price
	g := grant(t, n, more)[0]
	require.Equal(t, first.LeaseID, g.LeaseID)
	require.Equal(t, 3*price, g.Amount)
	require.False(t, g.MaxExp.Before(first.MaxExp))
	only := w.want(0, 0)
	only.Extend, only.PriceMax = first.LeaseID, 0
	require.Equal(t, 3*price, grant(t, n, only)[0].Amount)
}

func TestALimitCutBelowWhatIsHeldStopsGrantsAndHonoursPromises(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	n := w.join(t)
	g := grant(t, n, w.want(0, 4*price))[0]
	_, err := w.db.Exec(`UPDATE budget_periods p SET limit_nanos = $1, cap_nanos = greatest($1, posted_nanos + escrow_nanos)
		FROM budgets b WHERE b.id = p.budget_id AND b.scope = 'AD_GROUP' AND b.kind = 'DAILY'`, int64(price))
	require.NoError(t, err)
	denied := grant(t, n, w.want(0, price))[0]
	require.Zero(t, denied.LeaseID)
	require.Equal(t, "AD_GROUP DAILY", denied.BlockedBy)
	require.Equal(t, []budget.Outcome{budget.Billed, budget.Billed}, commit(t, n, w.event(g.LeaseID, price), w.event(g.LeaseID, price)))
	require.NoError(t, n.GiveBack(t.Context(), []budget.Promise{{LeaseID: g.LeaseID}}))
	var limit, ceiling sql.NullInt64
	require.NoError(t, w.db.QueryRowx(`SELECT p.limit_nanos, p.cap_nanos FROM budget_periods p JOIN budgets b ON b.id = p.budget_id
		WHERE b.scope = 'AD_GROUP' AND b.kind = 'DAILY'`).Scan(&limit, &ceiling))
	require.Equal(t, int64(price), limit.Int64)
	require.Equal(t, int64(2*price), ceiling.Int64, "the cap has followed down to what is posted")
}

func TestTheLedgerIsBalancedAndImmutable(t *testing.T) {
	t.Parallel()
	w := setup(t, 0, 10*price)
	n := w.join(t)
	g := grant(t, n, w.want(0, 4*price))[0]
	commit(t, n, w.event(g.LeaseID, price))
	_, err := w.db.Exec(`UPDATE ledger_entries SET debit_nanos = 1`)
	require.ErrorContains(t, err, "append-only")
	_, err = w.db.Exec(`INSERT INTO ledger_entries (transaction_id, account, currency, debit_nanos) SELECT id, 'advertiser:1', 'USD', 5 FROM ledger_transactions`)
	require.ErrorContains(t, err, "does not balance")
}

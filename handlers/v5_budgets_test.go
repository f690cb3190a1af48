package handlers

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"gavel/budget"
	budgets "gavel/budget/postgres"
	"gavel/campaign"
	"gavel/internal/money"
)

// The service's clock stands at noon UTC of this day.
const (
	budgetDay  = 20260310
	budgetDate = "2026-03-10"
)

// moneyBundle is the v5 API with a node beside it that takes grants and bills. Every test with it ends with the audit.
type moneyBundle struct {
	*v5Bundle
	store *budgets.Store
	node  *budgets.Node
	clock time.Time // the node's
}

func setupMoney(t *testing.T) *moneyBundle {
	t.Helper()
	b := &moneyBundle{v5Bundle: setupV5(t), clock: time.Now()}
	b.now = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	b.store = budgets.New(b.db)
	b.node = b.join()
	t.Cleanup(func() {
		audit, err := b.store.Audit(context.Background())
		require.NoError(t, err)
		require.Empty(t, audit.Violations)
	})
	return b
}

func (b *moneyBundle) join() *budgets.Node {
	b.Helper()
	n, _, err := b.store.Join(b.Context(), uuid.New(), time.Time{}, budgets.GrantTimes{TTL: time.Millisecond, EventTTL: time.Millisecond})
	require.NoError(b, err)
	return n
}

// want asks for wish nanos; an event costs 1,000 at most.
func want(group string, day int, wish money.Nanos) budget.Want {
	id, err := strconv.ParseInt(group, 10, 64)
	if err != nil {
		panic(err)
	}
	return budget.Want{RequestID: uuid.New(), Key: budget.Key{AdGroupID: campaign.AdGroupID(id), Day: day}, PriceMax: 1_000, Wish: wish}
}

func (b *moneyBundle) grant(w budget.Want) budget.Granted {
	b.Helper()
	granted, err := b.node.Grant(b.Context(), b.clock, []budget.Want{w})
	require.NoError(b, err)
	require.Len(b, granted, 1)
	return granted[0]
}

func (b *moneyBundle) bill(lease budget.LeaseID, day int, price money.Nanos) budget.Outcome {
	b.Helper()
	outcomes, err := b.node.Commit(b.Context(), []budget.Event{{
		EventID: budget.EventID{Day: day, ImpressionID: uuid.New(), Kind: budget.Impression}, LeaseID: lease, AdID: 1, Price: price, AcceptedAt: b.clock,
	}})
	require.NoError(b, err)
	return outcomes[0]
}

// closeLeases ends every lease that there is: the node has billed all that it accepted.
func (b *moneyBundle) closeLeases() {
	b.Helper()
	b.clock = b.clock.Add(time.Hour)
	_, err := b.node.Beat(b.Context(), b.clock)
	require.NoError(b, err)
	_, err = b.store.CloseDue(b.Context(), 10_000)
	require.NoError(b, err)
}

// create makes one entity and returns its id. more is added to the body's object.
func (b *moneyBundle) create(list, body, more string) string {
	b.Helper()
	id, _ := first(b.v5Bundle, b.ok("POST", accountRoot+"/"+list, "["+strings.TrimSuffix(body, "}")+more+"}]"))["id"].(string)
	return id
}

const (
	plainGroup = `,"budget_in_micro_currency":10000000`
	endsLate   = `,"end_time":8000000000`
)

func (b *moneyBundle) group(campaignID, more string) string {
	b.Helper()
	return b.create("ad_groups", `{"campaign_id":"`+campaignID+`","name":"g","billable_event":"IMPRESSION","bid_in_micro_currency":1000}`, more)
}

// lines are the six budget lines above an ad group, by name: "CAMPAIGN DAILY".
func (b *moneyBundle) lines(group string) map[string]map[string]any {
	b.Helper()
	lines := map[string]map[string]any{}
	for _, item := range b.ok("GET", accountRoot+"/budgets?ad_group_id="+group, "")["items"].([]any) {
		l := item.(map[string]any)
		lines[l["scope"].(string)+" "+l["kind"].(string)] = l
	}
	require.Len(b, lines, 6)
	return lines
}

// figures are what a line shows, in nanos: limit, posted, escrow, free. -1 is none.
func figures(b *moneyBundle, l map[string]any) (state string, nanos [4]int64) {
	b.Helper()
	for i, name := range []string{"limit", "posted", "escrow", "free"} {
		exact, micros := l[name+"_nanos"], l[name+"_in_micro_currency"]
		if nanos[i] = -1; exact == nil {
			require.Nil(b, micros)
			continue
		}
		n, err := strconv.ParseInt(exact.(string), 10, 64)
		require.NoError(b, err)
		require.InDelta(b, n/1000, micros, 0, name)
		nanos[i] = n
	}
	return l["state"].(string), nanos
}

// TestV5EveryLimitStops: whatever the limit is of and whatever period it is for, no more is granted and billed than it allows.
func TestV5EveryLimitStops(t *testing.T) {
	t.Parallel()
	const limit = money.Nanos(50_000) // 50 micros
	for name, c := range map[string]struct {
		account, campaign, group string
		// alone: the second ad group has a campaign of its own; free: it is not under the limit.
		alone, free bool
		blocked     string
	}{
		"ad group, daily":      {group: `,"budget_in_micro_currency":50`, free: true, blocked: "AD_GROUP DAILY"},
		"ad group, lifetime":   {group: `,"budget_type":"LIFETIME","budget_in_micro_currency":50` + endsLate, free: true, blocked: "AD_GROUP LIFETIME"},
		"campaign, daily":      {campaign: `,"daily_spend_cap":50`, group: plainGroup, blocked: "CAMPAIGN DAILY"},
		"campaign, lifetime":   {campaign: `,"lifetime_spend_cap":50`, group: plainGroup, blocked: "CAMPAIGN LIFETIME"},
		"optimized, daily":     {campaign: `,"is_campaign_budget_optimization":true,"daily_spend_cap":50`, blocked: "CAMPAIGN DAILY"},
		"optimized, lifetime":  {campaign: `,"is_campaign_budget_optimization":true,"lifetime_spend_cap":50`, blocked: "CAMPAIGN LIFETIME"},
		"account, daily":       {account: `{"daily_spend_cap":50}`, group: plainGroup, alone: true, blocked: "AD_ACCOUNT DAILY"},
		"account, lifetime":    {account: `{"lifetime_spend_cap":50}`, group: plainGroup, alone: true, blocked: "AD_ACCOUNT LIFETIME"},
		"account, the smaller": {account: `{"daily_spend_cap":50,"lifetime_spend_cap":60}`, group: plainGroup, alone: true, blocked: "AD_ACCOUNT DAILY"},
		"campaign over group":  {campaign: `,"daily_spend_cap":50`, group: `,"budget_in_micro_currency":51`, blocked: "CAMPAIGN DAILY"},
		"account over optimized, over group": {
			account: `{"lifetime_spend_cap":50}`, campaign: `,"is_campaign_budget_optimization":true,"lifetime_spend_cap":51`, alone: true, blocked: "AD_ACCOUNT LIFETIME",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupMoney(t)
			if c.account != "" {
				b.ok("PATCH", accountRoot, c.account)
			}
			campaignID := b.create("campaigns", campaignJSON, c.campaign)
			groups := []string{b.group(campaignID, c.group)}
			second := campaignID
			if c.alone {
				second = b.create("campaigns", campaignJSON, c.campaign)
			}
			if !c.free {
				groups = append(groups, b.group(second, c.group))
			}

			leases := b.grantAll(groups, c.blocked)
			total := money.Nanos(0)
			for _, l := range leases {
				total += l.Amount
			}
			require.Equal(t, limit, total, "all of it is granted, and not a nano more")
			state, f := figures(b, b.lines(groups[0])[c.blocked])
			require.Equal(t, "EXHAUSTED", state)
			require.Equal(t, [4]int64{int64(limit), 0, int64(limit), 0}, f)

			for _, l := range leases {
				require.Equal(t, budget.Billed, b.bill(l.LeaseID, budgetDay, l.Amount))
			}
			require.Equal(t, budget.OverBudget, b.bill(leases[0].LeaseID, budgetDay, 1), "the last nano is spent")
			state, f = figures(b, b.lines(groups[0])[c.blocked])
			require.Equal(t, "EXHAUSTED", state)
			require.Equal(t, [4]int64{int64(limit), int64(limit), 0, 0}, f)
			for _, kind := range []string{"DAILY", "LIFETIME"} {
				_, f = figures(b, b.lines(groups[0])["AD_ACCOUNT "+kind])
				require.Equal(t, int64(limit), f[1], "the account's lines count, with a limit and without")
			}

			tomorrow := b.grant(want(groups[0], budgetDay+1, 1_000))
			if strings.HasSuffix(c.blocked, "DAILY") {
				require.NotZero(t, tomorrow.Amount, "a new day has its own budget")
			} else {
				require.Zero(t, tomorrow.LeaseID, "a lifetime has no new day")
				require.Equal(t, c.blocked, tomorrow.BlockedBy)
			}
			if c.free {
				require.NotZero(t, b.grant(want(b.group(campaignID, plainGroup), budgetDay, 1_000)).Amount, "another ad group is not stopped")
			}
		})
	}
}

// grantAll takes turns with the ad groups until none gets anything, each for the same reason.
func (b *moneyBundle) grantAll(groups []string, blocked string) []budget.Granted {
	b.Helper()
	var leases []budget.Granted
	for denied, i := 0, 0; denied < len(groups); i++ {
		require.Less(b, i, 1_000, "it never ends")
		g := b.grant(want(groups[i%len(groups)], budgetDay, 7_777))
		if g.LeaseID != 0 {
			denied = 0
			leases = append(leases, g)
			continue
		}
		require.Equal(b, blocked, g.BlockedBy)
		denied++
	}
	return leases
}

// TestV5ACutStopsGrantsAtOnceAndIsShown: a limit may be cut below what is spent and promised. No promise is broken, none is added.
func TestV5ACutStopsGrantsAtOnceAndIsShown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		campaign, group string
		// path and change set the limit: %A is the account, %C the campaign, %G the ad group, %L the limit in micros.
		path, change, line string
	}{
		"ad group, daily":    {"", `,"budget_in_micro_currency":100`, "/ad_groups", `[{"id":"%G","budget_in_micro_currency":%L}]`, "AD_GROUP DAILY"},
		"ad group, lifetime": {"", `,"budget_type":"LIFETIME","budget_in_micro_currency":100` + endsLate, "/ad_groups", `[{"id":"%G","budget_in_micro_currency":%L}]`, "AD_GROUP LIFETIME"},
		"campaign, daily":    {`,"daily_spend_cap":100`, plainGroup, "/campaigns", `[{"id":"%C","daily_spend_cap":%L}]`, "CAMPAIGN DAILY"},
		"campaign, lifetime": {`,"lifetime_spend_cap":100`, plainGroup, "/campaigns", `[{"id":"%C","lifetime_spend_cap":%L}]`, "CAMPAIGN LIFETIME"},
		"optimized":          {`,"is_campaign_budget_optimization":true,"lifetime_spend_cap":100`, "", "/campaigns", `[{"id":"%C","lifetime_spend_cap":%L}]`, "CAMPAIGN LIFETIME"},
		"account, daily":     {"", plainGroup, "", `{"daily_spend_cap":%L}`, "AD_ACCOUNT DAILY"},
		"account, lifetime":  {"", plainGroup, "", `{"lifetime_spend_cap":%L}`, "AD_ACCOUNT LIFETIME"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupMoney(t)
			campaignID := b.create("campaigns", campaignJSON, c.campaign)
			group := b.group(campaignID, c.group)
			setLimit := func(micros int) {
				t.Helper()
				b.ok("PATCH", accountRoot+c.path, strings.NewReplacer("%C", campaignID, "%G", group, "%L", strconv.Itoa(micros)).Replace(c.change))
			}
			requireLine := func(state string, limit, posted, escrow, free int64) {
				t.Helper()
				l := b.lines(group)[c.line]
				gotState, got := figures(b, l)
				require.Equal(t, [4]int64{limit, posted, escrow, free}, got)
				require.Equal(t, state, gotState)
				if strings.HasSuffix(c.line, "DAILY") {
					require.Equal(t, budgetDate, l["day"])
				} else {
					require.Nil(t, l["day"])
				}
			}
			requireDenied := func() {
				t.Helper()
				denied := b.grant(want(group, budgetDay, 1_000))
				require.Zero(t, denied.LeaseID)
				require.Equal(t, c.line, denied.BlockedBy)
			}
			setLimit(100)
			g := b.grant(want(group, budgetDay, 40_000))
			require.Equal(t, money.Nanos(40_000), g.Amount)
			require.Equal(t, budget.Billed, b.bill(g.LeaseID, budgetDay, 10_501))
			requireLine("OPEN", 100_000, 10_501, 29_499, 60_000)

			setLimit(20)
			requireLine("OVER_LIMIT_AFTER_CUT", 20_000, 10_501, 29_499, 0)
			requireDenied()
			longer := want(group, budgetDay, 1_000)
			longer.Extend = g.LeaseID
			require.Equal(t, g.Amount, b.grant(longer).Amount, "a lease does not grow either")
			requireLine("OVER_LIMIT_AFTER_CUT", 20_000, 10_501, 29_499, 0)

			require.Equal(t, budget.Billed, b.bill(g.LeaseID, budgetDay, 5_000), "what was promised is billed")
			requireLine("OVER_LIMIT_AFTER_CUT", 20_000, 15_501, 24_499, 0)
			b.closeLeases()
			requireLine("OPEN", 20_000, 15_501, 0, 4_499)
			last := b.grant(want(group, budgetDay, 4_499))
			require.Positive(t, last.Amount)
			require.LessOrEqual(t, last.Amount, money.Nanos(4_499))

			setLimit(15) // below what is posted alone: nothing that closes can mend it
			b.closeLeases()
			requireLine("OVER_LIMIT_AFTER_CUT", 15_000, 15_501, 0, 0)
			requireDenied()
			require.Equal(t, budget.OverBudget, b.bill(last.LeaseID, budgetDay, 1), "a closed lease has no promise left")

			setLimit(30)
			requireLine("OPEN", 30_000, 15_501, 0, 14_499)
			require.Positive(t, b.grant(want(group, budgetDay, 1_000)).Amount)
		})
	}
}

// TestV5ACutHoldsFromItsAnswerOn: nodes take grants all the time. Once the cut is answered, none of them gets any more.
func TestV5ACutHoldsFromItsAnswerOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ path, set, cut, line string }{
		"account":  {"", `{"daily_spend_cap":1000000}`, `{"daily_spend_cap":1}`, "AD_ACCOUNT DAILY"},
		"campaign": {"/campaigns", `[{"id":"%C","lifetime_spend_cap":1000000}]`, `[{"id":"%C","lifetime_spend_cap":1}]`, "CAMPAIGN LIFETIME"},
		"ad group": {"/ad_groups", `[{"id":"%G","budget_in_micro_currency":1000000}]`, `[{"id":"%G","budget_in_micro_currency":1}]`, "AD_GROUP DAILY"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupMoney(t)
			campaignID := b.create("campaigns", campaignJSON, "")
			group := b.group(campaignID, plainGroup)
			patch := func(body string) {
				b.ok("PATCH", accountRoot+c.path, strings.NewReplacer("%C", campaignID, "%G", group).Replace(body))
			}
			patch(c.set)
			var answered atomic.Bool
			var granted, late atomic.Int64
			var nodes sync.WaitGroup
			enough := make(chan struct{})
			for range 4 {
				n := b.join()
				nodes.Go(func() {
					for denied := 0; denied < 3; {
						after := answered.Load()
						got, err := n.Grant(t.Context(), b.clock, []budget.Want{want(group, budgetDay, 1_000)})
						if err != nil {
							t.Errorf("grant: %v", err)
							return
						}
						if got[0].LeaseID == 0 {
							denied++
							continue
						}
						if after {
							late.Add(1)
							return
						}
						if granted.Add(1) == 40 {
							close(enough)
						}
					}
				})
			}
			<-enough
			patch(c.cut)
			answered.Store(true)
			state, f := figures(b, b.lines(group)[c.line])
			nodes.Wait()
			require.Equal(t, "OVER_LIMIT_AFTER_CUT", state)
			require.Zero(t, late.Load(), "grants that were asked for after the answer")
			_, end := figures(b, b.lines(group)[c.line])
			require.Equal(t, f, end, "nothing was added after the answer")
			require.Equal(t, granted.Load()*1_000, end[2])
		})
	}
}

func TestV5BudgetsArePaged(t *testing.T) {
	t.Parallel()
	b := setupMoney(t)
	campaignID := b.create("campaigns", campaignJSON, "")
	for range 2 {
		b.group(campaignID, plainGroup)
	}
	for _, order := range []string{"ASCENDING", "DESCENDING"} {
		seen := map[string]bool{}
		for bookmark, pages := "", 0; ; pages++ {
			page := b.ok("GET", fmt.Sprintf("%s/budgets?page_size=3&order=%s%s", accountRoot, order, bookmark), "")
			for _, item := range page["items"].([]any) {
				l := item.(map[string]any)
				require.Equal(t, b.account, l["ad_account_id"])
				require.False(t, seen[l["id"].(string)])
				seen[l["id"].(string)] = true
			}
			next, more := page["bookmark"].(string)
			if !more {
				require.Equal(t, 2, pages)
				break
			}
			bookmark = "&bookmark=" + next
			require.Equal(t, []string{"bookmark"}, b.call("GET", accountRoot+"/campaigns?order="+order+bookmark, "").fields())
		}
		require.Len(t, seen, 2+2+2*2)
	}
	require.Len(t, b.ok("GET", accountRoot+"/budgets?campaign_id="+campaignID, "")["items"], 4)
}

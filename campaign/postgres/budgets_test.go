package postgres_test

import (
	"database/sql"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/fault"
	"gavel/internal/money"
)

type line struct {
	Scope string        `db:"scope"`
	Kind  string        `db:"kind"`
	Limit sql.NullInt64 `db:"limit_nanos"`
}

func (b *bundle) lines(scopeID int64) []line {
	b.Helper()
	var lines []line
	require.NoError(b, b.db.SelectContext(b.Context(), &lines, `SELECT scope, kind, limit_nanos FROM budgets WHERE scope_id = $1 ORDER BY kind`, scopeID))
	return lines
}

func limited(nanos int64) sql.NullInt64 { return sql.NullInt64{Int64: nanos, Valid: true} }

func TestEveryEntityHasItsTwoLines(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("UTC")
	none := sql.NullInt64{}
	require.Equal(t, []line{{"AD_ACCOUNT", "DAILY", none}, {"AD_ACCOUNT", "LIFETIME", none}}, b.lines(int64(a.ID)))
	plain := b.campaign(a.ID)
	require.Equal(t, []line{{"CAMPAIGN", "DAILY", none}, {"CAMPAIGN", "LIFETIME", none}}, b.lines(int64(plain.ID)))
	cbo := b.campaign(a.ID, func(in *campaign.CampaignInput) {
		in.BudgetOptimization, in.LifetimeSpendCap = campaign.Some(true), campaign.Some[money.Micros](9)
	})
	require.Equal(t, []line{{"CAMPAIGN", "DAILY", none}, {"CAMPAIGN", "LIFETIME", limited(9_000)}}, b.lines(int64(cbo.ID)))
	require.Equal(t, []line{{"AD_GROUP", "DAILY", limited(10_000_000_000)}, {"AD_GROUP", "LIFETIME", none}}, b.lines(int64(b.adGroup(plain).ID)))
	lifetime := b.adGroup(plain, func(in *campaign.AdGroupInput) {
		in.BudgetType, in.EndTime = campaign.Some(campaign.LifetimeBudget), campaign.Some(time.Unix(9_000_000_000, 0))
	})
	require.Equal(t, []line{{"AD_GROUP", "DAILY", none}, {"AD_GROUP", "LIFETIME", limited(10_000_000_000)}}, b.lines(int64(lifetime.ID)))
	below := b.adGroup(cbo, func(in *campaign.AdGroupInput) { in.Budget = campaign.Opt[money.Micros]{} })
	require.Equal(t, campaign.CBOBudget, below.BudgetType)
	require.Equal(t, []line{{"AD_GROUP", "DAILY", none}, {"AD_GROUP", "LIFETIME", none}}, b.lines(int64(below.ID)))
}

type period struct {
	Period int           `db:"period"`
	Limit  sql.NullInt64 `db:"limit_nanos"`
	Cap    sql.NullInt64 `db:"cap_nanos"`
}

func (b *bundle) periods(scopeID int64, kind campaign.BudgetKind) []period {
	b.Helper()
	var periods []period
	require.NoError(b, b.db.SelectContext(b.Context(), &periods, `SELECT p.period, p.limit_nanos, p.cap_nanos
		FROM budget_periods p JOIN budgets b ON b.id = p.budget_id WHERE b.scope_id = $1 AND b.kind = $2 ORDER BY p.period`, scopeID, string(kind)))
	return periods
}

func (b *bundle) open(scopeID int64, kind campaign.BudgetKind, period int, posted, escrow int64) {
	b.Helper()
	_, err := b.db.ExecContext(b.Context(), `INSERT INTO budget_periods (budget_id, period, limit_nanos, cap_nanos, posted_nanos, escrow_nanos)
		SELECT id, $3, limit_nanos, limit_nanos, $4, $5 FROM budgets WHERE scope_id = $1 AND kind = $2`, scopeID, string(kind), period, posted, escrow)
	require.NoError(b, err)
}

func (b *bundle) setBudget(g campaign.AdGroup, micros money.Micros) {
	b.Helper()
	results, err := b.svc.UpdateAdGroups(b.Context(), g.AdAccountID, items(campaign.AdGroupUpdate{ID: g.ID, AdGroupInput: campaign.AdGroupInput{Budget: campaign.Some(micros)}}))
	written(b, results, err)
}

func TestAChangeOfLimitReachesTheOpenPeriods(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// It is 23:30 UTC on the 10th, so in Berlin the 11th has begun and in New York it is still the 10th.
	for zone, today := range map[string]int{"Europe/Berlin": 20260311, "America/New_York": 20260310} {
		a := b.account(zone)
		g := b.adGroup(b.campaign(a.ID))
		id := int64(g.ID)
		b.open(id, campaign.BudgetDaily, today-1, 9_000_000_000, 0)
		b.open(id, campaign.BudgetDaily, today, 4_000_000_000, 1_000_000_000)
		b.open(id, campaign.BudgetDaily, today+1, 0, 1_000_000_000)
		b.open(id, campaign.BudgetLifetime, 0, 7_000_000_000, 0)

		b.setBudget(g, 3_000_000)
		require.Equal(t, []period{
			{today - 1, limited(10_000_000_000), limited(10_000_000_000)},
			{today, limited(3_000_000_000), limited(5_000_000_000)}, // what is posted and escrowed stays legal
			{today + 1, limited(3_000_000_000), limited(3_000_000_000)},
		}, b.periods(id, campaign.BudgetDaily), zone)
		require.Equal(t, []period{{0, sql.NullInt64{}, sql.NullInt64{}}}, b.periods(id, campaign.BudgetLifetime), "a line without a limit is not touched")
		require.Equal(t, limited(3_000_000_000), b.lines(id)[0].Limit)

		b.setBudget(g, 20_000_000)
		require.Equal(t, period{today, limited(20_000_000_000), limited(20_000_000_000)}, b.periods(id, campaign.BudgetDaily)[1], zone)
	}
}

func TestACapCanComeAndGo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("UTC")
	c := b.campaign(a.ID)
	id := int64(c.ID)
	b.open(id, campaign.BudgetLifetime, 0, 7_000, 500)
	b.open(id, campaign.BudgetDaily, 20260310, 7_000, 500)
	update := func(in campaign.CampaignInput) {
		results, err := b.svc.UpdateCampaigns(t.Context(), a.ID, items(campaign.CampaignUpdate{ID: c.ID, CampaignInput: in}))
		written(b, results, err)
	}
	update(campaign.CampaignInput{LifetimeSpendCap: campaign.Some[money.Micros](5)})
	require.Equal(t, []period{{0, limited(5_000), limited(7_500)}}, b.periods(id, campaign.BudgetLifetime))
	update(campaign.CampaignInput{LifetimeSpendCap: campaign.Null[money.Micros](), DailySpendCap: campaign.Some[money.Micros](8)})
	require.Equal(t, []period{{0, sql.NullInt64{}, sql.NullInt64{}}}, b.periods(id, campaign.BudgetLifetime))
	require.Equal(t, []period{{20260310, limited(8_000), limited(8_000)}}, b.periods(id, campaign.BudgetDaily))
}

func (b *bundle) setAccountLimit(account campaign.AdAccountID, in campaign.AdAccountUpdate) campaign.AdAccount {
	b.Helper()
	a, err := b.svc.UpdateAdAccount(b.Context(), account, items(in)[0])
	require.NoError(b, err)
	return a
}

func TestAnAccountsSpendLimitReachesTheOpenPeriods(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, other := b.account("Europe/Berlin"), b.account("UTC") // in Berlin the 11th has begun
	id := int64(a.ID)
	b.open(id, campaign.BudgetDaily, 20260310, 9_000, 0)
	b.open(id, campaign.BudgetDaily, 20260311, 4_000, 1_000)
	b.open(id, campaign.BudgetLifetime, 0, 13_000, 1_000)
	none := period{0, sql.NullInt64{}, sql.NullInt64{}}
	b.drain()

	set := b.setAccountLimit(a.ID, campaign.AdAccountUpdate{DailySpendCap: campaign.Some[money.Micros](3), LifetimeSpendCap: campaign.Some[money.Micros](20)})
	require.Equal(t, money.Micros(3), set.DailySpendCap)
	require.Equal(t, money.Micros(20), set.LifetimeSpendCap)
	require.False(t, set.UpdatedAt.Before(a.UpdatedAt))
	read, err := b.svc.AdAccount(t.Context(), a.ID)
	require.NoError(t, err)
	require.Equal(t, set, read)
	require.Equal(t, []period{
		{20260310, sql.NullInt64{}, sql.NullInt64{}}, // a day that is over stays as it was
		{20260311, limited(3_000), limited(5_000)},
	}, b.periods(id, campaign.BudgetDaily))
	require.Equal(t, []period{{0, limited(20_000), limited(20_000)}}, b.periods(id, campaign.BudgetLifetime))
	require.Equal(t, []line{{"AD_ACCOUNT", "DAILY", limited(3_000)}, {"AD_ACCOUNT", "LIFETIME", limited(20_000)}}, b.lines(id), "a new day begins with it")

	b.setAccountLimit(a.ID, campaign.AdAccountUpdate{LifetimeSpendCap: campaign.Null[money.Micros]()})
	require.Equal(t, []period{none}, b.periods(id, campaign.BudgetLifetime))
	require.Equal(t, limited(3_000), b.periods(id, campaign.BudgetDaily)[1].Limit, "what is not named stays")
	b.setAccountLimit(a.ID, campaign.AdAccountUpdate{DailySpendCap: campaign.Some[money.Micros](6)})
	require.Equal(t, period{20260311, limited(6_000), limited(6_000)}, b.periods(id, campaign.BudgetDaily)[1])
	require.Empty(t, b.drain(), "nothing that is served has changed")
	require.Equal(t, []line{{"AD_ACCOUNT", "DAILY", sql.NullInt64{}}, {"AD_ACCOUNT", "LIFETIME", sql.NullInt64{}}}, b.lines(int64(other.ID)))
}

func TestABadSpendLimitIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("UTC")
	_, err := b.svc.UpdateAdAccount(t.Context(), a.ID, campaign.Item[campaign.AdAccountUpdate]{
		Input:    campaign.AdAccountUpdate{DailySpendCap: campaign.Some[money.Micros](0), LifetimeSpendCap: campaign.Some[money.Micros](5)},
		Problems: []fault.Field{{Name: "colour", Message: "is not a known field"}},
	})
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
	require.Len(t, fault.From(err).Fields, 2)
	read, err := b.svc.AdAccount(t.Context(), a.ID)
	require.NoError(t, err)
	require.Equal(t, a, read, "nothing is written")
	_, err = b.svc.UpdateAdAccount(t.Context(), 5, items(campaign.AdAccountUpdate{DailySpendCap: campaign.Some[money.Micros](5)})[0])
	require.ErrorIs(t, err, campaign.ErrAdAccountNotFound)
}

// Writers of one account wait for each other and do not undo each other: one sets the daily limit, one the lifetime limit.
func TestConcurrentChangesOfAnAccountsSpendLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("UTC")
	c := b.campaign(a.ID)
	b.open(int64(a.ID), campaign.BudgetDaily, 20260310, 0, 0)
	atOnce(12, func(i int) {
		in := campaign.AdAccountUpdate{DailySpendCap: campaign.Some(money.Micros(i + 1))}
		if i%2 == 0 {
			in = campaign.AdAccountUpdate{LifetimeSpendCap: campaign.Some(money.Micros(i + 1))}
		}
		if _, err := b.svc.UpdateAdAccount(t.Context(), a.ID, items(in)[0]); err != nil {
			t.Errorf("update %d: %v", i, err)
		}
		in2 := campaign.CampaignInput{DailySpendCap: campaign.Some(money.Micros(i + 1))}
		if _, err := b.svc.UpdateCampaigns(t.Context(), a.ID, items(campaign.CampaignUpdate{ID: c.ID, CampaignInput: in2})); err != nil {
			t.Errorf("update campaign %d: %v", i, err)
		}
	})
	read, err := b.svc.AdAccount(t.Context(), a.ID)
	require.NoError(t, err)
	require.NotZero(t, read.DailySpendCap)
	require.NotZero(t, read.LifetimeSpendCap)
	daily, err := read.DailySpendCap.Nanos()
	require.NoError(t, err)
	lifetime, err := read.LifetimeSpendCap.Nanos()
	require.NoError(t, err)
	require.Equal(t, []line{{"AD_ACCOUNT", "DAILY", limited(int64(daily))}, {"AD_ACCOUNT", "LIFETIME", limited(int64(lifetime))}}, b.lines(int64(a.ID)))
	require.Equal(t, []period{{20260310, limited(int64(daily)), limited(int64(daily))}}, b.periods(int64(a.ID), campaign.BudgetDaily))
}

func TestBudgetLinesAreListedAsTheyStand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("Europe/Berlin") // it is the 11th there
	b.setAccountLimit(a.ID, campaign.AdAccountUpdate{DailySpendCap: campaign.Some[money.Micros](3)})
	c := b.campaign(a.ID)
	g, sibling := b.adGroup(c), b.adGroup(c)
	elsewhere := b.adGroup(b.campaign(a.ID))
	stranger := b.adGroup(b.campaign(b.account("UTC").ID))
	b.open(int64(a.ID), campaign.BudgetDaily, 20260310, 2_000, 0)
	b.open(int64(a.ID), campaign.BudgetDaily, 20260311, 1_001, 500)
	b.open(int64(g.ID), campaign.BudgetLifetime, 0, 7_777, 1)

	type shown struct {
		scope          string
		id             int64
		kind           campaign.BudgetKind
		day            int
		limit          money.Nanos
		posted, escrow money.Nanos
	}
	list := func(f campaign.BudgetFilter, page campaign.Page) []shown {
		lines, err := b.svc.Budgets(t.Context(), a.ID, f, page)
		require.NoError(t, err)
		out := []shown{}
		for _, l := range lines {
			require.Equal(t, a.ID, l.AdAccountID)
			require.Equal(t, l.Limit != 0, l.Limited)
			out = append(out, shown{l.Scope, l.ScopeID, l.Kind, l.Day, l.Limit, l.Posted, l.Escrow})
		}
		return out
	}
	const today = 20260311
	account := []shown{{"AD_ACCOUNT", int64(a.ID), "DAILY", today, 3_000, 1_001, 500}, {"AD_ACCOUNT", int64(a.ID), "LIFETIME", 0, 0, 0, 0}}
	ofCampaign := []shown{{"CAMPAIGN", int64(c.ID), "DAILY", today, 0, 0, 0}, {"CAMPAIGN", int64(c.ID), "LIFETIME", 0, 0, 0, 0}}
	ofGroup := []shown{{"AD_GROUP", int64(g.ID), "DAILY", today, 10_000_000_000, 0, 0}, {"AD_GROUP", int64(g.ID), "LIFETIME", 0, 0, 7_777, 1}}
	all := campaign.Page{Size: 99}
	require.Equal(t, slices.Concat(account, ofCampaign, ofGroup), list(campaign.BudgetFilter{AdGroup: g.ID}, all))
	require.Equal(t, slices.Concat(account, ofCampaign), list(campaign.BudgetFilter{Campaign: c.ID}, all))
	down := list(campaign.BudgetFilter{AdGroup: g.ID}, campaign.Page{Size: 99, Descending: true})
	slices.Reverse(down)
	require.Equal(t, slices.Concat(account, ofCampaign, ofGroup), down)
	whole := list(campaign.BudgetFilter{}, all)
	require.Len(t, whole, 2+2*2+3*2, "the account, two campaigns, three ad groups")
	for _, of := range []campaign.AdGroup{g, sibling, elsewhere} {
		require.True(t, slices.ContainsFunc(whole, func(s shown) bool { return s.id == int64(of.ID) }))
	}
	require.False(t, slices.ContainsFunc(whole, func(s shown) bool { return s.id == int64(stranger.ID) }))

	// Page by page, both ways, with and without a filter: every line once.
	for _, f := range []campaign.BudgetFilter{{}, {AdGroup: g.ID}} {
		for _, descending := range []bool{false, true} {
			want := list(f, campaign.Page{Size: 99, Descending: descending})
			var got []shown
			for page := (campaign.Page{Size: 2, Descending: descending}); ; {
				lines, err := b.svc.Budgets(t.Context(), a.ID, f, page)
				require.NoError(t, err)
				got = append(got, list(f, page)...)
				if len(lines) < page.Size {
					break
				}
				page.After = lines[len(lines)-1].ID
			}
			require.Equal(t, want, got)
		}
	}

	for name, c := range map[string]struct {
		account campaign.AdAccountID
		f       campaign.BudgetFilter
		want    error
	}{
		"no account":         {5, campaign.BudgetFilter{}, campaign.ErrAdAccountNotFound},
		"no campaign":        {a.ID, campaign.BudgetFilter{Campaign: 5}, campaign.ErrCampaignNotFound},
		"another's campaign": {a.ID, campaign.BudgetFilter{Campaign: stranger.CampaignID}, campaign.ErrCampaignNotFound},
		"another's ad group": {a.ID, campaign.BudgetFilter{AdGroup: stranger.ID}, campaign.ErrAdGroupNotFound},
	} {
		_, err := b.svc.Budgets(t.Context(), c.account, c.f, all)
		require.ErrorIs(t, err, c.want, name)
	}
	_, err := b.svc.Budgets(t.Context(), a.ID, campaign.BudgetFilter{Campaign: c.ID, AdGroup: g.ID}, all)
	require.Equal(t, fault.Invalid, fault.CodeOf(err))
}

func TestRenamingDoesNotTouchBudgets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, c, g, _ := b.tree()
	b.open(int64(g.ID), campaign.BudgetDaily, 20260310, 9_999_999_999, 1)
	versions := func() (v []string) { // xmin changes with every write of a row
		require.NoError(t, b.db.SelectContext(t.Context(), &v, `SELECT 'b' || id || ':' || xmin FROM budgets UNION ALL SELECT 'p' || id || ':' || xmin FROM budget_periods ORDER BY 1`))
		return v
	}
	before := versions()
	cs, err := b.svc.UpdateCampaigns(t.Context(), a.ID, items(campaign.CampaignUpdate{ID: c.ID, CampaignInput: campaign.CampaignInput{Name: campaign.Some("renamed")}}))
	written(b, cs, err)
	gs, err := b.svc.UpdateAdGroups(t.Context(), a.ID, items(campaign.AdGroupUpdate{ID: g.ID, AdGroupInput: campaign.AdGroupInput{
		Name: campaign.Some("renamed"), Status: campaign.Some(campaign.Paused), Budget: campaign.Some(g.Budget), Bid: campaign.Some[money.Micros](1),
	}}))
	written(b, gs, err)
	require.Equal(t, before, versions())
}

// A grant opens the period of a new day while the limit is cut: whichever comes first, the period ends with the new limit.
func TestACutDoesNotMissAPeriodThatIsBeingOpened(t *testing.T) {
	t.Parallel()
	b := setup(t)
	g := b.adGroup(b.campaign(b.account("UTC").ID))
	grant, err := b.db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	// As budget/postgres opens it: a share lock on the line, then the period with the limit that was read.
	_, err = grant.ExecContext(t.Context(), `WITH l AS (SELECT id, limit_nanos FROM budgets WHERE scope_id = $1 AND kind = 'DAILY' FOR SHARE)
		INSERT INTO budget_periods (budget_id, period, limit_nanos, cap_nanos) SELECT id, 20260310, limit_nanos, limit_nanos FROM l`, int64(g.ID))
	require.NoError(t, err)
	cut := make(chan error, 1)
	go func() {
		in := campaign.AdGroupInput{Budget: campaign.Some[money.Micros](1_000_000)}
		_, err := b.svc.UpdateAdGroups(t.Context(), g.AdAccountID, items(campaign.AdGroupUpdate{ID: g.ID, AdGroupInput: in}))
		cut <- err
	}()
	require.Eventually(t, func() bool {
		return b.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) > 0
	}, 10*time.Second, 5*time.Millisecond, "the cut waits for the grant")
	require.NoError(t, grant.Commit())
	require.NoError(t, <-cut)
	require.Equal(t, []period{{20260310, limited(1_000_000_000), limited(1_000_000_000)}}, b.periods(int64(g.ID), campaign.BudgetDaily))
}

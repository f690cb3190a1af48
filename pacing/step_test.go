package pacing_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/campaign"
	"gavel/internal/money"
	"gavel/pacing"
)

func tomorrow() time.Time { return midnight.AddDate(0, 0, 1) }

// TestAutomaticSpendsTheBudgetForLess: 95 to 100 % of the budget by the end of the day, at a lower average price than bidding the cap.
func TestAutomaticSpendsTheBudgetForLess(t *testing.T) {
	t.Parallel()
	workday := campaign.WeekHours{}
	for h := 9; h < 17; h++ {
		workday = workday.With(h)
	}
	for name, c := range map[string]struct {
		change func(*market, *pacing.Reading)
		share  float64 // of what bidding the cap could spend
	}{
		"a third of the market": {func(*market, *pacing.Reading) {}, 0.33},
		"a twentieth":           {func(*market, *pacing.Reading) {}, 0.05},
		"most of it":            {func(*market, *pacing.Reading) {}, 0.7},
		"an even day": {func(m *market, _ *pacing.Reading) {
			m.perHour = [24]float64{}
			for h := range m.perHour {
				m.perHour[h] = 4000
			}
		}, 0.33},
		"a cap far above": {func(_ *market, r *pacing.Reading) { r.Bid *= 50 }, 0.2},
		"clicks": {func(m *market, r *pacing.Reading) {
			m.ctr, r.Event, m.lag = 0.05, campaign.BillClickthrough, 40*time.Second
			r.Bid *= 20
		}, 0.3},
		"in some hours":            {func(_ *market, r *pacing.Reading) { r.Hours = workday }, 0.3},
		"billed a minute later":    {func(m *market, _ *pacing.Reading) { m.lag = time.Minute }, 0.33},
		"a round in half a minute": {func(m *market, _ *pacing.Reading) { m.every = 30 * time.Second }, 0.33},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := func(seed uint64, strategy campaign.BidStrategy, limit money.Nanos) outcome {
				m, r := aMarket(seed), pacing.Reading{Strategy: strategy, Event: campaign.BillImpression, Bid: 3_000_000}
				c.change(m, &r)
				return m.day(r, limit, pacing.State{}, midnight, tomorrow())
			}
			most := run(7, campaign.MaxBid, math.MaxInt64)
			limit := money.Nanos(float64(most.spent) * c.share)
			plain, paced := run(8, campaign.MaxBid, limit), run(8, campaign.AutomaticBid, limit)
			t.Logf("budget %v: MAX_BID spent %.1f %% at %.0f; AUTOMATIC_BID %.2f %% at %.0f for %d, multiplier %.3f to %.3f", limit,
				100*float64(plain.spent)/float64(limit), plain.average(), 100*float64(paced.spent)/float64(limit), paced.average(), paced.events, paced.low, paced.high)
			require.LessOrEqual(t, paced.spent, limit)
			require.GreaterOrEqual(t, float64(paced.spent), 0.95*float64(limit))
			require.Less(t, paced.average(), plain.average())
		})
	}
}

// TestAutomaticSpendsEvenly: where the day is even the spending is.
func TestAutomaticSpendsEvenly(t *testing.T) {
	t.Parallel()
	m := aMarket(3)
	for h := range m.perHour {
		m.perHour[h] = 4000
	}
	r := pacing.Reading{Strategy: campaign.AutomaticBid, Event: campaign.BillImpression, Bid: 3_000_000}
	const limit = 15_000_000_000
	o := m.day(r, limit, pacing.State{}, midnight, tomorrow())
	for h, spent := range o.byHour[1:23] {
		require.InEpsilon(t, limit/24.0, float64(spent), 0.15, "hour %d", h+1)
	}
}

// TestFewExpensiveClicks: a budget of some twenty clicks does not throw the bid from one end to the other.
func TestFewExpensiveClicks(t *testing.T) {
	t.Parallel()
	m := aMarket(4)
	m.ctr, m.lag = 0.001, 40*time.Second
	r := pacing.Reading{Strategy: campaign.AutomaticBid, Event: campaign.BillClickthrough, Bid: 3_000_000_000}
	o := m.day(r, 14_000_000_000, pacing.State{}, midnight, tomorrow())
	t.Logf("%d clicks for %v, multiplier %.3f to %.3f", o.events, o.spent, o.low, o.high)
	require.Greater(t, float64(o.spent), 0.9*14_000_000_000)
	require.Less(t, o.high/o.low, 10.0)
	require.GreaterOrEqual(t, o.events, int64(18), "15 are what one gets who bids the cap after each hour without a click")
}

// TestTargetHoldsTheAverage: within 3 % where the market has that price to offer.
func TestTargetHoldsTheAverage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*market, *pacing.Reading)
		target money.Nanos
	}{
		"about the median": {func(*market, *pacing.Reading) {}, 800_000},
		"cheap":            {func(*market, *pacing.Reading) {}, 500_000},
		"nearly all":       {func(*market, *pacing.Reading) {}, 1_000_000},
		"a minute later":   {func(m *market, _ *pacing.Reading) { m.lag = time.Minute }, 800_000},
		"clicks": {func(m *market, r *pacing.Reading) {
			m.ctr, r.Event, m.lag = 0.02, campaign.BillClickthrough, 40*time.Second
		}, 40_000_000},
		"long rounds": {func(m *market, _ *pacing.Reading) { m.every = 30 * time.Second }, 800_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := aMarket(5)
			r := pacing.Reading{Strategy: campaign.TargetAvg, Event: campaign.BillImpression, Bid: c.target}
			c.change(m, &r)
			o := m.day(r, math.MaxInt64, pacing.State{}, midnight, tomorrow())
			t.Logf("target %d: average %.0f of %d, multiplier %.3f to %.3f", c.target, o.average(), o.events, o.low, o.high)
			require.InEpsilon(t, float64(c.target), o.average(), 0.03)
		})
	}
}

// TestTargetThatTheMarketDoesNotHave: the average stays below it, and the multiplier at its limit.
func TestTargetThatTheMarketDoesNotHave(t *testing.T) {
	t.Parallel()
	o := aMarket(5).day(pacing.Reading{Strategy: campaign.TargetAvg, Event: campaign.BillImpression, Bid: 5_000_000}, math.MaxInt64, pacing.State{}, midnight, tomorrow())
	require.Less(t, o.average(), 5_000_000.0)
	require.InDelta(t, campaign.MaxTargetAvg, o.state.Multiplier, 0)
}

// TestItGoesOnFromItsState: a controller that was restarted, or stood still, does not begin anew.
func TestItGoesOnFromItsState(t *testing.T) {
	t.Parallel()
	r := pacing.Reading{Strategy: campaign.AutomaticBid, Event: campaign.BillImpression, Bid: 3_000_000}
	r.Zone = time.UTC
	read := func(s pacing.State, posted money.Nanos, at time.Duration) pacing.State {
		r.Lines = []pacing.Line{{ID: 1, Kind: campaign.BudgetDaily, Period: 20261123, Limit: 86_400_000, Posted: posted}}
		return pacing.Step(s, r, midnight.Add(at))
	}
	s := read(pacing.State{}, 0, 0)
	require.InDelta(t, campaign.StartAutomatic, s.Multiplier, 0)
	up := read(s, 0, 5*time.Second)
	require.Greater(t, up.Multiplier, s.Multiplier, "nothing was spent")
	require.InDelta(t, s.Multiplier, read(s, 5000, 5*time.Second).Multiplier, 1e-3, "1,000 nanos a second are even")
	down := read(s, 100_000, 5*time.Second)
	require.Less(t, down.Multiplier, s.Multiplier)
	late := read(s, 0, time.Hour)
	require.Less(t, late.Multiplier, 2*s.Multiplier, "an hour that nobody watched is not an hour of steps")
	require.InDelta(t, s.Multiplier, read(s, 86_400_000, 5*time.Second).Multiplier, 0, "what is spent is spent")

	another := s
	another.Strategy = campaign.TargetAvg
	require.InDelta(t, campaign.StartAutomatic, read(another, 0, 5*time.Second).Multiplier, 0, "another strategy begins anew")
	yesterday := up
	yesterday.Period = 20261122
	require.InDelta(t, up.Multiplier, read(yesterday, 0, time.Minute).Multiplier, 0, "a new day has no past, and the multiplier stays")
}

// TestACountThatBeginsAnewIsNoNews: what was counted from another time cannot be compared.
func TestACountThatBeginsAnewIsNoNews(t *testing.T) {
	t.Parallel()
	r := pacing.Reading{Strategy: campaign.TargetAvg, Event: campaign.BillImpression, Bid: 1000, Zone: time.UTC, Since: midnight, Billed: 50, Charged: 200_000}
	s := pacing.State{Strategy: campaign.TargetAvg, Multiplier: 1.5, At: midnight, Since: midnight}
	require.Less(t, pacing.Step(s, r, midnight.Add(time.Minute)).Multiplier, 1.5)
	s.Since = midnight.Add(-time.Hour)
	next := pacing.Step(s, r, midnight.Add(time.Minute))
	require.InDelta(t, 1.5, next.Multiplier, 0)
	require.Equal(t, []any{midnight, int64(50), money.Nanos(200_000)}, []any{next.Since, next.Billed, next.Charged})
}

// TestALongTimeInSomeHours: the time that is left counts in weeks and hours alike.
func TestALongTimeInSomeHours(t *testing.T) {
	t.Parallel()
	r := pacing.Reading{Strategy: campaign.AutomaticBid, Event: campaign.BillImpression, Bid: 1000, Zone: time.UTC, End: midnight.AddDate(0, 0, 15)}
	for _, h := range []int{0, 23, 24 + 5, 167} { // 4 hours a week, and in the one day more two
		r.Hours = r.Hours.With(h)
	}
	// 10 hours of serving are left: a daily line of a tenth for one of today's two hours is as tight as 1 for all.
	r.Lines = []pacing.Line{{ID: 1, Kind: campaign.BudgetLifetime, Limit: 10_000_000}, {ID: 2, Kind: campaign.BudgetDaily, Period: 20261123, Limit: 2_000_001}}
	require.Equal(t, int64(1), pacing.Step(pacing.State{}, r, midnight).BudgetID)
	r.Lines[1].Limit = 1_999_999
	require.Equal(t, int64(2), pacing.Step(pacing.State{}, r, midnight).BudgetID)
}

// TestTheTightestLineCounts: of several budgets that which allows least per time.
func TestTheTightestLineCounts(t *testing.T) {
	t.Parallel()
	r := pacing.Reading{Strategy: campaign.AutomaticBid, Event: campaign.BillImpression, Bid: 3_000_000, Zone: time.UTC}
	r.Lines = []pacing.Line{
		{ID: 1, Kind: campaign.BudgetDaily, Period: 20261123, Limit: 5_000_000_000},
		{ID: 2, Kind: campaign.BudgetLifetime, Limit: 6_000_000_000},
		{ID: 3, Kind: campaign.BudgetDaily, Period: 20261123, Limit: 9_000_000_000},
	}
	require.Equal(t, int64(2), pacing.Step(pacing.State{}, r, midnight).BudgetID, "6 in 30 days are less than 5 in one")
	r.End = midnight.Add(12 * time.Hour)
	require.Equal(t, int64(1), pacing.Step(pacing.State{}, r, midnight).BudgetID, "all ends at noon")
}

func TestAnIdleTargetComesBackToItsBid(t *testing.T) {
	t.Parallel()
	r := pacing.Reading{Strategy: campaign.TargetAvg, Event: campaign.BillImpression, Bid: 1000, Zone: time.UTC}
	s := pacing.State{Strategy: campaign.TargetAvg, Multiplier: 0.1, At: midnight}
	for i := 1; i <= 720; i++ {
		s = pacing.Step(s, r, midnight.Add(time.Duration(i)*5*time.Second))
	}
	require.InDelta(t, 1, s.Multiplier, 1e-9, "and not above it: nobody has said that it would win there")
}

// TestMultipliersStayWithinTheirLimits whatever is read.
func TestMultipliersStayWithinTheirLimits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s pacing.State
		now := midnight
		for range rapid.IntRange(1, 20).Draw(t, "rounds") {
			now = now.Add(time.Duration(rapid.Int64Range(-1e9, 1e14).Draw(t, "later")))
			amount := rapid.Int64Range(0, math.MaxInt64)
			r := pacing.Reading{
				Strategy: rapid.SampledFrom([]campaign.BidStrategy{campaign.AutomaticBid, campaign.TargetAvg}).Draw(t, "strategy"),
				Event:    rapid.SampledFrom([]campaign.BillableEvent{campaign.BillImpression, campaign.BillClickthrough}).Draw(t, "event"),
				Bid:      money.Nanos(amount.Draw(t, "bid")), Zone: time.UTC, Billed: amount.Draw(t, "billed"), Charged: money.Nanos(amount.Draw(t, "charged")),
				Lines: []pacing.Line{{ID: 1, Kind: campaign.BudgetDaily, Limit: money.Nanos(amount.Draw(t, "limit")), Posted: money.Nanos(amount.Draw(t, "posted"))}},
			}
			if rapid.Bool().Draw(t, "hours") {
				r.Hours = r.Hours.With(rapid.IntRange(0, 167).Draw(t, "hour"))
			}
			s = pacing.Step(s, r, now)
			require.InDelta(t, r.Strategy.Multiplier(s.Multiplier), s.Multiplier, 0)
			require.False(t, math.IsNaN(s.Multiplier))
		}
	})
}

func TestTable(t *testing.T) {
	t.Parallel()
	var none *pacing.Table
	require.InDelta(t, campaign.StartAutomatic, none.Of(1, campaign.AutomaticBid), 0)
	one := none.With(map[campaign.AdGroupID]float64{1: 2.5})
	require.InDelta(t, 2.5, one.Of(1, campaign.TargetAvg), 0)
	require.InDelta(t, 1, one.Of(1, campaign.AutomaticBid), 0, "of a strategy that it had before")
	require.InDelta(t, 1, one.Of(1, campaign.MaxBid), 0)
	require.InDelta(t, 1, one.Of(2, campaign.TargetAvg), 0)
	two := one.With(map[campaign.AdGroupID]float64{1: 0.5, 2: 0.7})
	require.InDelta(t, 2.5, one.Of(1, campaign.TargetAvg), 0, "a table does not change")
	require.InDelta(t, 0.5, two.Of(1, campaign.TargetAvg), 0)
	require.Equal(t, 2, two.Len())
	require.Zero(t, none.Len())
}

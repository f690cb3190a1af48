package postgres_test

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"gavel/campaign"
	campaigns "gavel/campaign/postgres"
	"gavel/internal/money"
	"gavel/internal/testenv"
	"gavel/pacing/postgres"
	"gavel/targeting"
)

// noon is in the middle of an hour and of a day, so that rounds of some minutes are in one.
var noon = time.Date(2026, 11, 23, 12, 10, 0, 0, time.UTC)

// world is a database with one account in Tokyo, where it is the evening of the same day.
type world struct {
	*testing.T
	db       *sqlx.DB
	store    *postgres.Store
	svc      *campaign.Service
	account  campaign.AdAccountID
	campaign campaign.CampaignID
}

func setup(t *testing.T) *world {
	t.Helper()
	db := sqlx.MustConnect("postgres", testenv.Postgres(t))
	store := campaigns.NewStore(db)
	t.Cleanup(func() {
		require.NoError(t, store.Close())
		require.NoError(t, db.Close())
	})
	w := &world{T: t, db: db, store: postgres.New(db.DB), svc: campaign.NewService(campaign.Config{
		Store: store, ValidateTargeting: targeting.Canonicalize, CheckKeyword: targeting.CheckKeyword, CheckInterests: targeting.CheckTaxonomy,
		TargetingOptions: targeting.Options, Now: func() time.Time { return noon }, Random: rand.Reader,
	})}
	a, err := w.svc.CreateAdAccount(t.Context(), campaign.Item[campaign.AdAccountInput]{Input: campaign.AdAccountInput{
		Name: campaign.Some("a"), Country: campaign.Some("JP"), Currency: campaign.Some("USD"), TimeZone: campaign.Some("Asia/Tokyo"),
	}})
	require.NoError(t, err)
	c, err := w.svc.CreateCampaigns(t.Context(), a.ID, []campaign.Item[campaign.CampaignInput]{{Input: campaign.CampaignInput{
		Name: campaign.Some("c"), Objective: campaign.Some(campaign.Awareness),
	}}})
	require.NoError(t, err)
	w.account, w.campaign = a.ID, c[0].Value.ID
	return w
}

// group makes an ad group with a daily budget of 10.80 and a bid of 1 per 1,000 impressions.
func (w *world) group(strategy campaign.BidStrategy) campaign.AdGroupID {
	w.Helper()
	g, err := w.svc.CreateAdGroups(w.Context(), w.account, []campaign.Item[campaign.AdGroupInput]{{Input: campaign.AdGroupInput{
		CampaignID: campaign.Some(w.campaign), Name: campaign.Some("g"), BillableEvent: campaign.Some(campaign.BillImpression),
		BidStrategy: campaign.Some(strategy), Bid: campaign.Some(money.Micros(1_000_000)), Budget: campaign.Some(money.Micros(10_800_000)),
	}}})
	require.NoError(w, err)
	require.Nil(w, g[0].Err)
	return g[0].Value.ID
}

// bill books events of an ad group: in its daily budget line and in the rollup of the hour.
func (w *world) bill(id campaign.AdGroupID, events int64, price money.Nanos) {
	w.Helper()
	const day = 20261123
	_, err := w.db.Exec(`INSERT INTO budget_periods (budget_id, period, limit_nanos, cap_nanos, posted_nanos)
		SELECT id, $2, limit_nanos, limit_nanos, $3 FROM budgets WHERE scope = 'AD_GROUP' AND scope_id = $1 AND kind = 'DAILY'
		ON CONFLICT (budget_id, period) DO UPDATE SET posted_nanos = budget_periods.posted_nanos + excluded.posted_nanos`, int64(id), day, events*int64(price))
	require.NoError(w, err)
	_, err = w.db.Exec(`INSERT INTO event_rollups AS r (ad_account_id, day, hour, ad_id, kind, campaign_id, ad_group_id, events, billed, charge_nanos)
		VALUES ($1, '2026-11-23', $2, $4, 'IMPRESSION', $3, $4, $5, $5, $6)
		ON CONFLICT (ad_account_id, day, hour, ad_id, kind) DO UPDATE SET events = r.events + excluded.events, billed = r.billed + excluded.billed,
		charge_nanos = r.charge_nanos + excluded.charge_nanos`, int64(w.account), noon.Truncate(time.Hour), int64(w.campaign), int64(id), events, events*int64(price))
	require.NoError(w, err)
}

func (w *world) lead() *postgres.Controller {
	w.Helper()
	c, ok, err := w.store.Lead(w.Context())
	require.NoError(w, err)
	require.True(w, ok)
	w.Cleanup(c.Close)
	return c
}

func (w *world) round(c *postgres.Controller, at time.Duration) map[campaign.AdGroupID]float64 {
	w.Helper()
	_, err := c.Round(w.Context(), noon.Add(at))
	require.NoError(w, err)
	all, _, err := w.store.Changed(w.Context(), 0)
	require.NoError(w, err)
	return all
}

// TestBidsMoveByWhatWasBilled: three hours of the day in Tokyo are left, so 10.80 are 1,000,000 nanos a second.
func TestBidsMoveByWhatWasBilled(t *testing.T) {
	t.Parallel()
	w := setup(t)
	idle, greedy, even := w.group(campaign.AutomaticBid), w.group(campaign.AutomaticBid), w.group(campaign.AutomaticBid)
	cheap, dear, plain := w.group(campaign.TargetAvg), w.group(campaign.TargetAvg), w.group(campaign.MaxBid)
	c := w.lead()
	first := w.round(c, 0)
	require.NotContains(t, first, plain)
	require.InDelta(t, campaign.StartAutomatic, first[idle], 0)
	require.InDelta(t, 1, first[cheap], 0)

	w.bill(greedy, 100, 1_000_000)
	w.bill(even, 10, 1_014_000) // ten seconds; ten minutes of the three hours are over at 12:10
	w.bill(cheap, 50, 500_000)
	w.bill(dear, 50, 1_500_000)
	second := w.round(c, 10*time.Second)
	require.Greater(t, second[idle], first[idle])
	require.Less(t, second[greedy], first[greedy])
	require.InEpsilon(t, first[even], second[even], 0.01)
	require.Greater(t, second[cheap], 1.0)
	require.Less(t, second[dear], 1.0)

	// Another controller goes on from there, whatever became of the first.
	c.Close()
	third := w.round(w.lead(), 10*time.Second)
	require.Equal(t, second, third)
}

// TestEachCountsOnce: an event moves a bid once, in a new hour too.
func TestEachCountsOnce(t *testing.T) {
	t.Parallel()
	w := setup(t)
	dear := w.group(campaign.TargetAvg)
	c := w.lead()
	w.round(c, 0)
	w.bill(dear, 50, 1_500_000)
	moved := w.round(c, 10*time.Second)[dear]
	require.Less(t, moved, 1.0)
	for _, at := range []time.Duration{55 * time.Minute, 55*time.Minute + 5*time.Second, 115 * time.Minute} {
		require.GreaterOrEqual(t, w.round(c, at)[dear], moved, "nothing new was billed")
	}
}

func TestNodesReadWhatIsNew(t *testing.T) {
	t.Parallel()
	w := setup(t)
	c := w.lead()
	changed, last, err := w.store.Changed(t.Context(), 0)
	require.NoError(t, err)
	require.Empty(t, changed)
	require.Zero(t, last)
	one := w.group(campaign.AutomaticBid)
	w.round(c, 0)
	changed, last, err = w.store.Changed(t.Context(), last)
	require.NoError(t, err)
	require.Contains(t, changed, one)
	changed, again, err := w.store.Changed(t.Context(), last)
	require.NoError(t, err)
	require.Empty(t, changed)
	require.Equal(t, last, again)
	w.round(c, 10*time.Second)
	changed, again, err = w.store.Changed(t.Context(), last)
	require.NoError(t, err)
	require.Contains(t, changed, one)
	require.Greater(t, again, last)
}

func TestAPausedAdGroupWaits(t *testing.T) {
	t.Parallel()
	w := setup(t)
	id := w.group(campaign.AutomaticBid)
	c := w.lead()
	w.round(c, 0)
	up := w.round(c, time.Minute)[id]
	require.Greater(t, up, campaign.StartAutomatic)
	set := func(status campaign.Status) {
		_, err := w.svc.UpdateAdGroups(t.Context(), w.account, []campaign.Item[campaign.AdGroupUpdate]{{Input: campaign.AdGroupUpdate{
			ID: id, AdGroupInput: campaign.AdGroupInput{Status: campaign.Some(status)},
		}}})
		require.NoError(t, err)
	}
	set(campaign.Paused)
	n, err := c.Round(t.Context(), noon.Add(2*time.Minute))
	require.NoError(t, err)
	require.Zero(t, n)
	set(campaign.Active)
	require.Less(t, w.round(c, time.Hour)[id], 2*up, "an hour of pause is not an hour of bids that were too low")
}

func TestOneController(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.group(campaign.AutomaticBid)
	c := w.lead()
	_, ok, err := w.store.Lead(t.Context())
	require.NoError(t, err)
	require.False(t, ok)
	var ended int
	require.NoError(t, w.db.Get(&ended, `SELECT count(pg_terminate_backend(pid)) FROM pg_locks
		WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`))
	require.Equal(t, 1, ended)
	_, err = c.Round(t.Context(), noon)
	require.Error(t, err, "the session is gone, and with it the right")
	c.Close()
	require.Eventually(t, func() bool {
		next, ok, err := w.store.Lead(t.Context())
		if err != nil || !ok {
			return false
		}
		next.Close()
		return true
	}, 10*time.Second, 10*time.Millisecond)
}

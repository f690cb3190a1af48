package postgres_test

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/campaign/postgres"
	"gavel/internal/fault"
	"gavel/internal/money"
	"gavel/internal/testenv"
)

// bundle is a database of the test's own with a service on it.
type bundle struct {
	*testing.T
	db      *sqlx.DB
	store   *postgres.Store
	serving *postgres.Serving
	svc     *campaign.Service
	now     time.Time
}

func setup(t *testing.T) *bundle {
	t.Helper()
	db := sqlx.MustConnect("postgres", testenv.Postgres(t))
	b := &bundle{T: t, db: db, store: postgres.NewStore(db), serving: postgres.NewServing(db), now: time.Date(2026, 3, 10, 23, 30, 0, 0, time.UTC)}
	b.svc = campaign.NewService(campaign.Config{
		Store: b.store, Now: func() time.Time { return b.now }, Random: rand.Reader,
		ValidateTargeting: func(raw json.RawMessage) (json.RawMessage, []fault.Field) { return raw, nil },
		CheckKeyword:      func(campaign.Keyword) error { return nil },
		CheckInterests:    func([]campaign.Interest) error { return nil },
	})
	t.Cleanup(func() {
		require.NoError(t, b.store.Close())
		require.NoError(t, b.serving.Close())
		require.NoError(t, db.Close())
	})
	return b
}

func items[In any](inputs ...In) []campaign.Item[In] {
	out := make([]campaign.Item[In], len(inputs))
	for i, in := range inputs {
		out[i].Input = in
	}
	return out
}

// written is the one value of a batch of one that must have been written.
func written[E any](b *bundle, results []campaign.Result[E], err error) E {
	b.Helper()
	require.NoError(b, err)
	require.Len(b, results, 1)
	if results[0].Err != nil {
		require.NoError(b, results[0].Err)
	}
	return results[0].Value
}

// refused are the fields that kept the one item of a batch from being written.
func refused[E any](b *bundle, results []campaign.Result[E], err error) []string {
	b.Helper()
	require.NoError(b, err)
	require.Len(b, results, 1)
	require.NotNil(b, results[0].Err)
	var fields []string
	for _, f := range results[0].Err.Fields {
		fields = append(fields, f.Name)
	}
	return fields
}

func (b *bundle) account(zone string) campaign.AdAccount {
	b.Helper()
	a, err := b.svc.CreateAdAccount(b.Context(), items(campaign.AdAccountInput{
		Name: campaign.Some("a"), Country: campaign.Some("US"), Currency: campaign.Some("USD"), TimeZone: campaign.Some(zone),
	})[0])
	require.NoError(b, err)
	return a
}

func (b *bundle) campaign(account campaign.AdAccountID, change ...func(*campaign.CampaignInput)) campaign.Campaign {
	b.Helper()
	in := campaign.CampaignInput{Name: campaign.Some("c"), Objective: campaign.Some(campaign.Awareness)}
	for _, f := range change {
		f(&in)
	}
	results, err := b.svc.CreateCampaigns(b.Context(), account, items(in))
	return written(b, results, err)
}

func (b *bundle) adGroup(c campaign.Campaign, change ...func(*campaign.AdGroupInput)) campaign.AdGroup {
	b.Helper()
	in := campaign.AdGroupInput{
		CampaignID: campaign.Some(c.ID), Name: campaign.Some("g"), BillableEvent: campaign.Some(campaign.BillImpression),
		Bid: campaign.Some[money.Micros](2_000_000), Budget: campaign.Some[money.Micros](10_000_000),
	}
	for _, f := range change {
		f(&in)
	}
	results, err := b.svc.CreateAdGroups(b.Context(), c.AdAccountID, items(in))
	return written(b, results, err)
}

func (b *bundle) ad(g campaign.AdGroup) campaign.Ad {
	b.Helper()
	results, err := b.svc.CreateAds(b.Context(), g.AdAccountID, items(campaign.AdInput{
		AdGroupID: campaign.Some(g.ID), CreativeType: campaign.Some(campaign.CreativeRegular), DestinationURL: campaign.Some("https://shop.example/"),
	}))
	return written(b, results, err)
}

// tree is an account with one campaign, ad group and ad.
func (b *bundle) tree() (campaign.AdAccount, campaign.Campaign, campaign.AdGroup, campaign.Ad) {
	b.Helper()
	a := b.account("UTC")
	c := b.campaign(a.ID)
	g := b.adGroup(c)
	return a, c, g, b.ad(g)
}

// change is one row of the outbox.
type change struct {
	entity string
	id     int64
}

// drain takes what is in the outbox.
func (b *bundle) drain() []change {
	b.Helper()
	rows, err := b.serving.NextChanges(b.Context(), 1_000_000)
	require.NoError(b, err)
	var changes []change
	var done []int64
	for _, r := range rows {
		changes, done = append(changes, change{r.Entity, r.EntityID}), append(done, r.ID)
	}
	require.NoError(b, b.serving.Done(b.Context(), done))
	return changes
}

func (b *bundle) count(query string, args ...any) int {
	b.Helper()
	var n int
	require.NoError(b, b.db.GetContext(b.Context(), &n, query, args...))
	return n
}

// atOnce runs f n times at the same moment and waits.
func atOnce(n int, f func(i int)) {
	start := make(chan struct{})
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	running.Wait()
}

func sorted[T ~int64](ids []T) []T {
	slices.Sort(ids)
	return ids
}

func idText[T ~int64](id T) string { return strconv.FormatInt(int64(id), 10) }

package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/fault"
	"gavel/internal/money"
)

func TestWhatIsWrittenIsRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("Europe/Berlin")
	c := b.campaign(a.ID, func(in *campaign.CampaignInput) {
		in.DailySpendCap, in.StartTime, in.EndTime = campaign.Some[money.Micros](5), campaign.Some(time.Unix(1_000, 0)), campaign.Some(time.Unix(9_000_000_000, 0))
	})
	g := b.adGroup(c, func(in *campaign.AdGroupInput) {
		in.FrequencyCap, in.EndTime = campaign.Some[int64](3), campaign.Some(time.Unix(8_000_000_000, 0))
		in.Pacing, in.PlacementGroup = campaign.Some(campaign.Accelerated), campaign.Some(campaign.PlacementSearch)
	})
	ad := b.ad(g)
	require.Equal(t, c.ID, ad.CampaignID)

	gotA, err := b.svc.AdAccount(t.Context(), a.ID)
	require.NoError(t, err)
	require.Equal(t, a, gotA)
	gotC, err := b.svc.Campaign(t.Context(), a.ID, c.ID)
	require.NoError(t, err)
	require.Equal(t, c, gotC)
	gotG, err := b.svc.AdGroup(t.Context(), a.ID, g.ID)
	require.NoError(t, err)
	require.Equal(t, g, gotG)
	gotAd, err := b.svc.Ad(t.Context(), a.ID, ad.ID)
	require.NoError(t, err)
	require.Equal(t, ad, gotAd)

	other := b.account("UTC")
	_, err = b.svc.Campaign(t.Context(), other.ID, c.ID)
	require.ErrorIs(t, err, campaign.ErrCampaignNotFound, "another account's campaign does not exist")
	_, err = b.svc.AdGroup(t.Context(), other.ID, g.ID)
	require.ErrorIs(t, err, campaign.ErrAdGroupNotFound)
	_, err = b.svc.Ad(t.Context(), other.ID, ad.ID)
	require.ErrorIs(t, err, campaign.ErrAdNotFound)
	_, err = b.svc.AdAccount(t.Context(), 5)
	require.ErrorIs(t, err, campaign.ErrAdAccountNotFound)
	_, err = b.svc.Campaigns(t.Context(), 5, campaign.Filter{}, campaign.Page{Size: 5})
	require.ErrorIs(t, err, campaign.ErrAdAccountNotFound)
	results, err := b.svc.CreateAds(t.Context(), other.ID, items(campaign.AdInput{
		AdGroupID: campaign.Some(g.ID), CreativeType: campaign.Some(campaign.CreativeRegular), DestinationURL: campaign.Some("https://shop.example/"),
	}))
	require.Equal(t, []string{"ad_group_id"}, refused(b, results, err), "nothing is put below another account's ad group")
}

func TestEveryWriteTellsTheIndexer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, c, g, ad := b.tree()
	require.Equal(t, []change{{"AD_ACCOUNT", int64(a.ID)}, {"CAMPAIGN", int64(c.ID)}, {"AD_GROUP", int64(g.ID)}, {"AD", int64(ad.ID)}}, b.drain())

	results, err := b.svc.UpdateCampaigns(t.Context(), a.ID, items(campaign.CampaignUpdate{ID: c.ID, CampaignInput: campaign.CampaignInput{Status: campaign.Some(campaign.Paused)}}))
	require.Equal(t, campaign.Paused, written(b, results, err).Status)
	groups, err := b.svc.UpdateAdGroups(t.Context(), a.ID, items(campaign.AdGroupUpdate{ID: g.ID, AdGroupInput: campaign.AdGroupInput{Bid: campaign.Some[money.Micros](7)}}))
	require.Equal(t, money.Micros(7), written(b, groups, err).Bid)
	ads, err := b.svc.UpdateAds(t.Context(), a.ID, items(campaign.AdUpdate{ID: ad.ID, AdInput: campaign.AdInput{Title: campaign.Some("t")}}))
	require.Equal(t, "t", written(b, ads, err).Creative.Title)
	keywords, err := b.svc.CreateKeywords(t.Context(), a.ID, campaign.Some(g.ID), nil, items(campaign.KeywordInput{MatchType: campaign.Some(campaign.MatchBroad), Value: campaign.Some("shoes")}))
	written(b, keywords, err)
	require.Equal(t, []change{{"CAMPAIGN", int64(c.ID)}, {"AD_GROUP", int64(g.ID)}, {"AD", int64(ad.ID)}, {"AD_GROUP", int64(g.ID)}}, b.drain())
}

func TestRowsAndOutboxAreOneTransaction(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("UTC")
	b.drain()
	broken := errors.New("broken")
	err := b.store.InTx(t.Context(), func(ctx context.Context, tx campaign.Tx) error {
		c, err := tx.InsertCampaign(ctx, campaign.Campaign{AdAccountID: a.ID, Name: "c", Status: campaign.Active, Objective: campaign.Awareness})
		require.NoError(t, err)
		require.NoError(t, tx.AddBudgets(ctx, []campaign.Budget{{AdAccountID: a.ID, Scope: campaign.EntityCampaign, ScopeID: int64(c.ID), Kind: campaign.BudgetDaily}}))
		require.NoError(t, tx.Changed(ctx, campaign.EntityCampaign, []int64{int64(c.ID)}))
		return broken
	})
	require.ErrorIs(t, err, broken)
	require.Empty(t, b.drain())
	require.Zero(t, b.count(`SELECT count(*) FROM campaigns`))
	require.Equal(t, 2, b.count(`SELECT count(*) FROM budgets`), "the account's own")

	// The outbox row cannot be written, so the campaign is not either.
	_, err = b.db.ExecContext(t.Context(), `ALTER TABLE outbox ADD CONSTRAINT no_campaigns CHECK (entity <> 'CAMPAIGN')`)
	require.NoError(t, err)
	_, err = b.svc.CreateCampaigns(t.Context(), a.ID, items(campaign.CampaignInput{Name: campaign.Some("c"), Objective: campaign.Some(campaign.Awareness)}))
	require.Equal(t, fault.Internal, fault.CodeOf(err))
	require.Zero(t, b.count(`SELECT count(*) FROM campaigns`))
}

func TestOnlyGoodItemsOfABatchAreWritten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("UTC")
	good := campaign.CampaignInput{Name: campaign.Some("good"), Objective: campaign.Some(campaign.Awareness)}
	batch := items(good, campaign.CampaignInput{Name: campaign.Some("bad")}, good)
	batch[2].Problems = []fault.Field{{Name: "colour", Message: "is not a known field"}}
	results, err := b.svc.CreateCampaigns(t.Context(), a.ID, batch)
	require.NoError(t, err)
	require.Nil(t, results[0].Err)
	require.Equal(t, "objective_type", results[1].Err.Fields[0].Name)
	require.Equal(t, "colour", results[2].Err.Fields[0].Name)
	require.Equal(t, 1, b.count(`SELECT count(*) FROM campaigns`))

	for _, n := range []int{0, campaign.MaxBatch + 1} {
		_, err = b.svc.CreateCampaigns(t.Context(), a.ID, make([]campaign.Item[campaign.CampaignInput], n))
		require.Equal(t, fault.Invalid, fault.CodeOf(err), n)
	}
	_, err = b.svc.CreateCampaigns(t.Context(), 5, items(good))
	require.ErrorIs(t, err, campaign.ErrAdAccountNotFound)
	id := results[0].Value.ID
	twice, err := b.svc.UpdateCampaigns(t.Context(), a.ID, items(campaign.CampaignUpdate{ID: id}, campaign.CampaignUpdate{ID: id}, campaign.CampaignUpdate{ID: 5}))
	require.NoError(t, err)
	require.Nil(t, twice[0].Err)
	require.Equal(t, "id", twice[1].Err.Fields[0].Name)
	require.ErrorIs(t, twice[2].Err, campaign.ErrCampaignNotFound)
}

func TestConstraintsBackTheRules(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, c, _, _ := b.tree()
	other := b.account("UTC")
	for name, broken := range map[string]func(ctx context.Context, tx campaign.Tx) error{
		"both caps": func(ctx context.Context, tx campaign.Tx) error {
			_, err := tx.InsertCampaign(ctx, campaign.Campaign{AdAccountID: a.ID, Name: "c", Status: campaign.Active, Objective: campaign.Awareness, DailySpendCap: 1, LifetimeSpendCap: 1})
			return err
		},
		"campaign of another account": func(ctx context.Context, tx campaign.Tx) error {
			_, err := tx.InsertAdGroup(ctx, campaign.AdGroup{
				AdAccountID: other.ID, CampaignID: c.ID, Name: "g", Status: campaign.Active, BillableEvent: campaign.BillImpression, Bid: 1,
				BudgetType: campaign.DailyBudget, Budget: 1, Pacing: campaign.Standard, PlacementGroup: campaign.PlacementAll, TargetingSpec: []byte(`{}`),
			})
			return err
		},
		"daily without budget": func(ctx context.Context, tx campaign.Tx) error {
			_, err := tx.InsertAdGroup(ctx, campaign.AdGroup{
				AdAccountID: a.ID, CampaignID: c.ID, Name: "g", Status: campaign.Active, BillableEvent: campaign.BillImpression, Bid: 1,
				BudgetType: campaign.DailyBudget, Pacing: campaign.Standard, PlacementGroup: campaign.PlacementAll, TargetingSpec: []byte(`{}`),
			})
			return err
		},
		"budget line twice": func(ctx context.Context, tx campaign.Tx) error {
			return tx.AddBudgets(ctx, []campaign.Budget{{AdAccountID: a.ID, Scope: campaign.EntityCampaign, ScopeID: int64(c.ID), Kind: campaign.BudgetDaily}})
		},
		"limit of no line": func(ctx context.Context, tx campaign.Tx) error {
			return tx.SetLimits(ctx, []campaign.Budget{{AdAccountID: a.ID, Scope: campaign.EntityCampaign, ScopeID: 5, Kind: campaign.BudgetDaily}}, 20260101)
		},
	} {
		err := b.store.InTx(t.Context(), broken)
		require.Error(t, err, name)
		require.Equal(t, fault.Internal, fault.CodeOf(err), name)
	}
}

func TestPagesSeeEveryRowOnceWhileRowsAreAdded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("UTC")
	const before = 60
	var want []campaign.CampaignID
	for range before / 20 {
		in := make([]campaign.CampaignInput, 20)
		for i := range in {
			in[i] = campaign.CampaignInput{Name: campaign.Some("c"), Objective: campaign.Some(campaign.Awareness)}
		}
		results, err := b.svc.CreateCampaigns(t.Context(), a.ID, items(in...))
		require.NoError(t, err)
		for _, r := range results {
			want = append(want, r.Value.ID)
		}
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				in := campaign.CampaignInput{Name: campaign.Some("new"), Objective: campaign.Some(campaign.Awareness)}
				if _, err := b.svc.CreateCampaigns(t.Context(), a.ID, items(in)); err != nil {
					t.Errorf("create: %v", err)
				}
			}
		}
	})
	for _, descending := range []bool{false, true} {
		seen := map[campaign.CampaignID]int{}
		page := campaign.Page{Size: 7, Descending: descending}
		for {
			got, err := b.svc.Campaigns(t.Context(), a.ID, campaign.Filter{}, page)
			require.NoError(t, err)
			for _, c := range got {
				seen[c.ID]++
				require.True(t, page.After == 0 || (int64(c.ID) > page.After) != descending, "in order")
				page.After = int64(c.ID)
			}
			if len(got) < page.Size || len(seen) > 5*before {
				break
			}
		}
		for _, id := range want {
			require.Equal(t, 1, seen[id], "campaign %d, descending %v", id, descending)
		}
	}
	close(stop)
	writer.Wait()
}

func TestFilters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a, c1, g1, ad1 := b.tree()
	c2 := b.campaign(a.ID, func(in *campaign.CampaignInput) { in.Status = campaign.Some(campaign.Archived) })
	g2 := b.adGroup(c2)
	ad2 := b.ad(g2)
	list := func(f campaign.Filter) (out []int64) {
		cs, err := b.svc.Campaigns(t.Context(), a.ID, f, campaign.Page{Size: 9})
		require.NoError(t, err)
		gs, err := b.svc.AdGroups(t.Context(), a.ID, f, campaign.Page{Size: 9})
		require.NoError(t, err)
		as, err := b.svc.Ads(t.Context(), a.ID, f, campaign.Page{Size: 9, Descending: true})
		require.NoError(t, err)
		for _, x := range cs {
			out = append(out, int64(x.ID))
		}
		for _, x := range gs {
			out = append(out, int64(x.ID))
		}
		for _, x := range as {
			out = append(out, int64(x.ID))
		}
		return out
	}
	ids := func(ids ...int64) []int64 { return ids }
	require.Equal(t, ids(int64(c1.ID), int64(c2.ID), int64(g1.ID), int64(g2.ID), int64(ad2.ID), int64(ad1.ID)), list(campaign.Filter{}))
	require.Equal(t, ids(int64(c1.ID), int64(g1.ID), int64(g2.ID), int64(ad2.ID), int64(ad1.ID)), list(campaign.Filter{Statuses: []campaign.Status{campaign.Active}}))
	require.Equal(t, ids(int64(c2.ID), int64(g2.ID), int64(ad2.ID)), list(campaign.Filter{Campaigns: []campaign.CampaignID{c2.ID}}))
	require.Equal(t, ids(int64(c1.ID), int64(c2.ID), int64(g1.ID), int64(ad1.ID)), list(campaign.Filter{AdGroups: []campaign.AdGroupID{g1.ID}}))
	require.Equal(t, ids(int64(c1.ID), int64(c2.ID), int64(g1.ID), int64(g2.ID), int64(ad1.ID)), list(campaign.Filter{Ads: []campaign.AdID{ad1.ID}}))
}

func TestConcurrentUpdatesOfTheSameRowsDoNotFail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("UTC")
	c := b.campaign(a.ID)
	g1, g2 := b.adGroup(c), b.adGroup(c)
	atOnce(12, func(i int) {
		budget := campaign.AdGroupInput{Budget: campaign.Some(money.Micros(i + 1))}
		batch := items(campaign.AdGroupUpdate{ID: g1.ID, AdGroupInput: budget}, campaign.AdGroupUpdate{ID: g2.ID, AdGroupInput: budget})
		if i%2 == 0 {
			batch[0], batch[1] = batch[1], batch[0]
		}
		results, err := b.svc.UpdateAdGroups(t.Context(), a.ID, batch)
		if err != nil || results[0].Err != nil || results[1].Err != nil {
			t.Errorf("update %d: %v %v", i, err, results)
		}
	})
	require.Zero(t, b.count(`SELECT count(*) FROM budgets b JOIN ad_groups g ON b.scope = 'AD_GROUP' AND b.scope_id = g.id
		WHERE b.kind = 'DAILY' AND b.limit_nanos <> g.budget_micros * 1000`), "every line has the limit of its ad group")
}

func TestAnOutageIsUnavailable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.account("UTC")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.svc.AdAccount(ctx, a.ID)
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	_, err = b.svc.CreateCampaigns(ctx, a.ID, items(campaign.CampaignInput{}))
	require.Equal(t, fault.Unavailable, fault.CodeOf(err))
	_, err = b.db.ExecContext(t.Context(), `ALTER TABLE campaigns RENAME TO secret_campaigns`)
	require.NoError(t, err)
	_, err = b.svc.Campaign(t.Context(), a.ID, 5)
	require.Equal(t, fault.Internal, fault.CodeOf(err))
	require.NotContains(t, fault.From(err).Message, "secret", fmt.Sprint(err))
}

// A transaction that asked the pool for a second connection would wait for itself here.
func TestATransactionNeedsOneConnection(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.db.SetMaxOpenConns(1)
	a, c, _, _ := b.tree()
	results, err := b.svc.UpdateCampaigns(t.Context(), a.ID, items(campaign.CampaignUpdate{ID: c.ID, CampaignInput: campaign.CampaignInput{DailySpendCap: campaign.Some[money.Micros](5)}}))
	written(b, results, err)
}

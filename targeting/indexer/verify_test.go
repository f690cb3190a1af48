package indexer_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/campaign/postgres"
	"gavel/internal/testenv"
	"gavel/targeting"
	"gavel/targeting/indexer"
	"gavel/targeting/redis"
)

func TestVerifyNamesWhatDiffers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 20)
	url := testenv.Redis(t)
	n := newNode(t, w, url)
	n.equal(t, w)
	n.stop() // nobody repairs any more
	c := compared(t, w, url, n.replica)

	r, err := indexer.Verify(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, indexer.Report{Source: 40, Store: 40, Replica: 40}, r)

	w.exec(t, `UPDATE ad_groups SET bid_micros = 5 WHERE id = 3`) // ads 5 and 6 are changed, and nobody is told
	w.exec(t, `UPDATE ads SET status = 'PAUSED' WHERE id = 7`)    // should be gone
	w.exec(t, `UPDATE ads SET status = 'PAUSED' WHERE id = 8`)    // gone from the replica only
	other, err := n.replica.Current().Apply(targeting.Change{
		Removals: []campaign.AdID{8, 9}, Lists: map[campaign.AudienceID]campaign.ListID{1: 2},
	})
	require.NoError(t, err)
	n.replica.Store(other)
	r, err = indexer.Verify(t.Context(), c)
	require.NoError(t, err)
	require.False(t, r.OK())
	require.Equal(t, []campaign.AdID{5, 6, 7, 8}, sorted(r.StoreDiffers))
	require.Equal(t, []campaign.AdID{5, 6, 7, 9}, sorted(r.ReplicaDiffers))
	require.Equal(t, []string{"replica: lists"}, r.TablesDiffer)

	c.Replica = nil
	r, err = indexer.Verify(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, -1, r.Replica)
	require.Empty(t, r.ReplicaDiffers)
	require.Len(t, r.StoreDiffers, 4)
}

func TestVerifyNeedsAnIndex(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	_, err := indexer.Verify(t.Context(), compared(t, w, testenv.Redis(t), nil))
	require.ErrorIs(t, err, redis.ErrNoIndex)
}

func TestEqualIndexesHaveOneDigest(t *testing.T) {
	t.Parallel()
	parser := targeting.NewParser(bounds)
	var ads []*targeting.Ad
	for i := range 100 {
		ad, err := parser.Parse(campaign.ServingAd{
			AdID: campaign.AdID(i + 1), Currency: "USD", TimeZone: "UTC", BillableEvent: campaign.BillImpression, BidMicros: 1000, PlacementGroup: "ALL",
		})
		require.NoError(t, err)
		ads = append(ads, ad)
	}
	all := targeting.Build(ads, targeting.Tables{})
	changed := targeting.Build(ads[:99], targeting.Tables{})
	require.NotEqual(t, indexer.Digest(all), indexer.Digest(changed))
	changed, err := changed.Apply(targeting.Change{Upserts: ads[99:]})
	require.NoError(t, err)
	require.Equal(t, indexer.Digest(all), indexer.Digest(changed))
}

func compared(t *testing.T, w *world, redisURL string, replica *targeting.Replica) indexer.VerifyConfig {
	t.Helper()
	source := postgres.NewServing(w.db)
	client, err := redis.Open(redisURL)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, source.Close())
		require.NoError(t, client.Close())
	})
	n := &node{source: source, client: client}
	return n.compared(replica)
}

func sorted(ids []campaign.AdID) []campaign.AdID { return slices.Sorted(slices.Values(ids)) }

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
	source, store := adapters(t, w, url)

	r, err := indexer.Verify(t.Context(), source, store, n.replica)
	require.NoError(t, err)
	require.Equal(t, indexer.Report{Source: 40, Store: 40, Replica: 40}, r)

	w.exec(t, `UPDATE ad_groups SET bid_micros = 5 WHERE id = 3`) // ads 5 and 6 are changed, and nobody is told
	w.exec(t, `UPDATE ads SET status = 'PAUSED' WHERE id = 7`)    // should be gone
	w.exec(t, `UPDATE ads SET status = 'PAUSED' WHERE id = 8`)    // gone from the replica only
	without, err := n.replica.Current().Apply(targeting.Change{Removals: []campaign.AdID{8, 9}})
	require.NoError(t, err)
	n.replica.Store(without)
	r, err = indexer.Verify(t.Context(), source, store, n.replica)
	require.NoError(t, err)
	require.False(t, r.OK())
	require.Equal(t, []campaign.AdID{5, 6, 7, 8}, sorted(r.StoreDiffers))
	require.Equal(t, []campaign.AdID{5, 6, 7, 9}, sorted(r.ReplicaDiffers))

	r, err = indexer.Verify(t.Context(), source, store, nil)
	require.NoError(t, err)
	require.Equal(t, -1, r.Replica)
	require.Empty(t, r.ReplicaDiffers)
	require.Len(t, r.StoreDiffers, 4)
}

func TestVerifyNeedsAnIndex(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	source, store := adapters(t, w, testenv.Redis(t))
	_, err := indexer.Verify(t.Context(), source, store, nil)
	require.ErrorIs(t, err, targeting.ErrGeneration)
}

func adapters(t *testing.T, w *world, redisURL string) (*postgres.Serving, *redis.Store) {
	t.Helper()
	source := postgres.NewServing(w.db)
	client, err := redis.Open(redisURL)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, source.Close())
		require.NoError(t, client.Close())
	})
	return source, redis.NewStore(client)
}

func sorted(ids []campaign.AdID) []campaign.AdID { return slices.Sorted(slices.Values(ids)) }

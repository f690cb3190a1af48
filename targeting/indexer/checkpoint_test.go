package indexer_test

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/testenv"
	"gavel/targeting"
	"gavel/targeting/indexer"
	"gavel/targeting/redis"
)

// often makes a checkpoint after every few changes.
func often(c *indexer.Config) { c.CheckpointAfter = 5; fast(c) }

func TestCheckpointsKeepEverything(t *testing.T) {
	t.Parallel()
	w, url := newWorld(t, 100), testenv.Redis(t)
	n := newNode(t, w, url, often)
	n.equal(t, w)
	r := rand.New(rand.NewPCG(3, 4))
	for n.indexer.Status().Checkpoints < 5 {
		w.random(t, r, 100)
	}
	n.equal(t, w)
	require.Equal(t, int64(1), n.indexer.Status().Rebuilds)
	d, err := redis.Describe(t.Context(), n.client)
	require.NoError(t, err)
	require.Positive(t, d.BaseSeq)
	require.Less(t, d.LogEntries, d.Seq)
	require.Equal(t, 1, n.follower.Status().Loads, "who follows needs no checkpoint")

	late := newNode(t, w, url, often)
	late.equal(t, w)
	require.Zero(t, late.indexer.Status().Rebuilds)
}

// TestOtherBoundsMakeACheckpoint: a leader of another version puts the segments in its order, so that nodes of its version start fast.
func TestOtherBoundsMakeACheckpoint(t *testing.T) {
	t.Parallel()
	w, url := newWorld(t, 20), testenv.Redis(t)
	old := newNode(t, w, url, func(c *indexer.Config) { c.Bounds = targeting.Bounds{MaxCTR: 0.2, MaxCVR: 0.5} })
	old.equal(t, w)
	old.stop()
	n := newNode(t, w, url)
	eventually(t, "a checkpoint", func() bool { return n.indexer.Status().Checkpoints == 1 })
	n.equal(t, w)
	st, err := n.store.State(t.Context())
	require.NoError(t, err)
	require.Equal(t, bounds, st.Bounds)
	require.Zero(t, n.indexer.Status().Rebuilds)
}

// TestAnAdThatIsNotUnderstoodIsRefusedAlone: it never enters the store, and stops nothing.
func TestAnAdThatIsNotUnderstoodIsRefusedAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 20)
	w.exec(t, `UPDATE ad_groups SET targeting_spec = '{"SHOE_SIZE": ["42"]}' WHERE id = 3`) // ads 5 and 6
	n := newNode(t, w, testenv.Redis(t))
	n.equal(t, w)
	require.Equal(t, 38, n.replica.Current().Len())
	refused := func() map[campaign.AdID]string {
		ads, err := n.store.Refused(t.Context())
		require.NoError(t, err)
		return ads
	}
	require.Len(t, refused(), 2)
	require.Contains(t, refused()[5], "SHOE_SIZE")

	w.change(t, campaign.EntityAdGroup, 4, `UPDATE ad_groups SET targeting_spec = '{"SHOE_SIZE": ["42"]}' WHERE id = 4`)
	w.bid(t, 7, 4321)
	n.serves(t, "the change after it", hasBid(7, 4321))
	n.equal(t, w)
	require.Equal(t, 36, n.replica.Current().Len(), "what was served before is not any more")
	require.Len(t, refused(), 4)
	require.Equal(t, 4, n.indexer.Status().Refused)

	w.change(t, campaign.EntityAdGroup, 4, `UPDATE ad_groups SET targeting_spec = '{}' WHERE id = 4`)
	w.change(t, campaign.EntityAd, 5, `UPDATE ads SET status = 'PAUSED' WHERE id = 5`)
	n.equal(t, w)
	require.Equal(t, 38, n.replica.Current().Len())
	require.Len(t, refused(), 1)
	require.Equal(t, int64(1), n.indexer.Status().Rebuilds)
}

// TestTablesAreCarriedOver gives the source lists and a taxonomy.
func TestTablesAreCarriedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	taxonomy := []campaign.Interest{{ID: "1", Name: "Animals"}, {ID: "2", ParentID: "1", Name: "Cats"}}
	n := newNode(t, w, testenv.Redis(t), func(c *indexer.Config) { c.Source = withTables{c.Source, taxonomy} })
	n.serves(t, "the tables", func(ix *targeting.Index) bool {
		return ix.Tables().Lists[70] == 7 && len(ix.Tables().Lists) == 1 && ix.Tables().Interests.Len() == 2
	})
	w.change(t, campaign.EntityInterests, 0, `SELECT 1`)
	n.serves(t, "a change of them", func(ix *targeting.Index) bool {
		return ix.Tables().Lists[71] == 7 && len(ix.Tables().Lists) == 1 && ix.Tables().Interests.Len() == 1
	})
}

type withTables struct {
	indexer.Source
	taxonomy []campaign.Interest
}

func (s withTables) AudienceLists(context.Context) (map[campaign.AudienceID]campaign.ListID, error) {
	return map[campaign.AudienceID]campaign.ListID{7: 70, 8: 0}, nil
}

func (s withTables) Interests(context.Context) ([]campaign.Interest, error) { return s.taxonomy, nil }

func (s withTables) Resolve(context.Context, []campaign.Change) (campaign.Delta, error) {
	return campaign.Delta{Lists: map[campaign.AudienceID]campaign.ListID{7: 71, 8: 0}, Interests: s.taxonomy[:1]}, nil
}

package indexer_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/testenv"
	"gavel/targeting"
	"gavel/targeting/indexer"
	"gavel/targeting/redis"
)

func TestChangesReachTheReplicaWithinASecond(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 600)
	n := newNode(t, w, testenv.Redis(t))
	n.serves(t, "all ads", func(ix *targeting.Index) bool { return ix.Len() == 1200 })

	start := time.Now()
	w.bid(t, 7, 4321)
	n.serves(t, "the new bid", hasBid(7, 4321))
	require.Less(t, time.Since(start), time.Second)

	w.change(t, campaign.EntityAd, 3, `UPDATE ads SET status = 'PAUSED' WHERE id = 3`)
	n.serves(t, "a paused ad", func(ix *targeting.Index) bool { _, found := ix.Ad(3); return !found && ix.Len() == 1199 })
	w.change(t, campaign.EntityCampaign, 2, `UPDATE campaigns SET status = 'PAUSED' WHERE id = 2`)
	n.serves(t, "a paused campaign", func(ix *targeting.Index) bool { return ix.Len() == 1198 })
	// All ads of an account at once are more than one batch.
	w.change(t, campaign.EntityAdAccount, 1, `UPDATE ad_accounts SET time_zone = 'Asia/Tokyo' WHERE id = 1`)
	n.serves(t, "another time zone", func(ix *targeting.Index) bool {
		for ad := range ix.Ads() {
			if ad.Zone.String() != "Asia/Tokyo" {
				return false
			}
		}
		return true
	})
	n.equal(t, w)
	s := n.indexer.Status()
	require.True(t, s.Leading)
	require.Equal(t, int64(1), s.Rebuilds)
	require.Equal(t, int64(4), s.Applied)
	require.NoError(t, s.Err)
}

func TestMembershipsAreCarriedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	for user := range int64(1200) {
		w.exec(t, `INSERT INTO list_members SELECT $1, list_id FROM audiences WHERE id IN (1, 2)`, user+1)
	}
	n := newNode(t, w, testenv.Redis(t))
	n.equal(t, w)
	w.join(t, 5, 3)
	w.leave(t, 6, 1)
	w.leave(t, 7, 1)
	w.leave(t, 7, 2)
	n.equal(t, w)
}

func TestFlushedRedisIsFilledAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 300)
	w.join(t, 1, 1)
	n := newNode(t, w, testenv.Redis(t))
	n.equal(t, w)
	before := n.follower.Status().Generation

	start := time.Now()
	require.NoError(t, n.client.FlushDB(t.Context()).Err())
	w.bid(t, 7, 4321) // in the middle of it
	eventually(t, "another generation", func() bool {
		require.Equal(t, 600, n.replica.Current().Len(), "the replica never has a gap")
		return n.follower.Status().Generation != before
	})
	n.serves(t, "the change", hasBid(7, 4321))
	require.Less(t, time.Since(start), 5*time.Second)
	n.equal(t, w)
}

func TestRedisIsKilledAndRestarted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100)
	w.join(t, 1, 1)
	server := testenv.RedisProcess(t)
	n := newNode(t, w, server.URL)
	n.equal(t, w)

	server.Kill()
	w.bid(t, 7, 4321)
	eventually(t, "the condition", func() bool { return n.indexer.Status().Err != nil && n.follower.Status().Err != nil })
	require.Equal(t, 200, n.replica.Current().Len())
	require.Equal(t, 1, w.waiting(t), "nothing is lost")
	server.Restart()
	n.serves(t, "the change", hasBid(7, 4321))
	n.equal(t, w)
}

func TestTheNextIndexerTakesOver(t *testing.T) {
	t.Parallel()
	w, url := newWorld(t, 100), testenv.Redis(t)
	a := newNode(t, w, url)
	a.equal(t, w)
	b := newNode(t, w, url)
	b.serves(t, "all ads", func(ix *targeting.Index) bool { return ix.Len() == 200 })
	require.False(t, b.indexer.Status().Leading)

	a.stop()
	w.bid(t, 7, 4321)
	b.serves(t, "the change", hasBid(7, 4321))
	require.Greater(t, b.indexer.Status().Epoch, a.indexer.Status().Epoch)
	require.Zero(t, b.indexer.Status().Rebuilds, "a good index is adopted")
	b.equal(t, w)
}

// TestTwoIndexersAtOnce lets both believe that they lead, as when one was cut off and does not know it.
func TestTwoIndexersAtOnce(t *testing.T) {
	t.Parallel()
	w, url := newWorld(t, 100), testenv.Redis(t)
	epochs := make(chan int64, 2)
	believe := func(c *indexer.Config) {
		often(c)
		c.Lead = func(context.Context) (indexer.Lead, bool, error) {
			select {
			case epoch := <-epochs:
				return indexer.Lead{Epoch: epoch, Lost: make(chan struct{}), Close: func() {}}, true, nil
			default:
				return indexer.Lead{}, false, nil
			}
		}
	}
	epochs <- 5
	a := newNode(t, w, url, believe)
	eventually(t, "the condition", func() bool { return a.indexer.Status().Generation != "" })
	epochs <- 6
	b := newNode(t, w, url, believe)
	eventually(t, "the condition", func() bool { return b.indexer.Status().Generation != "" })

	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		w.random(t, r, 100)
	}
	eventually(t, "the older one gives up", func() bool { return !a.indexer.Status().Leading })
	require.True(t, b.indexer.Status().Leading)
	b.equal(t, w)
	a.equal(t, w) // its follower
}

func TestDamageIsRepaired(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, n *node, generation string){
		"a chunk is lost": func(t *testing.T, n *node, generation string) {
			t.Helper()
			require.NoError(t, n.client.Del(t.Context(), "{gavel:index:"+generation+".0}:0").Err())
		},
		"the log is lost": func(t *testing.T, n *node, generation string) {
			t.Helper()
			require.NoError(t, n.client.Del(t.Context(), "{gavel:index}:"+generation+":log").Err())
		},
		"the manifest is damaged": func(t *testing.T, n *node, generation string) {
			t.Helper()
			require.NoError(t, n.client.Set(t.Context(), "{gavel:index}:manifest", "x", 0).Err())
		},
		"a rebuild is asked for": func(t *testing.T, n *node, _ string) {
			t.Helper()
			require.NoError(t, n.store.RequestRebuild(t.Context(), "for the test"))
		},
		"the schema is another": func(t *testing.T, n *node, _ string) {
			t.Helper()
			require.NoError(t, n.client.HSet(t.Context(), "{gavel:index}:meta", "schema", "0").Err())
		},
		"changes are lost": func(t *testing.T, n *node, _ string) {
			t.Helper()
			require.NoError(t, n.client.HIncrBy(t.Context(), "{gavel:index}:meta", "seq", -1).Err())
		},
		"an older dump comes back": func(t *testing.T, n *node, _ string) {
			t.Helper()
			dump := map[string]string{}
			for _, key := range n.client.Keys(t.Context(), "*").Val() {
				dump[key] = n.client.Dump(t.Context(), key).Val()
			}
			before := n.indexer.Status().Seq
			n.touch(t)
			eventually(t, "the change", func() bool { return n.indexer.Status().Seq > before })
			for key, value := range dump {
				require.NoError(t, n.client.RestoreReplace(t.Context(), key, 0, value).Err())
			}
		},
		"a chunk is damaged, which a booting node finds": func(t *testing.T, n *node, generation string) {
			t.Helper()
			require.NoError(t, n.client.SetRange(t.Context(), "{gavel:index:"+generation+".0}:0", 40, "~~~").Err())
			replica := &targeting.Replica{}
			f := redis.NewFollower(redis.FollowerConfig{Client: n.client, Replica: replica, Bounds: bounds, Log: logger(t), Now: time.Now})
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = f.Run(ctx) })
			eventually(t, "the condition", func() bool { return replica.Current().Len() == 200 })
			cancel()
			running.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 100)
			// A rebuild of what is there is not done again at once, so time goes faster here.
			n := newNode(t, w, testenv.Redis(t), fast)
			n.equal(t, w)
			w.bid(t, 1, 5) // change 1
			n.equal(t, w)
			generation := n.follower.Status().Generation
			damage(t, n, generation)
			eventually(t, "the condition", func() bool { return n.follower.Status().Generation != generation })
			n.equal(t, w)
			require.Equal(t, 200, n.replica.Current().Len())
		})
	}
}

// fast makes time go a hundred times as fast for the indexer.
func fast(c *indexer.Config) {
	start := time.Now()
	c.Now = func() time.Time { return start.Add(100 * time.Since(start)) }
}

func TestAnotherDatabasesIndexIsReplaced(t *testing.T) {
	t.Parallel()
	url := testenv.Redis(t)
	old := newWorld(t, 50)
	old.join(t, 1, 1)
	for range 30 { // epochs far ahead of the new database's
		old.exec(t, `SELECT nextval('indexer_epochs')`)
	}
	a := newNode(t, old, url)
	a.equal(t, old)
	a.stop()

	w := newWorld(t, 10)
	w.join(t, 1, 2)
	b := newNode(t, w, url)
	b.serves(t, "the ads of the new database", func(ix *targeting.Index) bool { return ix.Len() == 20 })
	b.equal(t, w)
}

// TestAChangedUserIsNotOverwrittenByTheFill lets a user change after the snapshot of all memberships was read and before they
// are written.
func TestAChangedUserIsNotOverwrittenByTheFill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.exec(t, `INSERT INTO list_members SELECT i, list_id FROM audiences, generate_series(1, 2) i WHERE id = 1`)
	read, proceed := make(chan struct{}), make(chan struct{})
	n := newNode(t, w, testenv.Redis(t), func(c *indexer.Config) {
		c.Source = slowMembers{Source: c.Source, read: read, proceed: proceed}
	})
	<-read
	w.join(t, 1, 5)
	eventually(t, "the condition", func() bool { return w.waiting(t) == 0 })
	close(proceed)
	n.equal(t, w)
}

// slowMembers holds the fill after its snapshot was read.
type slowMembers struct {
	indexer.Source
	read, proceed chan struct{}
}

func (s slowMembers) AllMembers(ctx context.Context, each func(int64, []campaign.ListID) error) error {
	all := map[int64][]campaign.ListID{}
	err := s.Source.AllMembers(ctx, func(user int64, lists []campaign.ListID) error {
		all[user] = append([]campaign.ListID{}, lists...)
		return nil
	})
	if err != nil {
		return err
	}
	close(s.read)
	<-s.proceed
	for user, lists := range all {
		if err := each(user, lists); err != nil {
			return err
		}
	}
	return nil
}

// TestNothingIsLostWhateverFails changes campaigns while calls fail before or after their work, and the lead changes hands. With
// odd seeds Redis is flushed too, and what is lost is rebuilt; with even ones nothing but the outbox can bring a change over.
func TestNothingIsLostWhateverFails(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			const campaigns = 50
			w, url := newWorld(t, campaigns), testenv.Redis(t)
			fails := newFaults(seed)
			broken := func(c *indexer.Config) {
				c.Source, c.Store = brokenSource{c.Source, fails}, brokenStore{c.Store, fails}
				often(c)
			}
			nodes := []*node{newNode(t, w, url, broken), newNode(t, w, url, broken)}
			r := rand.New(rand.NewPCG(seed, 77))
			for i := range 400 {
				w.random(t, r, campaigns)
				switch {
				case seed%2 == 1 && i%80 == 40:
					require.NoError(t, nodes[0].client.FlushDB(t.Context()).Err())
				case i == 200:
					nodes[0].stop()
					nodes[0] = newNode(t, w, url, broken)
				}
			}
			fails.end()
			for _, n := range nodes {
				n.equal(t, w)
			}
		})
	}
}

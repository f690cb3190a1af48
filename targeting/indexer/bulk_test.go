package indexer_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/campaign/postgres"
	"gavel/internal/testenv"
	"gavel/targeting/indexer"
)

// lister uploads to the audiences of a world.
type lister struct {
	*world
	svc *campaign.Service
}

func newLister(t *testing.T, w *world) *lister {
	t.Helper()
	store := postgres.NewStore(w.db)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return &lister{world: w, svc: campaign.NewService(campaign.Config{Store: store, Now: time.Now, Random: rand.Reader})}
}

func (l *lister) upload(t *testing.T, audience campaign.AudienceID, operation string, from, to int) {
	t.Helper()
	var users strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&users, "user %d\n", i)
	}
	up, err := l.svc.CreateUpload(t.Context(), 1, audience, campaign.Item[campaign.UploadInput]{Input: campaign.UploadInput{Operation: campaign.Some(operation)}})
	require.NoError(t, err)
	_, err = l.svc.PutPart(t.Context(), 1, audience, up.ID, 1, strings.NewReader(users.String()))
	require.NoError(t, err)
	_, err = l.svc.RunUpload(t.Context(), 1, audience, up.ID)
	require.NoError(t, err)
}

// settled waits until no upload is running and no list is left to be cleaned away. Nobody waits for the minute.
func (l *lister) settled(t *testing.T) {
	t.Helper()
	var running int
	eventually(t, "uploads are done", func() bool {
		require.NoError(t, l.db.Get(&running, `SELECT count(*) FROM list_uploads WHERE state = 'RUNNING'`))
		return running == 0
	})
	eventually(t, "the index was told", func() bool { // of which old_lists counts from
		var told bool
		require.NoError(t, l.db.Get(&told, `SELECT NOT EXISTS (SELECT FROM outbox WHERE entity = 'AUDIENCE')`))
		return told
	})
	l.exec(t, `UPDATE old_lists SET retired_at = retired_at - interval '2 minutes'`)
	eventually(t, "lists are cleaned away", func() bool {
		var n int
		require.NoError(t, l.db.Get(&n, `SELECT count(*) FROM old_lists`))
		return n == 0
	})
}

// holds compares the records of users in Redis with the rows in Postgres, and those with what is wanted.
func (l *lister) holds(t *testing.T, n *node, from, to int, want func(user int) []campaign.AudienceID) {
	t.Helper()
	ctx := t.Context()
	lists, err := n.source.AudienceLists(ctx)
	require.NoError(t, err)
	for i := from; i < to; i++ {
		got, err := n.users.LoadUser(ctx, campaign.UserHash(fmt.Sprintf("user %d", i)))
		require.NoError(t, err)
		var wanted []campaign.ListID
		for _, audience := range want(i) {
			wanted = append(wanted, lists[audience])
		}
		slices.Sort(wanted)
		require.Equal(t, wanted, got.Lists, "user %d", i)
	}
}

func TestUploadsReachTheIndex(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5)
	l := newLister(t, w)
	n := newNode(t, w, testenv.Redis(t))
	n.equal(t, w)
	l.upload(t, 1, campaign.AddUsers, 0, 20_000)
	l.upload(t, 2, campaign.AddUsers, 0, 100)
	l.settled(t)
	l.holds(t, n, 0, 300, func(user int) []campaign.AudienceID {
		if user < 100 {
			return []campaign.AudienceID{1, 2}
		}
		return []campaign.AudienceID{1}
	})
	l.upload(t, 1, campaign.ReplaceUsers, 50, 150)
	l.upload(t, 2, campaign.RemoveUsers, 0, 60)
	l.settled(t)
	after := func(user int) (in []campaign.AudienceID) {
		if user >= 50 && user < 150 {
			in = append(in, 1)
		}
		if user >= 60 && user < 100 {
			in = append(in, 2)
		}
		return in
	}
	l.holds(t, n, 0, 300, after)
	require.NoError(t, n.client.FlushDB(t.Context()).Err())
	n.equal(t, w)
	l.holds(t, n, 0, 300, after)
	require.Equal(t, 0, w.waiting(t))
}

// TestAnUploadIsDoneOnceWhateverFails changes leaders, flushes Redis and loses calls while lists are uploaded and users join
// and leave one by one.
func TestAnUploadIsDoneOnceWhateverFails(t *testing.T) {
	t.Parallel()
	w, url := newWorld(t, 5), testenv.Redis(t)
	l, fails := newLister(t, w), newFaults(5)
	broken := func(c *indexer.Config) {
		c.Source, c.Store = brokenSource{c.Source, fails}, brokenStore{c.Store, fails}
	}
	a, b := newNode(t, w, url, broken), newNode(t, w, url, broken)
	a.serves(t, "an index", hasBid(1, 1000))
	l.upload(t, 1, campaign.AddUsers, 0, 60_000)
	l.upload(t, 2, campaign.ReplaceUsers, 0, 30_000)
	l.upload(t, 1, campaign.RemoveUsers, 100, 40_000)
	for i := range 40 {
		user := campaign.UserHash(fmt.Sprintf("user %d", i))
		w.join(t, user, 3)
		w.leave(t, user, 3)
		w.join(t, user, 4)
		switch i {
		case 10:
			a.stop()
		case 20:
			require.NoError(t, b.client.FlushDB(t.Context()).Err())
		}
	}
	fails.end()
	l.settled(t)
	b.equal(t, w)
	l.holds(t, b, 0, 200, func(user int) (in []campaign.AudienceID) {
		if user < 100 {
			in = append(in, 1)
		}
		in = append(in, 2)
		if user < 40 {
			in = append(in, 4)
		}
		return in
	})
	require.Equal(t, 0, w.waiting(t))
}

// TestAdsDoNotWaitForUsers changes a bid while the memberships of many users are under way.
func TestAdsDoNotWaitForUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5)
	l := newLister(t, w)
	n := newNode(t, w, testenv.Redis(t))
	n.equal(t, w)
	l.upload(t, 1, campaign.AddUsers, 0, 100_000)
	w.exec(t, `INSERT INTO outbox (entity, entity_id) SELECT 'USER', i FROM generate_series(1, 20000) i`)
	for i := range int64(5) {
		start := time.Now()
		w.bid(t, 3, 2000+i)
		n.serves(t, "the new bid", hasBid(3, 2000+i))
		require.Less(t, time.Since(start), 2*time.Second) // the machine may be busy
	}
	l.settled(t)
}

// TestPiecesWaitForAFill holds a fill of all memberships: bulk changes are not begun meanwhile.
func TestPiecesWaitForAFill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	l := newLister(t, w)
	w.join(t, 1, 5)
	read, proceed := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	pieces := 0
	n := newNode(t, w, testenv.Redis(t), func(c *indexer.Config) {
		c.Source = countedPieces{slowMembers{Source: c.Source, read: read, proceed: proceed}, func() { mu.Lock(); pieces++; mu.Unlock() }}
	})
	<-read
	l.upload(t, 1, campaign.AddUsers, 0, 100)
	w.bid(t, 1, 77)
	n.serves(t, "an ad", hasBid(1, 77))
	mu.Lock()
	require.Zero(t, pieces)
	mu.Unlock()
	close(proceed)
	l.settled(t)
	n.equal(t, w)
	l.holds(t, n, 0, 100, func(int) []campaign.AudienceID { return []campaign.AudienceID{1} })
}

// countedPieces tells of every piece that is asked for.
type countedPieces struct {
	indexer.Source
	asked func()
}

func (s countedPieces) NextBulk(ctx context.Context) (campaign.Bulk, bool, error) {
	s.asked()
	return s.Source.NextBulk(ctx)
}

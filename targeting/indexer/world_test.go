package indexer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq" // the driver
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"gavel/campaign"
	"gavel/campaign/postgres"
	"gavel/internal/testenv"
	"gavel/targeting"
	"gavel/targeting/indexer"
	"gavel/targeting/redis"
)

func TestMain(m *testing.M) {
	// The client's look for a server that is gone ends by itself, up to a second after its pool was closed.
	dialing := goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial")
	goleak.VerifyTestMain(m, append(testenv.LeakOptions(), dialing)...)
}

const (
	waitFor = 20 * time.Second
	tick    = 5 * time.Millisecond
)

// world is a database of campaigns that a test changes as the API would: row and outbox in one transaction.
type world struct {
	db  *sqlx.DB
	url string
}

// newWorld makes one account with campaigns 1 to n, each with one ad group of two ads; all ids count from 1. The account is 1.
func newWorld(t testing.TB, campaigns int) *world {
	t.Helper()
	url := testenv.Postgres(t)
	w := &world{db: connect(t, url), url: url}
	w.exec(t, `INSERT INTO ad_accounts (id, name, country, currency, time_zone) VALUES (1, 'a', 'US', 'USD', 'America/New_York')`)
	w.exec(t, `INSERT INTO campaigns (id, ad_account_id, name, status, objective_type, start_time)
		SELECT i, 1, 'c', 'ACTIVE', 'AWARENESS', '2026-01-01T00:00:00.123456Z' FROM generate_series(1, $1) i`, campaigns)
	w.exec(t, `INSERT INTO ad_groups (id, ad_account_id, campaign_id, name, status, billable_event, bid_micros, budget_type,
			budget_micros, targeting_spec)
		SELECT i, 1, i, 'g', 'ACTIVE', 'IMPRESSION', 1000, 'DAILY', 1000000, '{"LOCATION": ["US"]}' FROM generate_series(1, $1) i`, campaigns)
	w.exec(t, `INSERT INTO ads (id, ad_account_id, campaign_id, ad_group_id, name, status, creative_type, destination_url)
		SELECT i, 1, (i + 1) / 2, (i + 1) / 2, 'ad', 'ACTIVE', 'REGULAR', 'https://example.com' FROM generate_series(1, 2 * $1) i`, campaigns)
	w.exec(t, `INSERT INTO audiences (id, ad_account_id, name) SELECT i, 1, 'audience' FROM generate_series(1, 5) i`)
	return w
}

func connect(t testing.TB, url string) *sqlx.DB {
	t.Helper()
	db := sqlx.MustConnect("postgres", url)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func (w *world) exec(t require.TestingT, query string, args ...any) {
	_, err := w.db.ExecContext(context.Background(), query, args...)
	require.NoError(t, err)
}

// change runs a statement and tells the indexer, in one transaction.
func (w *world) change(t require.TestingT, entity string, id int64, query string, args ...any) {
	tx, err := w.db.BeginTxx(context.Background(), nil)
	require.NoError(t, err)
	_, err = tx.Exec(query, args...)
	require.NoError(t, err)
	_, err = tx.Exec(`INSERT INTO outbox (entity, entity_id) VALUES ($1, $2)`, entity, id)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
}

func (w *world) bid(t require.TestingT, group, micros int64) {
	w.change(t, campaign.EntityAdGroup, group, `UPDATE ad_groups SET bid_micros = $2 WHERE id = $1`, group, micros)
}

func (w *world) join(t require.TestingT, user, audience int64) {
	w.change(t, campaign.EntityUser, user, `INSERT INTO list_members SELECT $1, list_id FROM audiences WHERE id = $2 ON CONFLICT DO NOTHING`, user, audience)
}

func (w *world) leave(t require.TestingT, user, audience int64) {
	w.change(t, campaign.EntityUser, user, `DELETE FROM list_members WHERE user_hash = $1 AND list_id = (SELECT list_id FROM audiences WHERE id = $2)`, user, audience)
}

// random changes something.
func (w *world) random(t require.TestingT, r *rand.Rand, campaigns int64) {
	status := []string{"ACTIVE", "ACTIVE", "PAUSED"}[r.IntN(3)]
	group := 1 + r.Int64N(campaigns)
	switch r.IntN(7) {
	case 0:
		w.change(t, campaign.EntityCampaign, group, `UPDATE campaigns SET status = $2 WHERE id = $1`, group, status)
	case 1:
		w.change(t, campaign.EntityAdGroup, group, `UPDATE ad_groups SET status = $2 WHERE id = $1`, group, status)
	case 2:
		id := 1 + r.Int64N(2*campaigns)
		w.change(t, campaign.EntityAd, id, `UPDATE ads SET status = $2 WHERE id = $1`, id, status)
	case 3:
		w.bid(t, group, 1+r.Int64N(1e6))
	case 4:
		spec := fmt.Sprintf(`{"INTEREST": ["%d"]}`, r.IntN(9))
		w.change(t, campaign.EntityAdGroup, group, `UPDATE ad_groups SET targeting_spec = $2 WHERE id = $1`, group, spec)
	case 5:
		w.join(t, 1+r.Int64N(20), 1+r.Int64N(5))
	case 6:
		w.leave(t, 1+r.Int64N(20), 1+r.Int64N(5))
	}
}

// waiting counts the outbox.
func (w *world) waiting(t require.TestingT) (n int) {
	require.NoError(t, w.db.GetContext(context.Background(), &n, `SELECT count(*) FROM outbox`))
	return n
}

// node is an indexer and a follower as every server runs them.
type node struct {
	world    *world
	client   goredis.UniversalClient
	source   *postgres.Serving
	store    *redis.Store
	users    *redis.Users
	indexer  *indexer.Indexer
	follower *redis.Follower
	replica  *targeting.Replica
	stop     func()
}

// option changes what an indexer gets.
type option func(c *indexer.Config)

func newNode(t testing.TB, w *world, redisURL string, options ...option) *node {
	t.Helper()
	client, err := redis.Open(redisURL)
	require.NoError(t, err)
	source := postgres.NewServing(connect(t, w.url))
	n := &node{
		world: w, client: client, source: source, store: redis.NewStore(client), users: redis.NewUsers(client, time.Now),
		replica: &targeting.Replica{},
	}
	c := indexer.Config{
		Source: source, Store: n.store, SourceID: w.url, Bounds: bounds, Log: logger(t), Now: time.Now, Poll: 10 * time.Millisecond,
		Snapshot: func() (targeting.Snapshot, bool) { return n.follower.Snapshot() },
		Lead: func(ctx context.Context) (indexer.Lead, bool, error) {
			lead, ok, err := source.LeadIndexer(ctx)
			if !ok || err != nil {
				return indexer.Lead{}, ok, err
			}
			return indexer.Lead{Epoch: lead.Epoch, Lost: lead.Lost, Close: lead.Close}, true, nil
		},
	}
	for _, o := range options {
		o(&c)
	}
	n.follower = redis.NewFollower(redis.FollowerConfig{
		Client: client, Replica: n.replica, Bounds: bounds, Log: c.Log, Now: time.Now, Poll: 10 * time.Millisecond,
	})
	n.indexer = indexer.New(c)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = n.indexer.Run(ctx) })
	running.Go(func() { _ = n.follower.Run(ctx) })
	n.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		require.NoError(t, source.Close())
		require.NoError(t, client.Close())
	})
	t.Cleanup(n.stop)
	return n
}

// logger is silent unless GAVEL_TEST_LOG is set.
func logger(t testing.TB) *slog.Logger {
	t.Helper()
	if os.Getenv("GAVEL_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// touch changes an ad group.
func (n *node) touch(t testing.TB) {
	t.Helper()
	n.world.bid(t, 9, 77)
}

// serves waits until the node's replica satisfies a condition.
func (n *node) serves(t testing.TB, what string, is func(ix *targeting.Index) bool) {
	t.Helper()
	eventually(t, what, func() bool {
		s := n.follower.Status()
		return s.Generation != "" && s.Err == nil && is(n.replica.Current())
	})
}

var bounds = targeting.Bounds{MaxCTR: 0.1, MaxCVR: 0.5}

// compared is what Verify compares of a node.
func (n *node) compared(replica *targeting.Replica) indexer.VerifyConfig {
	return indexer.VerifyConfig{
		Source: n.source, Bounds: bounds, Replica: replica,
		Boot: func(ctx context.Context) (targeting.Snapshot, error) { return redis.Load(ctx, n.client, bounds) },
	}
}

// equal waits until the outbox is empty and the index, the replica and the memberships are those of the database.
func (n *node) equal(t testing.TB, w *world) {
	t.Helper()
	ctx, why := t.Context(), ""
	until(t, func() bool {
		if why = "the outbox is not emptied"; w.waiting(t) > 0 {
			return false
		}
		r, err := indexer.Verify(ctx, n.compared(n.replica))
		if why = fmt.Sprintf("%+v, %v", r, err); err != nil || !r.OK() || r.Store != r.Source-r.Refused || r.Replica != r.Source-r.Refused {
			return false
		}
		_, err = n.users.LoadUser(ctx, 1)
		why = "memberships stay incomplete"
		return !errors.Is(err, redis.ErrUsersIncomplete)
	}, &why)
	members, err := n.source.MembersOf(ctx, allUsers())
	require.NoError(t, err)
	for _, want := range members {
		got, err := n.users.LoadUser(ctx, want.User)
		require.NoError(t, err)
		require.Equal(t, want.Lists, got.Lists, "user "+strconv.FormatInt(want.User, 10))
	}
}

// until waits for a condition, which may use t; why is what to say if it does not come.
func until(t testing.TB, is func() bool, why *string) {
	t.Helper()
	untilLimit(t, is, why, waitFor)
}

func untilLimit(t testing.TB, is func() bool, why *string, limit time.Duration) {
	t.Helper()
	end := time.NewTimer(limit)
	defer end.Stop()
	again := time.NewTicker(tick)
	defer again.Stop()
	for !is() {
		select {
		case <-again.C:
		case <-end.C:
			t.Fatalf("still not after %v: %s", limit, *why)
		}
	}
}

// eventually is until with one reason.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	until(t, is, &what)
}

// wait is eventually for what takes long.
func wait(t testing.TB, what string, within time.Duration, is func() bool) {
	t.Helper()
	untilLimit(t, is, &what, within)
}

func allUsers() []int64 {
	users := make([]int64, 20)
	for i := range users {
		users[i] = int64(i + 1)
	}
	return users
}

func hasBid(group campaign.AdGroupID, micros int64) func(*targeting.Index) bool {
	return func(ix *targeting.Index) bool {
		ad, found := ix.Ad(campaign.AdID(2 * group))
		return found && int64(ad.BidMicros) == micros
	}
}

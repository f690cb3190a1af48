package redis_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"gavel/campaign"
	"gavel/internal/money"
	"gavel/internal/testenv"
	"gavel/targeting"
	"gavel/targeting/redis"
)

func TestMain(m *testing.M) {
	// The client's look for a server that is gone ends by itself, up to a second after its pool was closed.
	dialing := goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial")
	goleak.VerifyTestMain(m, append(testenv.LeakOptions(), dialing)...)
}

const (
	waitFor = 10 * time.Second
	tick    = 5 * time.Millisecond
	source  = "a database"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// open returns a client as a node has it.
func open(t testing.TB, url string) goredis.UniversalClient {
	t.Helper()
	client, err := redis.Open(url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// env is a Redis with a store and a follower that runs.
type env struct {
	client   goredis.UniversalClient
	store    *redis.Store
	replica  *targeting.Replica
	follower *redis.Follower
}

func setup(t *testing.T) *env {
	t.Helper()
	return follow(t, open(t, testenv.Redis(t)))
}

// follow runs a follower of client until the test ends.
func follow(t *testing.T, client goredis.UniversalClient) *env {
	t.Helper()
	e := &env{client: client, store: redis.NewStore(client), replica: &targeting.Replica{}}
	e.follower = redis.NewFollower(redis.FollowerConfig{
		Client: client, Replica: e.replica, Bounds: bounds, Log: slog.New(slog.DiscardHandler),
		Now: time.Now, Poll: 10 * time.Millisecond,
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = e.follower.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return e
}

// url is the Redis of the test once more.
func (e *env) url(t testing.TB) string {
	t.Helper()
	o := e.client.(*goredis.Client).Options()
	return "redis://:" + o.Password + "@" + o.Addr + "/" + strconv.Itoa(o.DB)
}

func (e *env) describe(t testing.TB) redis.Description {
	t.Helper()
	d, err := redis.Describe(t.Context(), e.client)
	require.NoError(t, err)
	return d
}

// requireSame holds the ads of two indexes against each other.
func requireSame(t testing.TB, want, got *targeting.Index) {
	t.Helper()
	require.Equal(t, want.Len(), got.Len())
	for ad := range want.Ads() {
		other, found := got.Ad(ad.AdID)
		require.True(t, found)
		require.Equal(t, targeting.AppendAd(nil, ad), targeting.AppendAd(nil, other))
	}
}

func anAd(id campaign.AdID, bid money.Micros) campaign.ServingAd {
	return campaign.ServingAd{
		AdID: id, AdGroupID: 2, CampaignID: 3, AdAccountID: 4, Currency: "USD", TimeZone: "Europe/Berlin",
		BillableEvent: campaign.BillImpression, BidMicros: bid, PlacementGroup: "ALL",
		Targeting: json.RawMessage(`{"LOCATION": ["US"]}`), StartTime: noon, Creative: campaign.Creative{Type: "REGULAR", Title: "é"},
	}
}

// rowsOf are ads of n rows: each has a bid of its own, the best first.
func rowsOf(n int) []campaign.ServingAd {
	ads := someAds(n)
	for i := range ads {
		ads[i].BidMicros = money.Micros(1_000_000 - i)
	}
	return ads
}

func someAds(n int) []campaign.ServingAd {
	ads := make([]campaign.ServingAd, n)
	for i := range ads {
		ads[i] = anAd(campaign.AdID(i+1), 1000)
	}
	return ads
}

var bounds = targeting.Bounds{MaxCTR: 0.1, MaxCVR: 0.5}

func parsed(t testing.TB, ads []campaign.ServingAd) []*targeting.Ad {
	t.Helper()
	parser := targeting.NewParser(bounds)
	list := make([]*targeting.Ad, len(ads))
	for i, ad := range ads {
		var err error
		list[i], err = parser.Parse(ad)
		require.NoError(t, err)
	}
	return list
}

func publication(t testing.TB, name string, ads []campaign.ServingAd) targeting.Publication {
	t.Helper()
	return targeting.Publication{Name: name, Index: targeting.Build(parsed(t, ads), targeting.Tables{}), Bounds: bounds}
}

// publish publishes ads as a generation of an epoch, and leaves nothing else.
func (e *env) publish(t testing.TB, epoch int64, generation string, ads []campaign.ServingAd) {
	t.Helper()
	ctx := t.Context()
	require.NoError(t, e.store.Claim(ctx, epoch, source))
	require.NoError(t, e.store.Publish(ctx, epoch, publication(t, generation, ads), noon))
	require.NoError(t, e.store.Discard(ctx, epoch))
	require.NoError(t, e.store.Sweep(ctx, epoch))
}

func (e *env) apply(t testing.TB, epoch int64, generation string, upserts []campaign.ServingAd, removals ...campaign.AdID) int64 {
	t.Helper()
	seq, err := e.store.Append(t.Context(), epoch, generation, targeting.Change{Upserts: parsed(t, upserts), Removals: removals})
	require.NoError(t, err)
	return seq
}

// checkpoint makes a checkpoint of what a node has that boots now.
func (e *env) checkpoint(t testing.TB, epoch int64, name string) targeting.Snapshot {
	t.Helper()
	s, err := redis.Load(t.Context(), e.client, bounds)
	require.NoError(t, err)
	s.Index = s.Index.Compact()
	p := targeting.Publication{Name: name, Index: s.Index, Bounds: bounds}
	require.NoError(t, e.store.Checkpoint(t.Context(), epoch, p, s.Generation, s.Seq))
	return s
}

// eventually waits for a condition of the status.
func (e *env) eventually(t testing.TB, what string, is func(redis.Status) bool) redis.Status {
	t.Helper()
	var s redis.Status
	require.Eventually(t, func() bool { s = e.follower.Status(); return is(s) }, waitFor, tick, what)
	return s
}

// serves waits until the replica is of a generation, current up to a change, and has so many ads.
func (e *env) serves(t testing.TB, generation string, seq int64, ads int) {
	t.Helper()
	deadline := time.Now().Add(waitFor)
	for time.Now().Before(deadline) {
		s := e.follower.Status()
		if s.Generation == generation && s.Seq == seq && s.Ads == ads && s.Err == nil && s.LagMS >= 0 {
			return
		}
		<-time.After(tick)
	}
	t.Fatalf("not at %s %d with %d ads, but %+v", generation, seq, ads, e.follower.Status())
}

// clock is a time that tests move.
type clock struct{ nanos atomic.Int64 }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.nanos.Store(at.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

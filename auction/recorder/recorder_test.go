package recorder_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"gavel/auction"
	"gavel/auction/postgres"
	"gavel/auction/record"
	"gavel/auction/recorder"
	"gavel/internal/replaybench"
	"gavel/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testenv.LeakOptions()...) }

// counts are what a recorder observed.
type counts struct {
	mu sync.Mutex
	n  map[recorder.Fate]int
}

func (c *counts) observe(_ context.Context, f recorder.Fate, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[f] += n
}

func (c *counts) of(f recorder.Fate) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[f]
}

type bundle struct {
	*recorder.Recorder
	*counts
	store *postgres.Records
	// stop ends Run and waits for it.
	stop func()
}

// setup starts a recorder on a database; change may change its configuration, or wrap its store.
func setup(t *testing.T, url string, change func(*recorder.Config)) bundle {
	t.Helper()
	db := sqlx.MustConnect("postgres", url)
	t.Cleanup(func() { _ = db.Close() }) // its server may be gone
	b := bundle{counts: &counts{n: map[recorder.Fate]int{}}, store: postgres.NewRecords(db, time.Now)}
	c := recorder.Config{
		Store: b.store, Program: "test", MaxQueued: 100, MaxQueuedBytes: 1 << 20, MaxBatch: 10, Linger: time.Millisecond,
		SaveTimeout: 5 * time.Second, Retry: 5 * time.Millisecond, GiveUp: time.Minute, DrainTimeout: 30 * time.Second,
		Observe: b.observe, Log: slog.New(slog.DiscardHandler),
	}
	change(&c)
	b.Recorder = recorder.New(c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	b.stop = func() { cancel(); <-done }
	t.Cleanup(b.stop)
	return b
}

// gate is a store that lets nothing through before it is opened.
type gate struct {
	recorder.Store
	open chan struct{}
}

func (g gate) Save(ctx context.Context, ids []uuid.UUID, records [][]byte) error {
	select {
	case <-g.open:
		return g.Store.Save(ctx, ids, records)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// auctions are n decisions of now.
func auctions(n int) []*record.Record {
	list := make([]*record.Record, n)
	for i := range list {
		list[i] = &record.Record{}
		replaybench.NewMarket().Make(5, uint64(i), list[i])
		list[i].AuctionID = uuid.Must(uuid.NewV7())
	}
	return list
}

func TestWhatIsRecordedIsReadAndReplayed(t *testing.T) {
	t.Parallel()
	b := setup(t, testenv.Postgres(t), func(*recorder.Config) {})
	list := auctions(60)
	m := replaybench.NewMarket()
	var r record.Record // used again and again, as the ad path does
	for i, a := range list {
		m.Make(5, uint64(i), &r)
		r.AuctionID = a.AuctionID
		b.Record(t.Context(), &r.Scene, &r.Outcome, &r.Extra)
	}
	require.Eventually(t, func() bool { return b.of(recorder.Kept) == len(list) }, 20*time.Second, time.Millisecond)
	for _, a := range list {
		data, err := b.store.Load(t.Context(), a.AuctionID)
		require.NoError(t, err)
		a.Program = "test"
		require.Equal(t, record.Append(nil, a), data)
		var back record.Record
		require.NoError(t, record.Decode(data, &back))
		require.Empty(t, record.Replay(&back, &auction.Decider{}))
	}
}

func TestAStopSavesWhatIsQueued(t *testing.T) {
	t.Parallel()
	g := gate{open: make(chan struct{})}
	b := setup(t, testenv.Postgres(t), func(c *recorder.Config) { g.Store = c.Store; c.Store = g })
	for _, a := range auctions(55) {
		b.Record(t.Context(), &a.Scene, &a.Outcome, &a.Extra)
	}
	require.Zero(t, b.of(recorder.Kept))
	close(g.open)
	b.stop()
	require.Equal(t, 55, b.of(recorder.Kept))
}

func TestAFullQueueDropsAndDoesNotWait(t *testing.T) {
	t.Parallel()
	for name, limit := range map[string]func(*recorder.Config){
		"records": func(c *recorder.Config) { c.MaxQueued = 20 },
		"bytes":   func(c *recorder.Config) { c.MaxQueuedBytes = 20_000 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := gate{open: make(chan struct{})}
			b := setup(t, testenv.Postgres(t), func(c *recorder.Config) { limit(c); g.Store = c.Store; c.Store = g })
			list := auctions(100)
			for _, a := range list { // nothing moves the gate while this runs: a Record that waited would never return
				b.Record(t.Context(), &a.Scene, &a.Outcome, &a.Extra)
			}
			require.Greater(t, b.of(recorder.Full), 50)
			close(g.open)
			b.stop()
			require.Equal(t, len(list), b.of(recorder.Kept)+b.of(recorder.Full), "each is counted, once")
			require.Positive(t, b.of(recorder.Kept))
		})
	}
}

func TestPostgresGoneAndBack(t *testing.T) {
	t.Parallel()
	server := testenv.PostgresProcess(t)
	b := setup(t, server.URL, func(c *recorder.Config) { c.SaveTimeout = time.Second })
	list := auctions(30)
	server.Kill()
	for _, a := range list {
		b.Record(t.Context(), &a.Scene, &a.Outcome, &a.Extra)
	}
	server.Restart()
	require.Eventually(t, func() bool { return b.of(recorder.Kept) == len(list) }, 30*time.Second, 5*time.Millisecond)
	require.Zero(t, b.of(recorder.Failed))
}

func TestPostgresGoneForLong(t *testing.T) {
	t.Parallel()
	server := testenv.PostgresProcess(t)
	b := setup(t, server.URL, func(c *recorder.Config) {
		c.SaveTimeout, c.GiveUp, c.DrainTimeout = 20*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond
	})
	server.Kill()
	list := auctions(15)
	for _, a := range list {
		b.Record(t.Context(), &a.Scene, &a.Outcome, &a.Extra)
	}
	require.Eventually(t, func() bool { return b.of(recorder.Failed) == len(list) }, 20*time.Second, time.Millisecond)
	for _, a := range list { // and a stop does not hang on it
		b.Record(t.Context(), &a.Scene, &a.Outcome, &a.Extra)
	}
	b.stop()
	require.Equal(t, 2*len(list), b.of(recorder.Failed))
}

func TestTheShareThatIsRecorded(t *testing.T) {
	t.Parallel()
	for _, ratio := range []float64{0, 0.01, 0.5, 1} {
		r := recorder.New(recorder.Config{Ratio: ratio, MaxQueued: 1})
		const n = 100_000
		wanted := 0
		for range n {
			id := uuid.Must(uuid.NewV7())
			require.True(t, r.Wants(id, true))
			if r.Wants(id, false) {
				wanted++
			}
			require.Equal(t, r.Wants(id, false), r.Wants(id, false))
		}
		require.InDelta(t, ratio, float64(wanted)/n, 0.01)
		if ratio == 0 || ratio == 1 {
			require.EqualValues(t, ratio*n, wanted)
		}
	}
}

// BenchmarkRecord is what the ad path pays for a recorded auction.
func BenchmarkRecord(b *testing.B) {
	kept := 0
	r := recorder.New(recorder.Config{MaxQueued: 1 << 20, MaxQueuedBytes: 1 << 40, Observe: func(context.Context, recorder.Fate, int) { kept++ }})
	list := auctions(64)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		a := list[i%len(list)]
		r.Record(b.Context(), &a.Scene, &a.Outcome, &a.Extra)
	}
	if kept > 0 {
		b.Fatal("the queue was full")
	}
}

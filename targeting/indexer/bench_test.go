package indexer_test

import (
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/internal/testenv"
	"gavel/targeting"
	"gavel/targeting/redis"
)

// benchAds is how many ads BenchmarkScale has: GAVEL_BENCH_ADS, or 20,000.
func benchAds(b *testing.B) int {
	b.Helper()
	text := os.Getenv("GAVEL_BENCH_ADS")
	if text == "" {
		return 20_000
	}
	n, err := strconv.Atoi(text)
	require.NoError(b, err)
	return n
}

// newLargeWorld makes n ads, four to an ad group, each group with a bid and a targeting of its own.
func newLargeWorld(b *testing.B, n int) *world {
	b.Helper()
	w := newWorld(b, 0)
	groups := (n + 3) / 4
	w.exec(b, `INSERT INTO campaigns (id, ad_account_id, name, status, objective_type) SELECT i, 1, 'c', 'ACTIVE', 'AWARENESS' FROM generate_series(1, $1) i`, (groups+9)/10)
	w.exec(b, `INSERT INTO ad_groups (id, ad_account_id, campaign_id, name, status, billable_event, bid_micros, budget_type, budget_micros, targeting_spec)
		SELECT i, 1, (i + 9) / 10, 'g', 'ACTIVE', 'IMPRESSION', 1000000 + (i * 7919::bigint) % 9000000, 'DAILY', 1000000, jsonb_build_object(
			'LOCATION', jsonb_build_array((ARRAY['US','DE','FR','GB','JP','BR','CA','IT'])[1 + i % 8]),
			'AGE_BUCKET', jsonb_build_array((ARRAY['18-24','25-34','35-44','45-49'])[1 + i % 4]),
			'INTEREST', jsonb_build_array((i % 500)::text, (i * 31 % 500)::text))
		FROM generate_series(1, $1) i`, groups)
	w.exec(b, `INSERT INTO ads (id, ad_account_id, campaign_id, ad_group_id, name, status, creative_type, title, description, image_url, destination_url)
		SELECT i, 1, ((i + 3) / 4 + 9) / 10, (i + 3) / 4, 'ad', 'ACTIVE', 'REGULAR', 'A title of ad ' || i, 'Some words that describe the ad', 
			'https://images.example.com/' || i || '.jpg', 'https://shop.example.com/product/' || i FROM generate_series(1, $1) i`, n)
	w.exec(b, `ANALYZE`)
	return w
}

// BenchmarkScale measures what a large index takes: from an empty Redis to serving, and a node that starts from what is in Redis.
func BenchmarkScale(b *testing.B) {
	ads := benchAds(b)
	w, url := newLargeWorld(b, ads), testenv.Redis(b)
	for b.Loop() {
		client, err := redis.Open(url)
		require.NoError(b, err)
		require.NoError(b, client.FlushDB(b.Context()).Err())
		start := time.Now()
		n := newNode(b, w, url)
		wait(b, "the index", 10*time.Minute, func() bool { return n.replica.Current().Len() == ads })
		b.ReportMetric(time.Since(start).Seconds(), "s-from-empty")
		n.stop()

		start = time.Now()
		s, err := redis.Load(b.Context(), client, bounds)
		require.NoError(b, err)
		require.Equal(b, ads, s.Index.Len())
		b.ReportMetric(time.Since(start).Seconds(), "s-boot")
		d, err := redis.Describe(b.Context(), client)
		require.NoError(b, err)
		b.ReportMetric(float64(d.SegmentBytes)/1e6, "MB-redis")
		b.ReportMetric(float64(len(d.Segments)), "segments")
		b.ReportMetric(heapOf(s.Index), "MB-heap")
		require.NoError(b, client.Close())
	}
}

// heapOf is the heap in MB while only the index is there.
func heapOf(ix *targeting.Index) float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	runtime.KeepAlive(ix)
	return float64(m.HeapAlloc) / 1e6
}

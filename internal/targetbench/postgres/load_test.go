package postgres_test

import (
	"slices"
	"testing"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"gavel/campaign"
	serving "gavel/campaign/postgres"
	"gavel/internal/targetbench"
	"gavel/internal/targetbench/postgres"
	"gavel/internal/testenv"
)

// What comes out of the database is what the market says, so that both benchmarks are about the same ads.
func TestLoadedAsGenerated(t *testing.T) {
	t.Parallel()
	const n = 3000
	db, err := sqlx.Open("postgres", testenv.Postgres(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	source := targetbench.NewMarket(2)
	done := 0
	m, err := postgres.Load(t.Context(), db, source, n, func(d int) { done = d })
	require.NoError(t, err)
	require.Equal(t, n, done)
	sum := 0
	for i := range m.AdGroups() {
		sum += m.AdsOf(i)
	}
	require.Equal(t, n, sum)

	reader := serving.NewServing(db)
	t.Cleanup(func() { require.NoError(t, reader.Close()) })
	got, err := reader.Serving(t.Context(), 0, n+1)
	require.NoError(t, err)
	want := slices.Collect(source.Ads(n))
	require.Len(t, got, n)
	for i := range want {
		require.JSONEq(t, string(want[i].Targeting), string(got[i].Targeting))
		got[i].Targeting, want[i].Targeting = nil, nil
		got[i].StartTime, want[i].StartTime = got[i].StartTime.UTC(), want[i].StartTime.UTC()
		got[i].EndTime, want[i].EndTime = got[i].EndTime.UTC(), want[i].EndTime.UTC()
		want[i].Hours = got[i].Hours
		require.Equal(t, want[i], got[i])
	}

	require.NoError(t, m.ChangeBids(t.Context(), []int{0, 5}))
	waiting, err := m.Waiting(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, waiting)
	changes, err := reader.NextChanges(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, campaign.EntityAdGroup, changes[0].Entity)
	require.Equal(t, int64(want[0].AdGroupID), changes[0].EntityID)
	delta, err := reader.Resolve(t.Context(), changes)
	require.NoError(t, err)
	require.Len(t, delta.Upserts, m.AdsOf(0)+m.AdsOf(5))
	require.NotEqual(t, want[0].BidMicros, delta.Upserts[0].BidMicros)
}

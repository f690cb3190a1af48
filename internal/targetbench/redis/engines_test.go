package redis_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/internal/targetbench"
	"gavel/internal/targetbench/redis"
	"gavel/internal/testenv"
	"gavel/targeting"
)

func TestServersAgree(t *testing.T) {
	t.Parallel()
	url := func(context.Context) (string, error) { return testenv.Redis(t), nil }
	o := targetbench.Options{
		Engines: []targetbench.Maker{redis.Sets(url, 0), redis.Bitop(url, 0), redis.Sets(url, 100), redis.Bitop(url, 100)},
		Ads:     8000, Queries: 60, Seed: 5, Bounds: targeting.Bounds{MaxCTR: 0.25, MaxCVR: 0.5}, Budget: 300 * time.Millisecond, CheckBudget: 300 * time.Millisecond,
		Progress: io.Discard,
	}
	rows, err := targetbench.Run(t.Context(), o)
	require.NoError(t, err)
	require.Len(t, rows, 8)
	for _, r := range rows[:4] {
		require.True(t, r.Agrees, "%s %s: %s", r.Engine, r.Mode, r.Wrong)
		require.Positive(t, r.Matches)
		require.Positive(t, r.ServerNS)
		require.Less(t, r.ServerNS, 10*r.WallP99NS)
		require.Greater(t, r.Bytes, int64(100_000))
		require.Equal(t, "wall", r.Clock)
	}
	for _, r := range rows[4:] {
		require.NotEmpty(t, r.Skipped)
		require.Zero(t, r.P50NS)
	}
}

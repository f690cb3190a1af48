package targetbench_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/internal/targetbench"
	"gavel/targeting"
)

func options(engines ...targetbench.Maker) targetbench.Options {
	return targetbench.Options{
		Engines: engines, Ads: 3000, Queries: 100, Seed: 3, Bounds: targeting.Bounds{MaxCTR: 0.25, MaxCVR: 0.5}, Budget: 100 * time.Millisecond,
		CheckBudget: 100 * time.Millisecond, Progress: io.Discard,
	}
}

func TestEnginesAgree(t *testing.T) {
	t.Parallel()
	o := options(targetbench.Gavel(), targetbench.Scan(), targetbench.Roaring())
	o.ChangesPerS = 2000
	rows, err := targetbench.Run(t.Context(), o)
	require.NoError(t, err)
	require.Len(t, rows, 8, "two modes each, and two of the engine that changes")
	require.True(t, targetbench.Agree(rows))
	changing := 0
	for _, r := range rows {
		require.True(t, r.Agrees, "%s %s: %s", r.Engine, r.Mode, r.Wrong)
		require.GreaterOrEqual(t, r.Checked, 20)
		require.Positive(t, r.P50NS)
		require.GreaterOrEqual(t, r.P99NS, r.P50NS)
		require.GreaterOrEqual(t, r.WallP99NS, r.WallP50NS)
		require.Positive(t, r.Matches)
		require.Equal(t, 3000, r.Ads)
		require.Equal(t, r.Engine == "scan", r.Bytes == 0)
		if r.ChangesPerS > 0 {
			changing++
		}
	}
	require.Equal(t, 2, changing)
}

// wrong is the engine with one mistake.
type wrong struct {
	targetbench.Engine
	spoil func(k int, ads []*targeting.Ad) []*targeting.Ad
}

func (e wrong) Match(ctx context.Context, q *targeting.Query, k int, dst []*targeting.Ad) ([]*targeting.Ad, error) {
	dst, err := e.Engine.Match(ctx, q, k, dst)
	return e.spoil(k, dst), err
}

// A check that has never failed proves nothing.
func TestAWrongEngineDoesNotAgree(t *testing.T) {
	t.Parallel()
	isFull := func(k int) bool { return k < 0 }
	tests := map[string]struct {
		spoil      func(k int, ads []*targeting.Ad) []*targeting.Ad
		top, whole bool // still agree
	}{
		"nothing": {func(_ int, ads []*targeting.Ad) []*targeting.Ad { return ads }, true, true},
		"one ad is missing": {func(_ int, ads []*targeting.Ad) []*targeting.Ad {
			return ads[:max(0, len(ads)-1)]
		}, false, false},
		"one ad too many": {func(_ int, ads []*targeting.Ad) []*targeting.Ad {
			if len(ads) > 0 {
				ads = append(ads, ads[0])
			}
			return ads
		}, false, false},
		"another order, which matters for the best alone": {func(_ int, ads []*targeting.Ad) []*targeting.Ad {
			slices.Reverse(ads)
			return ads
		}, false, true},
		"wrong in one mode": {func(k int, ads []*targeting.Ad) []*targeting.Ad {
			if isFull(k) {
				return nil
			}
			return ads
		}, true, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := targetbench.Maker{Name: "wrong", Make: func(ctx context.Context, d *targetbench.Data) (targetbench.Engine, error) {
				e, err := targetbench.Gavel().Make(ctx, d)
				return wrong{e, tt.spoil}, err
			}}
			rows, err := targetbench.Run(t.Context(), options(made))
			require.NoError(t, err)
			require.Len(t, rows, 2)
			for _, r := range rows {
				want := tt.whole
				if r.Mode == "top200" {
					want = tt.top
				}
				require.Equal(t, want, r.Agrees, r.Mode)
				require.Equal(t, want, r.Wrong == "", "says which query")
				require.Positive(t, r.P50NS, "timed nevertheless")
			}
			require.Equal(t, tt.top && tt.whole, targetbench.Agree(rows))
		})
	}
}

// stale does not hear of changes.
type stale struct{ targetbench.Changing }

func (stale) Apply(targeting.Change) error { return nil }

func TestAnEngineThatMissesChangesDoesNotAgree(t *testing.T) {
	t.Parallel()
	o := options(targetbench.Maker{Name: "stale", Make: func(ctx context.Context, d *targetbench.Data) (targetbench.Engine, error) {
		e, err := targetbench.Gavel().Make(ctx, d)
		return stale{e.(targetbench.Changing)}, err //nolint:forcetypeassert // it is one
	}})
	o.ChangesPerS = 10_000
	rows, err := targetbench.Run(t.Context(), o)
	require.NoError(t, err)
	require.Len(t, rows, 4)
	require.True(t, rows[0].Agrees && rows[1].Agrees)
	require.False(t, rows[2].Agrees)
	require.False(t, rows[3].Agrees)
}

func TestWhatIsNotRun(t *testing.T) {
	t.Parallel()
	skipped := targetbench.Maker{Name: "large", Make: func(context.Context, *targetbench.Data) (targetbench.Engine, error) {
		return nil, &targetbench.Skip{Reason: "too large"}
	}}
	rows, err := targetbench.Run(t.Context(), options(skipped))
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Equal(t, "too large", rows[0].Skipped)
	require.True(t, targetbench.Agree(rows), "what was not asked is not wrong")

	broken := errors.New("no memory")
	rows, err = targetbench.Run(t.Context(), options(skipped, targetbench.Maker{Name: "broken", Make: func(context.Context, *targetbench.Data) (targetbench.Engine, error) {
		return nil, broken
	}}))
	require.ErrorIs(t, err, broken)
	require.Len(t, rows, 2, "what there is comes with the error")

	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err = targetbench.Run(ctx, options(targetbench.Gavel()))
	require.ErrorIs(t, err, targetbench.ErrStopped)
}

// The names are the interface of gavel bench targeting --json.
func TestFieldsOfARow(t *testing.T) {
	t.Parallel()
	raw, err := json.Marshal(targetbench.Row{})
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(raw, &fields))
	for _, name := range []string{"engine", "mode", "ads", "p50_ns", "p99_ns", "allocs", "bytes", "build_ms", "matches", "agrees"} {
		require.Contains(t, fields, name)
	}
}

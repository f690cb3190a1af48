package modelbench

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/internal/openbandit"
	"gavel/ranking"
)

// The run of docs/ranking.md in small: 400,000 impressions hold some 6,000 clicks, so the bounds are wider.
func TestLearnsTheTruth(t *testing.T) {
	t.Parallel()
	p := ranking.DefaultParams()
	p.ClickBits = 20
	res, err := RunTruth(t.Context(), Options{Impressions: 400_000, Seed: 1, Params: p})
	require.NoError(t, err)
	require.Less(t, res.OverBayes, 0.025)
	require.Greater(t, res.OverBayes, 0.0, "nothing predicts better than the truth")
	require.Less(t, res.Bayes, 0.96, "there is something to learn")
	require.InDelta(t, 1, res.Calibration, 0.06)
	require.Greater(t, res.Coverage, 0.9, "standard errors do not promise too much")
	require.Less(t, res.SlotError, 0.4)
}

func TestRefusesTooFewImpressions(t *testing.T) {
	t.Parallel()
	_, err := RunTruth(t.Context(), Options{Impressions: 10, Params: ranking.DefaultParams()})
	require.Error(t, err)
}

func TestWrongNamesEveryBound(t *testing.T) {
	t.Parallel()
	good := Truth{OverBayes: 0.004, Calibration: 1, Slices: []Slice{{"a", 10_000, 1.04}}}
	require.NoError(t, good.Wrong())
	bad := Truth{OverBayes: 0.006, Calibration: 0.98, Slices: []Slice{{"a", 10_000, 1.06}}}
	require.ErrorContains(t, bad.Wrong(), "above the optimum")
	require.ErrorContains(t, bad.Wrong(), "calibration 0.98")
	require.ErrorContains(t, bad.Wrong(), "of a (10000 impressions)")
}

// What is said of the real feed is in docs/ranking.md; here it is only held that the model does not break on so few clicks.
func TestRealFeed(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("GAVEL_OPENBANDIT_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data", "open-bandit")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the Open Bandit log is not at %s; GAVEL_OPENBANDIT_DIR says where it is", dir)
	}
	l, err := openbandit.ReadDir(dir, "men")
	require.NoError(t, err)
	res, err := RunFeed(t.Context(), l)
	require.NoError(t, err)
	require.Equal(t, 20_000, res.TrainRows+res.TestRows)
	require.InDelta(t, 1, res.Model, 0.03, "no worse than a constant by much")
	require.InDelta(t, 1, res.Calibration, 0.25)
	require.LessOrEqual(t, res.Low, res.Model-res.Items)
	require.GreaterOrEqual(t, res.High, res.Model-res.Items)
}

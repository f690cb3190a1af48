package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/internal/modelbench"
	"gavel/internal/targetbench"
	"gavel/internal/testenv"
)

func benchWorld(out io.Writer) world {
	return world{getenv: os.Getenv, stdout: out, stderr: io.Discard}
}

func TestBenchTargeting(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	args := []string{"bench", "targeting", "--ads", "400,800", "--engines", "scan,gavel", "--queries", "50", "--budget", "50ms", "--check", "50ms", "--churn", "1000"}
	require.NoError(t, run(t.Context(), append(args, "--json"), benchWorld(&out)))
	var rows []targetbench.Row
	require.NoError(t, json.Unmarshal(out.Bytes(), &rows), "an array and nothing else")
	require.Len(t, rows, 12)
	require.Equal(t, "scan", rows[0].Engine)
	require.Equal(t, 800, rows[11].Ads)

	out.Reset()
	require.NoError(t, run(t.Context(), args, benchWorld(&out)))
	require.Contains(t, out.String(), "│ 800 │ top200 │ gavel ")

	out.Reset()
	stopped, stop := context.WithCancel(t.Context())
	stop()
	require.ErrorIs(t, run(stopped, append(args, "--json"), benchWorld(&out)), targetbench.ErrStopped)
	require.JSONEq(t, "[]", out.String())
}

func TestBenchTargetingRefuses(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"--ads", "0"}, {"--ads", "x"}, {"--engines", "gavel,elastic"}, {"--queries", "0"}, {"--budget", "0s"}, {"--churn", "-1"},
	} {
		var out bytes.Buffer
		require.Error(t, run(t.Context(), append([]string{"bench", "targeting"}, args...), benchWorld(&out)), args)
		require.Empty(t, out.String())
	}
}

func TestWrongAnswersAreUnclean(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	rows := []targetbench.Row{
		{Engine: "gavel", Mode: "full", Ads: 9, P50NS: 2000, Agrees: true},
		{Engine: "other", Mode: "full", Ads: 9, P50NS: 5000, Wrong: "query 3"},
		{Engine: "third", Mode: "full", Ads: 9, Skipped: "too large"},
	}
	printTargeting(&out, rows)
	require.Contains(t, out.String(), "NO: query 3")
	require.Contains(t, out.String(), "2.5")
	require.Contains(t, out.String(), "skipped: too large")
	require.ErrorIs(t, orUnclean(nil, targetbench.Agree(rows)), errUnclean)
	require.NoError(t, orUnclean(nil, targetbench.Agree(rows[:1])))
}

func TestBenchIndex(t *testing.T) {
	t.Parallel()
	testenv.Short(t)
	var out bytes.Buffer
	args := []string{"bench", "index", "--ads", "1500", "--rate", "200", "--duration", "2s", "--quiet", "1s", "--json"}
	require.NoError(t, run(t.Context(), args, benchWorld(&out)))
	var rows []indexRow
	require.NoError(t, json.Unmarshal(out.Bytes(), &rows))
	values := map[string]float64{}
	for _, r := range rows {
		require.Equal(t, 1500, r.Ads)
		values[r.What] = r.Value
	}
	for _, what := range []string{
		"load the market into Postgres", "from an empty Redis to serving", "start of a second node, from Redis alone, to serving", "memory of Redis",
		"best 200 matched (thread CPU), quiet, p99", "POST /v1/ads (wall), 200 changes/s, p99", "ads changed in Postgres, 200 changes/s",
		"from the API's answer to the first auction that sees it, 200 changes/s, p99",
	} {
		require.Positive(t, values[what], what)
	}
	require.Error(t, run(t.Context(), []string{"bench", "index", "--ads", "0"}, benchWorld(&out)))
}

func TestBenchModel(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	err := run(t.Context(), []string{"bench", "model", "--impressions", "100000", "--json"}, benchWorld(&out))
	require.ErrorIs(t, err, errUnclean, "so few impressions do not teach enough, and that is said")
	var res modelbench.Truth
	require.NoError(t, json.Unmarshal(out.Bytes(), &res), "an object and nothing else")
	require.Equal(t, 97_500, res.Impressions)

	out.Reset()
	require.Error(t, run(t.Context(), []string{"bench", "model", "--impressions", "10"}, benchWorld(&out)))
	require.Error(t, run(t.Context(), []string{"bench", "model", "--openbandit", t.TempDir()}, benchWorld(&out)))
	require.Empty(t, out.String())
}

func TestBenchAuction(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	args := []string{"bench", "auction", "--sizes", "60x4,40x20", "--pages", "30", "--for", "20ms"}
	require.NoError(t, run(t.Context(), append(args, "--json"), benchWorld(&out)))
	var rows []auctionRow
	require.NoError(t, json.Unmarshal(out.Bytes(), &rows), "an array and nothing else")
	require.Len(t, rows, 8)
	for _, r := range rows {
		require.True(t, r.Agrees, "%+v", r)
		require.Positive(t, r.Pages)
	}
	require.Equal(t, 30, rows[1].Checked)
	out.Reset()
	require.NoError(t, run(t.Context(), args, benchWorld(&out)))
	require.Contains(t, out.String(), "yes (30)")
	for _, bad := range []string{"4", "0x1", "1x21"} {
		require.Error(t, run(t.Context(), []string{"bench", "auction", "--sizes", bad}, benchWorld(&out)))
	}
}

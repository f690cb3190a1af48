package main

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestModelcheck(t *testing.T) {
	t.Parallel()
	var out, progress bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"modelcheck", "--seeds", "200", "--first", "7"}, world{stdout: &out, stderr: &progress}))
	require.Contains(t, out.String(), "no invariant broken in 200 runs (seeds 7 to 206)")
	require.Contains(t, progress.String(), "200 runs")
	out.Reset()
	require.NoError(t, run(t.Context(), []string{"modelcheck", "--seed", "9"}, world{stdout: &out, stderr: &progress}))
	require.Contains(t, out.String(), "in 1 runs (seeds 9 to 9)")
	stopped, stop := context.WithCancel(t.Context())
	stop()
	require.ErrorIs(t, run(stopped, []string{"modelcheck"}, world{stdout: &out, stderr: &progress}), context.Canceled)
}

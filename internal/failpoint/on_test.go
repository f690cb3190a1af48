//go:build faults

package failpoint_test

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func killed(err error) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

func TestKillAtTheNthHit(t *testing.T) {
	t.Parallel()
	for n := 1; n <= 5; n++ {
		out, errs, err := run(t, fmt.Sprintf("billing.in-commit=kill@%d", n))
		require.True(t, killed(err), "%v", err)
		require.Equal(t, n-1, strings.Count(out, "passed"), out)
		require.Contains(t, errs, fmt.Sprintf("failpoint billing.in-commit: hit %d", n))
	}
	out, errs, err := run(t, "billing.in-commit=kill@6") // it never comes to that
	require.NoError(t, err, errs)
	require.Equal(t, 5, strings.Count(out, "passed"))
	_, _, err = run(t, "join.after=kill")
	require.True(t, killed(err), "the first hit is the default: %v", err)
}

func TestSleepThenKill(t *testing.T) {
	t.Parallel()
	out, errs, err := run(t, "join.after=sleep:200ms@2, join.after=sleep:100ms@3")
	require.NoError(t, err, errs)
	var ms int
	_, err = fmt.Sscanf(out[strings.Index(out, "took"):], "took %d", &ms)
	require.NoError(t, err, out)
	require.GreaterOrEqual(t, ms, 300)
	require.Less(t, ms, 5000)
	out, errs, err = run(t, "join.after=sleep:1ms@4,join.after=kill@4")
	require.True(t, killed(err), "%v", err)
	require.Equal(t, 3, strings.Count(out, "passed"))
	require.Less(t, strings.Index(errs, "kill false"), strings.Index(errs, "kill true"), "in the order of the list: %s", errs)
}

func TestAMistakeIsTold(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"join.after", "join.before=kill@1", "join.after=kill@0", "join.after=kill@x", "join.after=die@1",
		"join.after=sleep@1", "join.after=sleep:-1s@1", "=kill@1",
	} {
		out, errs, err := run(t, text)
		require.Error(t, err, text)
		require.False(t, killed(err), text)
		require.Contains(t, errs, "GAVEL_FAILPOINTS", text)
		require.NotContains(t, out, "passed", text)
	}
}

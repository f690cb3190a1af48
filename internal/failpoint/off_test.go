//go:build !faults

package failpoint_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWithoutTheTagTheEnvironmentIsNotRead(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"join.after=kill@1", "nonsense"} {
		out, errs, err := run(t, text)
		require.NoError(t, err, errs)
		require.Equal(t, 5, strings.Count(out, "passed"))
		require.Empty(t, errs)
	}
}

// TestACallLeavesNothingBehind looks at the machine code of a function that does nothing but come to two points.
func TestACallLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	code, err := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-S", "./testdata/probe").CombinedOutput()
	require.NoError(t, err, string(code))
	require.NotContains(t, string(code), "CALL")
	require.NotContains(t, string(code), "journal.after-append", "not even its name")
	size := func(name string) string {
		found := regexp.MustCompile(`\.` + name + ` STEXT.* (size=\d+)`).FindSubmatch(code)
		require.Len(t, found, 2, string(code))
		return string(found[1])
	}
	require.Equal(t, size("Empty"), size("Calls"))
}

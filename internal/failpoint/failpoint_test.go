package failpoint_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/internal/failpoint"
)

// TestMain lets the test binary be a program with points in it.
func TestMain(m *testing.M) {
	if os.Getenv("FAILPOINT_TEST_AS_PROGRAM") == "1" {
		program()
		return
	}
	m.Run()
}

// program comes to one point five times, and to another in between.
func program() {
	began := time.Now()
	for i := range 5 {
		failpoint.Hit(failpoint.JoinAfter)
		failpoint.Hit(failpoint.BillingInCommit)
		fmt.Println("passed", i+1)
	}
	fmt.Println("took", time.Since(began).Milliseconds())
}

// run is what program printed, and how it ended.
func run(t *testing.T, failpoints string) (stdout, stderr string, end error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "FAILPOINT_TEST_AS_PROGRAM=1", "GAVEL_FAILPOINTS="+failpoints)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	end = cmd.Run()
	return out.String(), errs.String(), end
}

func TestNothingHappensUnasked(t *testing.T) {
	t.Parallel()
	out, errs, err := run(t, "")
	require.NoError(t, err, errs)
	require.Equal(t, 5, strings.Count(out, "passed"))
}

func TestEachPointHasItsOwnName(t *testing.T) {
	t.Parallel()
	seen := map[failpoint.Point]bool{}
	for _, p := range failpoint.Points() {
		require.False(t, seen[p], p)
		require.NotContains(t, string(p), ",")
		seen[p] = true
	}
}

// BenchmarkHit beside BenchmarkNothing: without the tag they are the same loop.
func BenchmarkHit(b *testing.B) {
	b.ReportAllocs()
	for range b.N {
		failpoint.Hit(failpoint.JournalAfterAppend)
	}
}

func BenchmarkNothing(b *testing.B) {
	b.ReportAllocs()
	for range b.N {
	}
}

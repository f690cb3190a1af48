package model

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheProtocolHolds(t *testing.T) {
	t.Parallel()
	coverage, violation := Check(t.Context(), 1, seeds)
	if violation != nil {
		t.Fatalf("%v\n%s", violation, strings.Join(violation.Trace, "\n"))
	}
	t.Logf("\n%v", &coverage)
	require.Equal(t, seeds, coverage.Runs)
	counts := reflect.ValueOf(coverage)
	for i := range counts.NumField() {
		require.Positive(t, counts.Field(i).Int(), "%s never happened, so it was not checked", counts.Type().Field(i).Name)
	}
}

// TestASeedReplaysExactly: what a violation reports is of use only if the same happens again.
func TestASeedReplaysExactly(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		a, b := newWorld(seed, theRules(), true), newWorld(seed, theRules(), true)
		for _, w := range []*world{a, b} {
			w.start()
			w.run()
		}
		require.Equal(t, a.stats, b.stats, "seed %d", seed)
		require.Equal(t, a.trace, b.trace, "seed %d", seed)
	}
}

package journal_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/event/journal"
)

func group(n int) [][]byte {
	g := make([][]byte, n)
	for i := range g {
		g[i] = make([]byte, 128)
		for k := range g[i] {
			g[i][k] = byte(i + k)
		}
	}
	return g
}

// BenchmarkAppend times one durable write of a group of records of 128 bytes.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			j, err := journal.Open(b.TempDir(), journal.Options{})
			require.NoError(b, err)
			records := group(n)
			b.ReportAllocs()
			for b.Loop() {
				if err := j.Append(records); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "records/s")
			require.NoError(b, j.Close())
		})
	}
}

// BenchmarkOpen times a start on a journal of 1,000,000 records, and what reading them all costs after it.
func BenchmarkOpen(b *testing.B) {
	const records = 1_000_000
	dir := b.TempDir()
	j, err := journal.Open(dir, journal.Options{})
	require.NoError(b, err)
	for range records / 1000 {
		require.NoError(b, j.Append(group(1000)))
	}
	require.NoError(b, j.Close())
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			j, err := journal.Open(dir, journal.Options{})
			require.NoError(b, err)
			require.NoError(b, j.Close())
		}
	})
	b.Run("read", func(b *testing.B) {
		j, err := journal.Open(dir, journal.Options{})
		require.NoError(b, err)
		for b.Loop() {
			for i := uint64(1); i <= records; i++ {
				if _, err := j.Read(i); err != nil {
					b.Fatal(err)
				}
			}
		}
		require.NoError(b, j.Close())
	})
}

// BenchmarkFull times the question that is asked for every event.
func BenchmarkFull(b *testing.B) {
	j, err := journal.Open(b.TempDir(), journal.Options{})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if err := j.Full(); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, j.Close())
}

package targeting_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/campaign"
	"gavel/internal/targetbench"
	"gavel/targeting"
)

// The benchmarks below are over the market of `gavel bench targeting`; that command also compares engines and gives p99.

// marketSizes are how many ads; the largest one only without -short.
func marketSizes(b *testing.B) []int {
	b.Helper()
	if testing.Short() {
		return []int{10_000}
	}
	return []int{10_000, 100_000, 1_000_000}
}

func marketData(b *testing.B, ads int) *targetbench.Data {
	b.Helper()
	d, err := targetbench.NewData(b.Context(), 1, ads, 1000, bounds)
	require.NoError(b, err)
	return d
}

func BenchmarkMarketMatch(b *testing.B) {
	for _, n := range marketSizes(b) {
		d := marketData(b, n)
		ix := targeting.Build(d.Ads, d.Tables)
		for name, k := range map[string]int{"top200": 200, "full": -1} {
			b.Run(fmt.Sprintf("ads=%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				dst := make([]*targeting.Ad, 0, n)
				i, matches := 0, 0
				for b.Loop() {
					dst = ix.Match(d.Queries[i%len(d.Queries)], k, dst[:0])
					matches += len(dst)
					i++
				}
				b.ReportMetric(float64(matches)/float64(i), "matches")
				b.ReportMetric(float64(ix.Bytes()), "index-B")
			})
		}
	}
}

func BenchmarkMarketBuild(b *testing.B) {
	for _, n := range marketSizes(b) {
		d := marketData(b, n)
		b.Run(fmt.Sprintf("ads=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				targeting.Build(d.Ads, d.Tables)
			}
		})
	}
}

// BenchmarkMarketApply is the change of 50 ads, which is what a node reads at a time when 1,000 ads a second change, with the merging
// that it makes due.
func BenchmarkMarketApply(b *testing.B) {
	const batch = 50
	for _, n := range marketSizes(b) {
		d := marketData(b, n)
		ix := targeting.Build(d.Ads, d.Tables)
		b.Run(fmt.Sprintf("ads=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			merges, at := 0, 0
			for b.Loop() {
				if at+batch > len(d.Ads) {
					at = 0
				}
				var err error
				if ix, err = ix.Apply(targeting.Change{Upserts: d.Ads[at : at+batch]}); err != nil {
					b.Fatal(err)
				}
				at += batch
				for more := true; more; merges++ {
					ix, more = ix.Merge()
				}
			}
			b.ReportMetric(float64(merges)/float64(b.N), "merges/op")
		})
	}
}

func BenchmarkMarketSegment(b *testing.B) {
	d := marketData(b, 100_000)
	segment := targeting.Build(d.Ads, d.Tables).Segments()[0]
	raw := segment.AppendBinary(nil, bounds)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		var dst []byte
		for b.Loop() {
			dst = segment.AppendBinary(dst[:0], bounds)
		}
		b.ReportMetric(float64(segment.Ads()), "ads")
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(raw)))
		for b.Loop() {
			if _, err := targeting.NewParser(bounds).DecodeSegment(raw); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(segment.Ads()), "ads")
	})
}

func BenchmarkMarketChange(b *testing.B) {
	d := marketData(b, 10_000)
	change := targeting.Change{Upserts: d.Ads[:50], Removals: []campaign.AdID{1, 2, 3}}
	raw := targeting.AppendChange(nil, change)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		dst := slices.Clone(raw)
		for b.Loop() {
			dst = targeting.AppendChange(dst[:0], change)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		parser := targeting.NewParser(bounds)
		for b.Loop() {
			if _, err := parser.DecodeChange(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}

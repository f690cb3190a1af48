package ranking

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/campaign"
)

// reference scores by one loop over all features of an example.
func reference(s *Snapshot, t *table, f *Features, it *Item, highest float64) float64 {
	var sum int64
	for _, i := range indexes(f, it, t.bits) {
		sum += int64(t.weights[i])
	}
	x := t.prior[f.placement()][objectiveCode(it.Objective)] + float64(float64(sum)/weightScale)
	return min(1/(1+exp(-min(max(t.cal.LogGamma+float64(t.cal.Kappa*x), -maxLogit), maxLogit))), highest)
}

// randomSnapshot has a weight in every bucket that may have one.
func randomSnapshot(r *rand.Rand, bits uint8) *Snapshot {
	s := Default()
	s.Version = "random"
	for _, t := range []*table{&s.click, &s.convert} {
		prior := t.prior
		*t = emptyTable(bits)
		t.prior, t.cal = prior, Calibrator{LogGamma: 0.1, Kappa: 1.05}
		for i := range t.weights {
			if i&(1<<(bits-1)-1) != 0 {
				t.weights[i], t.known[i] = int16(r.IntN(4000)-2000), uint8(r.IntN(256))
			}
		}
	}
	s.slots[1] = []float64{1, 0.5, 0.5, 0.25}
	return s
}

func genContext(t *rapid.T) Context {
	text := func(name string, values ...string) string { return rapid.SampledFrom(append(values, "")).Draw(t, name) }
	return Context{
		Placement: text("placement", "BROWSE", "SEARCH", "OTHER", "ELSEWHERE"), Country: text("country", "US", "DE"), Region: text("region", "US-CA"),
		Gender: text("gender", "female", "male"), AppType: text("app", "web"), Locale: text("locale", "en-US"),
		Age: rapid.IntRange(-1, 120).Draw(t, "age"), HourOfWeek: rapid.IntRange(-1, 170).Draw(t, "hour"),
		Interests: rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", ""}), 0, 6).Draw(t, "interests"),
		Query:     text("query", "red shoes"), UserHash: rapid.Int64Range(0, 9).Draw(t, "user"),
	}
}

func genItem(t *rapid.T) Item {
	return Item{
		AdID: campaign.AdID(rapid.Int64().Draw(t, "ad")), AdGroupID: campaign.AdGroupID(rapid.Int64Range(0, 9).Draw(t, "group")),
		CampaignID: campaign.CampaignID(rapid.Int64Range(0, 9).Draw(t, "campaign")), AdAccountID: campaign.AdAccountID(rapid.Int64().Draw(t, "account")),
		Objective: rapid.SampledFrom(append(objectiveNames[:], "NEW")).Draw(t, "objective"), Category: rapid.StringN(0, 9, -1).Draw(t, "category"),
		BillableEvent: rapid.SampledFrom(billableNames[:]).Draw(t, "billable"),
	}
}

func TestScorerIsTheReference(t *testing.T) {
	t.Parallel()
	s := randomSnapshot(rand.New(rand.NewPCG(1, 1)), 12)
	rapid.Check(t, func(t *rapid.T) {
		c := genContext(t)
		f := c.Features()
		sc := s.Scorer(&f)
		for range 3 {
			it := genItem(t)
			p, q := sc.PCTR(&it), sc.PCVR(&it)
			if math.Float64bits(p) != math.Float64bits(reference(s, &s.click, &f, &it, MaxCTR)) ||
				math.Float64bits(q) != math.Float64bits(reference(s, &s.convert, &f, &it, MaxCVR)) {
				t.Fatalf("%v and %v are not what the reference says", p, q)
			}
			if !(p > 0 && p <= MaxCTR && q > 0 && q <= MaxCVR) {
				t.Fatalf("%v or %v is out of bounds", p, q)
			}
			x, stderr := sc.Uncertain(&it)
			if math.Float64bits(s.PCTROf(x)) != math.Float64bits(p) || !(stderr >= 0 && stderr < 2) {
				t.Fatalf("logit %v ± %v is not that of %v", x, stderr, p)
			}
		}
	})
}

// What is not known must not be learned from or scored: it is the same bucket for everything.
func TestUnknownAddsNothing(t *testing.T) {
	t.Parallel()
	s := randomSnapshot(rand.New(rand.NewPCG(1, 2)), 12)
	c := Context{HourOfWeek: -1}
	f := c.Features()
	require.Equal(t, Features{}, f)
	sc := s.Scorer(&f)
	require.Zero(t, sc.click)
	var it Item
	for i, at := range indexes(&f, &it, 12) {
		require.Zero(t, at&(1<<11-1), "feature %d", i)
	}
	_, stderr := sc.Uncertain(&it)
	require.Zero(t, stderr)
}

func TestFeaturesTellContextsApart(t *testing.T) {
	t.Parallel()
	base := Context{
		Placement: "BROWSE", Country: "US", Region: "US-CA", Gender: "female", AppType: "web", Locale: "en", Age: 30, HourOfWeek: 10,
		Interests: []string{"a", "b", "c"}, Query: "q", UserHash: 7,
	}
	for i, change := range []func(c *Context){
		fPlacement:  func(c *Context) { c.Placement = "SEARCH" },
		fCountry:    func(c *Context) { c.Country = "DE" },
		fRegion:     func(c *Context) { c.Region = "US-NV" },
		fDemography: func(c *Context) { c.Age = 35 },
		fAppType:    func(c *Context) { c.AppType = "ipad" },
		fLocale:     func(c *Context) { c.Locale = "de" },
		fHours:      func(c *Context) { c.HourOfWeek = 12 },
		fInterest1:  func(c *Context) { c.Interests = []string{"x", "b", "c"} },
		fInterest2:  func(c *Context) { c.Interests = []string{"a", "x", "c"} },
		fInterest3:  func(c *Context) { c.Interests = []string{"a", "b", "a", "b", "x"} },
		fQuery:      func(c *Context) { c.Query = "r" },
		fUser:       func(c *Context) { c.UserHash = 8 },
	} {
		c := base
		change(&c)
		a, b := base.Features(), c.Features()
		for j := range a {
			require.Equal(t, i != j, a[j] == b[j], "change %d, feature %d", i, j)
		}
	}
	one := Context{HourOfWeek: -1, Interests: []string{"b"}}
	require.Equal(t, base.Features()[fInterest2], one.Features()[fInterest1], "an interest is the same wherever it stands")
}

// Hashes must not cluster: a collision merges two features.
func TestBucketsSpread(t *testing.T) {
	t.Parallel()
	const bits = 18
	seen := map[uint32]int{}
	n := 0
	for ad := range 200 {
		for country := range 100 {
			c := Context{Country: fmt.Sprintf("%c%c", 'A'+country/10, 'A'+country%10), HourOfWeek: -1}
			f := c.Features()
			it := Item{AdID: campaign.AdID(626735565005 + ad)}
			seen[indexes(&f, &it, bits)[contextFeatures+7]]++
			n++
		}
	}
	const half = 1 << (bits - 1)
	ideal := half * (1 - math.Pow(1-1.0/half, float64(n)))
	require.InDelta(t, ideal, len(seen), 0.01*ideal)
}

func TestExpAndLn(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.Float64Range(-700, 700).Draw(t, "x")
		if got, want := exp(x), math.Exp(x); math.Abs(got-want) > 1e-14*want {
			t.Fatalf("exp(%v) = %v, not %v", x, got, want)
		}
		y := rapid.Float64Range(1e-300, 1e300).Draw(t, "y")
		if got, want := ln(y), math.Log(y); math.Abs(got-want) > 1e-15*max(1, math.Abs(want)) {
			t.Fatalf("ln(%v) = %v, not %v", y, got, want)
		}
	})
	// The same on every machine.
	require.Equal(t, uint64(0x3f747ae147ae147b), math.Float64bits(0.005))
	require.Equal(t, exp(0), 1.0)
	require.InDelta(t, 0.3, sigmoid(logit(0.3)), 1e-15)
}

func TestScoringAllocatesNothing(t *testing.T) { //nolint:paralleltest // AllocsPerRun counts those of all goroutines
	s := randomSnapshot(rand.New(rand.NewPCG(1, 3)), 12)
	c := Context{Placement: "BROWSE", Country: "US", HourOfWeek: 3, Interests: []string{"a"}, UserHash: 3}
	f := c.Features()
	it := Item{AdID: 1, AdGroupID: 2, CampaignID: 3, AdAccountID: 4, Objective: campaign.Awareness, Category: "IAB2"}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		sc := s.Scorer(&f)
		sink += sc.PCTR(&it) + sc.PCVR(&it)
		x, stderr := sc.Uncertain(&it)
		sink += x + stderr
	}))
}

var sink float64

package targeting_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/campaign"
	"gavel/targeting"
)

// market is what an index should hold, and the index.
type market struct {
	ads map[campaign.AdID]*targeting.Ad
	ix  *targeting.Index
}

// aChange upserts and removes some of the first ids, and returns how many.
func (m *market) aChange(t require.TestingT, d draws, ids, most int) (changes int) {
	var c targeting.Change
	for range d.n(most) {
		a := anAd(t, d, campaign.AdID(1+d.n(ids)))
		c.Upserts = append(c.Upserts, a)
		m.ads[a.AdID] = a
	}
	for range d.n(max(most/4, 1)) {
		id := campaign.AdID(1 + d.n(ids))
		c.Removals = append(c.Removals, id)
		delete(m.ads, id)
	}
	next, err := m.ix.Apply(c)
	require.NoError(t, err)
	m.ix = next
	return len(c.Upserts) + len(c.Removals)
}

func (m *market) list() []*targeting.Ad { return slices.Collect(maps.Values(m.ads)) }

// agrees compares the index with a plain loop.
func (m *market) agrees(t require.TestingT, q *targeting.Query, k int) int {
	scan := targeting.NewScan(m.list(), tables)
	want := idsOf(scan.Match(q, k, nil))
	require.Equal(t, want, idsOf(m.ix.Match(q, k, nil)), "%+v", *q)
	return len(want)
}

// TestAMillionCases holds the engine to the rule while ads come, change and go, through deltas, merges, compaction and bytes. A case
// is an ad that is there, after so many changes, and a query. Small markets see many queries; large ones have several segments'
// worth of deltas, dense columns and merges. The counts say that all of that has happened.
func TestAMillionCases(t *testing.T) {
	t.Parallel()
	d := randDraws{rand.New(rand.NewPCG(21, 22))}
	var c counts
	cases := 1_000_000
	if raced {
		cases = 50_000
	}
	for c.cases < cases {
		c.run(t, d, 40+d.n(400), 60, 100)
	}
	c.run(t, d, 12_000, 400, 90)
	t.Logf("%+v", c)
	require.Greater(t, c.hits, cases/50)
	require.Greater(t, c.queries, cases/200)
	require.Greater(t, c.changes, cases/20)
	require.Positive(t, c.merges)
	require.Positive(t, c.reread)
}

// counts are of what a test has done.
type counts struct{ cases, queries, hits, changes, merges, reread int }

// run changes a market of so many ids, at most so many at once, and asks it, for some rounds.
func (c *counts) run(t *testing.T, d draws, ids, most, rounds int) {
	t.Helper()
	m := &market{ads: map[campaign.AdID]*targeting.Ad{}, ix: targeting.Build(nil, tables)}
	for round := range rounds {
		c.changes += m.aChange(t, d, ids, most)
		next, more := m.ix.Merge()
		for m.ix = next; more; c.merges++ {
			m.ix, more = m.ix.Merge()
		}
		if round%40 == 39 {
			m.ix = reread(t, m.ix)
			c.reread++
		}
		require.Equal(t, len(m.ads), m.ix.Len())
		c.hits += m.agrees(t, aQuery(d), d.n(300)-1) + m.agrees(t, aQuery(d), -1)
		c.queries, c.cases = c.queries+2, c.cases+2*len(m.ads)
	}
}

// reread is the index through the bytes of its segments.
func reread(t require.TestingT, ix *targeting.Index) *targeting.Index {
	parser := targeting.NewParser(bounds)
	var segments []*targeting.Segment
	for _, s := range ix.Compact().Segments() {
		raw := s.AppendBinary(nil, bounds)
		back, err := parser.DecodeSegment(raw)
		require.NoError(t, err)
		require.Equal(t, raw, back.AppendBinary(nil, bounds), "a segment is what its bytes say")
		segments = append(segments, back)
	}
	next, err := targeting.FromSegments(segments, *ix.Tables())
	require.NoError(t, err)
	return next
}

func TestEveryStepAnswersTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := rapidDraws{t}
		m := &market{ads: map[campaign.AdID]*targeting.Ad{}, ix: targeting.Build(nil, tables)}
		for range 1 + d.n(5) {
			m.aChange(t, d, 20, 12)
			switch d.n(4) {
			case 0:
				m.ix = m.ix.Compact()
			case 1:
				m.ix = reread(t, m.ix)
			}
		}
		for range 3 {
			m.agrees(t, aQuery(d), d.n(8)-1)
		}
		for _, a := range m.list() {
			got, ok := m.ix.Ad(a.AdID)
			require.True(t, ok)
			require.Equal(t, targeting.AppendAd(nil, a), targeting.AppendAd(nil, got))
		}
		_, ok := m.ix.Ad(99)
		require.False(t, ok)
	})
}

func TestChangesThroughBytes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := rapidDraws{t}
		var c targeting.Change
		for id := range d.n(5) {
			c.Upserts = append(c.Upserts, anAd(t, d, campaign.AdID(id+1)))
		}
		for range d.n(3) {
			c.Removals = append(c.Removals, campaign.AdID(d.n(1000)))
		}
		if d.n(2) == 0 {
			c.Lists = map[campaign.AudienceID]campaign.ListID{11: 1, 12: 0, 2542620905001: campaign.ListID(d.n(100))}
		}
		switch d.n(3) {
		case 0:
			c.Interests = []campaign.Interest{}
		case 1:
			c.Interests = []campaign.Interest{{ID: "1", Name: "one"}, {ID: "2", ParentID: "1", Name: "two"}}
		}
		raw := targeting.AppendChange(nil, c)
		back, err := targeting.NewParser(bounds).DecodeChange(raw)
		require.NoError(t, err)
		require.Equal(t, raw, targeting.AppendChange(nil, back))
		require.Equal(t, c.Lists, back.Lists)
		require.Equal(t, c.Interests, back.Interests)
		require.Equal(t, c.Removals, back.Removals)
		require.Len(t, back.Upserts, len(c.Upserts))
		for i, a := range c.Upserts {
			require.Equal(t, *a, *back.Upserts[i])
		}
		raw[d.n(len(raw))] ^= byte(1 + d.n(255))
		_, err = targeting.NewParser(bounds).DecodeChange(raw)
		require.ErrorIs(t, err, targeting.ErrCorrupt)
	})
}

func TestRemovingWinsAndTheLaterUpsertCounts(t *testing.T) {
	t.Parallel()
	d := randDraws{rand.New(rand.NewPCG(1, 1))}
	first, second, removed := anAd(t, d, 1), anAd(t, d, 1), anAd(t, d, 2)
	ix, err := targeting.Build(nil, tables).Apply(targeting.Change{
		Upserts: []*targeting.Ad{first, removed, second}, Removals: []campaign.AdID{2, 3},
	})
	require.NoError(t, err)
	got, ok := ix.Ad(1)
	require.True(t, ok)
	require.Equal(t, *second, *got)
	require.Equal(t, 1, ix.Len())
}

func TestListsAndInterestsChangeWithTheIndex(t *testing.T) {
	t.Parallel()
	ix := targeting.Build([]*targeting.Ad{ad(t, `{"INTEREST":["1"]}`)}, targeting.Tables{})
	q := &targeting.Query{Interests: []string{"2"}}
	require.Empty(t, ix.Match(q, -1, nil))
	next, err := ix.Apply(targeting.Change{
		Interests: []campaign.Interest{{ID: "1", Name: "one"}, {ID: "2", ParentID: "1", Name: "two"}},
		Lists:     map[campaign.AudienceID]campaign.ListID{7: 1, 8: 2},
	})
	require.NoError(t, err)
	require.Len(t, next.Match(q, -1, nil), 1)
	require.Empty(t, ix.Match(q, -1, nil), "the old snapshot has changed")
	require.Equal(t, []campaign.AudienceID{8, 7}, next.Tables().AppendAudiences(nil, []campaign.ListID{2, 3, 1}))

	after, err := next.Apply(targeting.Change{Lists: map[campaign.AudienceID]campaign.ListID{7: 3, 8: 0}})
	require.NoError(t, err)
	require.Equal(t, []campaign.AudienceID{7}, after.Tables().AppendAudiences(nil, []campaign.ListID{1, 2, 3}))
	require.Equal(t, []campaign.AudienceID{7, 8}, next.Tables().AppendAudiences(nil, []campaign.ListID{1, 2, 3}))

	_, err = after.Apply(targeting.Change{Interests: []campaign.Interest{{ID: "1", ParentID: "1", Name: "a circle"}}})
	require.Error(t, err)
}

func TestSegmentsAreInOrder(t *testing.T) {
	t.Parallel()
	d := randDraws{rand.New(rand.NewPCG(3, 3))}
	low := targeting.Build([]*targeting.Ad{anAd(t, d, 1)}, tables).Segments()
	high := targeting.Build([]*targeting.Ad{ad(t, `{}`, func(s *campaign.ServingAd) { s.AdID, s.BidMicros = 2, 1e9 })}, tables).Segments()
	_, err := targeting.FromSegments(append(high, low...), tables)
	require.NoError(t, err)
	_, err = targeting.FromSegments(append(low, high...), tables)
	require.ErrorIs(t, err, targeting.ErrCorrupt)
	_, err = targeting.FromSegments(append(low, low...), tables)
	require.ErrorIs(t, err, targeting.ErrCorrupt)

	raw := low[0].AppendBinary(nil, bounds)
	other := targeting.NewParser(targeting.Bounds{MaxCTR: 0.2, MaxCVR: 0.5})
	_, err = other.DecodeSegment(raw)
	require.ErrorIs(t, err, targeting.ErrBounds)
	ads, err := other.DecodeAds(raw)
	require.NoError(t, err)
	require.Equal(t, campaign.AdID(1), ads[0].AdID)
	_, err = other.DecodeAds(raw[:len(raw)-1])
	require.ErrorIs(t, err, targeting.ErrCorrupt)
}

// FuzzDecodeSegment lets whatever bytes have a good checksum: then the decoder is what protects a node.
func FuzzDecodeSegment(f *testing.F) {
	d := randDraws{rand.New(rand.NewPCG(5, 5))}
	for n := range 4 {
		var ads []*targeting.Ad
		for id := range 1 + 20*n {
			ads = append(ads, anAd(f, d, campaign.AdID(id+1)))
		}
		raw := targeting.Build(ads, tables).Segments()[0].AppendBinary(nil, bounds)
		f.Add(raw[:len(raw)-8])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		raw := targeting.WithChecksum(data)
		s, err := targeting.NewParser(bounds).DecodeSegment(raw)
		if err != nil {
			return
		}
		ix, err := targeting.FromSegments([]*targeting.Segment{s}, tables)
		require.NoError(t, err)
		q := aQuery(byteDraws{&data})
		for _, a := range ix.Match(q, -1, nil) {
			_, ok := ix.Ad(a.AdID)
			require.True(t, ok)
			a.Creative()
		}
		for range ix.All(q) {
		}
		_ = ix.Compact().Segments()[0].AppendBinary(nil, bounds)
	})
}

// FuzzDecodeChange is the same for entries of the log.
func FuzzDecodeChange(f *testing.F) {
	d := randDraws{rand.New(rand.NewPCG(6, 6))}
	c := targeting.Change{
		Upserts: []*targeting.Ad{anAd(f, d, 1), anAd(f, d, 2)}, Removals: []campaign.AdID{3},
		Lists: map[campaign.AudienceID]campaign.ListID{1: 2}, Interests: []campaign.Interest{{ID: "1", Name: "one"}},
	}
	raw := targeting.AppendChange(nil, c)
	f.Add(raw[:len(raw)-8])
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := targeting.NewParser(bounds).DecodeChange(targeting.WithChecksum(data))
		if err != nil {
			return
		}
		ix, err := targeting.Build(nil, tables).Apply(c)
		if err != nil {
			return
		}
		for range ix.All(aQuery(byteDraws{&data})) {
		}
	})
}

package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gavel/campaign"
	"gavel/targeting"
)

const (
	// pollTimeout bounds one look at the log.
	pollTimeout = 2 * time.Second
	// logPage is the most log entries that one look takes.
	logPage = 256
	// entryBytes is about the most that one entry has: a change of more ads is split.
	entryBytes = 128 << 10
	// trimPage is how many entries are taken from the log at a time.
	trimPage = 1000
)

// Append appends a change to the log of the published generation, in pieces if it is large: those of its ads in their order, the
// tables with the first. It returns the number of the last piece, and targeting.ErrGeneration if the generation is not the published one.
// After an error pieces may have been written.
func (s *Store) Append(ctx context.Context, epoch int64, generation string, c targeting.Change) (seq int64, err error) {
	for {
		var piece targeting.Change
		piece, c = cut(c, MaxBatch)
		raw := targeting.AppendChange(nil, piece)
		for n := len(piece.Upserts); len(raw) > entryBytes && n > 1; n = len(piece.Upserts) {
			c.Upserts = slices.Concat(piece.Upserts[n/2:], c.Upserts)
			c.Removals = slices.Concat(piece.Removals, c.Removals)
			piece.Upserts, piece.Removals = piece.Upserts[:n/2], nil
			raw = targeting.AppendChange(nil, piece)
		}
		seq, err = s.run(ctx, appendScript, []string{keyMeta, keyLog(generation)}, epoch, generation, raw).Int64()
		if err != nil {
			return 0, fmt.Errorf("append change: %w", sentinel(err))
		}
		if len(c.Upserts)+len(c.Removals) == 0 {
			return seq, nil
		}
	}
}

// cut takes the first ads of a change, at most n, upserts before removals. What an ad is in both of stays in that order.
func cut(c targeting.Change, n int) (first, rest targeting.Change) {
	first, rest = c, targeting.Change{}
	if ups := min(len(c.Upserts), n); ups < len(c.Upserts) {
		first.Upserts, rest.Upserts = c.Upserts[:ups:ups], c.Upserts[ups:]
		first.Removals, rest.Removals = nil, c.Removals
		return first, rest
	}
	if left := n - len(c.Upserts); left < len(c.Removals) {
		first.Removals, rest.Removals = c.Removals[:left:left], c.Removals[left:]
	}
	return first, rest
}

// trim takes entries before one from the log, a page at a time.
func (s *Store) trim(ctx context.Context, epoch int64, generation string, keepFrom int64) error {
	for {
		n, err := s.run(ctx, trimScript, []string{keyMeta, keyLog(generation)}, epoch, generation, keepFrom, trimPage).Int()
		if err != nil {
			return fmt.Errorf("trim log: %w", sentinel(err))
		}
		if n == 0 {
			return nil
		}
	}
}

// tail is what one look at the log shows.
type tail struct {
	schema, generation string
	// seq is the last change of the generation.
	seq int64
	// changes are those after the asked one, up to number upTo.
	changes []string
	upTo    int64
	// broken says that entries are missing: they were trimmed, or Redis has gone back in time.
	broken bool
}

// readTail looks at the state of the index and at the log of a generation after entry last, up to count entries, in one step.
func readTail(ctx context.Context, client goredis.UniversalClient, generation string, last, count int64, within time.Duration) (tail, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	pipe := client.TxPipeline()
	meta := pipe.HMGet(ctx, keyMeta, "schema", "generation", "seq")
	entries := pipe.XRangeN(ctx, keyLog(generation), "("+strconv.FormatInt(last, 10)+"-0", "+", count)
	_, err := pipe.Exec(ctx)
	if meta.Err() != nil {
		return tail{}, fmt.Errorf("read index state: %w", meta.Err())
	}
	m := texts(meta.Val())
	t := tail{schema: m[0], generation: m[1], seq: number(m[2]), upTo: last}
	if t.generation != generation {
		return t, nil // whatever has become of the log
	}
	if _, answered := errors.AsType[goredis.Error](err); answered {
		return tail{}, fmt.Errorf("read index log: %w: %w", ErrDamaged, err)
	}
	if err != nil {
		return tail{}, fmt.Errorf("read index log: %w", err)
	}
	for _, e := range entries.Val() {
		change, ok := e.Values["change"].(string)
		if e.ID != strconv.FormatInt(t.upTo+1, 10)+"-0" || !ok {
			t.broken = true
			return t, nil
		}
		t.changes = append(t.changes, change)
		t.upTo++
	}
	// Without an entry left to read, the last one must have been the last.
	t.broken = t.upTo > t.seq || len(entries.Val()) == 0 && t.upTo < t.seq
	return t, nil
}

// applied is a snapshot with entries of the log applied, up to the first that is damaged.
func applied(parser *targeting.Parser, s targeting.Snapshot, entries []string) (targeting.Snapshot, error) {
	var m merger
	var damage error
	n := 0
	for _, e := range entries {
		c, err := parser.DecodeChange([]byte(e))
		if err != nil {
			damage = fmt.Errorf("read change %d: %w: %w", s.Seq+int64(n)+1, ErrDamaged, err)
			break
		}
		m.add(c)
		n++
	}
	if n == 0 {
		return s, damage
	}
	next, err := s.Index.Apply(m.change())
	if err != nil {
		return s, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return targeting.Snapshot{Generation: s.Generation, Seq: s.Seq + int64(n), Index: next}, damage
}

// merger makes one change of many.
type merger struct {
	ads       map[campaign.AdID]*targeting.Ad // nil: removed
	lists     map[campaign.AudienceID]campaign.ListID
	interests []campaign.Interest
	only      *targeting.Change // the first, while it is the only one
}

func (m *merger) add(c targeting.Change) {
	if m.only == nil && m.ads == nil {
		m.only = &c
		return
	}
	if m.only != nil {
		first := *m.only
		m.only, m.ads, m.lists = nil, map[campaign.AdID]*targeting.Ad{}, map[campaign.AudienceID]campaign.ListID{}
		m.put(first)
	}
	m.put(c)
}

func (m *merger) put(c targeting.Change) {
	for _, ad := range c.Upserts {
		m.ads[ad.AdID] = ad
	}
	for _, id := range c.Removals {
		m.ads[id] = nil
	}
	for audience, list := range c.Lists {
		m.lists[audience] = list
	}
	if c.Interests != nil {
		m.interests = c.Interests
	}
}

func (m *merger) change() (c targeting.Change) {
	if m.only != nil {
		return *m.only
	}
	for id, ad := range m.ads {
		if ad == nil {
			c.Removals = append(c.Removals, id)
		} else {
			c.Upserts = append(c.Upserts, ad)
		}
	}
	c.Interests = m.interests
	if len(m.lists) > 0 {
		c.Lists = m.lists
	}
	return c
}

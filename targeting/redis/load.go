package redis

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	goredis "github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"gavel/campaign"
	"gavel/targeting"
)

const (
	// maxLoaders is the most segments that are read and decoded at once.
	maxLoaders = 8
	// replayPage is how many log entries are applied at a time at boot.
	replayPage = 1024
	// loadTries is how often a boot begins again because the index was replaced meanwhile.
	loadTries = 3
)

// ErrNoIndex says that Redis holds no index: none was built yet, or Redis was emptied.
var ErrNoIndex = errors.New("no index in redis")

// Load boots an index from Redis as a node does: the segments of the manifest, and the log after them. It returns ErrNoIndex if
// there is none, and ErrDamaged if what is there is not what was written.
func Load(ctx context.Context, client goredis.UniversalClient, bounds targeting.Bounds) (targeting.Snapshot, error) {
	return LoadAt(ctx, client, bounds, -1)
}

// LoadAt is Load up to a change, so that the index can be compared with another of the same change; it returns
// targeting.ErrGeneration if the manifest holds later ones already. A negative seq means the last change.
func LoadAt(ctx context.Context, client goredis.UniversalClient, bounds targeting.Bounds, seq int64) (targeting.Snapshot, error) {
	for try := 1; ; try++ {
		snapshot, err := load(ctx, client, bounds, seq)
		if !errors.Is(err, errReplaced) || try == loadTries {
			if err != nil {
				err = fmt.Errorf("load index: %w", err)
			}
			return snapshot, err
		}
	}
}

func load(ctx context.Context, client goredis.UniversalClient, bounds targeting.Bounds, seq int64) (s targeting.Snapshot, err error) {
	m, err := readPublished(ctx, client)
	if err != nil {
		return s, err
	}
	if seq >= 0 && seq < m.BaseSeq {
		return s, fmt.Errorf("the manifest holds change %d: %w", m.BaseSeq, targeting.ErrGeneration)
	}
	s = targeting.Snapshot{Generation: m.Generation, Seq: m.BaseSeq}
	if s.Index, err = readIndex(ctx, client, m, bounds); err == nil {
		err = replay(ctx, client, bounds, &s, seq)
	}
	if err == nil || ctx.Err() != nil {
		return s, err
	}
	// What looks like damage is none if the blobs or the log went because something else was published.
	if now, nowErr := readPublished(ctx, client); nowErr == nil && (now.Generation != m.Generation || now.BaseSeq != m.BaseSeq) {
		return s, fmt.Errorf("%w: %v", errReplaced, err) //nolint:errorlint // it is no damage any more
	}
	return s, err
}

// readPublished returns the manifest of the published generation.
func readPublished(ctx context.Context, client goredis.UniversalClient) (*manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	pipe := client.TxPipeline()
	meta, text := pipe.HMGet(ctx, keyMeta, "schema", "generation", "base_seq"), pipe.Get(ctx, keyManifest)
	_, err := pipe.Exec(ctx)
	if meta.Err() != nil {
		return nil, fmt.Errorf("read index state: %w", meta.Err())
	}
	fields := texts(meta.Val())
	switch {
	case fields[1] == "":
		return nil, ErrNoIndex
	case fields[0] != schema:
		return nil, otherSchema(fields[0])
	case errors.Is(err, goredis.Nil):
		return nil, fmt.Errorf("there is no manifest: %w", ErrDamaged)
	case err != nil:
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	m, err := decodeManifest(text.Val())
	if err != nil {
		return nil, err
	}
	if m.Generation != fields[1] || m.BaseSeq != number(fields[2]) {
		return nil, fmt.Errorf("the manifest is of change %d of generation %s: %w", m.BaseSeq, m.Generation, ErrDamaged)
	}
	return m, nil
}

// readManifest returns the manifest, whatever is published.
func readManifest(ctx context.Context, client goredis.UniversalClient) (*manifest, error) {
	text, err := client.Get(ctx, keyManifest).Result()
	if errors.Is(err, goredis.Nil) {
		return nil, fmt.Errorf("there is no manifest: %w", ErrNoIndex)
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return decodeManifest(text)
}

func otherSchema(found string) error {
	return fmt.Errorf("index has schema %q, this program reads %q", found, schema)
}

// readIndex reads the segments and tables of a manifest, several at once.
func readIndex(ctx context.Context, client goredis.UniversalClient, m *manifest, bounds targeting.Bounds) (*targeting.Index, error) {
	tables, err := readTables(ctx, client, m.Tables, bounds)
	if err != nil {
		return nil, err
	}
	l := loader{client: client, blobs: m.Segments, segments: make([]*targeting.Segment, len(m.Segments)), ads: make([][]*targeting.Ad, len(m.Segments))}
	l.sameBounds = m.bounds() == bounds
	group, ctx := errgroup.WithContext(ctx)
	for range min(maxLoaders, runtime.GOMAXPROCS(0)+1, len(m.Segments)) { // one more than cores: it waits for Redis
		group.Go(func() error { return l.work(ctx, targeting.NewParser(bounds)) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if !l.sameBounds {
		// Written by a version with another ranking model: the ads are right, their order is not.
		all := make([]*targeting.Ad, 0, m.Ads)
		for _, ads := range l.ads {
			all = append(all, ads...)
		}
		return targeting.Build(all, tables), nil
	}
	ix, err := targeting.FromSegments(l.segments, tables)
	if err != nil {
		return nil, fmt.Errorf("put segments together: %w: %w", ErrDamaged, err)
	}
	return ix, nil
}

func readTables(ctx context.Context, client goredis.UniversalClient, b blob, bounds targeting.Bounds) (t targeting.Tables, err error) {
	raw, err := readBlob(ctx, client, b)
	if err != nil {
		return t, err
	}
	c, err := targeting.NewParser(bounds).DecodeChange(raw)
	if err != nil {
		return t, fmt.Errorf("read tables: %w: %w", ErrDamaged, err)
	}
	t.Lists = make(map[campaign.ListID]campaign.AudienceID, len(c.Lists))
	for audience, list := range c.Lists {
		t.Lists[list] = audience
	}
	if len(c.Interests) == 0 {
		return t, nil
	}
	if t.Interests, err = targeting.NewTaxonomy(c.Interests); err != nil {
		return t, fmt.Errorf("read tables: %w: %w", ErrDamaged, err)
	}
	return t, nil
}

// loader hands the segments of a manifest to those who read them.
type loader struct {
	client     goredis.UniversalClient
	blobs      []blob
	sameBounds bool

	// Each place is written by whoever took it.
	segments []*targeting.Segment
	ads      [][]*targeting.Ad

	mu   sync.Mutex
	next int
}

func (l *loader) take() (int, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return l.next - 1, l.next <= len(l.blobs)
}

func (l *loader) work(ctx context.Context, parser *targeting.Parser) error {
	for {
		i, ok := l.take()
		if !ok {
			return nil
		}
		raw, err := readBlob(ctx, l.client, l.blobs[i])
		if err != nil {
			return err
		}
		n := 0
		if l.sameBounds {
			if l.segments[i], err = parser.DecodeSegment(raw); err == nil {
				n = l.segments[i].Ads()
			}
		} else {
			l.ads[i], err = parser.DecodeAds(raw)
			n = len(l.ads[i])
		}
		if err != nil {
			return fmt.Errorf("decode blob %s: %w: %w", l.blobs[i].Name, ErrDamaged, err)
		}
		if n != l.blobs[i].Ads {
			return fmt.Errorf("blob %s has %d ads, not %d: %w", l.blobs[i].Name, n, l.blobs[i].Ads, ErrDamaged)
		}
	}
}

// replay applies the log to a snapshot, up to a change, or to the last.
func replay(ctx context.Context, client goredis.UniversalClient, bounds targeting.Bounds, s *targeting.Snapshot, upTo int64) error {
	parser := targeting.NewParser(bounds)
	for upTo < 0 || s.Seq < upTo {
		page := int64(replayPage)
		if upTo >= 0 {
			page = min(page, upTo-s.Seq)
		}
		t, err := readTail(ctx, client, s.Generation, s.Seq, page, chunkTimeout)
		switch {
		case err != nil:
			return err
		case t.generation != s.Generation:
			return errReplaced
		case t.broken:
			return fmt.Errorf("the log does not go on after change %d: %w", s.Seq, ErrDamaged)
		case len(t.changes) == 0 && upTo >= 0:
			return fmt.Errorf("there is no change %d: %w", upTo, targeting.ErrGeneration)
		case len(t.changes) == 0:
			return nil
		}
		if *s, err = applied(parser, *s, t.changes); err != nil {
			return err
		}
		if upTo < 0 && s.Seq >= t.seq {
			return nil // what is appended from now on is followed
		}
	}
	return nil
}

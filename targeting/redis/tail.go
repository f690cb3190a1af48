package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"gavel/campaign"
)

const (
	// pollTimeout bounds one look at the log, loadTimeout one round of reading records.
	pollTimeout = time.Second
	loadTimeout = 10 * time.Second
	// scanCount is how many records Redis returns of a segment at a time, about.
	scanCount = 200
)

// tail is what one look at the log shows.
type tail struct {
	schema, generation string
	// seq is the last change of the generation, ads how many it should hold.
	seq, ads int64
	// changed are the ads that the entries after the asked one name, up to entry upTo; each once.
	changed []campaign.AdID
	upTo    int64
	// broken says that entries are missing: they were trimmed, or Redis has gone back in time.
	broken bool
}

// readTail looks at the state of the index and at the log of a generation after entry last, in one step.
func readTail(ctx context.Context, client goredis.UniversalClient, generation string, last int64) (tail, error) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	pipe := client.TxPipeline()
	meta := pipe.HMGet(ctx, keyMeta, "schema", "generation", "seq", "ads")
	entries := pipe.XRangeN(ctx, keyLog(generation), "("+strconv.FormatInt(last, 10)+"-0", "+", logPage)
	_, err := pipe.Exec(ctx)
	if meta.Err() != nil {
		return tail{}, fmt.Errorf("read index state: %w", meta.Err())
	}
	m := texts(meta.Val())
	t := tail{schema: m[0], generation: m[1], seq: number(m[2]), ads: number(m[3]), upTo: last}
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
		if e.ID != strconv.FormatInt(t.upTo+1, 10)+"-0" || !t.add(e.Values["ads"]) {
			t.broken = true
			return t, nil
		}
		t.upTo++
	}
	// Without an entry left to read, the last one must have been the last.
	t.broken = t.upTo > t.seq || len(entries.Val()) == 0 && t.upTo < t.seq
	slices.Sort(t.changed)
	t.changed = slices.Compact(t.changed)
	return t, nil
}

// add reads the ids of an entry.
func (t *tail) add(value any) bool {
	list, ok := value.(string)
	if !ok {
		return false
	}
	for text := range strings.SplitSeq(list, ",") {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return false
		}
		t.changed = append(t.changed, campaign.AdID(id))
	}
	return true
}

var errReplaced = errors.New("generation was replaced while it was read")

// readGeneration returns all records of the published generation. What is changed meanwhile may be in it or not. It fails if
// the generation is no longer the published one at the end, for then it may have been half deleted.
func readGeneration(ctx context.Context, client goredis.UniversalClient, generation string) (map[campaign.AdID]string, error) {
	records := map[campaign.AdID]string{}
	cursors := make(map[int]uint64, segments)
	for n := range segments {
		cursors[n] = 0
	}
	for len(cursors) > 0 {
		if err := scanRound(ctx, client, generation, cursors, records); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	now, err := client.HGet(ctx, keyMeta, "generation").Result()
	switch {
	case err != nil && !errors.Is(err, goredis.Nil):
		return nil, fmt.Errorf("load index: %w", err)
	case now != generation:
		return nil, fmt.Errorf("load index: %w", errReplaced)
	}
	return records, nil
}

// scanRound reads one piece of every segment that is not at its end, and drops those that are.
func scanRound(ctx context.Context, client goredis.UniversalClient, generation string, cursors map[int]uint64, records map[campaign.AdID]string) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	pipe := client.Pipeline()
	scans := make(map[int]*goredis.ScanCmd, len(cursors))
	for n, cursor := range cursors {
		scans[n] = pipe.HScan(ctx, keySegment(generation, n), cursor, "", scanCount)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("load index: %w", err)
	}
	for n, scan := range scans {
		pairs, cursor := scan.Val()
		for i := 0; i+1 < len(pairs); i += 2 {
			// A field that is no id becomes ad 0, whose record cannot be right: damaged.
			id, _ := strconv.ParseInt(pairs[i], 10, 64)
			records[campaign.AdID(id)] = pairs[i+1]
		}
		if cursors[n] = cursor; cursor == 0 {
			delete(cursors, n)
		}
	}
	return nil
}

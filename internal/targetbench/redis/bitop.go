package redis

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/bits"

	goredis "github.com/redis/go-redis/v9"

	"gavel/internal/targetbench"
	"gavel/targeting"
)

// Bitop keeps each column as a bitmap. maxBytes bounds what it takes on, 0 is no bound: a bitmap is as long as the last ad in it.
func Bitop(url func(context.Context) (string, error), maxBytes int64) targetbench.Maker {
	return targetbench.Maker{Name: "redis-bitop", Make: func(ctx context.Context, d *targetbench.Data) (targetbench.Engine, error) {
		s, err := connect(ctx, url, d)
		if err != nil {
			return nil, err
		}
		e := &bitop{server: s}
		return e, s.orClose(ctx, e.load(ctx, maxBytes))
	}}
}

type bitop struct{ *server }

var _ targetbench.Remote = (*bitop)(nil)

func (e *bitop) load(ctx context.Context, maxBytes int64) error {
	lists := e.lists()
	var size int64
	for _, list := range lists {
		size += int64(list[len(list)-1]/8 + 1)
	}
	if maxBytes > 0 && size > maxBytes {
		return &targetbench.Skip{Reason: fmt.Sprintf("bitmaps of %.1f GB are loaded with --all only", float64(size)/1e9)}
	}
	pipe := e.pipeline()
	for t, list := range lists {
		bitmap := make([]byte, list[len(list)-1]/8+1)
		for _, ad := range list {
			bitmap[ad/8] |= 0x80 >> (ad % 8) // as SETBIT counts
		}
		if err := pipe.add(ctx, len(bitmap)/64, func(p goredis.Pipeliner) { p.Set(ctx, name(t), bitmap, 0) }); err != nil {
			return err
		}
	}
	return pipe.flush(ctx)
}

// firstBytes is how much of the answer one asks for when the best are wanted: a few thousand of the ads that are left.
const firstBytes = 64 << 10

// Match makes the unions, their intersection, and takes out who is excluded, in one transaction.
func (e *bitop) Match(ctx context.Context, q *targeting.Query, k int, dst []*targeting.Ad) ([]*targeting.Ad, error) {
	unions, none := e.plan(q)
	pipe := e.client.TxPipeline()
	all := make([]string, len(unions))
	for i, u := range unions {
		switch len(u) {
		case 0: // a key that nobody leaves open, and no value of it
			return dst, nil
		case 1:
			all[i] = u[0]
		default:
			all[i] = fmt.Sprint(partKey, i)
			pipe.BitOpOr(ctx, all[i], u...)
		}
	}
	pipe.BitOpAnd(ctx, leftKey, all...)
	if len(none) > 0 {
		not := partKey + "not"
		pipe.BitOpOr(ctx, not, none...)
		pipe.BitOpAnd(ctx, not, not, leftKey) // left and not x = left xor (left and x)
		pipe.BitOpXor(ctx, leftKey, leftKey, not)
	}
	last := int64(-1)
	if k >= 0 {
		last = firstBytes - 1
	}
	answer := pipe.GetRange(ctx, leftKey, 0, last)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("intersect bitmaps: %w", err)
	}
	got := e.columns.Keep(q, k, positions(answer.Val()), dst)
	if k < 0 || len(got) == len(dst)+k || len(answer.Val()) < firstBytes {
		return got, nil
	}
	rest, err := e.client.Get(ctx, leftKey).Result()
	if err != nil && !errors.Is(err, goredis.Nil) {
		return nil, fmt.Errorf("read bitmap: %w", err)
	}
	return e.columns.Keep(q, k, positions(rest), dst), nil
}

// positions are the bits of a bitmap as SETBIT counts them.
func positions(bitmap string) iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for i := range len(bitmap) {
			for b := bitmap[i]; b != 0; {
				n := bits.LeadingZeros8(b)
				b &^= 0x80 >> n
				if !yield(uint32(i*8 + n)) {
					return
				}
			}
		}
	}
}

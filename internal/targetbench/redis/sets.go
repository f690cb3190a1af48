package redis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"gavel/internal/targetbench"
	"gavel/targeting"
)

// Sets keeps each column as a set of ad numbers. maxAds bounds what it takes on, 0 is no bound: a set needs about 50 bytes for
// each ad in it.
func Sets(url func(context.Context) (string, error), maxAds int) targetbench.Maker {
	return targetbench.Maker{Name: "redis-sets", Make: func(ctx context.Context, d *targetbench.Data) (targetbench.Engine, error) {
		if maxAds > 0 && len(d.Ads) > maxAds {
			return nil, &targetbench.Skip{Reason: fmt.Sprintf("sets of %d ads are loaded with --all only: tens of gigabytes and minutes", len(d.Ads))}
		}
		s, err := connect(ctx, url, d)
		if err != nil {
			return nil, err
		}
		e := &sets{server: s}
		return e, s.orClose(ctx, e.load(ctx))
	}}
}

type sets struct{ *server }

var _ targetbench.Remote = (*sets)(nil)

// load sends each column in pieces, many in a pipeline.
func (e *sets) load(ctx context.Context) error {
	const piece = 1000
	pipe := e.pipeline()
	for t, list := range e.lists() {
		for part := range slices.Chunk(list, piece) {
			members := make([]any, len(part))
			for i, ad := range part {
				members[i] = ad
			}
			if err := pipe.add(ctx, len(part), func(p goredis.Pipeliner) { p.SAdd(ctx, name(t), members...) }); err != nil {
				return err
			}
		}
	}
	return pipe.flush(ctx)
}

const (
	leftKey = "left"
	partKey = "part:"
)

// Match intersects the unions in one transaction, smallest first. From the second on, what is left is intersected with each column
// of the union, which costs the server no more than what is left, and is faster than to make the union first.
func (e *sets) Match(ctx context.Context, q *targeting.Query, k int, dst []*targeting.Ad) ([]*targeting.Ad, error) {
	unions, none := e.plan(q)
	if len(unions[0]) == 0 { // a key that nobody leaves open, and no value of it
		return dst, nil
	}
	pipe := e.client.TxPipeline()
	pipe.SUnionStore(ctx, leftKey, unions[0]...)
	for _, u := range unions[1:] {
		parts := make([]string, len(u))
		for i, column := range u {
			parts[i] = partKey + strconv.Itoa(i)
			pipe.SInterStore(ctx, parts[i], leftKey, column)
		}
		pipe.SUnionStore(ctx, leftKey, parts...)
	}
	if len(none) > 0 {
		pipe.SDiffStore(ctx, leftKey, append([]string{leftKey}, none...)...)
	}
	first := e.read(ctx, pipe, k)
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("intersect sets: %w", err)
	}
	positions, err := numbers(first.Val())
	if err != nil {
		return nil, err
	}
	got := e.columns.Keep(q, k, slices.Values(positions), dst)
	if k < 0 || len(got) == len(dst)+k || len(positions) < ask(k) {
		return got, nil
	}
	if positions, err = numbers(e.client.SMembers(ctx, leftKey).Val()); err != nil { // too few passed: all of them
		return nil, err
	}
	return e.columns.Keep(q, k, slices.Values(positions), dst), nil
}

// ask is for how many ads one asks first when k must pass the checks that columns cannot make.
func ask(k int) int { return 2 * k }

// read takes all that is left, or the first of it.
func (e *sets) read(ctx context.Context, pipe goredis.Pipeliner, k int) *goredis.StringSliceCmd {
	if k < 0 {
		return pipe.SMembers(ctx, leftKey)
	}
	return pipe.Sort(ctx, leftKey, &goredis.Sort{Count: int64(ask(k))})
}

func numbers(texts []string) ([]uint32, error) {
	list := make([]uint32, len(texts))
	for i, text := range texts {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return nil, errors.New("a member of a set is not the number of an ad")
		}
		list[i] = uint32(n)
	}
	slices.Sort(list)
	return list, nil
}

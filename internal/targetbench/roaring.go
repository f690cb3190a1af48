package targetbench

import (
	"context"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"gavel/targeting"
)

// Roaring keeps each column as a roaring bitmap.
func Roaring() Maker {
	return Maker{"roaring", func(ctx context.Context, d *Data) (Engine, error) { return newRoaring(ctx, d) }}
}

type roaringEngine struct {
	columns *Columns
	bitmaps map[Term]*roaring.Bitmap
	plan    Plan
	unions  []roaringUnion
}

// roaringUnion is one key's part of a query.
type roaringUnion struct {
	bitmaps []*roaring.Bitmap
	count   uint64 // of the ads, at most
}

func newRoaring(ctx context.Context, d *Data) (*roaringEngine, error) {
	e := &roaringEngine{columns: NewColumns(d), bitmaps: map[Term]*roaring.Bitmap{}}
	e.columns.Each(func(t Term, ad uint32) {
		b := e.bitmaps[t]
		if b == nil {
			b = roaring.New()
			e.bitmaps[t] = b
		}
		b.Add(ad)
	})
	for _, b := range e.bitmaps {
		b.RunOptimize()
	}
	return e, ctx.Err()
}

// Match intersects the unions, smallest first. From the second on, what is left is intersected with each column of the union,
// which costs no more than what is left, and is faster than to make the union first.
func (e *roaringEngine) Match(_ context.Context, q *targeting.Query, k int, dst []*targeting.Ad) ([]*targeting.Ad, error) {
	e.columns.Plan(q, &e.plan)
	e.unions = e.unions[:0]
	for _, terms := range e.plan.All {
		e.unions = append(e.unions, e.union(terms))
	}
	slices.SortFunc(e.unions, func(a, b roaringUnion) int { return int(a.count) - int(b.count) })
	left := roaring.FastOr(e.unions[0].bitmaps...)
	for _, u := range e.unions[1:] {
		if left.IsEmpty() {
			return dst, nil
		}
		parts := make([]*roaring.Bitmap, len(u.bitmaps))
		for i, b := range u.bitmaps {
			parts[i] = roaring.And(left, b)
		}
		left = roaring.FastOr(parts...)
	}
	for _, t := range e.plan.None {
		if b := e.bitmaps[t]; b != nil {
			left.AndNot(b)
		}
	}
	return e.columns.Keep(q, k, left.Iterate, dst), nil
}

func (e *roaringEngine) union(terms []Term) roaringUnion {
	var u roaringUnion
	for _, t := range terms {
		if b := e.bitmaps[t]; b != nil {
			u.bitmaps = append(u.bitmaps, b)
			u.count += b.GetCardinality()
		}
	}
	return u
}

// Bytes is what the bitmaps need, without the map that finds them.
func (e *roaringEngine) Bytes(context.Context) (int64, error) {
	var n uint64
	for _, b := range e.bitmaps {
		n += b.GetSizeInBytes()
	}
	return int64(n) + e.columns.Bytes(), nil
}

func (e *roaringEngine) Close(context.Context) error { return nil }

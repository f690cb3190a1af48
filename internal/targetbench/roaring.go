package targetbench

import (
	"cmp"
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

// Match intersects the unions, smallest first.
func (e *roaringEngine) Match(_ context.Context, q *targeting.Query, k int, dst []*targeting.Ad) ([]*targeting.Ad, error) {
	e.columns.Plan(q, &e.plan)
	e.unions = e.unions[:0]
	for _, terms := range e.plan.All {
		e.unions = append(e.unions, e.union(terms))
	}
	slices.SortFunc(e.unions, func(a, b roaringUnion) int { return cmp.Compare(a.count, b.count) })
	left := roaring.FastOr(e.unions[0].bitmaps...)
	for i := range e.unions[1:] {
		if left.IsEmpty() {
			return dst, nil
		}
		left = e.unions[i+1].and(left)
	}
	for _, t := range e.plan.None {
		if b := e.bitmaps[t]; b != nil {
			left.AndNot(b)
		}
	}
	return e.columns.Keep(q, k, left.Iterate, dst), nil
}

// and is left and one of the columns. While much is left, the union is made first; when little is, it is intersected with each
// column, which costs no more than what is left. Measured at 300,000 ads: always the one 8.6 ms, always the other 10 ms, this 6.4 ms.
func (u *roaringUnion) and(left *roaring.Bitmap) *roaring.Bitmap {
	const much = 8
	switch {
	case len(u.bitmaps) == 0:
		return roaring.New()
	case len(u.bitmaps) == 1:
		left.And(u.bitmaps[0])
		return left
	case left.GetCardinality()*much >= u.count:
		left.And(roaring.FastOr(u.bitmaps...))
		return left
	}
	some := roaring.And(left, u.bitmaps[0])
	for _, b := range u.bitmaps[1:] {
		some.Or(roaring.And(left, b))
	}
	return some
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

package targetbench

import (
	"context"
	"sync/atomic"

	"gavel/targeting"
)

// Gavel is targeting.Index.
func Gavel() Maker {
	return Maker{"gavel", func(_ context.Context, d *Data) (Engine, error) {
		e := &gavel{}
		e.index.Store(targeting.Build(d.Ads, d.Tables))
		return e, nil
	}}
}

// gavel is one replica of the index, as a node has it.
type gavel struct {
	index atomic.Pointer[targeting.Index]
}

var _ Changing = (*gavel)(nil)

func (e *gavel) Match(_ context.Context, q *targeting.Query, k int, dst []*targeting.Ad) ([]*targeting.Ad, error) {
	return e.index.Load().Match(q, k, dst), nil
}

func (e *gavel) Apply(c targeting.Change) error {
	next, err := e.index.Load().Apply(c)
	if err == nil {
		e.index.Store(next)
	}
	return err
}

func (e *gavel) Merge() (more bool) {
	next, more := e.index.Load().Merge()
	e.index.Store(next)
	return more
}

func (e *gavel) Bytes(context.Context) (int64, error) { return e.index.Load().Bytes(), nil }
func (e *gavel) Close(context.Context) error          { return nil }

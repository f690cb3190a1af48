package targetbench

import (
	"context"

	"gavel/targeting"
)

// Engine answers queries over the ads that it was built from.
type Engine interface {
	// Match appends to dst the ads that match: the first k in the order of the index, in that order, or all in any order if k is negative.
	Match(ctx context.Context, q *targeting.Query, k int, dst []*targeting.Ad) ([]*targeting.Ad, error)
	// Bytes is what the engine needs beside the records of the ads.
	Bytes(ctx context.Context) (int64, error)
	// Close frees what is outside this process.
	Close(ctx context.Context) error
}

// Remote is an engine that works in another process, so that the thread's own CPU time does not say what a query costs.
type Remote interface {
	Engine
	// ServerTime is the time that the server has worked since it started, in nanoseconds.
	ServerTime(ctx context.Context) (int64, error)
}

// Maker builds an engine.
type Maker struct {
	Name string
	// Make may return a *Skip as its error.
	Make func(ctx context.Context, d *Data) (Engine, error)
}

// Skip is why an engine does not take part.
type Skip struct{ Reason string }

func (s *Skip) Error() string { return "skipped: " + s.Reason }

// Scan asks the rule about one ad after the other and stops when it has enough: targeting.Scan, for which rules and query are made
// ready before.
func Scan() Maker {
	return Maker{"scan", func(_ context.Context, d *Data) (Engine, error) { return scan{d.scan}, nil }}
}

type scan struct{ *targeting.Scan }

func (e scan) Match(_ context.Context, q *targeting.Query, k int, dst []*targeting.Ad) ([]*targeting.Ad, error) {
	return e.Scan.Match(q, k, dst), nil
}

// Bytes is nothing: the rules are what the ads say.
func (e scan) Bytes(context.Context) (int64, error) { return 0, nil }
func (e scan) Close(context.Context) error          { return nil }

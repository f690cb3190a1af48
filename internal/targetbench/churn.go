package targetbench

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"gavel/campaign"
	"gavel/internal/money"
	"gavel/targeting"
)

// Changing is an engine that can be changed while it answers.
type Changing interface {
	Engine
	// Apply makes a change visible to the queries that begin after it. One caller at a time.
	Apply(c targeting.Change) error
	// Merge does a bounded part of the work that Apply has put off, and says whether there is more. Called by who calls Apply.
	Merge() (more bool)
}

// everyBatch is how often a node asks the log for what is new.
const everyBatch = 50 * time.Millisecond

// churn changes an engine at a rate, and knows what it should hold.
type churn struct {
	data   *Data
	engine Changing
	rate   int
	r      *rand.Rand
	parser *targeting.Parser

	now     map[campaign.AdID]*targeting.Ad // the changed ads as they are now; nil for one that is paused
	applied int64                           // by the last run
}

func newChurn(d *Data, e Changing, rate int) *churn {
	return &churn{
		data: d, engine: e, rate: rate, r: seeded(d.Seed, streamChanges), parser: targeting.NewParser(d.Bounds),
		now: map[campaign.AdID]*targeting.Ad{},
	}
}

// run applies what is due every 50 ms, as a node does that follows the log, and merges between the batches.
func (c *churn) run(ctx context.Context) error {
	began := time.Now()
	c.applied = 0
	t := time.NewTicker(everyBatch)
	defer t.Stop()
	more := false
	for ctx.Err() == nil {
		due := int64(time.Since(began).Seconds()*float64(c.rate)) - c.applied
		if due > 0 {
			change, err := c.batch(int(due))
			if err != nil {
				return err
			}
			if err := c.engine.Apply(change); err != nil {
				return err
			}
			c.applied += due
			more = true
		}
		if more {
			more = c.engine.Merge()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
	return nil
}

// batch changes n ads: mostly bids; some are paused until they change again, some get another targeting.
func (c *churn) batch(n int) (change targeting.Change, err error) {
	all := c.data.changeable
	for range n {
		s := &all[c.r.IntN(len(all))]
		if was, changed := c.now[s.AdID]; (!changed || was != nil) && share(c.r, 0.15) {
			c.now[s.AdID] = nil
			change.Removals = append(change.Removals, s.AdID)
			continue
		}
		next := *s
		next.BidMicros = money.Micros(max(10_000, float64(s.BidMicros)*math.Exp(0.2*c.r.NormFloat64())))
		if share(c.r, 0.15) {
			next.Targeting = all[c.r.IntN(len(all))].Targeting
		}
		ad, err := c.parser.Parse(next)
		if err != nil {
			return change, err
		}
		c.now[s.AdID] = ad
		change.Upserts = append(change.Upserts, ad)
	}
	// One that came twice is what it is now.
	change.Removals = slices.DeleteFunc(change.Removals, func(id campaign.AdID) bool { return c.now[id] != nil })
	return change, nil
}

// current is what the engine should hold.
func (c *churn) current() []*targeting.Ad {
	list := make([]*targeting.Ad, 0, len(c.data.Ads))
	for _, ad := range c.data.Ads {
		if now, changed := c.now[ad.AdID]; changed {
			ad = now
		}
		if ad != nil {
			list = append(list, ad)
		}
	}
	return list
}

// whileChanging times the modes while ads change, then checks the answers over the ads as they have become.
func (b *bench) whileChanging(ctx context.Context, e Changing, base Row) error {
	c := newChurn(b.data, e, b.ChangesPerS)
	for _, mode := range modes {
		row := base
		row.Mode = mode.name
		if err := b.timeChanging(ctx, c, mode.k, &row); err != nil {
			return err
		}
		b.rows = append(b.rows, row)
	}
	return nil
}

func (b *bench) timeChanging(ctx context.Context, c *churn, k int, row *Row) error {
	running, stop := context.WithCancel(ctx)
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- c.run(running) }()
	err := b.sample(ctx, c.engine, k, maxSamples, row)
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		return err
	}
	row.ChangesPerS = math.Round(float64(c.applied)/time.Since(began).Seconds()*10) / 10
	want, err := b.answers(ctx, targeting.NewScan(c.current(), b.data.Tables))
	if err != nil {
		return err
	}
	if err := b.check(ctx, c.engine, k, want, row); err != nil {
		return err
	}
	return b.allocations(ctx, c.engine, k, row)
}

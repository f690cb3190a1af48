package main

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"gavel/auction"
	"gavel/budget"
	"gavel/targeting"
	index "gavel/targeting/redis"
)

// metrics are the node's own instruments; docs/observability.md lists them. Campaign ids never label one.
type metrics struct {
	auctions, ads, noFill, userUnknown metric.Int64Counter
	events, billed, capped             metric.Int64Counter
	batch, decide                      metric.Float64Histogram

	placements map[targeting.Placement]metric.MeasurementOption
	fates      map[string]metric.MeasurementOption
	outcomes   map[budget.Outcome]metric.MeasurementOption
	reasons    map[auction.NoFillReason]metric.MeasurementOption
	views      [4]metric.MeasurementOption // by index.Counted
}

// gauges are read when somebody asks for the metrics.
type gauges struct {
	unbilled     func() int64
	watermarkAge func() time.Duration
	leaseRest    func() int64
	leases       func() int64
	indexAds     func() int64
	violations   func() int64
}

func newMetrics(m metric.Meter, g gauges) (*metrics, error) {
	x := &metrics{}
	var errs []error
	counter := func(into *metric.Int64Counter, name, unit, about string) {
		c, err := m.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(about))
		*into, errs = c, append(errs, err)
	}
	counter(&x.auctions, "gavel.auctions", "{auction}", "Ad requests that were decided.")
	counter(&x.ads, "gavel.ads.served", "{ad}", "Ads on answered pages.")
	counter(&x.noFill, "gavel.slots.empty", "{slot}", "Slots that stayed empty, by reason.")
	counter(&x.userUnknown, "gavel.auctions.user_unknown", "{auction}", "Auctions without the user's state because Redis was late or away.")
	counter(&x.events, "gavel.events", "{event}", "Events that were reported, by what the reporter was told.")
	counter(&x.billed, "gavel.events.committed", "{event}", "Events that were committed, by outcome; OVER_BUDGET is over-serve.")
	counter(&x.capped, "gavel.frequency.impressions", "{impression}", "Impressions of ad groups with a frequency cap, by what the check found.")
	histogram := func(into *metric.Float64Histogram, name, about string, bounds ...float64) {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(about), metric.WithExplicitBucketBoundaries(bounds...))
		*into, errs = h, append(errs, err)
	}
	histogram(&x.decide, "gavel.auction.duration", "From the request's first byte in the handler to its answer.",
		.00005, .0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .5)
	histogram(&x.batch, "gavel.billing.batch.duration", "One billing transaction.", .001, .002, .005, .01, .02, .05, .1, .5, 1, 5)
	gauge := func(name, unit, about string, read func() int64) {
		_, err := m.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(about),
			metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error { o.Observe(read()); return nil }))
		errs = append(errs, err)
	}
	gauge("gavel.journal.unbilled", "{event}", "Accepted events that wait for Postgres.", g.unbilled)
	gauge("gavel.journal.watermark.age", "ms", "How far the watermark is behind the node's clock.", func() int64 { return g.watermarkAge().Milliseconds() })
	gauge("gavel.leases.rest", "{nano}", "What the node may still promise, over all currencies.", g.leaseRest)
	gauge("gavel.leases", "{lease}", "Leases that the node may serve from.", g.leases)
	gauge("gavel.index.ads", "{ad}", "Ads in the replica of the targeting index.", g.indexAds)
	gauge("gavel.audit.violations", "{violation}", "Violations of I1-I6 that the last audit found; -1 before the first.", g.violations)
	x.prepare()
	return x, errors.Join(errs...)
}

// prepare makes the attribute sets once: making one costs more than counting.
func (x *metrics) prepare() {
	set := func(key, value string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String(key, value)))
	}
	x.placements = map[targeting.Placement]metric.MeasurementOption{}
	for _, p := range []targeting.Placement{targeting.PlacementBrowse, targeting.PlacementSearch, targeting.PlacementOther} {
		x.placements[p] = set("placement", string(p))
	}
	x.fates = map[string]metric.MeasurementOption{}
	for _, f := range []string{"accepted", "expired", "invalid", "unavailable"} {
		x.fates[f] = set("fate", f)
	}
	x.outcomes = map[budget.Outcome]metric.MeasurementOption{}
	for _, o := range []budget.Outcome{budget.Billed, budget.Duplicate, budget.OverBudget, budget.Invalid} {
		x.outcomes[o] = set("outcome", string(o))
	}
	for i, c := range []string{"within", "over_cap", "duplicate", "too_old"} {
		x.views[i] = set("check", c)
	}
	x.reasons = map[auction.NoFillReason]metric.MeasurementOption{}
	for _, r := range []auction.NoFillReason{auction.NoEligibleAd, auction.AdLoadReached, auction.IndexNotReady} {
		x.reasons[r] = set("reason", string(r))
	}
}

func (x *metrics) decision(ctx context.Context, d *auction.Decision, placement targeting.Placement, took time.Duration) {
	at := x.placements[placement]
	x.auctions.Add(ctx, 1, at)
	x.ads.Add(ctx, int64(len(d.Awards)), at)
	x.decide.Record(ctx, took.Seconds(), at)
	for _, n := range d.NoFill {
		x.noFill.Add(ctx, 1, x.reasons[n.Reason])
	}
	if d.UserErr != nil {
		x.userUnknown.Add(ctx, 1, at)
	}
}

func (x *metrics) event(ctx context.Context, fate string) { x.events.Add(ctx, 1, x.fates[fate]) }

func (x *metrics) viewed(counted []index.Counted) {
	var n [4]int64
	for _, c := range counted {
		if int(c) < len(n) {
			n[c]++
		}
	}
	for c, times := range n {
		if times > 0 {
			x.capped.Add(context.Background(), times, x.views[c])
		}
	}
}

func (x *metrics) committed(counts map[budget.Outcome]int, took time.Duration) {
	ctx := context.Background()
	x.batch.Record(ctx, took.Seconds())
	for o, n := range counts {
		x.billed.Add(ctx, int64(n), x.outcomes[o])
	}
}

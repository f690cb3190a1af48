package span_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"gavel/internal/telemetry/span"
)

// setup returns a tracer under the sampler, what it recorded, and a context in which a root span is open.
func setup(tb testing.TB, sampler sdktrace.Sampler) (span.Tracer, *tracetest.SpanRecorder, context.Context) {
	tb.Helper()
	rec := tracetest.NewSpanRecorder()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithSpanProcessor(rec))
	tb.Cleanup(func() { _ = tp.Shutdown(context.Background()) })
	t := tp.Tracer("test")
	ctx, root := t.Start(context.Background(), "root")
	tb.Cleanup(func() { root.End() })
	return span.NewTracer(t), rec, ctx
}

// step does what one step of an ad request does with its span.
func step(ctx context.Context, t span.Tracer, err error) {
	ctx, sp := t.Start(ctx, "auction.Run")
	sp.Int("gavel.candidates", 200)
	sp.Int64("gavel.price_micros", 1_500_000)
	sp.Str("gavel.placement", "BROWSE")
	sp.Float("gavel.pctr", 0.0123)
	sp.Bool("gavel.explain", false)
	_, in := t.StartClient(ctx, "redis.LoadUser")
	in.Event("fallback")
	in.Fail(err)
	in.End()
	sp.End()
}

func TestUnsampledAllocatesNothing(t *testing.T) {
	tracer, rec, ctx := setup(t, sdktrace.NeverSample())
	err := errors.New("late")
	for name, c := range map[string]struct {
		t   span.Tracer
		ctx context.Context
	}{
		"unsampled":   {tracer, ctx},
		"no parent":   {tracer, context.Background()},
		"zero tracer": {span.Tracer{}, ctx},
	} {
		if n := testing.AllocsPerRun(1000, func() { step(c.ctx, c.t, err) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	if n := len(rec.Ended()); n != 0 {
		t.Errorf("%d spans recorded", n)
	}
}

func TestSampledRecords(t *testing.T) {
	t.Parallel()
	tracer, rec, ctx := setup(t, sdktrace.AlwaysSample())
	cause := errors.New("dial redis://:s3cret@cache: refused")
	step(ctx, tracer, fmt.Errorf("load user: %w", cause))

	ended := rec.Ended()
	if len(ended) != 2 {
		t.Fatalf("%d spans, want 2", len(ended))
	}
	load, run := ended[0], ended[1]
	if load.Name() != "redis.LoadUser" || load.SpanKind() != trace.SpanKindClient {
		t.Errorf("first ended: %s of kind %s", load.Name(), load.SpanKind())
	}
	if load.Parent().SpanID() != run.SpanContext().SpanID() {
		t.Error("redis.LoadUser is not below auction.Run")
	}
	if s := load.Status(); s.Code != codes.Error || strings.Contains(s.Description, "s3cret") || !strings.Contains(s.Description, "refused") {
		t.Errorf("status %v", s)
	}
	want := map[attribute.Key]attribute.Value{
		"gavel.candidates":   attribute.IntValue(200),
		"gavel.price_micros": attribute.Int64Value(1_500_000),
		"gavel.placement":    attribute.StringValue("BROWSE"),
		"gavel.pctr":         attribute.Float64Value(0.0123),
		"gavel.explain":      attribute.BoolValue(false),
	}
	for _, kv := range run.Attributes() {
		if kv.Value.String() != want[kv.Key].String() {
			t.Errorf("%s = %s", kv.Key, kv.Value.String())
		}
		delete(want, kv.Key)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestStartRootIsATraceOfItsOwnWithLinks(t *testing.T) {
	t.Parallel()
	tracer, rec, ctx := setup(t, sdktrace.AlwaysSample())
	link, ok := span.LinkTo(ctx)
	if !ok {
		t.Fatal("a sampled span is worth a link")
	}
	_, sp := tracer.StartRoot(ctx, "postgres.CommitBatch", link)
	if !sp.Recording() {
		t.Fatal("not recording")
	}
	sp.End()
	got := rec.Ended()[0]
	if got.Parent().IsValid() || got.SpanContext().TraceID() == link.SpanContext.TraceID() {
		t.Error("it is not a root")
	}
	if len(got.Links()) != 1 || !got.Links()[0].SpanContext.Equal(link.SpanContext) {
		t.Errorf("links: %v", got.Links())
	}
	if _, ok := span.LinkTo(context.Background()); ok {
		t.Error("nothing to link to")
	}
}

func BenchmarkSevenSpans(b *testing.B) {
	for _, c := range []struct {
		name    string
		sampler sdktrace.Sampler
	}{{"unsampled", sdktrace.NeverSample()}, {"sampled", sdktrace.AlwaysSample()}} {
		b.Run(c.name, func(b *testing.B) {
			tp := sdktrace.NewTracerProvider(sdktrace.WithSampler(c.sampler))
			raw := tp.Tracer("bench")
			t := span.NewTracer(raw)
			ctx, root := raw.Start(context.Background(), "root")
			defer root.End()
			b.ReportAllocs()
			for b.Loop() {
				for range 7 {
					_, sp := t.Start(ctx, "auction.Run")
					sp.Int("gavel.candidates", 200)
					sp.End()
				}
			}
		})
	}
}

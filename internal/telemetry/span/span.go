package span

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"gavel/internal/telemetry/redact"
)

// Tracer starts spans. The zero value starts none.
type Tracer struct{ t trace.Tracer }

// NewTracer wraps t; nil gives a Tracer that starts nothing.
func NewTracer(t trace.Tracer) Tracer { return Tracer{t} }

// Start opens a child of the span in ctx, if that one records. If it does not, or there is none, it returns ctx itself and
// a Span that does nothing.
func (t Tracer) Start(ctx context.Context, name string) (context.Context, Span) {
	if t.t == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, Span{}
	}
	return t.open(ctx, name)
}

// StartClient is Start for a call that leaves the process: a span of kind CLIENT.
func (t Tracer) StartClient(ctx context.Context, name string) (context.Context, Span) {
	if t.t == nil || !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, Span{}
	}
	return t.open(ctx, name, trace.WithSpanKind(trace.SpanKindClient))
}

// StartRoot begins a trace of its own, for work that no request waits for: a batch, a turn of the indexer. The sampler decides
// whether it records. Links lead to the traces that caused the work; see [LinkTo].
func (t Tracer) StartRoot(ctx context.Context, name string, links ...trace.Link) (context.Context, Span) {
	if t.t == nil {
		return ctx, Span{}
	}
	return t.open(ctx, name, trace.WithNewRoot(), trace.WithLinks(links...))
}

func (t Tracer) open(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, Span) {
	ctx, s := t.t.Start(ctx, name, opts...)
	if !s.IsRecording() {
		return ctx, Span{}
	}
	return ctx, Span{s}
}

// LinkTo returns a link to the span in ctx, and whether it is worth keeping: only spans that are sampled are.
func LinkTo(ctx context.Context) (trace.Link, bool) {
	sc := trace.SpanContextFromContext(ctx)
	return trace.Link{SpanContext: sc}, sc.IsSampled()
}

// Span is one step of a trace, or nothing: every method of the zero Span returns at once.
type Span struct{ s trace.Span }

// Recording tells whether anybody will see what is set; ask before computing an attribute that costs something.
func (s Span) Recording() bool { return s.s != nil }

// End closes the span.
func (s Span) End() {
	if s.s != nil {
		s.s.End()
	}
}

// Str sets a string. The span keeps v: pass a copy of what a request buffer owns.
func (s Span) Str(key, v string) {
	if s.s != nil {
		s.s.SetAttributes(attribute.String(key, v))
	}
}

// Int sets a number.
func (s Span) Int(key string, v int) {
	if s.s != nil {
		s.s.SetAttributes(attribute.Int(key, v))
	}
}

// Int64 sets an id or an amount; the key names the unit, as in gavel.price_micros.
func (s Span) Int64(key string, v int64) {
	if s.s != nil {
		s.s.SetAttributes(attribute.Int64(key, v))
	}
}

// Float sets a score or a ratio.
func (s Span) Float(key string, v float64) {
	if s.s != nil {
		s.s.SetAttributes(attribute.Float64(key, v))
	}
}

// Bool sets a flag.
func (s Span) Bool(key string, v bool) {
	if s.s != nil {
		s.s.SetAttributes(attribute.Bool(key, v))
	}
}

// Set sets attributes that the caller built. Building them allocates whether or not the span records: ask Recording first.
func (s Span) Set(attrs ...attribute.KeyValue) {
	if s.s != nil {
		s.s.SetAttributes(attrs...)
	}
}

// Event marks a moment within the span, such as a fallback that was taken.
func (s Span) Event(name string) {
	if s.s != nil {
		s.s.AddEvent(name)
	}
}

// Fail marks the span as failed with err, if there is one: its text, freed of credentials, and its type.
func (s Span) Fail(err error) {
	if s.s == nil || err == nil {
		return
	}
	s.s.SetStatus(codes.Error, redact.Text(err.Error()))
	s.s.SetAttributes(semconv.ErrorType(err))
}

package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/trace"
)

// newHandler writes records to w as JSON or text.
func newHandler(w io.Writer, format LogFormat, opts *slog.HandlerOptions) slog.Handler {
	if format == LogText {
		return slog.NewTextHandler(w, opts)
	}
	return slog.NewJSONHandler(w, opts)
}

// lockedWriter lets two handlers share one writer.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// traceHandler adds trace_id and span_id at the top of a record, whatever groups are open.
type traceHandler struct {
	// next has every With applied; base has none, and steps leads from one to the other. They are needed only for a
	// record below a group that has a span: attributes added to next would land inside the group.
	next, base slog.Handler
	steps      []func(slog.Handler) slog.Handler
	inGroup    bool
}

func newTraceHandler(h slog.Handler) *traceHandler { return &traceHandler{next: h, base: h} }

func (h *traceHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *traceHandler) Handle(ctx context.Context, r slog.Record) error {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsValid() {
		return h.next.Handle(ctx, r)
	}
	traceID, spanID := slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String())
	if !h.inGroup {
		r = r.Clone()
		r.AddAttrs(traceID, spanID)
		return h.next.Handle(ctx, r)
	}
	next := h.base.WithAttrs([]slog.Attr{traceID, spanID})
	for _, step := range h.steps {
		next = step(next)
	}
	return next.Handle(ctx, r)
}

func (h *traceHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	return h.with(func(n slog.Handler) slog.Handler { return n.WithAttrs(attrs) }, h.inGroup)
}

func (h *traceHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.with(func(n slog.Handler) slog.Handler { return n.WithGroup(name) }, true)
}

func (h *traceHandler) with(step func(slog.Handler) slog.Handler, inGroup bool) *traceHandler {
	return &traceHandler{
		next: step(h.next), base: h.base,
		steps: append(slices.Clip(h.steps), step), inGroup: inGroup,
	}
}

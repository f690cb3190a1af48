package telemetry

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"gavel/internal/telemetry/redact"
)

// Headers of the answer to a sampled request.
const (
	// HeaderTraceID holds the trace id, for people.
	HeaderTraceID = "X-Trace-Id"
	// HeaderTraceResponse holds trace id, span id and flags in the form of traceparent, for programs.
	HeaderTraceResponse = "Traceresponse"
)

// httpBuckets are those of the semantic conventions, in seconds, and three below them: an ad request ends before the first.
var httpBuckets = []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// HTTPOptions says where [Middleware] reports to; Tracer, Meter and Propagator are required.
type HTTPOptions struct {
	Tracer     trace.Tracer
	Meter      metric.Meter
	Propagator propagation.TextMapPropagator
	// Trusted tells, by a request's path alone, whether its caller's traceparent is followed. Where it says no, the
	// traceparent becomes a link and the sampler here decides: otherwise any browser could have every one of its requests
	// recorded. Nil trusts every caller.
	Trusted func(path []byte) bool
}

// Middleware returns the [Middleware] of this telemetry; trusted may be nil, see [HTTPOptions].
func (t *Telemetry) Middleware(trusted func(path []byte) bool) (fiber.Handler, error) {
	const scope = "gavel/http"
	return Middleware(HTTPOptions{
		Tracer: t.tracers.Tracer(scope), Meter: t.meters.Meter(scope), Propagator: t.propagator, Trusted: trusted,
	})
}

// Middleware returns a handler that opens a SERVER span around the rest of the chain and counts the request in
// http.server.request.duration. Register it first: it calls the app's error handler itself, so that it sees the status that
// the client sees. The span's context is in c.UserContext(). A body that is streamed is not part of the duration.
//
// No header but User-Agent and Host is recorded, no query, and of the path only its template and decimal parameters.
func Middleware(o HTTPOptions) (fiber.Handler, error) {
	duration, err := o.Meter.Float64Histogram("http.server.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of HTTP server requests."), metric.WithExplicitBucketBoundaries(httpBuckets...))
	if err != nil {
		return nil, fmt.Errorf("create the request histogram: %w", err)
	}
	s := &httpServer{
		tracer: o.Tracer, propagator: o.Propagator, trusted: o.Trusted, duration: duration,
		opts: []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)},
	}
	return s.handle, nil
}

// httpServer is the state behind one middleware. Everything in it is written once or copied on write.
type httpServer struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	trusted    func(path []byte) bool
	duration   metric.Float64Histogram
	opts       []trace.SpanStartOption

	routes cache[*fiber.Route, *route]
	points cache[pointKey, []metric.RecordOption]
}

func (s *httpServer) handle(c *fiber.Ctx) error {
	started := time.Now()
	ctx, sp := s.start(c)
	c.SetUserContext(ctx)
	if sc := sp.SpanContext(); sc.IsSampled() && sp.IsRecording() {
		c.Set(HeaderTraceID, sc.TraceID().String())
		c.Set(HeaderTraceResponse, "00-"+sc.TraceID().String()+"-"+sc.SpanID().String()+"-"+sc.TraceFlags().String())
	}
	finished := false
	defer func() {
		if !finished { // a handler panics; whoever recovers answers 500
			s.finish(ctx, c, sp, started, outcome{fiber.StatusInternalServerError, "panic"})
		}
	}()
	var out outcome
	if err := c.Next(); err != nil {
		if sp.IsRecording() {
			out.cause = strings.Clone(redact.Text(err.Error())) // an error may quote the request, and Fiber reuses that
		}
		if err := c.App().ErrorHandler(c, err); err != nil {
			_ = c.SendStatus(fiber.StatusInternalServerError) // as Fiber does; it cannot fail
		}
	}
	finished = true
	out.status = c.Response().StatusCode()
	s.finish(ctx, c, sp, started, out)
	return nil
}

// outcome is how a request ended; cause is the text of the error behind it, if there was one.
type outcome struct {
	status int
	cause  string
}

// start opens the span below the caller's, or below none when the caller is a stranger. The route is not known yet.
func (s *httpServer) start(c *fiber.Ctx) (context.Context, trace.Span) {
	ctx := s.propagator.Extract(c.UserContext(), headers{&c.Request().Header})
	method := methodName(c.Method())
	if s.trusted == nil || s.trusted(c.Request().URI().PathOriginal()) {
		return s.tracer.Start(ctx, method, s.opts...)
	}
	opts := append(s.opts[:len(s.opts):len(s.opts)], trace.WithNewRoot())
	if remote := trace.SpanContextFromContext(ctx); remote.IsValid() {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: remote}))
	}
	return s.tracer.Start(ctx, method, opts...)
}

func (s *httpServer) finish(ctx context.Context, c *fiber.Ctx, sp trace.Span, started time.Time, out outcome) {
	key := pointKey{s.routeOf(c), methodName(c.Method()), out.status, c.Context().IsTLS()}
	s.duration.Record(ctx, time.Since(started).Seconds(), s.points.get(key, pointOptions)...)
	if sp.IsRecording() {
		sp.SetName(spanName(key))
		sp.SetAttributes(describe(c, key)...)
		if out.status >= fiber.StatusInternalServerError {
			sp.SetStatus(codes.Error, out.cause)
		}
	}
	sp.End()
}

// headers reads a request's headers for a propagator. What it returns is a copy: Fiber reuses the request.
type headers struct{ h *fasthttp.RequestHeader }

func (h headers) Get(key string) string { return string(h.h.Peek(key)) }

func (h headers) Values(key string) []string {
	var all []string
	for _, v := range h.h.PeekAll(key) {
		all = append(all, string(v))
	}
	return all
}

func (h headers) Keys() []string {
	var all []string
	for k := range h.h.All() {
		all = append(all, string(k))
	}
	return all
}

// Set is there for the interface: nothing is injected into a request that came in.
func (h headers) Set(string, string) {}

package telemetry_test

import (
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"gavel/internal/telemetry"
)

// benchHandler returns an app's handler behind mw, if there is one.
func benchHandler(mw fiber.Handler) fasthttp.RequestHandler {
	app := fiber.New(fiber.Config{DisableStartupMessage: true})
	if mw != nil {
		app.Use(mw)
	}
	app.Post("/v1/ads", func(c *fiber.Ctx) error { return c.SendString("ads") })
	return app.Handler()
}

func benchMiddleware(tb testing.TB, sampler sdktrace.Sampler, o ...sdktrace.TracerProviderOption) fiber.Handler {
	tb.Helper()
	tp := sdktrace.NewTracerProvider(append(o, sdktrace.WithSampler(sampler))...)
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	mw, err := telemetry.Middleware(telemetry.HTTPOptions{
		Tracer: tp.Tracer("bench"), Meter: mp.Meter("bench"),
		Propagator: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return mw
}

// request is one that a feed service would send; it is used again and again.
func request() *fasthttp.RequestCtx {
	ctx := &fasthttp.RequestCtx{}
	ctx.Request.Header.SetMethod("POST")
	ctx.Request.SetRequestURI("http://ads.example:8080/v1/ads")
	ctx.Request.Header.Set("Authorization", "Bearer key")
	ctx.Request.Header.Set("User-Agent", "feed/1.0")
	return ctx
}

func serve(h fasthttp.RequestHandler, ctx *fasthttp.RequestCtx) {
	ctx.ResetUserValues()
	ctx.Response.Reset()
	h(ctx)
}

func BenchmarkMiddleware(b *testing.B) {
	for _, c := range []struct {
		name string
		mw   func() fiber.Handler
	}{
		{"bare", func() fiber.Handler { return nil }},
		{"unsampled", func() fiber.Handler { return benchMiddleware(b, sdktrace.NeverSample()) }},
		{"ratio-0.01", func() fiber.Handler {
			return benchMiddleware(b, sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01)))
		}},
		{"sampled-recorder", func() fiber.Handler {
			rec := telemetry.NewRecorder(telemetry.RecorderOptions{})
			return benchMiddleware(b, sdktrace.AlwaysSample(), sdktrace.WithSpanProcessor(rec))
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			h, ctx := benchHandler(c.mw()), request()
			b.ReportAllocs()
			for b.Loop() {
				serve(h, ctx)
			}
		})
	}
}

// The ad request is measured against a handler without telemetry, so what this costs has a ceiling.
func TestUnsampledMiddlewareAllocations(t *testing.T) {
	const most = 6
	ctx := request()
	bare := benchHandler(nil)
	with := benchHandler(benchMiddleware(t, sdktrace.NeverSample()))
	base := testing.AllocsPerRun(500, func() { serve(bare, ctx) })
	got := testing.AllocsPerRun(500, func() { serve(with, ctx) })
	if got-base > most {
		t.Errorf("%v allocations more than the bare handler's %v, want at most %d", got-base, base, most)
	}
}

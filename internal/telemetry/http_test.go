package telemetry_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/recover"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"gavel/internal/telemetry"
)

const (
	secret     = "hunter2"
	remoteID   = "4bf92f3577b34da6a3ce929d0e0e4736"
	fromRemote = "00-" + remoteID + "-00f067aa0ba902b7-01"
)

// door is an app behind the middleware, and what it reported.
type door struct {
	app      *fiber.App
	spans    *tracetest.SpanRecorder
	registry *prometheus.Registry
}

func newDoor(t testing.TB, sampler sdktrace.Sampler, trusted func([]byte) bool) *door {
	t.Helper()
	d := &door{spans: tracetest.NewSpanRecorder(), registry: prometheus.NewRegistry()}
	tp := sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler), sdktrace.WithSpanProcessor(d.spans))
	pull, err := promexporter.New(promexporter.WithRegisterer(d.registry), promexporter.WithoutScopeInfo(), promexporter.WithoutTargetInfo())
	if err != nil {
		t.Fatal(err)
	}
	mp := sdkmetric.NewMeterProvider(sdkmetric.WithReader(pull))
	t.Cleanup(func() {
		_ = tp.Shutdown(context.Background())
		_ = mp.Shutdown(context.Background())
	})
	mw, err := telemetry.Middleware(telemetry.HTTPOptions{
		Tracer: tp.Tracer("http"), Meter: mp.Meter("http"), Propagator: propagation.TraceContext{}, Trusted: trusted,
	})
	if err != nil {
		t.Fatal(err)
	}
	d.app = fiber.New(fiber.Config{DisableStartupMessage: true})
	d.app.Use(mw, recover.New())
	d.app.Use(func(c *fiber.Ctx) error { // a middleware leaves its route behind, here that of "/"
		if c.Get("X-Banned") != "" {
			return fiber.ErrForbidden
		}
		return c.Next()
	})
	d.app.Use("/v5", func(c *fiber.Ctx) error {
		if c.Get("X-Banned-Below") != "" {
			return fiber.ErrForbidden
		}
		return c.Next()
	})
	d.app.Get("/", func(c *fiber.Ctx) error { return c.SendString("home") })
	d.app.Post("/v1/ads", func(c *fiber.Ctx) error { return c.SendString("ads") })
	d.app.Get("/v1/e/:token", func(c *fiber.Ctx) error { return c.SendStatus(fiber.StatusNoContent) })
	d.app.Get("/v5/ad_accounts/:ad_account_id<int>/campaigns/:campaign_id?", func(c *fiber.Ctx) error { return c.SendString("[]") })
	d.app.Get("/assets/*", func(c *fiber.Ctx) error { return c.SendString("x") })
	d.app.Get("/refused", func(*fiber.Ctx) error { return fiber.NewError(fiber.StatusConflict, "no") })
	d.app.Get("/broken", func(*fiber.Ctx) error { return errors.New("dial postgres://u:" + secret + "@db: refused") })
	d.app.Get("/panics", func(*fiber.Ctx) error { panic("oh") })
	return d
}

func (d *door) send(t testing.TB, method, target string, header map[string]string) reply {
	t.Helper()
	req := httptest.NewRequest(method, target, nil)
	for k, v := range header {
		if k != "" {
			req.Header.Set(k, v)
		}
	}
	if host := header["Host"]; host != "" {
		req.Host = host
	}
	res, err := d.app.Test(req, -1)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	return reply{res.StatusCode, res.Header}
}

// reply is what a client keeps of an answer.
type reply struct {
	status int
	header http.Header
}

// last returns the span that ended last and its attributes as text.
func (d *door) last(t testing.TB) (sdktrace.ReadOnlySpan, map[string]string) {
	t.Helper()
	ended := d.spans.Ended()
	if len(ended) == 0 {
		t.Fatal("no span")
	}
	sp := ended[len(ended)-1]
	return sp, attributesOf(sp.Attributes())
}

func attributesOf(kvs []attribute.KeyValue) map[string]string {
	m := make(map[string]string)
	for _, kv := range kvs {
		m[string(kv.Key)] = kv.Value.String()
	}
	return m
}

func (d *door) metrics(t testing.TB) string {
	t.Helper()
	return get(t, promhttp.HandlerFor(d.registry, promhttp.HandlerOpts{}), "/metrics", "").body
}

func TestSpanOfARequest(t *testing.T) {
	t.Parallel()
	d := newDoor(t, sdktrace.AlwaysSample(), nil)
	res := d.send(t, "POST", "/v1/ads?debug=1", map[string]string{"Host": "ads.example:8080", "User-Agent": "feed/1.0"})
	sp, got := d.last(t)
	want := map[string]string{
		"http.request.method": "POST", "http.route": "/v1/ads", "url.path": "/v1/ads", "url.scheme": "http",
		"http.response.status_code": "200", "server.address": "ads.example", "server.port": "8080", "user_agent.original": "feed/1.0",
	}
	if !maps.Equal(got, want) {
		t.Errorf("attributes\n got %v\nwant %v", got, want)
	}
	if sp.Name() != "POST /v1/ads" || sp.SpanKind() != trace.SpanKindServer || sp.Status().Code != codes.Unset {
		t.Errorf("%s, %s, %v", sp.Name(), sp.SpanKind(), sp.Status())
	}
	sc := sp.SpanContext()
	if id := res.header.Get(telemetry.HeaderTraceID); id != sc.TraceID().String() {
		t.Errorf("X-Trace-Id %q", id)
	}
	if r := res.header.Get(telemetry.HeaderTraceResponse); r != "00-"+sc.TraceID().String()+"-"+sc.SpanID().String()+"-01" {
		t.Errorf("traceresponse %q", r)
	}
}

func TestNamesAndPaths(t *testing.T) {
	t.Parallel()
	token := "v1." + strings.Repeat("aZ09_-", 10)
	for name, c := range map[string]struct {
		method, target   string
		spanName, path   string
		status, errType  string
		failed, noRoute  bool
		header           string
		descriptionHolds string
	}{
		"root":                {method: "GET", target: "/", spanName: "GET /", path: "/", status: "200"},
		"token":               {method: "GET", target: "/v1/e/" + token, spanName: "GET /v1/e/{token}", path: "/v1/e/{token}", status: "204"},
		"head":                {method: "HEAD", target: "/v1/e/" + token, spanName: "HEAD /v1/e/{token}", path: "/v1/e/{token}", status: "204"},
		"ids":                 {method: "GET", target: "/v5/ad_accounts/549755885175/campaigns/626735565838", spanName: "GET /v5/ad_accounts/{ad_account_id}/campaigns/{campaign_id}", path: "/v5/ad_accounts/549755885175/campaigns/626735565838", status: "200"},
		"optional left out":   {method: "GET", target: "/v5/ad_accounts/1/campaigns?bookmark=" + secret, spanName: "GET /v5/ad_accounts/{ad_account_id}/campaigns/{campaign_id}", path: "/v5/ad_accounts/1/campaigns/{campaign_id}", status: "200"},
		"wildcard":            {method: "GET", target: "/assets/" + token + "/1", spanName: "GET /assets/{*}", path: "/assets/{*}", status: "200"},
		"no route":            {method: "GET", target: "/v1/adz/" + token, spanName: "GET", path: "/v1/adz/{}", status: "404", noRoute: true},
		"no route below auth": {method: "GET", target: "/v5/nothing", spanName: "GET", path: "/v5/nothing", status: "404", noRoute: true},
		"wrong method":        {method: "DELETE", target: "/v1/ads", spanName: "DELETE", path: "/v1/ads", status: "405", noRoute: true},
		"refused at the door": {method: "GET", target: "/v1/ads", header: "X-Banned", spanName: "GET", path: "/v1/ads", status: "403", noRoute: true},
		"refused below":       {method: "GET", target: "/v5", header: "X-Banned-Below", spanName: "GET", path: "/v5", status: "403", noRoute: true},
		"a fiber error":       {method: "GET", target: "/refused", spanName: "GET /refused", path: "/refused", status: "409"},
		"an error":            {method: "GET", target: "/broken", spanName: "GET /broken", path: "/broken", status: "500", errType: "500", failed: true, descriptionHolds: "refused"},
		"a panic":             {method: "GET", target: "/panics", spanName: "GET /panics", path: "/panics", status: "500", errType: "500", failed: true, descriptionHolds: "oh"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDoor(t, sdktrace.AlwaysSample(), nil)
			d.send(t, c.method, c.target, map[string]string{
				"Authorization": "Bearer " + secret, "Cookie": "k=" + secret, "X-Api-Key": secret, c.header: "1",
			})
			sp, got := d.last(t)
			if sp.Name() != c.spanName || got["url.path"] != c.path || got["http.response.status_code"] != c.status || got["error.type"] != c.errType {
				t.Errorf("%s: %v", sp.Name(), got)
			}
			if _, has := got["http.route"]; has == c.noRoute {
				t.Errorf("http.route %q", got["http.route"])
			}
			if s := sp.Status(); (s.Code == codes.Error) != c.failed || !strings.Contains(s.Description, c.descriptionHolds) {
				t.Errorf("status %v", s)
			}
			all := strings.Join(slices.Collect(maps.Values(got)), " ") + sp.Name() + sp.Status().Description + d.metrics(t)
			for _, s := range []string{secret, token} {
				if strings.Contains(all, s) {
					t.Errorf("a secret was kept: %s", all)
				}
			}
		})
	}
}

func TestTheErrorHandlerAnswersAsWithout(t *testing.T) {
	t.Parallel()
	d := newDoor(t, sdktrace.AlwaysSample(), nil)
	if res := d.send(t, "GET", "/refused", nil); res.status != fiber.StatusConflict {
		t.Errorf("%d", res.status)
	}
}

func TestAPanicNobodyRecoversIsStillCounted(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	mw, err := telemetry.Middleware(telemetry.HTTPOptions{
		Tracer: tp.Tracer("http"), Meter: sdkmetric.NewMeterProvider().Meter("http"), Propagator: propagation.TraceContext{},
	})
	if err != nil {
		t.Fatal(err)
	}
	app := fiber.New()
	app.Use(recover.New(), mw) // recovered outside of us
	app.Get("/panics", func(*fiber.Ctx) error { panic("oh") })
	res, err := app.Test(httptest.NewRequest(http.MethodGet, "/panics", nil))
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	ended := spans.Ended()
	if len(ended) != 1 || ended[0].Status().Code != codes.Error || ended[0].Name() != "GET /panics" {
		t.Errorf("%v", ended)
	}
}

func TestTheCallersTrace(t *testing.T) {
	t.Parallel()
	t.Run("is followed", func(t *testing.T) {
		t.Parallel()
		d := newDoor(t, sdktrace.ParentBased(sdktrace.NeverSample()), nil)
		d.send(t, "POST", "/v1/ads", map[string]string{"Traceparent": fromRemote, "Tracestate": "a=b"})
		sp, _ := d.last(t)
		if sp.SpanContext().TraceID().String() != remoteID || !sp.Parent().IsRemote() {
			t.Errorf("trace %s below %v", sp.SpanContext().TraceID(), sp.Parent())
		}
		// Fiber reuses the buffer in which the header stood: what was kept of it must be a copy.
		d.send(t, "POST", "/v1/ads", map[string]string{"Traceparent": strings.Replace(fromRemote, "4bf", "fff", 1), "Tracestate": "x=y"})
		if got := sp.SpanContext().TraceState().Get("a"); got != "b" {
			t.Errorf("tracestate changed to %q", sp.SpanContext().TraceState())
		}
	})
	t.Run("is linked when nobody vouches for it", func(t *testing.T) {
		t.Parallel()
		trusted := func(path []byte) bool { return string(path) == "/v1/ads" }
		d := newDoor(t, sdktrace.AlwaysSample(), trusted)
		d.send(t, "GET", "/v1/e/x", map[string]string{"Traceparent": fromRemote})
		sp, _ := d.last(t)
		if sp.SpanContext().TraceID().String() == remoteID || sp.Parent().IsValid() {
			t.Error("a stranger's trace was followed")
		}
		if len(sp.Links()) != 1 || sp.Links()[0].SpanContext.TraceID().String() != remoteID {
			t.Errorf("links %v", sp.Links())
		}
		d.send(t, "POST", "/v1/ads", map[string]string{"Traceparent": fromRemote})
		if sp, _ = d.last(t); sp.SpanContext().TraceID().String() != remoteID {
			t.Error("a trusted caller's trace was not followed")
		}
	})
	t.Run("cannot force sampling when nobody vouches for it", func(t *testing.T) {
		t.Parallel()
		d := newDoor(t, sdktrace.ParentBased(sdktrace.NeverSample()), func([]byte) bool { return false })
		d.send(t, "GET", "/v1/e/x", map[string]string{"Traceparent": fromRemote})
		if n := len(d.spans.Ended()); n != 0 {
			t.Errorf("%d spans", n)
		}
	})
}

func TestUnsampledSaysNothing(t *testing.T) {
	t.Parallel()
	d := newDoor(t, sdktrace.NeverSample(), nil)
	res := d.send(t, "POST", "/v1/ads", nil)
	for _, h := range []string{telemetry.HeaderTraceID, telemetry.HeaderTraceResponse} {
		if v := res.header.Get(h); v != "" {
			t.Errorf("%s: %s", h, v)
		}
	}
	if !strings.Contains(d.metrics(t), `http_server_request_duration_seconds_count{http_request_method="POST",http_response_status_code="200",http_route="/v1/ads",url_scheme="http"} 1`) {
		t.Errorf("not counted:\n%s", d.metrics(t))
	}
}

func TestSeriesAreBounded(t *testing.T) {
	t.Parallel()
	d := newDoor(t, sdktrace.NeverSample(), nil)
	for _, target := range []string{"/v1/e/a", "/v1/e/b", "/x/a", "/x/b", "/v5/a", "/v5/b"} {
		d.send(t, "GET", target, nil)
	}
	d.send(t, "GET", "/broken", nil)
	var counts []string
	for line := range strings.Lines(d.metrics(t)) {
		if rest, is := strings.CutPrefix(line, "http_server_request_duration_seconds_count"); is {
			counts = append(counts, strings.TrimSpace(rest))
		}
	}
	slices.Sort(counts)
	want := []string{
		`{error_type="500",http_request_method="GET",http_response_status_code="500",http_route="/broken",url_scheme="http"} 1`,
		`{http_request_method="GET",http_response_status_code="204",http_route="/v1/e/{token}",url_scheme="http"} 2`,
		`{http_request_method="GET",http_response_status_code="404",url_scheme="http"} 4`,
	}
	if !slices.Equal(counts, want) {
		t.Errorf("series\n got %s\nwant %s", strings.Join(counts, "\n     "), strings.Join(want, "\n     "))
	}
}

func TestTheHandlerSeesTheSpan(t *testing.T) {
	t.Parallel()
	d := newDoor(t, sdktrace.AlwaysSample(), nil)
	var seen trace.SpanContext
	d.app.Get("/seen", func(c *fiber.Ctx) error {
		seen = trace.SpanContextFromContext(c.UserContext())
		return nil
	})
	d.send(t, "GET", "/seen", nil)
	if sp, _ := d.last(t); !seen.Equal(sp.SpanContext()) {
		t.Errorf("%v", seen)
	}
}

package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"gavel/internal/telemetry"
)

// say does a bit of everything.
func say(t *testing.T, tel *telemetry.Telemetry) {
	t.Helper()
	ctx, sp := tel.Tracer("gavel/test").StartRoot(context.Background(), "test.Say")
	n, err := tel.Meter("gavel/test").Int64Counter("gavel.test.said")
	if err != nil {
		t.Fatal(err)
	}
	n.Add(ctx, 1)
	tel.Logger().InfoContext(ctx, "said")
	tel.Logger().DebugContext(ctx, "whispered")
	sp.End()
}

func TestNothingIsExportedUnasked(t *testing.T) {
	cleanEnv(t, nil)
	var out log
	tel := start(t, telemetry.Options{Log: &out})
	say(t, tel)
	_, sp := tel.Tracer("x").StartRoot(context.Background(), "x.Y")
	if sp.Recording() {
		t.Error("a span records though nobody will see it")
	}
	shutdown(t, tel)
	if lines := strings.Count(out.String(), "\n"); lines != 1 {
		t.Errorf("want only the line that was said:\n%s", &out)
	}
	if got := scrape(t, tel); !strings.Contains(got, "go_goroutines") {
		t.Error("no Go metrics")
	}
}

func TestAnEndpointReceivesEverything(t *testing.T) {
	c := newCollector(t)
	cleanEnv(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL,
		"OTEL_EXPORTER_OTLP_HEADERS":  "x-tenant=t1",
		"OTEL_RESOURCE_ATTRIBUTES":    "deployment.environment.name=ci,service.name=not-this",
		"OTEL_SERVICE_NAME":           "renamed",
	})
	tel := start(t, telemetry.Options{ServiceVersion: "1.2.3", InstanceID: "node-1"})
	say(t, tel)
	shutdown(t, tel)

	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.spans, []string{"test.Say"}) {
		t.Errorf("spans %v", c.spans)
	}
	for _, want := range []string{"gavel.test.said", "go.goroutine.count"} {
		if !slices.Contains(c.metrics, want) {
			t.Errorf("metrics %v lack %s", c.metrics, want)
		}
	}
	if !slices.Equal(c.logs, []string{"said"}) {
		t.Errorf("logs %v", c.logs)
	}
	for key, want := range map[string]string{
		"service.name": "renamed", "service.version": "1.2.3", "service.instance.id": "node-1",
		"deployment.environment.name": "ci", "telemetry.sdk.language": "go",
	} {
		if c.resource[key] != want {
			t.Errorf("resource %s is %q, want %q", key, c.resource[key], want)
		}
	}
	if got := c.headers.Get("X-Tenant"); got != "t1" {
		t.Errorf("header %q", got)
	}
}

func TestOneSignalAlone(t *testing.T) {
	c := newCollector(t)
	cleanEnv(t, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.URL + "/v1/traces"})
	tel := start(t, telemetry.Options{})
	say(t, tel)
	shutdown(t, tel)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spans) != 1 || len(c.metrics) != 0 || len(c.logs) != 0 {
		t.Errorf("spans %v, metrics %v, logs %v", c.spans, c.metrics, c.logs)
	}
}

func TestSamplerIsObeyed(t *testing.T) {
	c := newCollector(t)
	cleanEnv(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_TRACES_SAMPLER": "always_off"})
	rec := telemetry.NewRecorder(telemetry.RecorderOptions{})
	tel := start(t, telemetry.Options{Recorder: rec})
	say(t, tel)
	shutdown(t, tel)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spans) != 0 {
		t.Errorf("spans %v", c.spans)
	}
	if got := get(t, rec, "/traces", "").body; got != "no traces yet\n" {
		t.Errorf("recorded %q", got)
	}
}

func TestDisabledExportsNothing(t *testing.T) {
	c := newCollector(t)
	cleanEnv(t, map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": c.URL})
	var out log
	tel := start(t, telemetry.Options{Log: &out, Recorder: telemetry.NewRecorder(telemetry.RecorderOptions{})})
	say(t, tel)
	carrier := propagation.MapCarrier{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
	if !trace.SpanContextFromContext(tel.Propagator().Extract(context.Background(), carrier)).IsValid() {
		t.Error("propagation must go on")
	}
	shutdown(t, tel)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spans)+len(c.metrics)+len(c.logs) != 0 {
		t.Errorf("spans %v, metrics %v, logs %v", c.spans, c.metrics, c.logs)
	}
	if !strings.Contains(out.String(), `"msg":"said"`) {
		t.Error("the local log must go on")
	}
}

func TestWrongEnvironmentIsRefused(t *testing.T) {
	cleanEnv(t, map[string]string{"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_PROPAGATORS": "pigeon"})
	_, err := telemetry.Start(context.Background(), telemetry.Options{ServiceName: "x", Log: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "OTEL_TRACES_EXPORTER") || !strings.Contains(err.Error(), "OTEL_PROPAGATORS") {
		t.Errorf("error %v", err)
	}
}

func TestGetenvMayNotContradictTheProcess(t *testing.T) {
	cleanEnv(t, nil)
	_, err := telemetry.Start(context.Background(), telemetry.Options{
		ServiceName: "x", Log: io.Discard,
		Getenv: func(key string) string {
			return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}[key]
		},
	})
	if err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_ENDPOINT") {
		t.Errorf("error %v", err)
	}
}

func TestGetenvThatSaysNothingExportsNothing(t *testing.T) {
	c := newCollector(t)
	cleanEnv(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL})
	tel := start(t, telemetry.Options{Getenv: func(string) string { return "" }})
	say(t, tel)
	shutdown(t, tel)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.spans)+len(c.metrics)+len(c.logs) != 0 {
		t.Errorf("spans %v, metrics %v, logs %v", c.spans, c.metrics, c.logs)
	}
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	deaf := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer deaf.Close()
	defer close(release)
	cleanEnv(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": deaf.URL, "OTEL_EXPORTER_OTLP_TIMEOUT": "2000",
		"OTEL_BSP_EXPORT_TIMEOUT": "2000", "OTEL_BLRP_EXPORT_TIMEOUT": "2000", "OTEL_METRIC_EXPORT_TIMEOUT": "2000",
	})
	tel, err := telemetry.Start(context.Background(), telemetry.Options{ServiceName: "x", Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	say(t, tel)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	started := time.Now()
	if err := tel.Shutdown(ctx); err == nil {
		t.Error("nothing was delivered, and nobody said so")
	}
	if took := time.Since(started); took > time.Second {
		t.Errorf("it took %s", took)
	}
	if err := tel.Shutdown(context.Background()); err == nil {
		t.Error("a second call must repeat the result")
	}
}

func TestUndeliveredTelemetryIsLoggedOnceWithoutSecrets(t *testing.T) {
	refuse := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "bad token=hunter2", http.StatusForbidden)
	}))
	defer refuse.Close()
	cleanEnv(t, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": refuse.URL, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "1"})
	var out log
	tel, err := telemetry.Start(context.Background(), telemetry.Options{ServiceName: "x", Log: &out})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		_, sp := tel.Tracer("x").StartRoot(context.Background(), "x.Y")
		sp.End()
	}
	_ = tel.Shutdown(context.Background())
	if n := strings.Count(out.String(), "telemetry is not delivered"); n != 1 {
		t.Errorf("said %d times:\n%s", n, &out)
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("a secret in the log:\n%s", &out)
	}
}

func TestLogCarriesTheTrace(t *testing.T) {
	cleanEnv(t, nil)
	var out bytes.Buffer
	tel := start(t, telemetry.Options{Log: &out, Recorder: telemetry.NewRecorder(telemetry.RecorderOptions{})})
	ctx, sp := tel.Tracer("x").StartRoot(context.Background(), "x.Y")
	defer sp.End()
	sc := trace.SpanContextFromContext(ctx)

	l := tel.Logger().With("node", "n1").WithGroup("auction").With("slots", 2)
	l.InfoContext(ctx, "grouped", slog.Int("filled", 1))
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	if got["trace_id"] != sc.TraceID().String() || got["span_id"] != sc.SpanID().String() || got["node"] != "n1" {
		t.Errorf("at the top: %v", got)
	}
	if g, _ := got["auction"].(map[string]any); g["slots"] != 2.0 || g["filled"] != 1.0 || len(g) != 2 {
		t.Errorf("in the group: %v", got["auction"])
	}
	out.Reset()
	l.Info("alone")
	if strings.Contains(out.String(), "trace_id") {
		t.Errorf("no span, no trace: %s", &out)
	}
}

func TestTextLogAndLevel(t *testing.T) {
	cleanEnv(t, nil)
	var out bytes.Buffer
	tel := start(t, telemetry.Options{Log: &out, LogFormat: telemetry.LogText, LogLevel: slog.LevelWarn})
	tel.Logger().Info("quiet")
	tel.Logger().Warn("loud", "error", errors.New("x"))
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "level=WARN msg=loud error=x") {
		t.Errorf("%s", got)
	}
	if _, err := telemetry.Start(context.Background(), telemetry.Options{ServiceName: "x", LogFormat: "xml"}); err == nil {
		t.Error("xml is a log format")
	}
}

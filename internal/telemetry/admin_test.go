package telemetry_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gavel/internal/telemetry"
)

// answer is what a handler answered.
type answer struct {
	code   int
	body   string
	header http.Header
}

// get asks h for path; accept may be empty.
func get(t testing.TB, h http.Handler, path, accept string) answer {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, path, nil)
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return answer{w.Code, w.Body.String(), w.Header()}
}

// scrape returns the text of /metrics.
func scrape(t testing.TB, tel *telemetry.Telemetry) string {
	t.Helper()
	a := get(t, telemetry.AdminHandler(telemetry.AdminOptions{Gatherer: tel.Gatherer()}), "/metrics", "")
	if a.code != http.StatusOK {
		t.Fatalf("metrics: %d %s", a.code, a.body)
	}
	return a.body
}

func ok(context.Context) error { return nil }

func TestAdminEndpoints(t *testing.T) {
	cleanEnv(t, nil)
	rec := telemetry.NewRecorder(telemetry.RecorderOptions{})
	tel := start(t, telemetry.Options{Recorder: rec, ServiceVersion: "1.2.3"})
	say(t, tel)
	h := telemetry.AdminHandler(telemetry.AdminOptions{
		Gatherer: tel.Gatherer(), Recorder: rec, Version: "1.2.3", Log: tel.Logger(),
		Checks: []telemetry.Check{{Name: "postgres", Func: ok}},
		Pages: []telemetry.AdminPage{{Path: "/index", About: "the replica", Show: func(_ context.Context, q url.Values) any {
			return map[string]string{"digest": q.Get("digest")}
		}}},
	})
	for path, want := range map[string]struct {
		code int
		has  string
	}{
		"/healthz":                       {200, `"version": "1.2.3"`},
		"/readyz":                        {200, `"name": "postgres"`},
		"/metrics":                       {200, "gavel_test_said_total 1"},
		"/traces":                        {200, "test.Say"},
		"/traces/latest":                 {200, "test.Say"},
		"/traces/xyz":                    {404, "no such trace"},
		"/debug/pprof/":                  {200, "goroutine"},
		"/debug/pprof/goroutine?debug=1": {200, "goroutine profile"},
		"/debug/pprof/cmdline":           {404, ""},
		"/":                              {200, "the replica"},
		"/index?digest=1":                {200, `"digest": "1"`},
		"/elsewhere":                     {404, ""},
	} {
		if a := get(t, h, path, ""); a.code != want.code || !strings.Contains(a.body, want.has) {
			t.Errorf("%s: %d, want %d with %q:\n%.300s", path, a.code, want.code, want.has, a.body)
		}
	}
	metrics := scrape(t, tel)
	for _, want := range []string{
		"process_cpu_seconds_total", "go_goroutines", "go_sched_pauses_total_gc_seconds_bucket",
		`service_name="gavel-test"`, `service_version="1.2.3"`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if a := get(t, telemetry.AdminHandler(telemetry.AdminOptions{}), "/traces", ""); a.code != http.StatusNotFound {
		t.Errorf("traces without a recorder: %d", a.code)
	}
}

// readiness is the body of /readyz.
type readiness struct {
	Status string
	Checks []struct {
		Name, Status, Error string
		DurationMS          float64 `json:"duration_ms"`
	}
}

func ready(t *testing.T, h http.Handler) (int, readiness) {
	t.Helper()
	a := get(t, h, "/readyz", "")
	var r readiness
	if err := json.Unmarshal([]byte(a.body), &r); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return a.code, r
}

func TestReadyzTellsWhichCheckFails(t *testing.T) {
	t.Parallel()
	h := telemetry.AdminHandler(telemetry.AdminOptions{Checks: []telemetry.Check{
		{Name: "fine", Func: ok},
		{Name: "down", Func: func(context.Context) error {
			return errors.New("dial postgres://gavel:hunter2@db:5432/gavel?password=hunter2: refused")
		}},
		{Name: "slow", Timeout: 10 * time.Millisecond, Func: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}},
		{Name: "broken", Func: func(context.Context) error { panic("oh") }},
	}})
	code, r := ready(t, h)
	if code != http.StatusServiceUnavailable || r.Status != "fail" || len(r.Checks) != 4 {
		t.Fatalf("%d %+v", code, r)
	}
	for i, want := range []struct{ name, status, has string }{
		{"fine", "ok", ""}, {"down", "fail", "refused"}, {"slow", "fail", ""}, {"broken", "fail", "panicked"},
	} {
		c := r.Checks[i]
		if c.Name != want.name || c.Status != want.status || !strings.Contains(c.Error, want.has) {
			t.Errorf("check %d: %+v", i, c)
		}
		if strings.Contains(c.Error, "hunter2") {
			t.Errorf("a secret: %s", c.Error)
		}
	}
}

func TestReadyzWithoutChecksIsReady(t *testing.T) {
	t.Parallel()
	if code, r := ready(t, telemetry.AdminHandler(telemetry.AdminOptions{})); code != http.StatusOK || r.Status != "ok" {
		t.Errorf("%d %+v", code, r)
	}
}

// A check that ignores its context must neither hold up the answer nor be started again while it hangs.
func TestReadyzDoesNotPileUp(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	release := make(chan struct{})
	h := telemetry.AdminHandler(telemetry.AdminOptions{Checks: []telemetry.Check{{
		Name: "deaf", Timeout: 5 * time.Millisecond,
		Func: func(context.Context) error {
			if calls.Add(1) == 1 {
				<-release
			}
			return nil
		},
	}}})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if a := get(t, h, "/readyz", ""); a.code != http.StatusServiceUnavailable {
				t.Errorf("%d while the check hangs", a.code)
			}
		})
	}
	wg.Wait()
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls while the first hangs", n)
	}
	close(release)
	deadline := time.Now().Add(5 * time.Second)
	for code := 0; code != http.StatusOK; {
		if code, _ = ready(t, h); time.Now().After(deadline) {
			t.Fatal("not ready after the check answers again")
		}
	}
}

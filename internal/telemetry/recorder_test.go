package telemetry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"gavel/internal/telemetry"
)

// tape is a recorder with a tracer in front of it.
type tape struct {
	*telemetry.Recorder
	t  trace.Tracer
	at time.Time
}

func newTape(t testing.TB, o telemetry.RecorderOptions) *tape {
	t.Helper()
	rec := telemetry.NewRecorder(o)
	tp := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(rec))
	t.Cleanup(func() { _ = tp.Shutdown(context.Background()) })
	return &tape{rec, tp.Tracer("test"), time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
}

// span opens a span that begins at after the start of the tape; the returned function ends it.
func (r *tape) span(ctx context.Context, name string, at time.Duration, o ...trace.SpanStartOption) (context.Context, trace.Span, func(time.Duration)) {
	ctx, s := r.t.Start(ctx, name, append(o, trace.WithTimestamp(r.at.Add(at)))...)
	return ctx, s, func(at time.Duration) { s.End(trace.WithTimestamp(r.at.Add(at))) }
}

// request records an ad request with a failed step and returns its trace id.
func (r *tape) request() string {
	ctx, root, end := r.span(context.Background(), "POST /v1/ads", 0, trace.WithSpanKind(trace.SpanKindServer))
	root.SetAttributes(attribute.String("http.route", "/v1/ads"), attribute.Int("http.response.status_code", 200))
	ctx, run, endRun := r.span(ctx, "auction.Run", time.Millisecond)
	run.SetAttributes(attribute.String("gavel.placement", "BROWSE"), attribute.String("gavel.note", "<b>x</b> & \"y\""))
	_, load, endLoad := r.span(ctx, "redis.LoadUser", 1100*time.Microsecond, trace.WithSpanKind(trace.SpanKindClient))
	load.SetStatus(codes.Error, "i/o <timeout>")
	load.AddEvent("fallback")
	endLoad(2 * time.Millisecond)
	_, _, endMatch := r.span(ctx, "targeting.Match", 2*time.Millisecond)
	endMatch(2500 * time.Microsecond)
	endRun(3 * time.Millisecond)
	end(4 * time.Millisecond)
	return root.SpanContext().TraceID().String()
}

func TestTraceAsText(t *testing.T) {
	t.Parallel()
	r := newTape(t, telemetry.RecorderOptions{})
	id := r.request()
	want := `POST /v1/ads   4.00 ms   4 spans   2026-11-23 12:00:00.000 UTC
trace ` + id + `

POST /v1/ads              4.00 ms  ▕████████████████████████▏ http.response.status_code=200
└─ auction.Run            2.00 ms  ▕      ████████████      ▏ note="<b>x</b> & \"y\"" placement=BROWSE
   ├─ redis.LoadUser       900 µs  ▕       █████            ▏ FAILED i/o <timeout> event=fallback
   └─ targeting.Match      500 µs  ▕            ███         ▏
`
	for _, path := range []string{"/traces/" + id, "/traces/latest", "/traces/latest?name=POST+/v1/ads"} {
		if a := get(t, r, path, "*/*"); a.code != http.StatusOK || a.body != want {
			t.Errorf("%s: %d\n%s\nwant\n%s", path, a.code, a.body, want)
		}
	}
	list := get(t, r, "/traces", "").body
	if want := "12:00:00.000  " + id + "  POST /v1/ads     4.00 ms    4 spans  200, 1 span failed\n"; list != want {
		t.Errorf("list\n%q\nwant\n%q", list, want)
	}
}

func TestTraceAsJSON(t *testing.T) {
	t.Parallel()
	r := newTape(t, telemetry.RecorderOptions{})
	id := r.request()
	var list struct {
		Traces []struct {
			TraceID    string  `json:"trace_id"`
			DurationUS float64 `json:"duration_us"`
		}
	}
	var one struct {
		Name     string
		Complete bool
		Spans    []struct {
			Name, Kind string
			SpanID     string  `json:"span_id"`
			ParentID   string  `json:"parent_id"`
			OffsetUS   float64 `json:"offset_us"`
		}
	}
	for path, to := range map[string]any{"/traces": &list, "/traces/" + id: &one} {
		a := get(t, r, path, "application/json")
		if err := json.Unmarshal([]byte(a.body), to); err != nil || a.header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %v\n%s", path, err, a.body)
		}
	}
	if len(list.Traces) != 1 || list.Traces[0].TraceID != id || list.Traces[0].DurationUS != 4000 {
		t.Errorf("list %+v", list)
	}
	if len(one.Spans) != 4 || one.Spans[1].ParentID != one.Spans[0].SpanID || one.Spans[2].OffsetUS != 1100 || one.Spans[2].Kind != "CLIENT" {
		t.Errorf("trace %+v", one)
	}
}

func TestTraceAsPage(t *testing.T) {
	t.Parallel()
	r := newTape(t, telemetry.RecorderOptions{})
	id := r.request()
	const browser = "text/html,application/xhtml+xml,*/*;q=0.8"
	outside := regexp.MustCompile(`(?i)(https?:)?//[a-z]|<script|<link|@import|url\(`)
	for path, has := range map[string][]string{
		"/traces":                     {"POST /v1/ads", "/traces/" + id, "200, 1 span failed"},
		"/traces?name=POST+%2Fv1/ads": {"aria-current"},
		"/traces?name=<script>":       {"No traces yet"},
		"/traces/" + id:               {"redis.LoadUser", "left:min(27.5%", "width:22.5%", "i/o &lt;timeout&gt;", "&lt;b&gt;x&lt;/b&gt;", "fallback"},
		"/traces/latest":              {id},
		"/traces/nope":                {"Trace not found"},
	} {
		a := get(t, r, path, browser)
		for _, s := range append(has, `<html lang="en">`, "prefers-color-scheme: dark") {
			if !strings.Contains(a.body, s) {
				t.Errorf("%s lacks %q", path, s)
			}
		}
		if m := outside.FindString(a.body); m != "" {
			t.Errorf("%s reaches outside or runs something: %q", path, m)
		}
		if strings.Contains(a.body, "ZgotmplZ") {
			t.Errorf("%s holds a value that the template refused", path)
		}
		if csp := a.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
			t.Errorf("%s: policy %q", path, csp)
		}
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/traces", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestTraceOfWhatIsNotComplete(t *testing.T) {
	t.Parallel()
	r := newTape(t, telemetry.RecorderOptions{})
	ctx, root, end := r.span(context.Background(), "root", 0)
	_, _, endChild := r.span(ctx, "child", 0)
	endChild(time.Millisecond)
	path := "/traces/" + root.SpanContext().TraceID().String()
	if a := get(t, r, path, ""); !strings.Contains(a.body, "not complete yet") {
		t.Errorf("%d %s", a.code, a.body)
	}
	if a := get(t, r, "/traces/latest", ""); a.code != http.StatusNotFound {
		t.Errorf("latest: %d", a.code)
	}
	end(time.Millisecond)
	// A step that ends after the answer was sent still belongs to the trace.
	_, _, endLate := r.span(ctx, "late", time.Millisecond)
	endLate(3 * time.Millisecond)
	a := get(t, r, path, "")
	if strings.Contains(a.body, "not complete yet") || !strings.Contains(a.body, "late") || !strings.HasPrefix(a.body, "root   1.00 ms") {
		t.Errorf("%s", a.body)
	}
}

func TestBatchIsLinkedToWhatCausedIt(t *testing.T) {
	t.Parallel()
	r := newTape(t, telemetry.RecorderOptions{})
	id := r.request()
	cause, _ := trace.TraceIDFromHex(id)
	sc := trace.NewSpanContext(trace.SpanContextConfig{TraceID: cause, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled})
	_, _, end := r.span(context.Background(), "postgres.CommitBatch", 0, trace.WithLinks(trace.Link{SpanContext: sc}))
	end(time.Millisecond)
	if a := get(t, r, "/traces/latest", ""); !strings.Contains(a.body, "caused-by="+id) {
		t.Errorf("%s", a.body)
	}
	if a := get(t, r, "/traces/latest", "text/html"); !strings.Contains(a.body, `<a href="/traces/`+id) {
		t.Error("no link on the page")
	}
}

func TestRecorderKeepsTheLastTraces(t *testing.T) {
	t.Parallel()
	r := newTape(t, telemetry.RecorderOptions{Traces: 3})
	for i := range 10 {
		_, _, end := r.span(context.Background(), fmt.Sprintf("t%d", i), 0)
		end(time.Millisecond)
	}
	// Traces that never complete must not push out those that did, nor stay for ever.
	var open []string
	for range 10 {
		ctx, s, _ := r.span(context.Background(), "open", 0)
		_, _, end := r.span(ctx, "child", 0)
		end(time.Millisecond)
		open = append(open, "/traces/"+s.SpanContext().TraceID().String())
	}
	if first, last := get(t, r, open[0], "").code, get(t, r, open[9], "").code; first != http.StatusNotFound || last != http.StatusOK {
		t.Errorf("of the open traces, the first: %d, the last: %d", first, last)
	}
	list := get(t, r, "/traces", "").body
	if strings.Count(list, "\n") != 3 || !strings.Contains(list, "t7") || !strings.Contains(list, "t9") {
		t.Errorf("%s", list)
	}
}

func TestRecorderBoundsATrace(t *testing.T) {
	t.Parallel()
	r := newTape(t, telemetry.RecorderOptions{SpansPerTrace: 5})
	ctx, root, end := r.span(context.Background(), "root", 0)
	for i := range 20 {
		root.SetAttributes(attribute.String(fmt.Sprintf("long%02d", i), strings.Repeat("é", 10_000)))
		_, _, endChild := r.span(ctx, "child", 0)
		endChild(time.Millisecond)
	}
	for i := range 60 {
		root.SetAttributes(attribute.Int(fmt.Sprintf("n%d", i), i))
	}
	end(2 * time.Millisecond)
	body := get(t, r, "/traces/latest", "application/json").body
	var v struct {
		Name         string
		SpanCount    int `json:"span_count"`
		DroppedSpans int `json:"dropped_spans"`
		Spans        []struct {
			Name       string
			Dropped    int
			Attributes []struct{ Value string }
		}
	}
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	if v.Name != "root" || v.SpanCount != 6 || v.DroppedSpans != 15 {
		t.Errorf("%s: %d spans, %d dropped", v.Name, v.SpanCount, v.DroppedSpans)
	}
	for _, s := range v.Spans {
		if s.Name != "root" {
			continue
		}
		if len(s.Attributes) != 32 || s.Dropped != 48 {
			t.Errorf("%d attributes, %d dropped", len(s.Attributes), s.Dropped)
		}
	}
	if len(body) > 64<<10 {
		t.Errorf("%d bytes", len(body))
	}
}

func TestRecorderBoundsMemory(t *testing.T) {
	t.Parallel()
	r := newTape(t, telemetry.RecorderOptions{Bytes: 100_000})
	for i := range 1000 {
		_, s, end := r.span(context.Background(), fmt.Sprintf("t%d", i), 0)
		s.SetAttributes(attribute.String("v", strings.Repeat("x", 500)))
		end(time.Millisecond)
	}
	lines := strings.Split(strings.TrimSpace(get(t, r, "/traces", "").body), "\n")
	if len(lines) < 50 || len(lines) > 150 || !strings.Contains(lines[0], "t999") {
		t.Errorf("%d traces, the newest %s", len(lines), lines[0])
	}
}

func TestRecorderIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	r := newTape(t, telemetry.RecorderOptions{Traces: 8, SpansPerTrace: 4, Bytes: 20_000})
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					_ = get(t, r, "/traces", "text/html")
					_ = get(t, r, "/traces/latest", "")
				}
			}
		})
	}
	for range 4 {
		writers.Go(func() {
			for range 200 {
				ctx, root, end := r.span(context.Background(), "root", 0)
				for range 6 {
					_, s, endChild := r.span(ctx, "child", 0)
					s.RecordError(errors.New("x"))
					endChild(time.Millisecond)
				}
				root.SetAttributes(attribute.Int("n", 1))
				end(time.Millisecond)
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if list := get(t, r, "/traces", "").body; strings.Count(list, "\n") > 8 || !strings.Contains(list, "root") {
		t.Errorf("%s", list)
	}
}

func TestControlCharactersDoNotReachTheTerminal(t *testing.T) {
	t.Parallel()
	r := newTape(t, telemetry.RecorderOptions{})
	_, s, end := r.span(context.Background(), "a\x1b[31m\nb", 0)
	s.SetAttributes(attribute.String("v", "\x1b]0;title\a"))
	s.SetStatus(codes.Error, "\x1b[2J")
	end(time.Millisecond)
	for _, path := range []string{"/traces", "/traces/latest"} {
		if body := get(t, r, path, "").body; strings.ContainsAny(body, "\x1b\a") {
			t.Errorf("%s: %q", path, body)
		}
	}
}

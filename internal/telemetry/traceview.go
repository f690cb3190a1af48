package telemetry

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// traceView is a trace as it is shown: as a page, as JSON, as text.
type traceView struct {
	TraceID string    `json:"trace_id"`
	Name    string    `json:"name"`
	Start   time.Time `json:"start"`
	// DurationUS is that of the span that completed the trace; work that went on after it is in SpanUS.
	DurationUS float64 `json:"duration_us"`
	SpanUS     float64 `json:"span_us"`
	// Status is the HTTP status code, if the trace began with a request.
	Status string `json:"status,omitempty"`
	// Failed is about the span that began the trace; FailedSpans counts all.
	Failed      bool `json:"failed"`
	FailedSpans int  `json:"failed_spans"`
	Complete    bool `json:"complete"`
	Count       int  `json:"span_count"`
	Dropped     int  `json:"dropped_spans,omitempty"`

	Spans []spanView `json:"spans,omitempty"`
}

type spanView struct {
	SpanID     string     `json:"span_id"`
	ParentID   string     `json:"parent_id,omitempty"`
	Name       string     `json:"name"`
	Kind       string     `json:"kind"`
	OffsetUS   float64    `json:"offset_us"`
	DurationUS float64    `json:"duration_us"`
	Failed     bool       `json:"failed,omitempty"`
	Failure    string     `json:"failure,omitempty"`
	Attributes []attrView `json:"attributes,omitempty"`
	Events     []momentUS `json:"events,omitempty"`
	Links      []string   `json:"links,omitempty"` // trace ids
	Dropped    int        `json:"dropped,omitempty"`

	Depth       int      `json:"-"`
	Branch      string   `json:"-"` // "│  ├─ ", for text
	Left, Width float64  `json:"-"` // percent of the timeline
	Notable     []string `json:"-"` // key=value of what is worth a glance
}

// Notes returns what is worth a glance, on one line.
func (v spanView) Notes() string { return strings.Join(v.Notable, "  ") }

type attrView struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type momentUS struct {
	Name     string  `json:"name"`
	OffsetUS float64 `json:"offset_us"`
}

// commonplace are attributes that the name of the span already says, or that never differ.
var commonplace = []attribute.Key{
	"http.request.method", "http.route", "url.path", "url.scheme", "server.address", "server.port",
	"user_agent.original", "network.protocol.version", "network.peer.address", "network.peer.port",
}

// summarize returns the view of t without its spans.
func summarize(t recorded) traceView {
	v := traceView{TraceID: t.id.String(), Complete: t.root >= 0, Count: len(t.spans), Dropped: t.dropped}
	if len(t.spans) == 0 {
		return v
	}
	root := t.spans[max(t.root, 0)]
	start, end := bounds(t.spans)
	v.Name, v.Start = root.name, root.start.UTC()
	v.DurationUS, v.SpanUS = microseconds(root.end.Sub(root.start)), microseconds(end.Sub(start))
	v.Failed = root.failed
	for _, s := range t.spans {
		if s.failed {
			v.FailedSpans++
		}
	}
	for _, kv := range root.attributes {
		if kv.Key == "http.response.status_code" {
			v.Status = kv.Value.String()
		}
	}
	return v
}

// viewTrace returns the view of t with its spans in the order of the tree: parents first, siblings by start.
func viewTrace(t recorded) traceView {
	v := summarize(t)
	start, end := bounds(t.spans)
	total := max(end.Sub(start), 1)

	known := make(map[trace.SpanID]bool, len(t.spans))
	for _, s := range t.spans {
		known[s.id] = true
	}
	children := make(map[trace.SpanID][]recordedSpan)
	var none trace.SpanID
	for _, s := range t.spans {
		parent := s.parent
		if !known[parent] || parent == s.id {
			parent = none // remote, not kept, or not ended yet
		}
		children[parent] = append(children[parent], s)
	}
	var walk func(parent trace.SpanID, depth int, indent string)
	walk = func(parent trace.SpanID, depth int, indent string) {
		below := children[parent]
		delete(children, parent) // a cycle ends here
		slices.SortStableFunc(below, func(a, b recordedSpan) int {
			return cmp.Or(a.start.Compare(b.start), b.end.Compare(a.end))
		})
		for i, s := range below {
			branch, deeper := "├─ ", "│  "
			if i == len(below)-1 {
				branch, deeper = "└─ ", "   "
			}
			if depth == 0 {
				branch, deeper = "", ""
			}
			sv := viewSpan(s, start, total)
			sv.Depth, sv.Branch = depth, indent+branch
			v.Spans = append(v.Spans, sv)
			walk(s.id, depth+1, indent+deeper)
		}
	}
	walk(none, 0, "")
	return v
}

func viewSpan(s recordedSpan, start time.Time, total time.Duration) spanView {
	offset, took := s.start.Sub(start), s.end.Sub(s.start)
	v := spanView{
		SpanID: s.id.String(), Name: s.name, Kind: strings.ToUpper(s.kind.String()),
		OffsetUS: microseconds(offset), DurationUS: microseconds(took),
		Failed: s.failed, Failure: s.failure, Dropped: s.dropped,
		Left: percent(offset, total), Width: percent(took, total),
	}
	if s.parent.IsValid() {
		v.ParentID = s.parent.String()
	}
	sorted := slices.SortedFunc(slices.Values(s.attributes), func(a, b attribute.KeyValue) int {
		return cmp.Compare(a.Key, b.Key)
	})
	for _, kv := range sorted {
		value := kv.Value.String()
		v.Attributes = append(v.Attributes, attrView{string(kv.Key), value})
		if !slices.Contains(commonplace, kv.Key) {
			v.Notable = append(v.Notable, strings.TrimPrefix(string(kv.Key), "gavel.")+"="+quoted(value))
		}
	}
	for _, e := range s.events {
		v.Events = append(v.Events, momentUS{e.name, microseconds(e.at.Sub(start))})
		v.Notable = append(v.Notable, "event="+quoted(e.name))
	}
	for _, sc := range s.links {
		v.Links = append(v.Links, sc.TraceID().String())
	}
	return v
}

// Outcome says how the trace ended in a few words: "200", "204, 1 span failed", "500, failed".
func (v traceView) Outcome() string {
	var parts []string
	if v.Status != "" {
		parts = append(parts, v.Status)
	}
	switch {
	case v.Failed:
		parts = append(parts, "failed")
	case v.FailedSpans > 0:
		parts = append(parts, counted(v.FailedSpans, "span")+" failed")
	}
	return strings.Join(parts, ", ")
}

// counted writes "1 span", "2 spans".
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func bounds(spans []recordedSpan) (start, end time.Time) {
	for i, s := range spans {
		if i == 0 || s.start.Before(start) {
			start = s.start
		}
		if i == 0 || s.end.After(end) {
			end = s.end
		}
	}
	return start, end
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// percent returns part of total with two decimals, between 0 and 100.
func percent(part, total time.Duration) float64 {
	p := float64(part) / float64(total) * 100
	return min(max(float64(int64(p*100))/100, 0), 100)
}

// quoted returns s as it is, or in quotes when it would not stay one word on a terminal.
func quoted(s string) string {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r == ' ' || r == '"' || !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// formatUS writes a duration the way people say it: 412 µs, 3.21 ms, 1.25 s.
func formatUS(us float64) string {
	switch {
	case us < 10:
		return fmt.Sprintf("%.1f µs", us)
	case us < 1000:
		return fmt.Sprintf("%.0f µs", us)
	case us < 1_000_000:
		return fmt.Sprintf("%.2f ms", us/1000)
	default:
		return fmt.Sprintf("%.2f s", us/1_000_000)
	}
}

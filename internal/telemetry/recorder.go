package telemetry

import (
	"cmp"
	"container/list"
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"gavel/internal/telemetry/redact"
)

// Limits of what one recorded span keeps; the rest is counted as dropped.
const (
	keptAttributes = 32
	keptEvents     = 16
	keptLinks      = 16
	keptValueBytes = 512
)

// RecorderOptions bounds a [Recorder]; zero values are the defaults.
type RecorderOptions struct {
	// Traces is how many complete traces are kept, and how many that are not complete yet; 256.
	Traces int
	// SpansPerTrace is how many spans of one trace are kept; 256.
	SpansPerTrace int
	// Bytes is about how much memory all spans may take; 32 MiB.
	Bytes int
}

// Recorder is a span processor that keeps the last traces in memory, for a developer to look at. A trace is complete when the
// span ends that began it in this process. It is safe for concurrent use, and shows what it holds as an http.Handler.
type Recorder struct {
	limits RecorderOptions

	mu     sync.Mutex
	byID   map[trace.TraceID]*recorded
	open   *list.List // of *recorded, the oldest first
	closed *list.List
	bytes  int
}

// recorded is one trace. Its spans are never changed, only appended, so that a copy of the slice header is a snapshot.
type recorded struct {
	id      trace.TraceID
	spans   []recordedSpan
	bytes   int
	dropped int
	root    int // index into spans of the span that completed it, or -1
	in      *list.List
	at      *list.Element
}

type recordedSpan struct {
	id, parent trace.SpanID
	localRoot  bool
	name       string
	kind       trace.SpanKind
	start, end time.Time
	failed     bool
	failure    string
	attributes []attribute.KeyValue
	events     []recordedEvent
	links      []trace.SpanContext
	dropped    int // attributes, events and links beyond the limits
}

type recordedEvent struct {
	name string
	at   time.Time
}

var _ sdktrace.SpanProcessor = (*Recorder)(nil)

// NewRecorder returns an empty recorder.
func NewRecorder(o RecorderOptions) *Recorder {
	return &Recorder{
		limits: RecorderOptions{
			Traces:        cmp.Or(o.Traces, 256),
			SpansPerTrace: cmp.Or(o.SpansPerTrace, 256),
			Bytes:         cmp.Or(o.Bytes, 32<<20),
		},
		byID: make(map[trace.TraceID]*recorded),
		open: list.New(), closed: list.New(),
	}
}

// OnStart does nothing: a span is kept when it ends.
func (r *Recorder) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// Shutdown does nothing: what is held can still be looked at.
func (r *Recorder) Shutdown(context.Context) error { return nil }

// ForceFlush does nothing: nothing is held back.
func (r *Recorder) ForceFlush(context.Context) error { return nil }

// OnEnd keeps a copy of s, within the limits.
func (r *Recorder) OnEnd(s sdktrace.ReadOnlySpan) {
	kept, size := record(s) // outside the lock
	id := s.SpanContext().TraceID()

	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.byID[id]
	if t == nil {
		t = &recorded{id: id, root: -1, in: r.open}
		t.at = r.open.PushBack(t)
		r.byID[id] = t
	}
	// The span that completes a trace is worth more than the last of its children: it always has a place.
	if len(t.spans) < r.limits.SpansPerTrace || (kept.localRoot && t.root < 0) {
		t.spans = append(t.spans, kept)
		t.bytes += size
		r.bytes += size
	} else {
		t.dropped++
	}
	if kept.localRoot && t.root < 0 {
		t.root = len(t.spans) - 1
		r.open.Remove(t.at)
		t.in, t.at = r.closed, r.closed.PushBack(t)
	}
	r.evict(t)
}

// evict forgets the oldest traces until the limits hold; newest stays, whatever it takes.
func (r *Recorder) evict(newest *recorded) {
	for r.open.Len() > r.limits.Traces {
		r.forget(r.open.Front())
	}
	for r.closed.Len() > r.limits.Traces {
		r.forget(r.closed.Front())
	}
	for _, l := range []*list.List{r.closed, r.open} {
		for e := l.Front(); e != nil && r.bytes > r.limits.Bytes; {
			next := e.Next()
			if e.Value.(*recorded) != newest {
				r.forget(e)
			}
			e = next
		}
	}
}

func (r *Recorder) forget(e *list.Element) {
	t := e.Value.(*recorded)
	t.in.Remove(e)
	delete(r.byID, t.id)
	r.bytes -= t.bytes
}

// snapshot returns the trace as it is now.
func (r *Recorder) snapshot(id trace.TraceID) (recorded, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.byID[id]; t != nil {
		return *t, true
	}
	return recorded{}, false
}

// complete returns the complete traces, the newest first.
func (r *Recorder) complete() []recorded {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]recorded, 0, r.closed.Len())
	for e := r.closed.Back(); e != nil; e = e.Prev() {
		all = append(all, *e.Value.(*recorded))
	}
	return all
}

// record copies what is kept of s and says about how many bytes it takes.
func record(s sdktrace.ReadOnlySpan) (recordedSpan, int) {
	parent := s.Parent()
	k := recordedSpan{
		id: s.SpanContext().SpanID(), parent: parent.SpanID(), localRoot: !parent.IsValid() || parent.IsRemote(),
		name: redact.Cut(s.Name(), keptValueBytes), kind: s.SpanKind(), start: s.StartTime(), end: s.EndTime(),
		failed: s.Status().Code == codes.Error, failure: redact.Cut(s.Status().Description, keptValueBytes),
		dropped: s.DroppedAttributes() + s.DroppedEvents() + s.DroppedLinks(),
	}
	size := 256 + len(k.name) + len(k.failure)

	attrs := s.Attributes()
	k.dropped += max(len(attrs)-keptAttributes, 0)
	attrs = attrs[:min(len(attrs), keptAttributes)]
	k.attributes = make([]attribute.KeyValue, len(attrs))
	for i, kv := range attrs {
		k.attributes[i] = bounded(kv)
		size += 64 + len(kv.Key) + len(k.attributes[i].Value.AsString())
	}
	events := s.Events()
	k.dropped += max(len(events)-keptEvents, 0)
	for _, e := range events[:min(len(events), keptEvents)] {
		k.events = append(k.events, recordedEvent{redact.Cut(e.Name, keptValueBytes), e.Time})
		size += 64 + len(e.Name)
	}
	links := s.Links()
	k.dropped += max(len(links)-keptLinks, 0)
	for _, l := range links[:min(len(links), keptLinks)] {
		k.links = append(k.links, l.SpanContext)
		size += 64
	}
	return k, size
}

// bounded returns kv with a value of bounded size: numbers and flags as they are, everything else as a cut string.
func bounded(kv attribute.KeyValue) attribute.KeyValue {
	switch kv.Value.Type() {
	case attribute.BOOL, attribute.INT64, attribute.FLOAT64:
		return kv
	default:
		return kv.Key.String(redact.Cut(kv.Value.String(), keptValueBytes))
	}
}

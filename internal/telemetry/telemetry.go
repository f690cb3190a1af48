package telemetry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"gavel/internal/telemetry/redact"
	"gavel/internal/telemetry/span"
)

// LogFormat is how log records are written to [Options.Log].
type LogFormat string

// The formats; the empty one is JSON.
const (
	LogJSON LogFormat = "json"
	LogText LogFormat = "text"
)

// Options says who reports, and where to besides what the OTEL_* variables say.
type Options struct {
	// ServiceName and ServiceVersion are used unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say otherwise; the name
	// is required.
	ServiceName, ServiceVersion string
	// InstanceID tells the nodes of one service apart; may be empty.
	InstanceID string
	// Getenv reads the environment; nil is os.Getenv. A variable that it sets must be set so in the process too, because
	// the exporters read that; one that it leaves out exports nothing.
	Getenv func(string) string
	// Recorder keeps the last traces in memory; nil keeps none.
	Recorder *Recorder
	// Log receives the log; nil is standard error.
	Log io.Writer
	// LogFormat is LogJSON when empty.
	LogFormat LogFormat
	// LogLevel is slog.LevelInfo when nil.
	LogLevel slog.Leveler
}

// Telemetry owns the providers of traces, metrics and logs. It is safe for concurrent use.
type Telemetry struct {
	tracers    trace.TracerProvider
	meters     metric.MeterProvider
	propagator propagation.TextMapPropagator
	registry   *prometheus.Registry
	log        *slog.Logger

	stopOnce sync.Once
	stopErr  error
	stops    []stop
}

// stop flushes and ends one signal.
type stop struct {
	signal string
	run    func(context.Context) error
}

// Start reads the environment and opens what it asks for. Its error names every variable whose value is wrong, without
// repeating secrets. It connects to nothing: an endpoint that does not answer is a warning in the log, later.
//
// It sets two globals of OpenTelemetry, the error handler and the internal logger, because there is no other way to hear of
// undelivered telemetry. It sets no global provider: pass on those of the result.
func Start(ctx context.Context, o Options) (*Telemetry, error) {
	if o.ServiceName == "" {
		return nil, errors.New("start telemetry: no service name")
	}
	if o.LogFormat = cmp.Or(o.LogFormat, LogJSON); o.LogFormat != LogJSON && o.LogFormat != LogText {
		return nil, fmt.Errorf("start telemetry: log format: %w", notOneOf(string(o.LogFormat), string(LogJSON), string(LogText)))
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Log == nil {
		o.Log = os.Stderr
	}
	if o.LogLevel == nil {
		o.LogLevel = slog.LevelInfo
	}
	s, err := readEnv(o.Getenv)
	if err = errors.Join(err, checkProcessEnv(o.Getenv)); err != nil {
		return nil, fmt.Errorf("start telemetry: the environment is not right:\n%w", err)
	}
	o.Log = &lockedWriter{w: o.Log}
	local := newTraceHandler(newHandler(o.Log, o.LogFormat, &slog.HandlerOptions{Level: o.LogLevel}))
	hearSDK(o, local)

	t := &Telemetry{propagator: s.propagator}
	if err := t.open(ctx, o, s, local); err != nil {
		return nil, fmt.Errorf("start telemetry: %s", redact.Text(errors.Join(err, t.Shutdown(ctx)).Error()))
	}
	for _, w := range s.warnings {
		t.log.WarnContext(ctx, "telemetry setting", "problem", w)
	}
	return t, nil
}

// hearSDK sends what OpenTelemetry has to say about itself to the local log.
func hearSDK(o Options, local slog.Handler) {
	otel.SetErrorHandler(&sdkErrors{log: slog.New(local), now: time.Now})
	otel.SetLogger(logr.FromSlogHandler(newHandler(o.Log, o.LogFormat, &slog.HandlerOptions{
		Level: slog.LevelWarn, ReplaceAttr: withoutInputs,
	})))
}

func (t *Telemetry) open(ctx context.Context, o Options, s settings, local slog.Handler) error {
	res, err := newResource(ctx, o)
	if err != nil {
		return err
	}
	if err := t.startTraces(ctx, o, s, res); err != nil {
		return err
	}
	if err := t.startMetrics(ctx, s, res); err != nil {
		return err
	}
	return t.startLogs(ctx, o, s, res, local)
}

func (t *Telemetry) onShutdown(signal string, run func(context.Context) error) {
	t.stops = append(t.stops, stop{signal, run})
}

// Shutdown flushes what is still held and closes the exporters, all at once, and returns when they are done or ctx is. Later
// calls return the result of the first. The logger goes on writing to Options.Log.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	t.stopOnce.Do(func() {
		errs := make([]error, len(t.stops))
		var wg sync.WaitGroup
		for i, s := range t.stops {
			wg.Go(func() {
				if err := s.run(ctx); err != nil {
					errs[i] = fmt.Errorf("flush %s: %s", s.signal, redact.Text(err.Error()))
				}
			})
		}
		wg.Wait()
		t.stopErr = errors.Join(errs...)
	})
	return t.stopErr
}

// Logger returns the log: to Options.Log with the trace_id and span_id of the context, and to the logs exporter if there is one.
func (t *Telemetry) Logger() *slog.Logger { return t.log }

// TracerProvider returns the provider, for libraries that instrument themselves.
func (t *Telemetry) TracerProvider() trace.TracerProvider { return t.tracers }

// MeterProvider returns the provider, for libraries that instrument themselves.
func (t *Telemetry) MeterProvider() metric.MeterProvider { return t.meters }

// Propagator returns the formats of OTEL_PROPAGATORS: W3C trace context and baggage unless it says otherwise.
func (t *Telemetry) Propagator() propagation.TextMapPropagator { return t.propagator }

// Tracer returns a tracer for the steps of a request; name is the package's, as in "gavel/auction".
func (t *Telemetry) Tracer(name string) span.Tracer { return span.NewTracer(t.tracers.Tracer(name)) }

// Meter returns a meter; name is the package's, as in "gavel/auction".
func (t *Telemetry) Meter(name string) metric.Meter { return t.meters.Meter(name) }

// Gatherer returns what /metrics shows.
func (t *Telemetry) Gatherer() prometheus.Gatherer { return t.registry }

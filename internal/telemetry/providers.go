package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel/attribute"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
)

// newResource says who speaks: our own defaults, then what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say instead.
// The command line is left out on purpose: people put passwords there.
func newResource(ctx context.Context, o Options) (*resource.Resource, error) {
	attrs := []attribute.KeyValue{semconv.ServiceName(o.ServiceName)}
	if o.ServiceVersion != "" {
		attrs = append(attrs, semconv.ServiceVersion(o.ServiceVersion))
	}
	if o.InstanceID != "" {
		attrs = append(attrs, semconv.ServiceInstanceID(o.InstanceID))
	}
	opts := []resource.Option{resource.WithAttributes(attrs...), resource.WithTelemetrySDK(), resource.WithHost()}
	if o.Getenv("OTEL_SERVICE_NAME") != "" || o.Getenv("OTEL_RESOURCE_ATTRIBUTES") != "" {
		opts = append(opts, resource.WithFromEnv())
	}
	res, err := resource.New(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("describe the service: %w", err)
	}
	return res, nil
}

// startTraces builds the tracer provider. When nobody would see a span, it is one that makes none.
func (t *Telemetry) startTraces(ctx context.Context, o Options, s settings, res *resource.Resource) error {
	t.tracers = nooptrace.NewTracerProvider()
	if s.disabled || (s.traces == exporterOff && o.Recorder == nil) {
		return nil
	}
	opts := []sdktrace.TracerProviderOption{sdktrace.WithResource(res), sdktrace.WithSampler(s.sampler)}
	if o.Recorder != nil {
		opts = append(opts, sdktrace.WithSpanProcessor(o.Recorder))
	}
	if s.traces != exporterOff {
		exporter, err := autoexport.NewSpanExporter(ctx)
		if err != nil {
			return fmt.Errorf("open the traces exporter: %w", err)
		}
		opts = append(opts, sdktrace.WithBatcher(exporter))
	}
	tp := sdktrace.NewTracerProvider(opts...)
	t.tracers = tp
	t.onShutdown("traces", tp.Shutdown)
	return nil
}

// startMetrics builds the meter provider and the registry behind /metrics. Go and process metrics have Prometheus' own names
// there; a collector that is pushed to gets OpenTelemetry's.
func (t *Telemetry) startMetrics(ctx context.Context, s settings, res *resource.Resource) error {
	t.meters = noopmetric.NewMeterProvider()
	t.registry = prometheus.NewRegistry()
	t.registry.MustRegister(
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(
			collectors.MetricsGC, collectors.MetricsScheduler)),
	)
	if s.disabled {
		return nil
	}
	pull, err := promexporter.New(promexporter.WithRegisterer(t.registry), promexporter.WithoutScopeInfo())
	if err != nil {
		return fmt.Errorf("open the Prometheus exporter: %w", err)
	}
	opts := []sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithReader(pull)}
	if s.metrics != exporterOff {
		push, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return errors.Join(fmt.Errorf("open the metrics exporter: %w", err), pull.Shutdown(ctx))
		}
		opts = append(opts, sdkmetric.WithReader(push))
	}
	mp := sdkmetric.NewMeterProvider(opts...)
	t.meters = mp
	t.onShutdown("metrics", mp.Shutdown)
	if s.metrics != exporterOff {
		if err := runtime.Start(runtime.WithMeterProvider(mp)); err != nil {
			return fmt.Errorf("start the runtime metrics: %w", err)
		}
	}
	return nil
}

// startLogs builds the logger: the local handler, and the exporter beside it when there is one.
func (t *Telemetry) startLogs(ctx context.Context, o Options, s settings, res *resource.Resource, local slog.Handler) error {
	t.log = slog.New(local)
	if s.disabled || s.logs == exporterOff {
		return nil
	}
	exporter, err := autoexport.NewLogExporter(ctx)
	if err != nil {
		return fmt.Errorf("open the logs exporter: %w", err)
	}
	lp := sdklog.NewLoggerProvider(sdklog.WithResource(res), sdklog.WithProcessor(sdklog.NewBatchProcessor(exporter)))
	bridge := leveled{otelslog.NewHandler(o.ServiceName, otelslog.WithLoggerProvider(lp)), o.LogLevel}
	t.log = slog.New(slog.NewMultiHandler(local, bridge))
	t.onShutdown("logs", lp.Shutdown)
	return nil
}

// leveled is a handler that is not asked below a level: the bridge has none of its own.
type leveled struct {
	slog.Handler
	level slog.Leveler
}

func (l leveled) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= l.level.Level() && l.Handler.Enabled(ctx, level)
}

func (l leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leveled{l.Handler.WithAttrs(attrs), l.level}
}

func (l leveled) WithGroup(name string) slog.Handler {
	return leveled{l.Handler.WithGroup(name), l.level}
}

// Package telemetry is how a node tells what it does: traces, metrics, logs, and the admin listener that shows them.
//
// [Start] reads the OTEL_* variables as OpenTelemetry specifies them, with three differences that docs/observability.md gives
// reasons for: nothing is exported over OTLP until an endpoint or an exporter is named; a value that cannot be read is an error
// at the start, all of them at once, instead of a warning; and metrics can always be pulled from /metrics.
//
// What it guarantees:
//   - A request that is not sampled pays for no span but its SERVER span: see package span, which the rest of the code uses.
//   - No credential leaves through it: of a request only the route, decimal ids, host and user agent are kept; texts of errors pass
//     through package redact; the command line is reported nowhere.
//   - Everything held in memory is bounded: a [Recorder] by traces, spans and bytes, the series of the request histogram by
//     routes × methods × status codes.
//   - Shutdown flushes within its context. No goroutine outlives it that does not belong to an exporter whose collector hangs.
//
// Domain metrics are declared by the packages that know them, on [Telemetry.Meter]. Campaign ids never label a metric.
package telemetry

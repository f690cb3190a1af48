// Package span is how code builds spans only for the requests that somebody will look at.
//
// A request is sampled or it is not, and its SERVER span knows. [Tracer.Start] asks the span in the context: when that one does
// not record, it returns the context as it came and a [Span] that does nothing, without allocating. Attributes are set through
// typed methods that build nothing unless the span records.
//
// Rules: a span is named package.Method, without ids; identity goes into attributes under the gavel. prefix; there is no span
// per candidate. The package imports only the OpenTelemetry API: no I/O, no exporter, no Fiber.
//
// A Tracer is an immutable value that is safe for concurrent use; its zero value never records. A Span belongs to the goroutine
// that started it until it is handed over; End is called once.
package span

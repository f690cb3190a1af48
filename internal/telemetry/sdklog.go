package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"gavel/internal/telemetry/redact"
)

// errorQuiet is how long the same error of the SDK is not said again. A collector that is down fails every batch.
const errorQuiet = time.Minute

// sdkErrors logs what goes wrong inside OpenTelemetry. It writes to the local log alone: an exporter of logs that logs its
// own failure through itself never stops.
type sdkErrors struct {
	log *slog.Logger
	now func() time.Time

	mu       sync.Mutex
	last     string
	saidAt   time.Time
	repeated int
}

// Handle implements otel.ErrorHandler.
func (e *sdkErrors) Handle(err error) {
	if err == nil {
		return
	}
	text := redact.Text(err.Error())
	repeated, say := e.admit(text)
	if say {
		e.log.LogAttrs(context.Background(), slog.LevelWarn, "telemetry is not delivered",
			slog.String("error", text), slog.Int("repeated", repeated))
	}
}

// admit tells whether text is to be logged now, and how often it was swallowed since it last was.
func (e *sdkErrors) admit(text string) (repeated int, say bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	if text == e.last && now.Sub(e.saidAt) < errorQuiet {
		e.repeated++
		return 0, false
	}
	if text == e.last {
		repeated = e.repeated
	}
	e.last, e.saidAt, e.repeated = text, now, 0
	return repeated, true
}

// withoutInputs drops the attributes in which the SDK repeats the value of a variable that it cannot read: a header holds a key.
func withoutInputs(_ []string, a slog.Attr) slog.Attr {
	switch a.Key {
	case "input", "value", "url":
		return slog.String(a.Key, "***")
	default:
		return a
	}
}

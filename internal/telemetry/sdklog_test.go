package telemetry

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestTheSameErrorIsSaidOnceAMinute(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	e := &sdkErrors{log: slog.New(slog.NewTextHandler(&out, nil)), now: func() time.Time { return now }}
	down := errors.New("post http://k:hunter2@collector: refused")

	for range 4 {
		e.Handle(down)
		now = now.Add(10 * time.Second)
	}
	now = now.Add(time.Minute)
	e.Handle(down)
	e.Handle(errors.New("something else"))
	e.Handle(nil)

	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines:\n%s", len(lines), &out)
	}
	for i, want := range []string{"repeated=0", "repeated=3", "something else"} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d lacks %q: %s", i, want, lines[i])
		}
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Error("a secret in the log")
	}
}

func TestTheSDKsOwnLogHidesWhatItCouldNotRead(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := slog.New(newHandler(&out, LogJSON, &slog.HandlerOptions{ReplaceAttr: withoutInputs}))
	l.Error("parse headers", "input", "authorization hunter2", "key", "k")
	if strings.Contains(out.String(), "hunter2") || !strings.Contains(out.String(), `"key":"k"`) {
		t.Error(out.String())
	}
}

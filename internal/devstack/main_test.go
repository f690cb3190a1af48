//go:build unix

package devstack

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// helperVar makes this test binary a process that starts a stack, says so, and waits to be ended.
const helperVar = "DEVSTACK_TEST_HELPER"

// helperOptions is what the helper is told, and said what it answers, each one line of JSON.
type (
	helperOptions struct{ Dir string }
	helperSaid    struct {
		DatabaseURL, RedisURL, Home string
		PIDs                        []int
	}
)

func TestMain(m *testing.M) {
	if options := os.Getenv(helperVar); options != "" {
		if err := beHelper(options); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1) //nolint:forbidigo // this is a main
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// beHelper runs until SIGTERM, then stops in order.
func beHelper(options string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var o helperOptions
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := Start(ctx, Options{Postgres: true, Redis: true, Dir: o.Dir, Log: log})
	if err != nil {
		return err
	}
	said := helperSaid{DatabaseURL: s.DatabaseURL, RedisURL: s.RedisURL, Home: filepath.Dir(s.LogFiles[Postgres])}
	for _, i := range s.Info() {
		said.PIDs = append(said.PIDs, i.PID)
	}
	said.PIDs = append(said.PIDs, s.guard.cmd.Process.Pid)
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		return err
	}
	<-ctx.Done()
	return s.Stop(context.Background())
}

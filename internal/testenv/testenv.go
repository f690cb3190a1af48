package testenv

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gavel/internal/devstack"
)

const (
	// fetchAndStart bounds the start of a server, a first fetch of its packages included.
	fetchAndStart = 10 * time.Minute
	// statement bounds one step of preparing a database.
	statement = time.Minute
)

// The servers of this test binary. They start when first asked for and end with the process: Go has no hook at the end of a
// test binary, short of a TestMain in every package.
var (
	sharedPostgres = sync.OnceValues(startPostgres)
	sharedRedis    = sync.OnceValues(startRedis)
)

// Short skips a test that needs servers when -short is given.
func Short(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs Postgres or Redis: skipped by -short")
	}
}

// LeakOptions make goleak ignore the goroutines that watch the servers.
func LeakOptions() []goleak.Option {
	return []goleak.Option{goleak.IgnoreAnyFunction("gavel/internal/devstack.(*proc).run")}
}

// Server is one that a single test has for itself, to kill, pause and restart. It ends with the test.
type Server struct {
	// URL is the address, which stays the same over a restart. For Postgres it is that of a migrated, empty database.
	URL string

	t       testing.TB
	stack   *devstack.Stack
	service devstack.Service
}

// own starts a stack with a single service for t.
func own(t testing.TB, o devstack.Options, service devstack.Service) *Server {
	t.Helper()
	Short(t)
	ctx, cancel := context.WithTimeout(t.Context(), fetchAndStart)
	defer cancel()
	stack, err := devstack.Start(ctx, o)
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	s := &Server{t: t, stack: stack, service: service}
	t.Cleanup(func() {
		s.Resume()
		if err := stack.Stop(context.Background()); err != nil {
			t.Errorf("testenv: stop %s: %v", service, err)
		}
	})
	return s
}

// Kill ends the server at once, as a crash would. Of Postgres, what was committed is there after Restart; Redis comes back
// empty.
func (s *Server) Kill() {
	s.t.Helper()
	if err := s.stack.Kill(s.service); err != nil {
		s.t.Fatalf("testenv: kill %s: %v", s.service, err)
	}
}

// Restart starts the server again at the same URL, ending it before if it runs.
func (s *Server) Restart() {
	s.t.Helper()
	s.Resume()
	ctx, cancel := context.WithTimeout(s.t.Context(), statement)
	defer cancel()
	if err := s.stack.Restart(ctx, s.service); err != nil {
		s.t.Fatalf("testenv: %v", err)
	}
}

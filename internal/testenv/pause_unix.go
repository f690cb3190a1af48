//go:build unix

package testenv

import (
	"errors"
	"syscall"

	"gavel/internal/devstack"
)

// Pause makes a Redis a black hole: connections stay open and new ones are accepted by the kernel, but nothing answers until
// Resume. Postgres answers from child processes and cannot be paused this way; put a proxy before it.
func (s *Server) Pause() {
	s.t.Helper()
	if s.service != devstack.Redis {
		s.t.Fatalf("testenv: %s cannot be paused", s.service)
	}
	s.signal(syscall.SIGSTOP)
}

// Resume ends a Pause. Without one it does nothing.
func (s *Server) Resume() {
	s.t.Helper()
	s.signal(syscall.SIGCONT)
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	for _, i := range s.stack.Info() {
		if i.Service != s.service {
			continue
		}
		if err := syscall.Kill(i.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.t.Errorf("testenv: signal %s: %v", s.service, err)
		}
	}
}

//go:build !unix

package testenv

// Pause needs a Unix system, as do the servers.
func (s *Server) Pause() { s.t.Helper() }

// Resume needs a Unix system, as do the servers.
func (s *Server) Resume() { s.t.Helper() }

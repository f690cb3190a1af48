package devstack

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// standIn is a Redis in this process: plain Lua, hashes and streams, but no FUNCTION, BITFIELD, HEXPIRE or CLIENT TRACKING.
type standIn struct {
	launcher // kept in reach, see proc
	password string
	addr     string
	readyIn  time.Duration

	mu   sync.Mutex
	mini *miniredis.Miniredis // the running one, or the one that ran last

	end  sync.Once
	quit chan struct{}
	done chan struct{}
}

func (l launcher) standIn() (server, error) {
	began := time.Now()
	s := &standIn{launcher: l, password: rand.Text(), addr: "127.0.0.1:0", quit: make(chan struct{}), done: make(chan struct{})}
	if err := s.open(); err != nil {
		return nil, err
	}
	go s.moveClock()
	s.readyIn = time.Since(began)
	return s, nil
}

// open starts an empty one.
func (s *standIn) open() error {
	mini := miniredis.NewMiniRedis()
	mini.RequireAuth(s.password)
	if err := mini.StartAddr(s.addr); err != nil {
		return fmt.Errorf("start stand-in for Redis: %w", err)
	}
	s.mini, s.addr = mini, mini.Addr()
	return nil
}

// moveClock lets keys expire: by itself the stand-in's time stands still.
func (s *standIn) moveClock() {
	defer close(s.done)
	const step = 100 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case now := <-tick.C:
			s.mu.Lock()
			s.mini.FastForward(now.Sub(last))
			s.mu.Unlock()
			last = now
		case <-s.quit:
			return
		}
	}
}

func (s *standIn) info() Info {
	return Info{Service: Redis, Origin: OriginInProcess, Product: "miniredis", Version: "7.0", ReadyIn: s.readyIn}
}

func (s *standIn) url() string {
	u := url.URL{Scheme: "redis", User: url.UserPassword("", s.password), Host: s.addr, Path: "0"}
	return u.String()
}

func (s *standIn) logFile() string { return "" }

func (s *standIn) stop(context.Context) error {
	s.end.Do(func() {
		close(s.quit)
		<-s.done
	})
	return s.kill()
}

func (s *standIn) kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mini.Close()
	return nil
}

func (s *standIn) restart(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mini.Close()
	return s.open()
}

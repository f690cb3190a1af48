package devstack

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// RedisDatabases is how many numbered databases a started Redis has.
const RedisDatabases = 128

// redisServer is a Redis or Valkey that we started.
type redisServer struct {
	launcher
	program  program
	name     string   // of its directory and its log
	extra    []string // lines of its configuration
	dir      string
	acct     account
	password string
	port     int
	readyIn  time.Duration

	mu   sync.Mutex
	proc *proc
}

func (l launcher) redis(ctx context.Context, p program) (server, error) {
	s := &redisServer{launcher: l, program: p, name: string(Redis), password: rand.Text()}
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// open starts the server for the first time.
func (s *redisServer) open(ctx context.Context) (err error) {
	began := time.Now()
	if s.dir, s.acct, err = s.home.sub(s.name); err != nil {
		return err
	}
	s.proc, s.port, err = onFreePort(ctx, func(port int) (*proc, error) { return s.start(ctx, port) })
	if err != nil {
		return err
	}
	s.readyIn = time.Since(began)
	return nil
}

// config is what the server reads from its standard input, so that the password shows in no process list and no file.
func (s *redisServer) config(port int) string {
	lines := []string{
		"bind 127.0.0.1", "port " + strconv.Itoa(port), "requirepass " + s.password,
		"daemonize no", "databases " + strconv.Itoa(RedisDatabases), "tcp-backlog 128",
		`save ""`,
	}
	if s.home.temporary {
		lines = append(lines, "appendonly no")
	} else {
		fsync := "no"
		if s.durable {
			fsync = "everysec"
		}
		lines = append(lines, "appendonly yes", "appendfsync "+fsync)
	}
	return strings.Join(append(lines, s.extra...), "\n") + "\n"
}

// start starts the server and waits until it answers. On an error the child, if there was one, has ended.
func (s *redisServer) start(ctx context.Context, port int) (*proc, error) {
	p, err := s.spawn(ctx, command{
		path: s.program.path, args: []string{"-"}, libs: s.program.libs, dir: s.dir, stdin: s.config(port),
		out: s.logFile(), acct: s.acct,
		death: syscall.SIGKILL, // what it answered is in the append-only file if it is kept at all
	})
	if err != nil {
		return nil, err
	}
	if err := p.await(ctx, func(ctx context.Context) error { return s.answer(ctx, port) }); err != nil {
		return p, errors.Join(err, p.kill())
	}
	return p, nil
}

// answer succeeds when the server takes our password, which proves that it is ours, and has loaded its data.
func (s *redisServer) answer(ctx context.Context, port int) error {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp4", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = c.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(deadline); err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
	}
	if _, err := io.WriteString(c, "AUTH "+s.password+"\r\nPING\r\n"); err != nil {
		return fmt.Errorf("send PING: %w", err)
	}
	r := bufio.NewReader(io.LimitReader(c, 4<<10))
	for _, want := range []string{"+OK", "+PONG"} {
		line, err := r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("read answer to PING: %w", err)
		}
		if line = strings.TrimSpace(line); line != want {
			return fmt.Errorf("answer to PING is %q", line)
		}
	}
	return nil
}

func (s *redisServer) url() string {
	u := url.URL{
		Scheme: "redis", User: url.UserPassword("", s.password),
		Host: "127.0.0.1:" + strconv.Itoa(s.port), Path: "0",
	}
	return u.String()
}

func (s *redisServer) logFile() string { return s.home.file(s.name + ".log") }

func (s *redisServer) info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Info{
		Service: Redis, Origin: s.program.origin, Product: s.program.product, Version: s.program.version.String(),
		Path: s.program.path, PID: s.proc.pid(), ReadyIn: s.readyIn,
	}
}

func (s *redisServer) stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.stop(ctx, patience{syscall.SIGTERM, 5 * time.Second})
}

func (s *redisServer) kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.kill()
}

func (s *redisServer) restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.proc.stop(ctx, patience{syscall.SIGTERM, 5 * time.Second}); err != nil {
		return fmt.Errorf("restart Redis: %w", err)
	}
	p, err := s.start(ctx, s.port)
	if err != nil {
		return fmt.Errorf("restart Redis: %w", err)
	}
	s.proc = p
	return nil
}

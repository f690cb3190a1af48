package devstack

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lib/pq"
)

const (
	postgresUser = "gavel"
	postgresDB   = "gavel"
	// postgresNew is where initdb works; it is renamed when it has finished, so that a half-made one is never used.
	postgresNew = "postgres.new"
)

// postgresServer is a postmaster that we started.
type postgresServer struct {
	launcher
	program  program
	dir      string
	acct     account
	password string
	port     int
	readyIn  time.Duration

	mu   sync.Mutex
	proc *proc
}

func (l launcher) postgres(ctx context.Context, p program) (server, error) {
	began := time.Now()
	s := &postgresServer{launcher: l, program: p}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	err := s.outlast(ctx, func() (*proc, error) {
		var last *proc
		p, port, err := onFreePort(ctx, func(port int) (*proc, error) {
			var err error
			last, err = s.start(ctx, port)
			return last, err
		})
		if err != nil {
			return last, err
		}
		s.proc, s.port = p, port
		return p, nil
	})
	if err != nil {
		return nil, err
	}
	s.readyIn = time.Since(began)
	return s, nil
}

// keptMajor is the major version that made the data in h, 0 if there are none.
func keptMajor(h *home) (int, error) {
	b, err := os.ReadFile(h.file(filepath.Join(string(Postgres), "PG_VERSION")))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read version of kept data: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("read version of kept data: %w", err)
	}
	return major, nil
}

// prepare makes the data directory, unless there is one.
func (s *postgresServer) prepare(ctx context.Context) error {
	major, err := keptMajor(s.home)
	if err != nil {
		return err
	}
	if major != 0 {
		if s.password, err = s.home.oldPassword(); err != nil {
			return err
		}
		s.dir, s.acct, err = s.home.sub(string(Postgres))
		return err
	}
	if s.password, err = s.home.newPassword(); err != nil {
		return err
	}
	if err := os.RemoveAll(s.home.file(postgresNew)); err != nil {
		return fmt.Errorf("remove half-made data: %w", err)
	}
	var dir string
	if dir, s.acct, err = s.home.sub(postgresNew); err != nil {
		return err
	}
	if err := s.initdb(ctx, dir); err != nil {
		return err
	}
	s.dir = s.home.file(string(Postgres))
	if err := os.Rename(dir, s.dir); err != nil {
		return fmt.Errorf("name data directory: %w", err)
	}
	return nil
}

// initdb fills dir. The password goes through a file that only the account can read.
func (s *postgresServer) initdb(ctx context.Context, dir string) error {
	secret := s.home.file("initdb.password")
	defer func() { _ = os.Remove(secret) }()
	err := os.WriteFile(secret, []byte(s.password+"\n"), 0o600)
	if err == nil {
		err = s.acct.give(secret)
	}
	if err != nil {
		return fmt.Errorf("hand password to initdb: %w", err)
	}
	c := command{
		path: filepath.Join(filepath.Dir(s.program.path), "initdb"),
		args: []string{
			"--pgdata", dir, "--username", postgresUser, "--pwfile", secret, "--auth", "scram-sha-256",
			"--encoding", "UTF8", "--no-locale", "--no-instructions",
		},
		libs: s.program.libs, dir: dir, out: s.home.file("initdb.log"), acct: s.acct, death: syscall.SIGKILL,
	}
	if !s.durable {
		c.args = append(c.args, "--no-sync")
	}
	p, err := s.spawn(ctx, c)
	if err != nil {
		return err
	}
	p.wanted.Store(true)
	select {
	case <-p.done:
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("wait for initdb: %w", context.Cause(ctx)), p.kill())
	}
	if p.err != nil {
		return fmt.Errorf("make Postgres data directory: %w%s", p.err, p.lastWords())
	}
	return nil
}

// settings are the ones that differ from Postgres' own.
func (s *postgresServer) settings() []string {
	list := []string{
		"listen_addresses=127.0.0.1", "unix_socket_directories=", "ssl=off",
		"max_connections=300", "shared_buffers=128MB", "max_locks_per_transaction=256",
		"wal_level=minimal", "max_wal_senders=0",
		"timezone=" + timeZone(), "log_timezone=" + timeZone(), "datestyle=ISO",
		"jit=off", // pays for long queries only, and its library is not fetched
		"logging_collector=off", "log_line_prefix=%m [%p] ", "log_checkpoints=off",
	}
	if !s.durable {
		// A commit still reaches the kernel, so it survives a crash of the server, though not of the machine.
		list = append(list, "fsync=off", "full_page_writes=off")
	}
	if s.home.inMemory {
		// Nothing outside our directory is left behind, and what is inside stays small.
		return append(list, "dynamic_shared_memory_type=mmap", "min_wal_size=32MB", "max_wal_size=256MB")
	}
	return append(list, "max_wal_size=1GB")
}

// timeZone is UTC. Debian's Postgres reads the system's time zone files, which a small image may lack; it knows GMT by itself.
func timeZone() string {
	const zones = "/usr/share/zoneinfo"
	if _, err := os.Stat(zones + "/UTC"); err != nil {
		return "GMT"
	}
	return "UTC"
}

// start starts the postmaster and waits until it answers. On an error the child, if there was one, has ended.
func (s *postgresServer) start(ctx context.Context, port int) (*proc, error) {
	args := []string{"-D", s.dir, "-p", strconv.Itoa(port)}
	for _, setting := range s.settings() {
		args = append(args, "-c", setting)
	}
	p, err := s.spawn(ctx, command{
		path: s.program.path, args: args, libs: s.program.libs, dir: s.dir, out: s.logFile(), acct: s.acct,
		death: syscall.SIGQUIT, // the postmaster takes its children along
	})
	if err != nil {
		return nil, err
	}
	err = p.await(ctx, func(ctx context.Context) error { return s.answer(ctx, port) })
	if err != nil {
		return p, errors.Join(err, p.stop(ctx, patience{syscall.SIGQUIT, 5 * time.Second}))
	}
	return p, nil
}

// outlast repeats start while the postmaster of a run that was killed a moment ago is still on its way out.
func (s *postgresServer) outlast(ctx context.Context, start func() (*proc, error)) error {
	const pause, limit = 100 * time.Millisecond, 15 * time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		p, err := start()
		if err == nil {
			return nil
		}
		if p == nil || !p.said(`lock file "postmaster.pid" already exists`, "pre-existing shared memory block") {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: another Postgres runs on it: %w", ErrDirInUse, err)
		}
	}
}

// answer succeeds when a query does, in a database of ours. The exchange of passwords proves that it is our server.
func (s *postgresServer) answer(ctx context.Context, port int) error {
	connector, err := pq.NewConnector(s.address(port, "postgres", 2*time.Second))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	var have bool
	err = db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, postgresDB).Scan(&have)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	if have {
		return nil
	}
	if _, err := db.ExecContext(ctx, `CREATE DATABASE `+pq.QuoteIdentifier(postgresDB)); err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	return nil
}

// address is the URL of a database. The driver bounds the exchange that opens a connection by the timeout alone, not by a
// context.
func (s *postgresServer) address(port int, database string, timeout time.Duration) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(postgresUser, s.password),
		Host: "127.0.0.1:" + strconv.Itoa(port), Path: database, RawQuery: "sslmode=disable&connect_timeout=" + strconv.Itoa(int(timeout.Seconds())),
	}
	return u.String()
}

func (s *postgresServer) url() string     { return s.address(s.port, postgresDB, 10*time.Second) }
func (s *postgresServer) logFile() string { return s.home.file("postgres.log") }

func (s *postgresServer) info() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Info{
		Service: Postgres, Origin: s.program.origin, Product: s.program.product, Version: s.program.version.String(),
		Path: s.program.path, PID: s.proc.pid(), ReadyIn: s.readyIn,
	}
}

func (s *postgresServer) stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.stop(ctx, patience{syscall.SIGINT, 10 * time.Second}, patience{syscall.SIGQUIT, 5 * time.Second})
}

// kill makes the postmaster abort and its children with it, without a checkpoint: what is found next is what a crash leaves.
// SIGKILL would do the same, but leave a segment of shared memory behind.
func (s *postgresServer) kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc.stop(context.Background(), patience{syscall.SIGQUIT, 5 * time.Second})
}

func (s *postgresServer) restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.proc.stop(ctx, patience{syscall.SIGINT, 10 * time.Second}, patience{syscall.SIGQUIT, 5 * time.Second}); err != nil {
		return fmt.Errorf("restart Postgres: %w", err)
	}
	err := s.outlast(ctx, func() (*proc, error) {
		p, err := s.start(ctx, s.port)
		if err == nil {
			s.proc = p
		}
		return p, err
	})
	if err != nil {
		return fmt.Errorf("restart Postgres: %w", err)
	}
	return nil
}

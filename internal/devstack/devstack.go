package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Service names one of the two servers.
type Service string

// The services of a stack.
const (
	Postgres Service = "postgres"
	Redis    Service = "redis"
)

// Origin says where a service came from.
type Origin string

// The origins, in the order in which they are tried.
const (
	OriginGiven     Origin = "given"      // the caller's URL; nothing was started
	OriginInstalled Origin = "installed"  // programs found on this system
	OriginFetched   Origin = "fetched"    // the distribution's packages, from the cache
	OriginInProcess Origin = "in-process" // the stand-in for Redis
)

// Errors of Start, to be told apart with errors.Is. Each comes wrapped with the particulars.
var (
	// ErrDirInUse means that another process has a stack on Options.Dir.
	ErrDirInUse = errors.New("data directory is in use")
	// ErrTooOld means that the programs found are older than what is supported: Postgres 14, Redis 6.2.
	ErrTooOld = errors.New("installed version is too old")
	// ErrVersionMismatch means that Options.Dir was made by another major version of Postgres.
	ErrVersionMismatch = errors.New("data directory was made by another major version of Postgres")
	// ErrMissing means that a service is neither installed nor to be fetched. The text says what to type.
	ErrMissing = errors.New("not installed, and not to be fetched")
)

// Options say what is wanted. The zero value wants nothing, which is an error.
type Options struct {
	// Postgres and Redis say which services are wanted.
	Postgres, Redis bool
	// DatabaseURL and RedisURL, where not empty, are used as they are; that service is not started.
	DatabaseURL, RedisURL string

	// Dir keeps the data for the next start. Empty: a temporary directory, which Stop removes.
	Dir string
	// InMemory puts a temporary directory on a file system in memory, if there is one with room. For tests: making and
	// cloning databases is many small files. It has no effect together with Dir.
	InMemory bool
	// Durable makes Postgres and Redis survive a crash of the machine, at the price of fsync.
	Durable bool

	// CacheDir holds fetched packages. Empty: the user's cache directory.
	CacheDir string
	// NoFetch forbids the network. What is in the cache may still be used.
	NoFetch bool
	// AllowMiniredis permits an in-process stand-in when no Redis is to be had. It knows fewer commands; a demo only.
	AllowMiniredis bool
	// Search says where installed programs are looked for. Nil: the usual places of this system.
	Search *Search

	// StartTimeout bounds the start of the servers, not the fetch before it. 0: one minute.
	StartTimeout time.Duration
	// Log hears what happens. Nil: nobody.
	Log *slog.Logger
	// Progress hears about a fetch. Its stages are "package lists" (bytes, of a total of 0: unknown), "packages" (bytes) and
	// "unpack" (archives); the latter two come once for each service. It is called by one goroutine at a time and must
	// return soon. Nil: silent.
	Progress func(stage string, done, total int64)
}

// Info describes one service of a running stack.
type Info struct {
	Service Service
	Origin  Origin
	Product string        // "PostgreSQL", "Redis", "Valkey", "miniredis"; "" when given
	Version string        // "15.19"; "" when given
	Path    string        // of the program; "" when given or in process
	PID     int           // of the server; 0 when given or in process
	ReadyIn time.Duration // from the launch to the first answer, without a fetch
}

// Stack is a running pair of services. Its methods may be called from any goroutine.
type Stack struct {
	// DatabaseURL is "postgres://…?sslmode=disable&connect_timeout=10", of a superuser and an empty database on the first start. "" if not wanted.
	DatabaseURL string
	// RedisURL is "redis://…/0". The server has databases 0 to [RedisDatabases]-1. "" if not wanted.
	RedisURL string
	// LogFiles are the servers' own logs, which go with a temporary directory.
	LogFiles map[Service]string

	log   *slog.Logger
	home  *home
	guard *guard

	mu      sync.Mutex
	given   []Info
	servers map[Service]server
	stopped bool
	stopErr error
}

// server is a service that this process started.
type server interface {
	info() Info
	url() string
	logFile() string
	stop(ctx context.Context) error    // in order; killed when ctx ends
	kill() error                       // as in a crash; returns when it has ended
	restart(ctx context.Context) error // same data, same URL
}

// Start brings the wanted services up and returns when each has answered. On an error nothing is left running. The context
// bounds the start alone: the services live until Stop.
func Start(ctx context.Context, o Options) (*Stack, error) {
	if !o.Postgres && !o.Redis {
		return nil, errors.New("start stack: neither Postgres nor Redis is wanted")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = time.Minute
	}
	s := &Stack{log: o.Log, servers: map[Service]server{}, LogFiles: map[Service]string{}}
	if o.Postgres && o.DatabaseURL != "" {
		s.DatabaseURL = o.DatabaseURL
		s.given = append(s.given, Info{Service: Postgres, Origin: OriginGiven})
		o.Postgres = false
	}
	if o.Redis && o.RedisURL != "" {
		s.RedisURL = o.RedisURL
		s.given = append(s.given, Info{Service: Redis, Origin: OriginGiven})
		o.Redis = false
	}
	if !o.Postgres && !o.Redis {
		return s, nil
	}
	if err := s.start(ctx, o); err != nil {
		//nolint:contextcheck // the context may be the very thing that ended the start
		if stopErr := s.Stop(context.Background()); stopErr != nil {
			o.Log.Error("clean up after a failed start", "error", stopErr)
		}
		return nil, fmt.Errorf("start stack: %w", err)
	}
	return s, nil
}

// start fills in the stack; what it has started when it fails is the caller's to stop.
func (s *Stack) start(ctx context.Context, o Options) error {
	var err error
	if s.home, err = openHome(o.Dir, o.InMemory, o.Log); err != nil {
		return err
	}
	s.guard = startGuard(ctx, s.home.removeOnExit(), o.Log)

	found, err := locate(ctx, o, s.home)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.StartTimeout)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	l := launcher{home: s.home, guard: s.guard, log: o.Log, durable: o.Durable}
	for _, p := range found {
		group.Go(func() error {
			began := time.Now()
			srv, err := l.launch(ctx, p)
			if err != nil {
				return err
			}
			s.adopt(p.service, srv)
			o.Log.Debug("service is ready", "service", string(p.service), "version", p.version.String(),
				"origin", string(p.origin), "took", time.Since(began))
			return nil
		})
	}
	return group.Wait()
}

func (s *Stack) adopt(name Service, srv server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers[name] = srv
	if file := srv.logFile(); file != "" {
		s.LogFiles[name] = file
	}
	switch name {
	case Postgres:
		s.DatabaseURL = srv.url()
	case Redis:
		s.RedisURL = srv.url()
	}
}

// Info describes the services, Postgres first.
func (s *Stack) Info() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Info
	for _, name := range []Service{Postgres, Redis} {
		for _, given := range s.given {
			if given.Service == name {
				list = append(list, given)
			}
		}
		if srv, ok := s.servers[name]; ok {
			list = append(list, srv.info())
		}
	}
	return list
}

// Kill ends a started service without ceremony, as a crash would, and returns when it is gone. For tests of failure.
func (s *Stack) Kill(name Service) error {
	srv, err := s.started(name)
	if err != nil {
		return fmt.Errorf("kill %s: %w", name, err)
	}
	return srv.kill()
}

// Restart ends a started service if it still runs, and starts it again on the same port and data. The URL stays the same.
// It returns when the service has answered. Kept Redis data survive it; temporary Redis data do not.
func (s *Stack) Restart(ctx context.Context, name Service) error {
	srv, err := s.started(name)
	if err != nil {
		return fmt.Errorf("restart %s: %w", name, err)
	}
	return srv.restart(ctx)
}

func (s *Stack) started(name Service) (server, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	srv, ok := s.servers[name]
	if !ok || s.stopped {
		return nil, errors.New("this stack has not started it")
	}
	return srv, nil
}

// Stop ends what Start started, removes a temporary directory, and waits for both. When ctx ends first, the servers are made
// to abort, which takes them milliseconds, and at most seconds before they are killed. A second call does nothing and returns what the first returned.
func (s *Stack) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return s.stopErr
	}
	s.stopped = true
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	for name, srv := range s.servers {
		wg.Go(func() {
			if err := srv.stop(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("stop %s: %w", name, err))
			}
		})
	}
	wg.Wait()
	if s.guard != nil {
		s.guard.dismiss()
	}
	if s.home != nil {
		errs = append(errs, s.home.close())
	}
	s.stopErr = errors.Join(errs...)
	return s.stopErr
}

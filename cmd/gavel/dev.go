package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"gavel/internal/devstack"
	"gavel/internal/telemetry"
	"gavel/migrations"
)

type devCmd struct {
	Data      string        `type:"path" placeholder:"DIR" help:"Keep the data in DIR. Without it everything is gone at the end."`
	ReadyFile string        `type:"path" placeholder:"FILE" help:"Once ready, write the URLs and keys there as JSON."`
	Addr      string        `default:"127.0.0.1:0" help:"Where to serve; port 0 takes a free one."`
	AdminAddr string        `default:"127.0.0.1:0" help:"Where to serve metrics, health and traces."`
	EventTTL  time.Duration `default:"1h" help:"How long events are accepted after an ad was served."`
	Verbose   bool          `short:"v" help:"Show the log."`
}

// devSecrets are what a kept directory needs to start again. They live in it, readable by the owner only.
type devSecrets struct {
	TokenKeys string `json:"token_keys"`
	Access    access `json:"access"`
}

// Run starts the stack and serves until ctx ends.
func (c devCmd) Run(ctx context.Context, w world) (err error) {
	start := time.Now()
	ctx, cancel := underGoRun(ctx)
	defer cancel()
	dir, remove, err := c.dir()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	logs, closeLogs, err := c.logs(w, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLogs()) }()
	p := progress{w: w.stderr}
	p.line("Starting Postgres and Redis…")
	stack, err := devstack.Start(ctx, devstack.Options{
		Postgres: true, Redis: true, DatabaseURL: w.getenv("DATABASE_URL"), RedisURL: w.getenv("REDIS_URL"),
		Dir: c.stackDir(dir), Durable: c.Data != "", AllowMiniredis: true,
		Log: slog.New(slog.NewTextHandler(logs, nil)), Progress: p.fetch,
	})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, stack.Stop(ctx))
	}()
	for _, i := range stack.Info() {
		p.line("  %s", describe(i))
	}
	secrets, err := loadSecrets(filepath.Join(dir, "secrets.json"))
	if err != nil {
		return err
	}
	conf, err := c.config(w, stack, secrets, dir)
	if err != nil {
		return err
	}
	if err := migrateUp(ctx, stack.DatabaseURL); err != nil {
		return err
	}
	getenv := w.getenv
	recorder := telemetry.NewRecorder(telemetry.RecorderOptions{})
	return serve(ctx, conf, logs, getenv, recorder, func(n *node) error {
		secrets.Access.AdsURL, secrets.Access.AdminURL = "http://"+n.adsAddr.String(), "http://"+n.adminAdr.String()
		secrets.Access.DatabaseURL, secrets.Access.RedisURL = stack.DatabaseURL, stack.RedisURL
		return c.ready(ctx, w, n, &secrets, filepath.Join(dir, "secrets.json"), start)
	})
}

// ready loads the demo on the first start, waits for the first ad, and says what a person needs next.
func (c devCmd) ready(ctx context.Context, w world, n *node, s *devSecrets, path string, start time.Time) error {
	if s.Access.FeedKey == "" {
		if err := c.load(ctx, n, s, path); err != nil {
			return err
		}
	}
	if err := untilReady(ctx, n.follower.Ready); err != nil {
		return err
	}
	if c.ReadyFile != "" {
		if err := s.Access.save(c.ReadyFile); err != nil {
			return err
		}
	}
	c.print(w.stdout, s.Access, time.Since(start))
	return nil
}

// load makes the demo of a first start and waits for its first page.
func (c devCmd) load(ctx context.Context, n *node, s *devSecrets, path string) error {
	if err := demoKeys(ctx, n.service, &s.Access); err != nil {
		return err
	}
	if err := n.ring.Refresh(ctx); err != nil {
		return err
	}
	if err := demoInterests(ctx, n.service); err != nil {
		return fmt.Errorf("load demo: %w", err)
	}
	if err := demoShops(ctx, n.service, &s.Access); err != nil {
		return fmt.Errorf("load demo: %w", err)
	}
	if err := n.ring.Refresh(ctx); err != nil {
		return err
	}
	if err := firstPage(ctx, s.Access); err != nil {
		return err
	}
	return s.save(path)
}

// dir is where this run keeps its files.
func (c devCmd) dir() (dir string, remove func() error, err error) {
	if c.Data != "" {
		// As root, Postgres runs as somebody else and must be able to pass through; the secrets have modes of their own.
		if err := os.MkdirAll(c.Data, 0o711); err != nil { //nolint:gosec // see above
			return "", nil, fmt.Errorf("make data directory: %w", err)
		}
		return c.Data, func() error { return nil }, nil
	}
	reap(filepath.Join(os.TempDir(), tempPrefix+"*"))
	dir, err = os.MkdirTemp("", tempPrefix)
	if err != nil {
		return "", nil, fmt.Errorf("make temporary directory: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if _, err := lock.TryLock(); err != nil {
		return "", nil, fmt.Errorf("lock temporary directory: %w", err)
	}
	return dir, func() error { return errors.Join(os.RemoveAll(dir), lock.Unlock()) }, nil
}

const tempPrefix = "gavel-dev-"

// reap removes the temporary directories of runs that were killed: those whose lock nobody holds.
func reap(pattern string) {
	dirs, err := filepath.Glob(pattern)
	if err != nil {
		return
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, "lock")
		if _, err := os.Stat(path); err != nil {
			continue // another's, or one that is being made
		}
		lock := flock.New(path)
		if ok, err := lock.TryLock(); err == nil && ok {
			_ = os.RemoveAll(dir) // another run may be faster
			_ = lock.Unlock()
		}
	}
}

// stackDir is "" for a stack that goes with the run.
func (c devCmd) stackDir(dir string) string {
	if c.Data == "" {
		return ""
	}
	return filepath.Join(dir, "stack")
}

func (c devCmd) logs(w world, dir string) (io.Writer, func() error, error) {
	if c.Verbose {
		return w.stderr, func() error { return nil }, nil
	}
	f, err := os.OpenFile(filepath.Join(dir, "gavel.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("open log: %w", err)
	}
	return f, f.Close, nil
}

func (c devCmd) config(w world, stack *devstack.Stack, s devSecrets, dir string) (config, error) {
	conf, _ := loadConfig(w.getenv, w.environ) // what is missing in it is filled in here, and checked below
	conf.DatabaseURL, conf.RedisURL, conf.TokenKeys = secret(stack.DatabaseURL), secret(stack.RedisURL), secret(s.TokenKeys)
	conf.AdsAddr, conf.AdminAddr, conf.JournalDir = c.Addr, c.AdminAddr, filepath.Join(dir, "journal")
	conf.EventTTL, conf.LogFormat = c.EventTTL, "text"
	if err := conf.Validate(); err != nil {
		return config{}, fmt.Errorf("the configuration is not complete:\n%w", err)
	}
	return conf, nil
}

func loadSecrets(path string) (devSecrets, error) {
	var s devSecrets
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(text, &s); err != nil {
			return s, fmt.Errorf("%s: %w", path, err)
		}
		return s, nil
	case !errors.Is(err, os.ErrNotExist):
		return s, fmt.Errorf("read secrets: %w", err)
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return s, fmt.Errorf("make token key: %w", err)
	}
	s.TokenKeys = "1:" + base64.StdEncoding.EncodeToString(key)
	return s, s.save(path)
}

func (s devSecrets) save(path string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode secrets: %w", err)
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("write secrets: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write secrets: %w", err)
	}
	return nil
}

func migrateUp(ctx context.Context, url string) (err error) {
	db, err := openDatabase(ctx, url, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	_, err = migrations.Up(ctx, db.DB)
	return err
}

// demoRequest is the body that the printed curl sends.
const demoRequest = `{"placement":"BROWSE","slots":[{"id":"s1","position":3},{"id":"s2","position":9}],"user":{"id":"u42","country":"US","region":"US-CA","gender":"female","age":27,"locale":"en-US","interests":["925056443165"]},"device":{"app_type":"iphone"},"explain":true}`

// firstPage asks until a page is filled: the index follows within a second, and the first request asks for the leases.
func firstPage(ctx context.Context, a access) error {
	c := client{base: a.AdsURL, key: a.FeedKey, http: http.Client{Timeout: callTimeout}}
	return untilReady(ctx, func(ctx context.Context) error {
		var answer struct {
			Ads []json.RawMessage `json:"ads"`
		}
		if err := c.post(ctx, "/v1/ads", json.RawMessage(demoRequest), &answer); err != nil {
			return err
		}
		if len(answer.Ads) < 2 {
			return errors.New("the demo ads are not served")
		}
		return nil
	})
}

// untilReady asks until there is no error, for 20 seconds.
func untilReady(ctx context.Context, ready func(context.Context) error) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready within 20 seconds: %w (--verbose shows the log)", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func describe(i devstack.Info) string {
	switch i.Origin {
	case devstack.OriginGiven:
		return fmt.Sprintf("%s: as given by the environment", i.Service)
	case devstack.OriginInProcess:
		return fmt.Sprintf("%s: %s in process, for a demo only (no redis-server was found)", i.Service, i.Product)
	default:
		return fmt.Sprintf("%s: %s %s, %s, private, up in %v", i.Service, i.Product, i.Version, i.Origin, i.ReadyIn.Round(10*time.Millisecond))
	}
}

// print says what a person needs next.
func (c devCmd) print(w io.Writer, a access, took time.Duration) {
	kept := "gone when this ends; --data DIR keeps it"
	if c.Data != "" {
		kept = "kept in " + c.Data
	}
	fmt.Fprintf(w, `
Gavel is ready after %.1f s.

  ads and API   %s      (OpenAPI: %s/openapi.json)
  admin         %s      (/metrics /readyz /traces /debug/pprof)
  Postgres      %s
  Redis         %s
  data          %s

  feed key        %s
  advertiser key  %s   (ad account %s)
  operator key    %s

Ask for ads, with the reasons of every ad that did not win:

  curl -s %s/v1/ads -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '%s'

Open the impression_url and click_url of an answer to charge for them. Then:

  curl -s %s/traces/latest?name=POST%%20/v1/ads
  go run ./cmd/gavel audit --database-url '%s'

Ctrl-C ends everything.
`, took.Seconds(), a.AdsURL, a.AdsURL, a.AdminURL, a.DatabaseURL, a.RedisURL, kept, a.FeedKey, a.AdvertiserKey, a.AdAccountID, a.OperatorKey,
		a.AdsURL, a.FeedKey, demoRequest, a.AdminURL, a.DatabaseURL)
}

// progress shows a fetch on one line of a terminal, or as lines elsewhere.
type progress struct {
	w    io.Writer
	last string
}

func (p *progress) line(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }

// fetch is told of bytes while packages come, of packages while they are unpacked.
func (p *progress) fetch(stage string, done, total int64) {
	text := stage
	switch {
	case total >= 1e5:
		text = fmt.Sprintf("%s: %d %% of %.1f MB", stage, done*100/total/20*20, float64(total)/1e6)
	case total > 0 && done < total:
		return // too small to watch
	case total > 0:
		text = fmt.Sprintf("%s: done", stage)
	}
	if text != p.last {
		p.last = text
		p.line("  %s", strings.TrimSpace(text))
	}
}

package torture

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"gavel/internal/devstack"
	"gavel/internal/netfault"
	"gavel/internal/torture/postgres"
)

// World is what a row runs in.
type World struct {
	Plan *Plan
	// Nodes are the two nodes, ready when Run begins.
	Nodes []*Node
	// PostgresProxies and RedisProxies are what the nodes reach Postgres and Redis through, each its own.
	PostgresProxies, RedisProxies []*netfault.Proxy
	// DB is the row's database and Redis the row's Redis, not through a proxy.
	DB    *postgres.DB
	Redis *redis.Client
	// Stack has Postgres, and RedisStack has Redis; they are the same unless the row has a Postgres of its own.
	Stack, RedisStack *devstack.Stack
	// Load is what the clients do, and Diary what they know.
	Load  *Load
	Diary *Diary
	// Campaigns are what is advertised.
	Campaigns []Campaign
	// Log tells the progress of the row.
	Log func(format string, args ...any)
	// Fence fences a node by its id, in the row's database. It is nil where that cannot be done.
	Fence func(ctx context.Context, nodeID string) error

	client       *client
	base         *base
	databaseName string
	admin        *postgres.DB
	stops        []func() error
}

// nodeCount is how many nodes a row has.
const nodeCount = 2

// API is the management API, at one of the nodes.
func (w *World) API(node int) *API { return newAPI(w.Nodes[node].AdsURL, w.base.operatorKey) }

// EventTTL is how long events are accepted after an ad was served.
func (w *World) EventTTL() time.Duration { return w.Plan.duration("GAVEL_EVENT_TTL") }

// LeaseTTL is how long a node may serve from a lease without hearing from Postgres.
func (w *World) LeaseTTL() time.Duration { return w.Plan.duration("GAVEL_LEASE_TTL") }

// duration reads a setting of the nodes that the harness has set, or the row.
func (p *Plan) duration(name string) time.Duration {
	d, err := time.ParseDuration(p.Env[name])
	if err != nil {
		return 0 // the nodes will say so
	}
	return d
}

// later runs f when the world is taken down, the last one first.
func (w *World) later(f func() error) { w.stops = append(w.stops, f) }

// stop takes the world down, whatever state it is in.
func (w *World) stop() error {
	var errs []error
	for i := len(w.stops) - 1; i >= 0; i-- {
		errs = append(errs, w.stops[i]())
	}
	w.stops = nil
	for i := len(w.Plan.cleanup) - 1; i >= 0; i-- {
		errs = append(errs, w.Plan.cleanup[i]())
	}
	w.Plan.cleanup = nil
	return errors.Join(errs...)
}

// build makes everything up to nodes that serve full pages. What it has made when it fails is stop's to take down.
func (w *World) build(ctx context.Context, h *harness, dir string) error {
	if err := w.openDatabase(ctx); err != nil {
		return err
	}
	if err := w.openRedis(ctx); err != nil {
		return err
	}
	if err := w.openProxies(ctx); err != nil {
		return err
	}
	if err := w.makeNodes(ctx, h, dir); err != nil {
		return err
	}
	w.later(func() error { // no more than what is left; kill -9 works on a paused process as well
		var errs []error
		for _, n := range w.Nodes {
			errs = append(errs, n.Kill())
		}
		return errors.Join(errs...)
	})
	if err := w.StartNodes(ctx); err != nil {
		return err
	}
	addresses := make([]string, len(w.Nodes))
	for i, n := range w.Nodes {
		addresses[i] = strings.TrimPrefix(n.AdsURL, "http://")
	}
	w.client = newClient(addresses, w.base.feedKey)
	w.later(func() error { w.client.close(); return nil })
	w.Diary = newDiary()
	for _, k := range w.Campaigns {
		w.Diary.Allow(k.Limits...)
	}
	if err := w.warm(ctx); err != nil {
		return err
	}
	w.Load = newLoad(w.client, w.Diary, w.Campaigns, w.Plan.Rate, w.EventTTL())
	return nil
}

func (w *World) openDatabase(ctx context.Context) error {
	address, err := w.admin.Create(ctx, w.databaseName, templateName)
	if err != nil {
		return err
	}
	w.later(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		return w.admin.Drop(ctx, w.databaseName)
	})
	if w.DB, err = postgres.Open(ctx, address); err != nil {
		return err
	}
	w.later(w.DB.Close)
	if zone := w.Plan.TimeZone; zone != "" {
		if err := w.DB.SetTimeZone(ctx, zone); err != nil {
			return err
		}
		for i := range w.Campaigns {
			w.Campaigns[i].TimeZone = zone
		}
	}
	if w.Plan.Prepare == nil {
		return nil
	}
	if err := w.Plan.Prepare(ctx, w.DB); err != nil {
		return fmt.Errorf("prepare database: %w", err)
	}
	return nil
}

// openRedis leaves nothing in Redis that another row has left.
func (w *World) openRedis(ctx context.Context) error {
	o, err := redis.ParseURL(w.RedisStack.RedisURL)
	if err != nil {
		return errors.New("the address of Redis cannot be read")
	}
	o.MaxRetries = -1
	w.Redis = redis.NewClient(o)
	w.later(w.Redis.Close)
	if err := w.Redis.FlushAll(ctx).Err(); err != nil {
		return fmt.Errorf("empty Redis: %w", err)
	}
	if err := w.Redis.ScriptFlush(ctx).Err(); err != nil {
		return fmt.Errorf("empty Redis: %w", err)
	}
	return nil
}

func (w *World) openProxies(ctx context.Context) error {
	for range nodeCount {
		for _, p := range []struct {
			to   string
			into *[]*netfault.Proxy
		}{{w.DB.URL, &w.PostgresProxies}, {w.RedisStack.RedisURL, &w.RedisProxies}} {
			u, err := url.Parse(p.to)
			if err != nil {
				return errors.New("the address of a service cannot be read as a URL")
			}
			proxy, err := netfault.Listen(ctx, u.Host)
			if err != nil {
				return fmt.Errorf("start proxy: %w", err)
			}
			*p.into = append(*p.into, proxy)
			w.later(func() error { proxy.Close(); return nil })
		}
	}
	return nil
}

// through is address by way of a proxy, with more in its query.
func through(address string, proxy *netfault.Proxy, query map[string]string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("the address of a service cannot be read as a URL")
	}
	u.Host = proxy.Addr()
	q := u.Query()
	for name, v := range query {
		q.Set(name, v)
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func (w *World) makeNodes(ctx context.Context, h *harness, dir string) error {
	for i := range nodeCount {
		n, err := h.node(ctx, i, dir, w.Plan.JournalDirs[i], w.Log)
		if err != nil {
			return err
		}
		if n.env["DATABASE_URL"], err = through(w.DB.URL, w.PostgresProxies[i], w.Plan.DatabaseOptions); err != nil {
			return err
		}
		if n.env["REDIS_URL"], err = through(w.RedisStack.RedisURL, w.RedisProxies[i], nil); err != nil {
			return err
		}
		for _, env := range []map[string]string{w.Plan.Env, w.Plan.NodeEnv[i]} {
			for name, v := range env {
				n.env[name] = v
			}
		}
		w.Nodes = append(w.Nodes, n)
	}
	return nil
}

// StartNodes starts the nodes that do not run, all at once, and waits until they are ready.
func (w *World) StartNodes(ctx context.Context) error {
	errs := make([]error, len(w.Nodes))
	var starts sync.WaitGroup
	for i, n := range w.Nodes {
		if !n.Alive() {
			starts.Go(func() { errs[i] = n.Start(ctx) })
		}
	}
	starts.Wait()
	return errors.Join(errs...)
}

// warm asks each node for pages until one is full: the first requests ask for the leases.
func (w *World) warm(ctx context.Context) error {
	for _, h := range w.client.hosts {
		full := func(context.Context) bool {
			ads := 0
			h.post("/v1/ads", w.base.feedKey, pageBody(), pageWithin, func(status int, body []byte) {
				if page, err := readPage(body, time.Now()); status == 200 && err == nil {
					ads = len(page)
				}
			})
			return ads == slotsPerPage
		}
		if err := Until(ctx, readyWithin, "node "+strconv.Itoa(h.number)+" serves a full page", full); err != nil {
			return err
		}
	}
	return nil
}

// node plans a node in dir; journalDir may be "".
func (h *harness) node(ctx context.Context, number int, dir, journalDir string, log func(string, ...any)) (*Node, error) {
	if journalDir == "" {
		journalDir = filepath.Join(dir, "journal-"+strconv.Itoa(number))
	}
	ads, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	admin, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	return &Node{
		Number: number, AdsURL: "http://" + ads, AdminURL: "http://" + admin, JournalDir: journalDir,
		program: h.Program, logFile: filepath.Join(dir, "node-"+strconv.Itoa(number)+".log"), log: log,
		env: map[string]string{
			"GAVEL_TOKEN_KEYS": h.tokenKeys, "GAVEL_ADS_ADDR": ads, "GAVEL_ADMIN_ADDR": admin, "GAVEL_JOURNAL_DIR": journalDir,
			"GAVEL_LOG_FORMAT": "text",
		},
	}, nil
}

// Wait waits, or returns ctx's error.
func Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Until calls done every 20 ms until it returns true; what names the wish in the error when within is over.
func Until(ctx context.Context, within time.Duration, what string, done func(context.Context) bool) error {
	deadline := time.Now().Add(within)
	for !done(ctx) {
		if time.Now().After(deadline) {
			return &LateError{What: what, Within: within}
		}
		if err := Wait(ctx, pollEvery); err != nil {
			return err
		}
	}
	return nil
}

// LateError says that something did not happen in time.
type LateError struct {
	What   string
	Within time.Duration
}

// Error implements error.
func (e *LateError) Error() string { return "not within " + e.Within.String() + ": " + e.What }

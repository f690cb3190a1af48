package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// fetchTimeout bounds one fetch, the wait for another process' fetch included.
const fetchTimeout = 15 * time.Minute

const unfinishedPrefix = "unfinished-"

// cache holds one folder per service and system, such as "postgres-debian-12-amd64". A folder gets its name only when it is
// whole, so one that can be seen can be used. From the first fetch until close it is locked against other processes.
type cache struct {
	dir      string
	acct     account
	log      *slog.Logger
	progress func(stage string, done, total int64)

	lock *flock.Flock
	work string // folder of this fetch; "" before the first
	apt  *apt
}

// openCache takes the directory given, or the user's. Nothing is locked yet.
func openCache(o Options, acct account) (*cache, error) {
	dir, err := cacheDir(o.CacheDir, !o.NoFetch, acct)
	if err != nil {
		return nil, err
	}
	c := &cache{
		dir: dir, acct: acct, log: o.Log, progress: o.Progress,
		lock: flock.New(filepath.Join(dir, "fetch.lock"), flock.SetPermissions(0o600)),
	}
	if c.progress == nil {
		c.progress = func(string, int64, int64) {}
	}
	return c, nil
}

// close removes what the fetch left and lets other processes fetch.
func (c *cache) close() {
	if c.work != "" {
		if err := os.RemoveAll(c.work); err != nil {
			c.log.Warn("remove files of a fetch", "error", err)
		}
	}
	if err := c.lock.Unlock(); err != nil {
		c.log.Warn("unlock cache", "error", err)
	}
}

// cacheDir is the directory of the cache, the one given or the user's, created if that is asked for. Root's own is often closed to the account that is
// to run what is in it; /var/cache takes its place then.
func cacheDir(given string, create bool, acct account) (string, error) {
	dir := given
	if dir == "" {
		dir = usualCache(acct)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find cache: %w", err)
	}
	if create {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // programs, no secrets; the account must read it
			return "", fmt.Errorf("make cache: %w", err)
		}
	} else if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf("nothing was fetched before, and fetching is not allowed: %w", err)
	}
	if !ownedByUs(dir) {
		return "", fmt.Errorf("cache %s belongs to another user: programs from it are not run", dir)
	}
	if err := acct.mayReach(dir); err != nil {
		return "", fmt.Errorf("cache %s cannot be used: %w", dir, err)
	}
	return dir, nil
}

func usualCache(acct account) string {
	user, err := os.UserCacheDir()
	if acct.drop && (err != nil || acct.mayReach(existing(user)) != nil) {
		return "/var/cache/gavel"
	}
	if err != nil { // no HOME
		return filepath.Join(os.TempDir(), "gavel-cache-"+strconv.Itoa(os.Geteuid()))
	}
	return filepath.Join(user, "gavel")
}

// existing is the deepest folder of path that exists.
func existing(path string) string {
	for path != filepath.Dir(path) {
		if _, err := os.Stat(path); err == nil {
			break
		}
		path = filepath.Dir(path)
	}
	return path
}

func (c *cache) entry(name Service) string {
	s := thisSystem()
	return filepath.Join(c.dir, strings.Join([]string{string(name), s.id, s.version, runtime.GOARCH}, "-"))
}

// get returns the server in the cache, filled by apt if it is not there or does not run.
func (c *cache) get(ctx context.Context, name Service) (*program, error) {
	entry := c.entry(name)
	if p, err := c.program(ctx, name, entry); err == nil {
		return p, nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	if p, err := c.program(ctx, name, entry); err == nil { // another process was faster
		return p, nil
	}
	c.log.Info("fetch packages", "service", string(name), "into", entry)
	tree, err := c.apt.fetch(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	if err := os.RemoveAll(entry); err != nil { // one that does not run any more
		return nil, fmt.Errorf("remove old packages: %w", err)
	}
	if err := os.Rename(tree, entry); err != nil {
		return nil, fmt.Errorf("name fetched packages: %w", err)
	}
	p, err := c.program(ctx, name, entry)
	if err != nil {
		return nil, fmt.Errorf("try what was fetched: %w", err)
	}
	return p, nil
}

// prepare locks the cache and makes a folder to fetch into, once.
func (c *cache) prepare(ctx context.Context) error {
	if c.apt != nil {
		return nil
	}
	found, err := findApt()
	if err != nil {
		return err
	}
	if _, err := c.lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return fmt.Errorf("wait for another fetch: %w", err)
	}
	// What killed fetches left; nobody else fetches now.
	left, _ := filepath.Glob(filepath.Join(c.dir, unfinishedPrefix+"*"))
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			c.log.Warn("remove files of a killed fetch", "error", err)
		}
	}
	if c.work, err = os.MkdirTemp(c.dir, unfinishedPrefix); err != nil {
		return fmt.Errorf("make folder for fetch: %w", err)
	}
	found.work, found.progress = c.work, c.progress
	c.apt = found
	return nil
}

// program finds the server below entry and asks it for its version, which shows that it runs on this system.
func (c *cache) program(ctx context.Context, name Service, entry string) (*program, error) {
	patterns := map[Service][]string{
		Postgres: {entry + "/usr/lib/postgresql/*/bin/postgres"},
		Redis:    {entry + "/usr/bin/redis-server", entry + "/usr/bin/valkey-server"},
	}[name]
	paths := expand(patterns)
	if len(paths) == 0 {
		return nil, errors.New("no server in " + entry)
	}
	p, err := examine(ctx, name, paths[0], libraryFolders(entry), c.acct)
	if err != nil {
		return nil, err
	}
	p.origin = OriginFetched
	return p, nil
}

// libraryFolders are the folders below a tree of Debian packages that hold shared libraries: lib and usr/lib with the folder
// of the architecture in each, such as x86_64-linux-gnu.
func libraryFolders(tree string) []string {
	return expand([]string{tree + "/usr/lib/*-linux-gnu*", tree + "/lib/*-linux-gnu*", tree + "/usr/lib", tree + "/lib"})
}

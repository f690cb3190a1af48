package devstack

import (
	"context"
	"errors"
	"fmt"
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

// cache holds one folder per service and system, such as "postgres-debian-12-amd64". A folder gets its name only when it is
// whole, so one that can be seen can be used.
type cache struct {
	dir  string
	acct account
}

// fetch returns a server from the cache, which it fills first if need be. One process at a time fills it.
func fetch(ctx context.Context, o Options, name Service, acct account) (*program, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	apt, err := findApt()
	if err != nil {
		return nil, err
	}
	dir, err := cacheDir(o.CacheDir, acct)
	if err != nil {
		return nil, err
	}
	return cache{dir: dir, acct: acct}.get(ctx, o, name, apt)
}

// cacheDir makes the directory of the cache: the one given, or the user's. Root's own is often closed to the account that is
// to run what is in it; /var/cache takes its place then.
func cacheDir(given string, acct account) (string, error) {
	dir := given
	if dir == "" {
		dir = usualCache(acct)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find cache: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // programs, no secrets; the account must read it
		return "", fmt.Errorf("make cache: %w", err)
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

func (c cache) entry(name Service) string {
	s := thisSystem()
	return filepath.Join(c.dir, strings.Join([]string{string(name), s.id, s.version, runtime.GOARCH}, "-"))
}

// get returns the server in the cache, filled by apt if it is not there or does not run.
func (c cache) get(ctx context.Context, o Options, name Service, apt *apt) (*program, error) {
	entry := c.entry(name)
	if p, err := c.program(ctx, name, entry); err == nil {
		return p, nil
	}
	lock := flock.New(filepath.Join(c.dir, "fetch.lock"), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, 50*time.Millisecond); err != nil {
		return nil, fmt.Errorf("wait for another fetch: %w", err)
	}
	defer func() { _ = lock.Unlock() }()
	if p, err := c.program(ctx, name, entry); err == nil { // another process was faster
		return p, nil
	}
	o.Log.Info("fetch packages", "service", string(name), "into", entry)

	c.sweep()
	work, err := os.MkdirTemp(c.dir, "unfinished-")
	if err != nil {
		return nil, fmt.Errorf("make folder for fetch: %w", err)
	}
	defer os.RemoveAll(work)
	tree := filepath.Join(work, "tree")
	if err := apt.fetch(ctx, name, work, tree, o.Progress); err != nil {
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	if err := os.Chmod(tree, 0o755); err != nil { //nolint:gosec // programs, no secrets; the account must read it
		return nil, fmt.Errorf("open fetched packages: %w", err)
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

// sweep removes what killed fetches left. The caller holds the lock.
func (c cache) sweep() {
	left, _ := filepath.Glob(filepath.Join(c.dir, "unfinished-*"))
	for _, dir := range left {
		_ = os.RemoveAll(dir) // next time, then
	}
}

// program finds the server below entry and asks it for its version, which shows that it runs on this system.
func (c cache) program(ctx context.Context, name Service, entry string) (*program, error) {
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

//go:build unix

package devstack

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// fakeApt puts an apt-get and a dpkg-deb on the PATH that know one package, whose server is a script. Calls are noted in the
// file "calls" beside them.
func fakeApt(t *testing.T, whenDownloading string) (dir string) {
	t.Helper()
	dir = tempDir(t)
	script(t, filepath.Join(dir, "apt-get"), `
		echo "apt-get $*" >> `+dir+`/calls
		case "$*" in
		*--print-uris*) echo "'http://deb.example/r.deb' redis-server_5%3a7.0.15-1_all.deb 7 SHA256:00" ;;
		*download*) `+whenDownloading+`
			echo archive > redis-server_5%3a7.0.15-1_all.deb ;;
		esac`)
	script(t, filepath.Join(dir, "dpkg-deb"), `
		mkdir -p "$3/usr/bin"
		printf '#!/bin/sh\necho "Redis server v=7.0.15"\n' > "$3/usr/bin/redis-server"
		chmod 755 "$3/usr/bin/redis-server"`)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

func TestFetch(t *testing.T) {
	bin := fakeApt(t, "")
	dir := tempDir(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, unfinishedPrefix+"of-a-killed-run"), 0o700))
	var stages []string
	o := Options{CacheDir: dir, Log: discard(), Progress: func(stage string, done, total int64) {
		if done == total && stage != stageLists || done == 0 {
			stages = append(stages, stage)
		}
	}}
	c, err := openCache(o, must(servant()))
	require.NoError(t, err)
	defer c.close()
	p, err := c.get(t.Context(), Redis)
	require.NoError(t, err)
	require.Equal(t, OriginFetched, p.origin)
	require.Equal(t, version{7, 0}, p.version)
	require.FileExists(t, p.path)
	require.Contains(t, stages, stagePackages)
	require.Contains(t, stages, stageUnpack)
	c.close()

	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, entry := range left {
		names = append(names, entry.Name())
	}
	require.ElementsMatch(t, []string{"fetch.lock", filepath.Base(c.entry(Redis))}, names, "nothing unfinished is left")

	before := must(os.ReadFile(filepath.Join(bin, "calls")))
	require.Contains(t, string(before), "download redis-server=5:7.0.15-1")
	_, err = c.get(t.Context(), Redis)
	require.NoError(t, err)
	require.Equal(t, before, must(os.ReadFile(filepath.Join(bin, "calls"))), "the second time nothing is asked")
}

func TestFetchIsDoneOnce(t *testing.T) {
	bin := fakeApt(t, "")
	dir := tempDir(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			c, err := openCache(Options{CacheDir: dir, Log: discard()}, must(servant()))
			if err == nil {
				defer c.close()
				_, err = c.get(t.Context(), Redis)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	calls := string(must(os.ReadFile(filepath.Join(bin, "calls"))))
	require.Regexp(t, `^apt-get [^\n]*update\napt-get [^\n]*install[^\n]*\napt-get [^\n]*download[^\n]*\n$`, calls)
}

// What is interrupted leaves nothing that could be taken for whole.
func TestCancelledFetch(t *testing.T) {
	began := filepath.Join(tempDir(t), "began")
	fakeApt(t, `: > `+began+`; sleep 1000;`)
	dir := tempDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		c, err := openCache(Options{CacheDir: dir, Log: discard()}, must(servant()))
		if err == nil {
			defer c.close()
			_, err = c.get(ctx, Redis)
		}
		done <- err
	}()
	require.Eventually(t, func() bool { _, err := os.Stat(began); return err == nil }, waitLong, waitTick)
	cancel()
	require.Error(t, <-done)
	require.Eventually(t, func() bool { return len(must(os.ReadDir(dir))) == 1 }, waitLong, waitTick, "only the lock is left")
}

func TestFetchErrorSaysWhatAptSaid(t *testing.T) {
	fakeApt(t, `echo "E: Failed to fetch: no route" >&2; exit 100;`)
	_, err := Start(t.Context(), Options{Redis: true, Search: &Search{}, CacheDir: tempDir(t)})
	require.ErrorIs(t, err, ErrMissing)
	require.ErrorContains(t, err, "apt-get download: exit status 100: E: Failed to fetch: no route")
}

// Programs are run from the cache, so it must be ours.
func TestCacheOfAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	t.Parallel()
	dir := tempDir(t)
	require.NoError(t, os.Chown(dir, 12345, 12345))
	_, err := openCache(Options{CacheDir: dir, Log: discard()}, must(servant()))
	require.ErrorContains(t, err, "belongs to another user")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

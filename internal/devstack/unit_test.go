//go:build unix

package devstack

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		service Service
		product string
		version version
	}{
		"postgres (PostgreSQL) 15.19 (Debian 15.19-0+deb12u1)\n":             {Postgres, "PostgreSQL", version{15, 19}},
		"postgres (PostgreSQL) 18beta1\n":                                    {Postgres, "PostgreSQL", version{18, 0}},
		"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64": {Redis, "Redis", version{7, 0}},
		"Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64": {Redis, "Valkey", version{8, 1}},
	} {
		product, v, err := parseVersion(want.service, text)
		require.NoError(t, err, text)
		require.Equal(t, want.product, product)
		require.Equal(t, want.version, v)
	}
	_, _, err := parseVersion(Postgres, "psql (PostgreSQL) 15.19")
	require.Error(t, err)
}

func TestExpandPrefersTheNewest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, v := range []string{"9.6", "10", "15", "17"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, v, "bin"), 0o700))
	}
	var got []string
	for _, path := range expand([]string{dir + "/15/bin", dir + "/*/bin", "[malformed"}) {
		got = append(got, filepath.Base(filepath.Dir(path)))
	}
	require.Equal(t, []string{"15", "17", "10", "9.6"}, got)
}

func TestParseURIs(t *testing.T) {
	t.Parallel()
	list, err := parseURIs(strings.Join([]string{
		`'http://deb.example/p/perl/perl_5.36.0-7%2bdeb12u3_amd64.deb' perl_5.36.0-7+deb12u3_amd64.deb 238900 MD5Sum:ecd2`,
		`'http://deb.example/r/redis-server_7.0.15-1%7edeb12u7_amd64.deb' redis-server_5%3a7.0.15-1~deb12u7_amd64.deb 73392 SHA256:2113`,
		`'http://deb.example/p/postgresql_15%2b248_all.deb' postgresql_15+248_all.deb 10224 SHA256:8deb`,
		`'http://deb.example/x/data_1.0_all.deb' data_1.0_all.deb 10 SHA256:8deb`,
		`'http://deb.example/l/libllvm14_14.0.6-12_amd64.deb' libllvm14_1%3a14.0.6-12_amd64.deb 21840232 SHA256:1ff0`,
		`'http://deb.example/p/postgresql-15_15.18-0_amd64.deb' postgresql-15_15.18-0_amd64.deb 16909124 SHA256:e01e`,
		``,
	}, "\n"))
	require.NoError(t, err)
	require.Equal(t, []string{
		"redis-server:amd64=5:7.0.15-1~deb12u7", "data=1.0", "postgresql-15:amd64=15.18-0",
	}, specs(list))
	require.EqualValues(t, 73392+10+16909124, sum(list))

	_, err = parseURIs(`'http://deb.example/strange'` + "\n")
	require.Error(t, err)
}

func TestCommandsToType(t *testing.T) {
	t.Parallel()
	both := []Service{Postgres, Redis}
	for text, want := range map[string]string{
		"ID=debian\nVERSION_ID=\"12\"\n":            "sudo apt-get update && sudo apt-get install -y postgresql redis-server",
		"ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n": "sudo apt-get update && sudo apt-get install -y postgresql redis-server",
		"ID=fedora\n": "sudo dnf install -y postgresql-server valkey",
		"ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n": "sudo dnf install -y postgresql-server valkey",
		"ID=arch\n":   "sudo pacman -S --needed postgresql valkey",
		"ID=alpine\n": "sudo apk add postgresql redis",
		"ID=nixos\n":  "",
	} {
		require.Equal(t, want, parseSystem([]byte(text)).commands(both), text)
	}
	err := missingError([]Service{Redis}, errors.New("the reason"))
	require.ErrorIs(t, err, ErrMissing)
	require.ErrorContains(t, err, "REDIS_URL")
	require.ErrorContains(t, err, "the reason")
	require.NotContains(t, err.Error(), "DATABASE_URL")
}

// Only dead, own directories go: neither a locked one, nor a young one without a name, nor a link to elsewhere.
func TestReap(t *testing.T) {
	t.Parallel()
	root, elsewhere := t.TempDir(), t.TempDir()
	acct, err := servant()
	require.NoError(t, err)
	live, err := makeHome(root, acct)
	require.NoError(t, err)
	defer func() { require.NoError(t, live.close()) }()
	at := func(name string) string { return filepath.Join(root, name) }
	for _, name := range []string{readyPrefix + "dead", readyPrefix + "half-removed", unreadyPrefix + "young", unreadyPrefix + "old"} {
		require.NoError(t, os.MkdirAll(filepath.Join(at(name), "redis"), 0o700))
	}
	require.NoError(t, os.WriteFile(filepath.Join(at(readyPrefix+"dead"), lockName), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(elsewhere, lockName), nil, 0o600))
	require.NoError(t, os.Symlink(elsewhere, at(readyPrefix+"link")))
	old := time.Now().Add(-2 * unreadyAge)
	require.NoError(t, os.Chtimes(at(unreadyPrefix+"old"), old, old))

	reap(root, time.Now().Add(-unreadyAge), discard())
	left, err := os.ReadDir(root)
	require.NoError(t, err)
	var names []string
	for _, entry := range left {
		names = append(names, entry.Name())
	}
	require.ElementsMatch(t, []string{filepath.Base(live.path), unreadyPrefix + "young", readyPrefix + "link"}, names)
	require.FileExists(t, filepath.Join(elsewhere, lockName))
}

// Whoever has taken our port may accept and keep silent. Once our server has ended, nobody waits for him.
func TestAwaitDoesNotWaitForAStranger(t *testing.T) {
	t.Parallel()
	p := &proc{command: command{path: "server"}, done: make(chan struct{}), err: errors.New("exit status 1")}
	calls := 0
	err := p.await(t.Context(), func(ctx context.Context) error {
		calls++
		close(p.done)
		<-ctx.Done()
		return ctx.Err()
	})
	require.ErrorContains(t, err, "server ended before it was ready (exit status 1)")
	require.Equal(t, 1, calls)
}

func TestTakenPortIsTriedAgain(t *testing.T) {
	needsServers(t)
	t.Parallel()
	dir := tempDir(t)
	script(t, filepath.Join(dir, "redis-server"), `
		[ "$1" = --version ] && echo "Redis server v=7.0.0" && exit
		grep ^port >> ports
		echo "Warning: Could not create server TCP listening socket 127.0.0.1:1: bind: Address already in use"
		exit 1`)
	data := filepath.Join(dir, "data")
	_, err := Start(t.Context(), Options{Redis: true, Dir: data, Search: &Search{RedisServers: []string{dir + "/redis-server"}}})
	require.ErrorContains(t, err, "tried 5 ports")
	tried, err := os.ReadFile(filepath.Join(data, "redis", "ports"))
	require.NoError(t, err)
	require.Len(t, strings.Fields(string(tried)), 2*ports)
}

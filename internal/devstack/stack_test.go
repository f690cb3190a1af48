//go:build unix

package devstack

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

func TestStartAndStop(t *testing.T) {
	needsServers(t)
	t.Parallel()
	s := start(t, Options{Postgres: true, Redis: true})
	home := filepath.Dir(s.LogFiles[Postgres])

	require.Equal(t, "0", query(t, s, `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`))
	for setting, want := range map[string]string{
		"server_encoding": "UTF8", "timezone": timeZone(), "listen_addresses": "127.0.0.1",
		"fsync": "off", "autovacuum": "on", "password_encryption": "scram-sha-256",
	} {
		require.Equal(t, want, query(t, s, `SELECT current_setting('`+setting+`')`), setting)
	}
	require.Equal(t, "C", query(t, s, `SELECT datcollate FROM pg_database WHERE datname = current_database()`))
	require.Equal(t, "PONG", client(t, s).Ping(t.Context()).Val())

	pids := processes(t, s)
	require.Len(t, pids, 3, "Postgres, Redis, the guard")
	for _, i := range s.Info() {
		t.Logf("%s %s, %s, ready in %s", i.Product, i.Version, i.Origin, i.ReadyIn)
		require.Contains(t, []Origin{OriginInstalled, OriginFetched}, i.Origin)
		require.NotEmpty(t, i.Version)
	}
	require.NoError(t, s.Stop(t.Context()))
	require.NoError(t, s.Stop(t.Context()), "a second time")
	for _, pid := range pids {
		require.False(t, alive(pid), "process %d", pid)
	}
	require.NoDirExists(t, home)
}

func TestInMemory(t *testing.T) {
	needsServers(t)
	acct, err := servant()
	require.NoError(t, err)
	probe, err := os.MkdirTemp(memoryRoot, "devstack-test-") //nolint:usetesting // may it be written?
	if err != nil || acct.mayReach(memoryRoot) != nil || roomInMemory(memoryRoot) < memoryRoom {
		t.Skip("no room in memory here")
	}
	require.NoError(t, os.Remove(probe))
	t.Parallel()
	s := start(t, Options{Postgres: true, InMemory: true})
	home := filepath.Dir(s.LogFiles[Postgres])
	require.Equal(t, memoryRoot, filepath.Dir(home))
	require.NoError(t, s.Stop(t.Context()))
	require.NoDirExists(t, home)
}

func TestStrangersStayOut(t *testing.T) {
	needsServers(t)
	t.Parallel()
	s := start(t, Options{Postgres: true, Redis: true})

	for name, user := range map[string]*url.Userinfo{"no password": url.User("gavel"), "wrong password": url.UserPassword("gavel", "guess")} {
		u, err := url.Parse(s.DatabaseURL)
		require.NoError(t, err)
		u.User = user
		db, err := sql.Open("postgres", u.String())
		require.NoError(t, err)
		defer func() { _ = db.Close() }()
		require.Error(t, db.PingContext(t.Context()), name)
	}
	u, err := url.Parse(s.RedisURL)
	require.NoError(t, err)
	c := redis.NewClient(&redis.Options{Addr: u.Host})
	defer func() { _ = c.Close() }()
	require.ErrorContains(t, c.Ping(t.Context()).Err(), "NOAUTH")

	for _, i := range s.Info() {
		line, err := os.ReadFile("/proc/" + strconv.Itoa(i.PID) + "/cmdline")
		if errors.Is(err, fs.ErrNotExist) {
			t.Skip("no /proc here")
		}
		require.NoError(t, err)
		for _, secret := range []string{s.DatabaseURL, s.RedisURL} {
			u, err := url.Parse(secret)
			require.NoError(t, err)
			password, _ := u.User.Password()
			require.NotContains(t, string(line), password, "command line of %s", i.Service)
		}
	}
}

func TestTwoAtOnce(t *testing.T) {
	needsServers(t)
	t.Parallel()
	a := start(t, Options{Redis: true})
	b := start(t, Options{Redis: true}) // its start reaps, and must leave a alone
	require.NotEqual(t, a.RedisURL, b.RedisURL)
	require.NoError(t, client(t, a).Set(t.Context(), "k", "a", 0).Err())
	require.ErrorIs(t, client(t, b).Get(t.Context(), "k").Err(), redis.Nil)
	require.DirExists(t, filepath.Dir(a.LogFiles[Redis]))
}

// A caller that keeps nothing but the URL must not lose its servers to the garbage collector, which closes the lock and the
// guard's pipe when nobody refers to them any more. The next start would then reap what is alive.
func TestForgottenStackLivesOn(t *testing.T) {
	needsServers(t)
	t.Parallel()
	home, pid, ping := func() (string, int, func() error) {
		s, err := Start(t.Context(), Options{Redis: true})
		require.NoError(t, err)
		c := client(t, s)
		return filepath.Dir(s.LogFiles[Redis]), s.Info()[0].PID, func() error { return c.Ping(t.Context()).Err() }
	}()
	for range 5 {
		runtime.GC()
	}
	start(t, Options{Redis: true}) // reaps
	require.DirExists(t, home)
	require.NoError(t, ping())

	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL)) // now it is garbage, and the guard cleans up
	require.Eventually(t, func() bool {
		runtime.GC()
		_, err := os.Stat(home)
		return errors.Is(err, fs.ErrNotExist)
	}, 20*time.Second, 20*time.Millisecond)
}

func TestKeptDirectory(t *testing.T) {
	needsServers(t)
	t.Parallel()
	dir := filepath.Join(tempDir(t), "kept", "here")
	s := start(t, Options{Postgres: true, Redis: true, Dir: dir, Durable: true})
	require.Equal(t, "on", query(t, s, `SELECT current_setting('fsync')`))
	exec1(t, s, `CREATE TABLE kept (v int)`)
	exec1(t, s, `INSERT INTO kept VALUES (42)`)
	require.NoError(t, client(t, s).Set(t.Context(), "k", "kept", 0).Err())

	_, err := Start(t.Context(), Options{Postgres: true, Redis: true, Dir: dir})
	require.ErrorIs(t, err, ErrDirInUse)
	require.ErrorContains(t, err, strconv.Itoa(os.Getpid()), "says who")
	require.Equal(t, "42", query(t, s, `SELECT v FROM kept`), "the first one is not disturbed")

	require.NoError(t, s.Stop(t.Context()))
	again := start(t, Options{Postgres: true, Redis: true, Dir: dir, Durable: true})
	require.Equal(t, "42", query(t, again, `SELECT v FROM kept`))
	require.Equal(t, "kept", client(t, again).Get(t.Context(), "k").Val())
	for _, i := range again.Info() {
		t.Logf("kept %s: ready in %s", i.Service, i.ReadyIn)
	}
	require.NoError(t, again.Stop(t.Context()))

	version := filepath.Join(dir, string(Postgres), "PG_VERSION")
	require.NoError(t, os.WriteFile(version, []byte("13\n"), 0o600))
	_, err = Start(t.Context(), Options{Postgres: true, Dir: dir, NoFetch: true})
	require.ErrorIs(t, err, ErrVersionMismatch)
	require.ErrorContains(t, err, "it needs 13")
}

// A run that ended during initdb leaves a half-made directory, which must not be taken for data.
func TestHalfMadeDataIsMadeAnew(t *testing.T) {
	needsServers(t)
	t.Parallel()
	dir := tempDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, postgresNew), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, postgresNew, "PG_VERSION"), []byte("15\n"), 0o600))
	s := start(t, Options{Postgres: true, Dir: dir})
	require.Equal(t, "1", query(t, s, `SELECT 1`))
}

func TestKillAndRestart(t *testing.T) {
	needsServers(t)
	t.Parallel()
	s := start(t, Options{Postgres: true, Redis: true})
	exec1(t, s, `CREATE TABLE kept (v int)`)
	exec1(t, s, `INSERT INTO kept VALUES (42)`)
	before := processes(t, s)

	require.NoError(t, s.Kill(Redis))
	require.Error(t, client(t, s).Ping(t.Context()).Err())
	require.NoError(t, s.Restart(t.Context(), Redis))
	require.NoError(t, client(t, s).Ping(t.Context()).Err(), "at the same URL")

	require.NoError(t, s.Kill(Postgres))
	require.NoError(t, s.Restart(t.Context(), Postgres))
	require.Equal(t, "42", query(t, s, `SELECT v FROM kept`), "it recovers")
	after := processes(t, s)
	require.NotEqual(t, before[:2], after[:2])
	require.NoError(t, s.Stop(t.Context()))
	require.Error(t, s.Kill(Redis), "a stopped stack has nothing to kill")
}

func TestGivenURLsStartNothing(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), Options{
		Postgres: true, Redis: true, DatabaseURL: "postgres://db.example/x", RedisURL: "redis://cache.example",
		Search: &Search{}, NoFetch: true,
	})
	require.NoError(t, err)
	require.Equal(t, "postgres://db.example/x", s.DatabaseURL)
	require.Equal(t, "redis://cache.example", s.RedisURL)
	require.Equal(t, []Info{{Service: Postgres, Origin: OriginGiven}, {Service: Redis, Origin: OriginGiven}}, s.Info())
	require.NoError(t, s.Stop(t.Context()))
}

func TestStandIn(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Redis: true, AllowMiniredis: true, Search: &Search{}, NoFetch: true, CacheDir: tempDir(t)})
	require.Equal(t, OriginInProcess, s.Info()[0].Origin)
	c := client(t, s)
	require.NoError(t, c.Set(t.Context(), "k", "v", 300*time.Millisecond).Err())
	require.Eventually(t, func() bool { return errors.Is(c.Get(t.Context(), "k").Err(), redis.Nil) },
		10*time.Second, 20*time.Millisecond, "keys expire")
	require.NoError(t, s.Kill(Redis))
	require.NoError(t, s.Restart(t.Context(), Redis))
	require.NoError(t, c.Ping(t.Context()).Err())
}

// A cancelled start leaves nothing behind, wherever it was.
func TestCancelledStart(t *testing.T) {
	needsServers(t)
	t.Parallel()
	for _, after := range []time.Duration{0, 30 * time.Millisecond, 150 * time.Millisecond} {
		dir := tempDir(t)
		ctx, cancel := context.WithTimeout(t.Context(), after)
		_, err := Start(ctx, Options{Postgres: true, Redis: true, Dir: dir})
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Empty(t, processesIn(t, dir))
	}
}

// The parent is killed in the middle of its work: its servers, their children, the guard and the directory must go.
func TestKilledParent(t *testing.T) {
	needsServers(t)
	t.Parallel()
	cmd, said := helper(t, helperOptions{})
	require.DirExists(t, said.Home)
	inside := processesIn(t, said.Home)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()

	require.Eventually(t, func() bool {
		for _, pid := range append(said.PIDs, inside...) {
			if alive(pid) {
				return false
			}
		}
		return true
	}, waitLong, waitTick, "processes %v %v", said.PIDs, inside)
	require.NoDirExists(t, said.Home, "the guard is gone, so its work is done")
}

// The same while initdb, a program with children in its group, is at work.
func TestKilledParentDuringInitdb(t *testing.T) {
	needsServers(t)
	t.Parallel()
	dir := tempDir(t)
	require.NoError(t, os.Chmod(dir, 0o777))
	cmd := helperCommand(t, helperOptions{})
	cmd.Env = append(cmd.Env, "TMPDIR="+dir)
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool {
		found, err := filepath.Glob(dir + "/*/postgres.new/PG_VERSION")
		return err == nil && len(found) == 1
	}, 20*time.Second, time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.Eventually(t, func() bool {
		left, err := os.ReadDir(dir)
		return err == nil && len(left) == 0 && len(processesIn(t, dir)) == 0
	}, waitLong, waitTick)
}

// Parent and guard are killed at once: the kernel ends the servers, and the next start removes the directory.
func TestKilledParentAndGuard(t *testing.T) {
	needsServers(t)
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has the death signal")
	}
	t.Parallel()
	cmd, said := helper(t, helperOptions{})
	guard := said.PIDs[len(said.PIDs)-1]
	require.NoError(t, syscall.Kill(guard, syscall.SIGKILL))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.Eventually(t, func() bool {
		return len(processesIn(t, said.Home)) == 0 && !alive(said.PIDs[0]) && !alive(said.PIDs[1])
	},
		waitLong, waitTick)

	// Other tests of this package start stacks as well, so the directory may be gone already; after our start it must be.
	start(t, Options{Redis: true})
	require.NoDirExists(t, said.Home)
}

// A kept directory is usable at once after its owner was killed, even while the old Postgres is on its way out.
func TestKilledParentOfKeptDirectory(t *testing.T) {
	needsServers(t)
	t.Parallel()
	dir := filepath.Join(tempDir(t), "kept")
	cmd, _ := helper(t, helperOptions{Dir: dir})
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	s := start(t, Options{Postgres: true, Redis: true, Dir: dir})
	require.Equal(t, "1", query(t, s, `SELECT 1`))
}

func TestBadPrograms(t *testing.T) {
	t.Parallel()
	const good = "postgres (PostgreSQL) 15.3"
	for name, c := range map[string]struct {
		postgres, initdb, redis string // shell scripts; "" for none
		is                      error
		says                    []string
	}{
		"Postgres too old": {
			postgres: `echo "postgres (PostgreSQL) 13.11"`, initdb: `:`,
			is: ErrTooOld, says: []string{"PostgreSQL 13.11", "14.0 or newer", "DATABASE_URL"},
		},
		"Redis too old": {
			redis: `echo "Redis server v=6.0.16 sha=0:0"`, is: ErrTooOld, says: []string{"Redis 6.0", "6.2 or newer", "REDIS_URL"},
		},
		"no initdb": {postgres: `echo "` + good + `"`, is: ErrMissing, says: []string{"Postgres"}},
		"not Redis": {redis: `echo hello`, is: ErrMissing, says: []string{`not the version of a redis server: "hello"`}},
		"library is missing": {
			redis: `echo "libfoo.so.1: cannot open shared object file" >&2; exit 127`, is: ErrMissing, says: []string{"libfoo.so.1"},
		},
		"initdb fails": {
			postgres: `echo "` + good + `"`, initdb: `echo "initdb: error: no space" >&2; exit 1`,
			says: []string{"initdb: error: no space"},
		},
		"Postgres ends at once": {
			postgres: `[ "$1" = --version ] && echo "` + good + `" || { echo "FATAL: no memory"; exit 3; }`, initdb: `:`,
			says: []string{"exit status 3", "FATAL: no memory"},
		},
		"Redis never answers": {
			redis: `[ "$1" = --version ] && echo "Redis server v=7.0.0" || { echo "I am thinking"; exec sleep 100; }`,
			is:    context.DeadlineExceeded, says: []string{"connection refused", "I am thinking"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := tempDir(t)
			script(t, filepath.Join(dir, "postgres"), c.postgres)
			script(t, filepath.Join(dir, "initdb"), c.initdb)
			script(t, filepath.Join(dir, "redis-server"), c.redis)
			_, err := Start(t.Context(), Options{
				Postgres: c.redis == "", Redis: c.redis != "", NoFetch: true, CacheDir: tempDir(t), StartTimeout: time.Second,
				Search: &Search{PostgresDirs: []string{dir}, RedisServers: []string{dir + "/redis-*"}},
			})
			require.Error(t, err)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			for _, words := range c.says {
				require.ErrorContains(t, err, words)
			}
		})
	}
}

func TestRootsDirectoriesAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root needs another account")
	}
	t.Parallel()
	dir := tempDir(t)
	require.NoError(t, os.Chmod(dir, 0o700))
	_, err := Start(t.Context(), Options{Redis: true, Dir: filepath.Join(dir, "data"), NoFetch: true})
	require.ErrorContains(t, err, "refuses to run as root")
	require.ErrorContains(t, err, "may not enter "+dir)
}

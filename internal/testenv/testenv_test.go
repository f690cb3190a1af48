package testenv_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/lib/pq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"gavel/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, testenv.LeakOptions()...) }

func TestPostgresIsMigratedAndOwn(t *testing.T) {
	t.Parallel()
	first, second := testenv.Postgres(t), testenv.Postgres(t)
	require.NotEqual(t, first, second)
	a, b := open(t, first), open(t, second)

	var tables int
	require.NoError(t, a.QueryRow(`SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename = 'campaigns'`).Scan(&tables))
	require.Equal(t, 1, tables, "the schema is there")
	_, err := a.Exec(`CREATE TABLE mine (v int)`)
	require.NoError(t, err)
	require.ErrorContains(t, b.QueryRow(`SELECT count(*) FROM mine`).Scan(&tables), "does not exist")
}

func TestEmptyPostgres(t *testing.T) {
	t.Parallel()
	var tables int
	require.NoError(t, open(t, testenv.EmptyPostgres(t)).QueryRow(`SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`).Scan(&tables))
	require.Zero(t, tables)
}

// Cloning is what every test pays, so it is shown, and many at once must not trip over one another.
func TestManyDatabasesAtOnce(t *testing.T) {
	t.Parallel()
	testenv.Postgres(t) // the start is not counted
	const tests = 16
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		total time.Duration
	)
	began := time.Now()
	for range tests {
		wg.Go(func() {
			began := time.Now()
			testenv.Postgres(t)
			mu.Lock()
			defer mu.Unlock()
			total += time.Since(began)
		})
	}
	wg.Wait()
	t.Logf("%d clones at once: %s each to the test, %s each to the machine", tests, total/tests, time.Since(began)/tests)
}

func TestDatabaseIsDroppedWithItsTest(t *testing.T) {
	testenv.Short(t)
	t.Parallel()
	var address string
	var left *sql.DB // a connection that the test forgot
	t.Run("has it", func(t *testing.T) {
		address = testenv.Postgres(t)
		var err error
		left, err = sql.Open("postgres", address)
		require.NoError(t, err)
		require.NoError(t, left.Ping())
	})
	defer func() { _ = left.Close() }()
	db, err := sql.Open("postgres", address)
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	require.ErrorContains(t, db.Ping(), "does not exist")
}

func TestRedisIsEmptyAndOwn(t *testing.T) {
	t.Parallel()
	a, b := client(t, testenv.Redis(t)), client(t, testenv.Redis(t))
	require.NoError(t, a.Set(t.Context(), "k", "a", 0).Err())
	require.ErrorIs(t, b.Get(t.Context(), "k").Err(), redis.Nil)
	for i := range 300 { // more than there are databases: each is handed on, empty
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			c := client(t, testenv.Redis(t))
			require.Zero(t, c.DBSize(t.Context()).Val())
			require.NoError(t, c.Set(t.Context(), "k", i, 0).Err())
		})
	}
	require.Equal(t, "a", a.Get(t.Context(), "k").Val())
}

func TestRedisProcess(t *testing.T) {
	t.Parallel()
	began := time.Now()
	s := testenv.RedisProcess(t)
	t.Logf("started in %s", time.Since(began))
	c := client(t, s.URL)
	require.NoError(t, c.Set(t.Context(), "k", "v", 0).Err())

	s.Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.Error(t, c.Get(ctx, "k").Err(), "paused")
	s.Resume()
	require.Equal(t, "v", c.Get(t.Context(), "k").Val())

	s.Kill()
	require.Error(t, c.Get(t.Context(), "k").Err(), "killed")
	s.Restart()
	require.ErrorIs(t, c.Get(t.Context(), "k").Err(), redis.Nil, "empty after a restart")
	s.Pause() // the cleanup must cope
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	began := time.Now()
	c := testenv.RedisCluster(t)
	t.Logf("started in %s", time.Since(began))
	o, err := redis.ParseClusterURL(c.URL)
	require.NoError(t, err)
	o.MaxRetries = -1
	client := redis.NewClusterClient(o)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	keys := func() (n int) {
		require.Eventually(t, func() bool {
			n = 0
			for i := range 100 {
				held, err := client.Exists(t.Context(), fmt.Sprint(i)).Result()
				if err != nil {
					return false
				}
				n += int(held)
			}
			return true
		}, 20*time.Second, 10*time.Millisecond)
		return n
	}
	require.Zero(t, keys(), "empty")
	for i := range 100 {
		require.NoError(t, client.Set(t.Context(), fmt.Sprint(i), "v", 0).Err())
	}
	require.Equal(t, 100, keys())
	c.Kill(1)
	c.Restart(1)
	c.AwaitWhole()
	left := keys()
	require.Greater(t, left, 30)
	require.Less(t, left, 100, "what the killed one had is gone")
}

func TestPostgresProcess(t *testing.T) {
	t.Parallel()
	s := testenv.PostgresProcess(t)
	db := open(t, s.URL)
	_, err := db.Exec(`CREATE TABLE mine (v int); INSERT INTO mine VALUES (1)`)
	require.NoError(t, err)
	s.Kill()
	require.Error(t, db.Ping())
	s.Restart()
	var v int
	require.NoError(t, db.QueryRow(`SELECT v FROM mine`).Scan(&v), "what was committed survives")
	require.Equal(t, 1, v)
}

func TestURLsAreOfLoopback(t *testing.T) {
	t.Parallel()
	require.True(t, strings.Contains(testenv.Postgres(t), "@127.0.0.1:"))
	require.True(t, strings.Contains(testenv.Redis(t), "@127.0.0.1:"))
}

func open(t *testing.T, address string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func client(t *testing.T, address string) *redis.Client {
	t.Helper()
	c := redis.NewClient(testenv.RedisOptions(t, address))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

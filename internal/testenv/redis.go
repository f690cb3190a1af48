package testenv

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"gavel/internal/devstack"
)

// redis is a running server and those of its databases that no test has at the moment.
type redis struct {
	url  string
	free chan int
}

// Redis returns the URL of an empty numbered database that no other test has. More tests at once than the server has
// databases wait for one another.
func Redis(t testing.TB) string {
	t.Helper()
	Short(t)
	r, err := sharedRedis()
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	var number int
	select {
	case number = <-r.free:
	case <-t.Context().Done():
		t.Fatal("testenv: no database of Redis was free before the test ended")
	}
	address := database(r.url, strconv.Itoa(number))
	t.Cleanup(func() {
		r.free <- number // as many places as databases
	})
	// Now, not in the cleanup: a goroutine that outlived its test may have written since.
	if err := flush(t.Context(), address); err != nil {
		t.Fatalf("testenv: %v", err)
	}
	return address
}

// RedisProcess starts a Redis for t alone, in some 30 ms.
func RedisProcess(t testing.TB) *Server {
	t.Helper()
	s := own(t, devstack.Options{Redis: true}, devstack.Redis)
	s.URL = s.stack.RedisURL
	return s
}

func startRedis() (*redis, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchAndStart)
	defer cancel()
	stack, err := devstack.Start(ctx, devstack.Options{Redis: true})
	if err != nil {
		return nil, err
	}
	r := &redis{url: stack.RedisURL, free: make(chan int, devstack.RedisDatabases)}
	for n := range devstack.RedisDatabases {
		r.free <- n
	}
	return r, nil
}

func flush(ctx context.Context, address string) error {
	o, err := goredis.ParseURL(address)
	if err != nil {
		return fmt.Errorf("read URL of Redis: %w", err)
	}
	client := goredis.NewClient(o)
	defer func() { _ = client.Close() }()
	if err := client.FlushDB(ctx).Err(); err != nil {
		return fmt.Errorf("empty database of Redis: %w", err)
	}
	return nil
}

// RedisOptions reads a URL of Redis or RedisProcess for a client, and makes that fail at once instead of trying again, which
// is what a test of failures wants.
func RedisOptions(t testing.TB, address string) *goredis.Options {
	t.Helper()
	o, err := goredis.ParseURL(address)
	if err != nil {
		t.Fatalf("testenv: read URL of Redis: %v", err)
	}
	o.DialerRetries, o.MaxRetries, o.ContextTimeoutEnabled = 1, -1, true
	return o
}

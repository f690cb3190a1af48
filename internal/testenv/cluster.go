package testenv

import (
	"context"
	"fmt"
	"sync"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"gavel/internal/devstack"
)

// clusterMasters is the least that Redis Cluster is good for.
const clusterMasters = 3

// sharedCluster is the Redis Cluster of this test binary, and who has it.
var sharedCluster = sync.OnceValues(startCluster)

type cluster struct {
	*devstack.Cluster
	free chan struct{} // one token: the keys of a cluster are not divided into databases
}

func startCluster() (*cluster, error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchAndStart)
	defer cancel()
	c, err := devstack.StartCluster(ctx, devstack.Options{}, clusterMasters)
	if err != nil {
		return nil, err
	}
	free := make(chan struct{}, 1)
	free <- struct{}{}
	return &cluster{c, free}, nil
}

// Cluster is a Redis Cluster that a test has for itself while it runs.
type Cluster struct {
	// URL names all masters, as redis.Open of targeting/redis reads it.
	URL string

	t testing.TB
	c *cluster
}

// RedisCluster returns the cluster of this test binary, of three masters, empty. One test has it at a time.
func RedisCluster(t testing.TB) *Cluster {
	t.Helper()
	Short(t)
	c, err := sharedCluster()
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	select {
	case <-c.free:
	case <-t.Context().Done():
		t.Fatal("testenv: the Redis Cluster was not free before the test ended")
	}
	t.Cleanup(func() { c.free <- struct{}{} })
	mine := &Cluster{URL: c.URL, t: t, c: c}
	mine.AwaitWhole()
	if err := flushCluster(t.Context(), c.URL); err != nil {
		t.Fatalf("testenv: %v", err)
	}
	return mine
}

// AwaitWhole returns when all masters see each other and serve their slots.
func (c *Cluster) AwaitWhole() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), statement)
	defer cancel()
	if err := c.c.AwaitWhole(ctx); err != nil {
		c.t.Fatalf("testenv: %v", err)
	}
}

// Masters is how many there are.
func (c *Cluster) Masters() int { return c.c.Masters() }

// Kill ends a master as a crash would. It must be restarted before the test ends.
func (c *Cluster) Kill(master int) {
	c.t.Helper()
	c.t.Cleanup(func() {
		if err := c.c.Restart(context.Background(), master); err != nil {
			c.t.Errorf("testenv: %v", err)
		}
	})
	if err := c.c.Cluster.Kill(master); err != nil {
		c.t.Fatalf("testenv: %v", err)
	}
}

// Restart starts a master again; what it had is gone.
func (c *Cluster) Restart(master int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), statement)
	defer cancel()
	if err := c.c.Cluster.Restart(ctx, master); err != nil {
		c.t.Fatalf("testenv: %v", err)
	}
}

func flushCluster(ctx context.Context, address string) error {
	o, err := goredis.ParseClusterURL(address)
	if err != nil {
		return fmt.Errorf("read URL of Redis Cluster: %w", err)
	}
	client := goredis.NewClusterClient(o)
	defer func() { _ = client.Close() }()
	err = client.ForEachMaster(ctx, func(ctx context.Context, master *goredis.Client) error { return master.FlushAll(ctx).Err() })
	if err != nil {
		return fmt.Errorf("empty Redis Cluster: %w", err)
	}
	return nil
}

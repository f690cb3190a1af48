package devstack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

const (
	// slots is how many hash slots a Redis Cluster has.
	slots = 16384
	// clusterTick is how often a cluster that forms is asked how far it is.
	clusterTick = 20 * time.Millisecond
)

// clusterConfig makes a Redis a node of a cluster that takes a node for dead quickly.
var clusterConfig = []string{"cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 1000"}

// Cluster is a running Redis Cluster of masters without replicas, for tests. Its methods may be called from any goroutine.
type Cluster struct {
	// URL names all nodes: redis://…?addr=…
	URL string

	home  *home
	guard *guard
	nodes []*redisServer

	stop    sync.Once
	stopErr error
}

// StartCluster starts so many masters, divides the slots among them evenly, and returns when all see the whole cluster. Of the
// options only those about finding programs, and Log, count. On an error nothing is left running.
func StartCluster(ctx context.Context, o Options, masters int) (*Cluster, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.StartTimeout == 0 {
		o.StartTimeout = time.Minute
	}
	c := &Cluster{}
	if err := c.start(ctx, o, masters); err != nil {
		//nolint:contextcheck // the context may be the very thing that ended the start
		return nil, errors.Join(fmt.Errorf("start Redis Cluster: %w", err), c.Stop(context.Background()))
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, o Options, masters int) (err error) {
	if c.home, err = openHome("", false, o.Log); err != nil {
		return err
	}
	c.guard = startGuard(ctx, c.home.removeOnExit(), o.Log)
	found, err := locate(ctx, Options{Redis: true, CacheDir: o.CacheDir, NoFetch: o.NoFetch, Search: o.Search, Log: o.Log, Progress: o.Progress}, c.home)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.StartTimeout)
	defer cancel()
	l, password := launcher{home: c.home, guard: c.guard, log: o.Log}, rand.Text()
	for n := range masters {
		s := &redisServer{launcher: l, program: found[0], name: "redis-" + strconv.Itoa(n), password: password, extra: clusterConfig}
		if err := s.open(ctx); err != nil {
			return err
		}
		c.nodes = append(c.nodes, s)
	}
	c.URL = c.address()
	if err := c.form(ctx); err != nil {
		return err
	}
	return c.AwaitWhole(ctx)
}

// address is the URL of the first node with the others as parameters.
func (c *Cluster) address() string {
	u, _ := url.Parse(c.nodes[0].url()) // our own: it parses
	u.Path = ""
	q := u.Query()
	for _, s := range c.nodes[1:] {
		q.Add("addr", s.addr())
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func (s *redisServer) addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// form gives each node its slots and makes them known to each other.
func (c *Cluster) form(ctx context.Context) error {
	for i, s := range c.nodes {
		err := s.ask(ctx, func(client *goredis.Client) error {
			own := make([]int, 0, slots/len(c.nodes)+1)
			for slot := i * slots / len(c.nodes); slot < (i+1)*slots/len(c.nodes); slot++ {
				own = append(own, slot)
			}
			if err := client.ClusterAddSlots(ctx, own...).Err(); err != nil {
				return fmt.Errorf("add slots: %w", err)
			}
			if err := client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(); err != nil {
				return fmt.Errorf("set epoch: %w", err)
			}
			if i == 0 {
				return nil
			}
			if err := client.ClusterMeet(ctx, "127.0.0.1", strconv.Itoa(c.nodes[0].port)).Err(); err != nil {
				return fmt.Errorf("meet: %w", err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ask calls do with a client of one node.
func (s *redisServer) ask(ctx context.Context, do func(*goredis.Client) error) error {
	client := goredis.NewClient(&goredis.Options{Addr: s.addr(), Password: s.password, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true})
	return errors.Join(do(client), client.Close())
}

// AwaitWhole returns when every node sees every other and all slots are served.
func (c *Cluster) AwaitWhole(ctx context.Context) error {
	tick := time.NewTicker(clusterTick)
	defer tick.Stop()
	for {
		whole, err := c.isWhole(ctx)
		if whole {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the cluster: %w; its last answer: %w", context.Cause(ctx), errors.Join(err))
		case <-tick.C:
		}
	}
}

func (c *Cluster) isWhole(ctx context.Context) (bool, error) {
	for _, s := range c.nodes {
		var info string
		err := s.ask(ctx, func(client *goredis.Client) (err error) {
			info, err = client.ClusterInfo(ctx).Result()
			return err //nolint:wrapcheck // said by AwaitWhole
		})
		if err != nil {
			return false, err
		}
		if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(len(c.nodes))+"\r") {
			return false, fmt.Errorf("node %s says %q", s.addr(), info)
		}
	}
	return true, nil
}

// Masters is how many there are.
func (c *Cluster) Masters() int { return len(c.nodes) }

// Kill ends one master as a crash would. The others answer that the cluster is down once they have noticed.
func (c *Cluster) Kill(master int) error { return c.nodes[master].kill() }

// Restart starts a master again, which comes back with its slots and without its keys. The cluster is whole some seconds later.
func (c *Cluster) Restart(ctx context.Context, master int) error { return c.nodes[master].restart(ctx) }

// Stop ends all. A second call returns what the first did.
func (c *Cluster) Stop(ctx context.Context) error {
	c.stop.Do(func() {
		var errs []error
		for _, s := range c.nodes {
			errs = append(errs, s.stop(ctx))
		}
		if c.guard != nil {
			c.guard.dismiss()
		}
		if c.home != nil {
			errs = append(errs, c.home.close())
		}
		c.stopErr = errors.Join(errs...)
	})
	return c.stopErr
}

package torture

import (
	"context"
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
func (e *LateError) Error() string { return e.What + ": not within " + e.Within.String() }

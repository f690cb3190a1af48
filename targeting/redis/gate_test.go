package redis_test

import (
	"context"
	"net"
	"sync"

	goredis "github.com/redis/go-redis/v9"
)

// gate holds the commands of a client back while it is shut.
type gate struct{ mu sync.RWMutex }

func newGate() *gate { return &gate{} }

func (g *gate) shut() { g.mu.Lock() }
func (g *gate) open() { g.mu.Unlock() }

func (g *gate) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (g *gate) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		g.mu.RLock()
		defer g.mu.RUnlock()
		return next(ctx, cmd)
	}
}

func (g *gate) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		g.mu.RLock()
		defer g.mu.RUnlock()
		return next(ctx, cmds)
	}
}

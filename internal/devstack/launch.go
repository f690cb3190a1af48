package devstack

import (
	"context"
	"fmt"
	"log/slog"
)

// launcher starts servers in a home.
type launcher struct {
	home    *home
	guard   *guard
	log     *slog.Logger
	durable bool
}

func (l launcher) launch(ctx context.Context, p program) (server, error) {
	switch {
	case p.origin == OriginInProcess:
		return l.standIn()
	case p.service == Postgres:
		return l.postgres(ctx, p)
	default:
		return l.redis(ctx, p)
	}
}

// ports is how many ports are tried when somebody else takes the one that was free a moment ago.
const ports = 5

// onFreePort calls start with a free port until it succeeds or fails for another reason than the port.
func onFreePort(ctx context.Context, start func(port int) (*proc, error)) (*proc, int, error) {
	for try := 1; ; try++ {
		port, err := freePort(ctx)
		if err != nil {
			return nil, 0, err
		}
		p, err := start(port)
		if err == nil {
			return p, port, nil
		}
		if p == nil || !p.said("address already in use") {
			return nil, 0, err
		}
		if try == ports {
			return nil, 0, fmt.Errorf("tried %d ports: %w", ports, err)
		}
	}
}

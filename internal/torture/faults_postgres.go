package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"gavel/internal/devstack"
)

const (
	// nodesName is the application_name of the nodes' connections where a row must tell them from others.
	nodesName = "gavel-node"

	stormEvery, stormFor = 100 * time.Millisecond, 10 * time.Second
	exhaustedFor         = 15 * time.Second
	lockedFor            = time.Minute
	lockedRows           = 5
	crashes              = 3
	downAfterCrash       = 2 * time.Second
)

// postgresFaults are what happens to Postgres.
func postgresFaults() []Fault {
	return []Fault{
		{
			Name: "postmaster-kill-9", Short: true, Run: killPostmaster,
			About: fmt.Sprintf("kill -9 of the postmaster, %d times, started again after %v", crashes, downAfterCrash),
		},
		{
			Name: "backend-terminate-storm", Run: terminateStorm,
			About: fmt.Sprintf("pg_terminate_backend of all of the nodes' backends every %v for %v", stormEvery, stormFor),
			Setup: func(p *Plan) { p.DatabaseOptions = map[string]string{"application_name": nodesName} },
		},
		postgresStopped(15 * time.Second),
		postgresStopped(2 * time.Minute),
		{
			Name: "postgres-pool-exhausted", Run: exhaustPool,
			About: fmt.Sprintf("max_connections eaten by idle clients and the nodes' own connections cut, for %v", exhaustedFor),
		},
		{
			Name: "hot-row-locked", Run: lockHotRows,
			About: fmt.Sprintf("the %d hottest budget lines are locked from outside, as by SELECT FOR UPDATE, for %v", lockedRows, lockedFor),
			Setup: func(p *Plan) { p.Limit = max(p.Limit, lockedFor+30*time.Second) },
		},
	}
}

// restartPostgres starts Postgres again, also one that still runs.
func restartPostgres(ctx context.Context, w *World) error {
	if err := w.Stack.Restart(ctx, devstack.Postgres); err != nil {
		return fmt.Errorf("restart Postgres: %w", err)
	}
	return nil
}

// pidOf is the process of a service; it changes with each restart.
func pidOf(s *devstack.Stack, name devstack.Service) (int, error) {
	for _, i := range s.Info() {
		if i.Service == name && i.PID > 0 {
			return i.PID, nil
		}
	}
	return 0, fmt.Errorf("%s was not started by this run", name)
}

// signalService sends a signal to the process of a service.
func signalService(s *devstack.Stack, name devstack.Service, sig os.Signal) error {
	pid, err := pidOf(s, name)
	if err != nil {
		return err
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := p.Signal(sig); err != nil {
		return fmt.Errorf("signal %s: %w", name, err)
	}
	return nil
}

// killPostmaster leaves the backends without their parent: each notices by itself, in the middle of what it does.
func killPostmaster(ctx context.Context, w *World) error {
	for range crashes {
		if err := signalService(w.Stack, devstack.Postgres, os.Kill); err != nil {
			return err
		}
		err := Wait(ctx, downAfterCrash)
		// Also when time is up: the rows after this one need it.
		if err = errors.Join(err, restartPostgres(context.WithoutCancel(ctx), w)); err != nil {
			return err
		}
		if err := Wait(ctx, downAfterCrash); err != nil {
			return err
		}
	}
	return nil
}

func terminateStorm(ctx context.Context, w *World) error {
	total, rounds := 0, 0
	for end := time.Now().Add(stormFor); time.Now().Before(end); rounds++ {
		n, err := w.DB.Terminate(ctx, nodesName)
		if err != nil {
			return err
		}
		total += n
		if err := Wait(ctx, stormEvery); err != nil {
			return err
		}
	}
	w.Log("%d backends terminated in %d rounds", total, rounds)
	if total < rounds {
		return fmt.Errorf("only %d backends were terminated in %d rounds", total, rounds)
	}
	return nil
}

func postgresStopped(d time.Duration) Fault {
	return Fault{
		Name: fmt.Sprintf("postgres-stopped-%ds", int(d.Seconds())), About: fmt.Sprintf("Postgres is stopped for %v", d),
		Setup: func(p *Plan) { p.Limit = max(p.Limit, d+30*time.Second) },
		Run: func(ctx context.Context, w *World) error {
			if err := w.Stack.Kill(devstack.Postgres); err != nil {
				return fmt.Errorf("stop Postgres: %w", err)
			}
			err := Wait(ctx, d)
			return errors.Join(err, restartPostgres(context.WithoutCancel(ctx), w))
		},
	}
}

// exhaustPool takes every connection that the server has. The nodes lose theirs first, so that they need new ones.
func exhaustPool(ctx context.Context, w *World) error {
	turn := func(refuse bool) {
		for _, p := range w.PostgresProxies {
			p.RefuseNew(refuse)
		}
	}
	turn(true)
	defer turn(false)
	for _, p := range w.PostgresProxies {
		p.CutAll()
	}
	n, free, err := w.DB.EatConnections(ctx)
	if err != nil {
		return err
	}
	w.Log("%d idle connections are all that there are", n)
	turn(false)
	return errors.Join(Wait(ctx, exhaustedFor), free())
}

func lockHotRows(ctx context.Context, w *World) error {
	ids, release, err := w.DB.LockHottest(ctx, lockedRows)
	if err != nil {
		return err
	}
	w.Log("budget periods %v are locked", ids)
	err = Wait(ctx, lockedFor)
	if len(ids) < lockedRows {
		err = errors.Join(err, fmt.Errorf("only %d rows were locked", len(ids)))
	}
	return errors.Join(err, release())
}

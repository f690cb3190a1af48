package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
)

// stop ends the node in order: stop accepting, finish requests, bill what the journal holds, give the leases back, stop the
// rest, close. Each step is logged with its time. What cannot be billed in time stays in the journal for the next start.
func (n *node) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.config.StopTimeout)
	defer cancel()
	var errs []error
	step := func(name string, do func() error) {
		start := time.Now()
		err := do()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		n.log.Info("stop: "+name, "took", time.Since(start).Round(time.Millisecond), "error", err)
	}
	step("finish requests", func() error { return stopServing(ctx, n.app, n.ads) })
	step("billing", func() error {
		n.stopBills()
		n.billing.Wait()
		n.ingest.Wait()
		return n.biller.Drain(ctx)
	})
	if len(errs) == 0 { // a node with events in its journal stays live: leases wait for it
		step("return leases", func() error { return n.keeper.Finish(ctx) })
	}
	step("admin listener", func() error { return n.admin.Shutdown(ctx) })
	step("jobs", func() error { return waitFor(ctx, n.stopJobs, &n.jobs) })
	step("pools", n.closePools)
	return errors.Join(errs...)
}

// stopServing stops accepting and waits for the requests that are under way. It closes the listener itself: the app knows only of
// one whose goroutine has come to it, and would afterwards serve for ever one whose goroutine has not.
func stopServing(ctx context.Context, app *fiber.App, l net.Listener) error {
	err := l.Close()
	if e := app.ShutdownWithContext(ctx); !errors.Is(e, net.ErrClosed) { // it has closed the listener once more
		err = errors.Join(err, e)
	}
	return err
}

func waitFor(ctx context.Context, stop context.CancelFunc, wg *sync.WaitGroup) error {
	stop()
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *node) closePools() error {
	var errs []error
	for _, c := range n.closers() {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// closers are what is open, newest first.
func (n *node) closers() []func() error {
	var list []func() error
	if n.journal != nil {
		list = append(list, n.journal.Close)
	}
	if n.serving != nil {
		list = append(list, n.serving.Close)
	}
	if n.store != nil {
		list = append(list, n.store.Close)
	}
	if n.redis != nil {
		list = append(list, n.redis.Close)
	}
	if n.db != nil {
		list = append(list, n.db.Close)
	}
	return list
}

// abandon ends a node that did not come up.
func (n *node) abandon() error {
	n.stopJobs()
	n.stopBills()
	if n.admin != nil {
		_ = n.admin.Close()
	}
	n.jobs.Wait()
	n.billing.Wait()
	return n.closePools()
}

package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func listening(t *testing.T) (*fiber.App, net.Listener) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return fiber.New(fiber.Config{DisableStartupMessage: true}), l
}

// TestAStopBeforeTheListenerServes stops a node whose listener's goroutine has not run yet, as on a busy machine.
func TestAStopBeforeTheListenerServes(t *testing.T) {
	t.Parallel()
	app, l := listening(t)
	require.NoError(t, stopServing(t.Context(), app, l))
	n := &node{}
	n.jobs.Go(func() { assert.NoError(t, app.Listener(l)) })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, waitFor(ctx, func() {}, &n.jobs), "the listener serves for ever")
}

// TestAStopFinishesRequests stops a server in the middle of a request, which has its answer.
func TestAStopFinishesRequests(t *testing.T) {
	t.Parallel()
	app, l := listening(t)
	began, goOn := make(chan struct{}), make(chan struct{})
	app.Get("/", func(c *fiber.Ctx) error {
		close(began)
		<-goOn
		return c.SendString("done")
	})
	served, stopped, answer := make(chan error, 1), make(chan error, 1), make(chan string, 1)
	go func() { served <- app.Listener(l) }()
	go func() {
		a, err := http.Get("http://" + l.Addr().String())
		if !assert.NoError(t, err) {
			close(answer)
			return
		}
		body, err := io.ReadAll(a.Body)
		assert.NoError(t, errors.Join(err, a.Body.Close()))
		answer <- string(body)
	}()
	<-began
	go func() { stopped <- stopServing(t.Context(), app, l) }()
	require.NoError(t, <-served, "it accepts no more")
	close(goOn)
	require.Equal(t, "done", <-answer)
	require.NoError(t, <-stopped)
}

package openbandit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Ready is what `gavel dev --ready-file` writes: where a server is and the keys to it.
type Ready struct {
	AdsURL      string `json:"ads_url"`
	FeedKey     string `json:"feed_key"`
	OperatorKey string `json:"operator_key"`
	DatabaseURL string `json:"database_url"`
	RedisURL    string `json:"redis_url"`
}

// ReadReady reads a ready file.
func ReadReady(path string) (Ready, error) {
	var r Ready
	text, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("read ready file: %w", err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read ready file %s: %w", path, err)
	}
	for name, v := range map[string]string{"ads_url": r.AdsURL, "feed_key": r.FeedKey, "operator_key": r.OperatorKey, "database_url": r.DatabaseURL} {
		if v == "" {
			return r, fmt.Errorf("read ready file %s: %s is missing", path, name)
		}
	}
	return r, nil
}

const (
	requestTimeout = 10 * time.Second
	// reconnectEvery is how often a server that is away is tried again.
	reconnectEvery = 100 * time.Millisecond
	// busyPatience is how long a server may answer 503 before that is an error, also without a ride-out.
	busyPatience  = 30 * time.Second
	maxRetryAfter = 5 * time.Second
	maxAnswer     = 8 << 20
)

// who is the key that a call is made with.
type who int

const (
	nobody who = iota
	feed
	operator
)

// call is one request. Everything that is sent may be sent twice: creates carry an idempotency key, events are idempotent,
// and an ad request that was answered to nobody has only reserved money for a while.
type call struct {
	method, path string
	as           who
	body         []byte
	idempotency  string
}

type answer struct {
	status int
	body   []byte
	took   time.Duration // of the last attempt
	// unsure says that an earlier attempt may have reached the server without its answer reaching us.
	unsure bool
}

// errGone says that a server did not come back within the ride-out; without one, that it was away at all.
var errGone = errors.New("the server is away")

// client speaks to the server that the ready file names at the moment. It is safe for concurrent use.
type client struct {
	http    *http.Client
	path    string
	rideOut time.Duration

	mu    sync.RWMutex
	ready Ready

	requests, cut, busy atomic.Int64 // attempts; those without an answer; those answered 503
}

func newClient(path string, rideOut time.Duration, connections int) (*client, error) {
	ready, err := ReadReady(path)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: 2 * connections, IdleConnTimeout: 30 * time.Second, DisableCompression: true}
	return &client{path: path, rideOut: rideOut, ready: ready, http: &http.Client{
		Transport: transport, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// access is what the ready file said last.
func (c *client) access() Ready {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.ready
}

// reread looks whether the server has moved. A file that is gone or half there changes nothing.
func (c *client) reread() {
	if ready, err := ReadReady(c.path); err == nil {
		c.mu.Lock()
		c.ready = ready
		c.mu.Unlock()
	}
}

// do sends a call until it has an answer that is not "busy", or patience ends. The error wraps errGone, or is ctx's.
func (c *client) do(ctx context.Context, r *call) (answer, error) {
	var a answer
	var since time.Time // the first attempt that failed
	for {
		retryAfter, err := c.attempt(ctx, r, &a)
		if err == nil && a.status != http.StatusServiceUnavailable {
			return a, nil
		}
		patience := c.rideOut
		if err == nil {
			patience = max(patience, busyPatience)
			c.busy.Add(1)
		} else {
			c.cut.Add(1)
			if ctx.Err() != nil {
				return a, ctx.Err()
			}
			retryAfter = reconnectEvery
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since)+retryAfter > patience {
			if err == nil {
				return a, nil // the caller sees the 503
			}
			return a, fmt.Errorf("%w: %w", errGone, err)
		}
		if err := wait(ctx, retryAfter); err != nil {
			return a, err
		}
		c.reread()
	}
}

// attempt sends a call once.
func (c *client) attempt(ctx context.Context, r *call, a *answer) (retryAfter time.Duration, err error) {
	ready := c.access()
	// The transport sends a request again by itself when a kept connection turns out to be dead. Who had a connection may
	// have been heard.
	connections := 0
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connections++ }})
	defer func() {
		if err != nil {
			a.unsure = a.unsure || connections > 0
		}
		if connections > 1 {
			c.cut.Add(int64(connections - 1))
			a.unsure = true
		}
	}()
	req, err := http.NewRequestWithContext(ctx, r.method, ready.AdsURL+r.path, bytes.NewReader(r.body))
	if err != nil {
		return 0, fmt.Errorf("make request: %w", err)
	}
	switch r.as {
	case feed:
		req.Header.Set("Authorization", "Bearer "+ready.FeedKey)
	case operator:
		req.Header.Set("Authorization", "Bearer "+ready.OperatorKey)
	case nobody:
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.idempotency != "" {
		req.Header.Set("Idempotency-Key", r.idempotency)
	}
	c.requests.Add(1)
	start := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	a.took = time.Since(start)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return 0, fmt.Errorf("read answer: %w", err)
	}
	a.status, a.body = resp.StatusCode, body
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		seconds = 1
	}
	return min(time.Duration(seconds)*time.Second, maxRetryAfter), nil
}

// wait waits, or returns ctx's error.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pathOf is an event URL without scheme and host: the server may have moved since it made the URL.
func pathOf(url string) (string, error) {
	if i := strings.Index(url, "/v1/"); i >= 0 {
		return url[i:], nil
	}
	return "", fmt.Errorf("the event URL %.100q has no /v1/", url)
}

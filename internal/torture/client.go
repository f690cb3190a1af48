package torture

import (
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// client speaks to the nodes as browsers, apps and a feed service do: each try goes to one node once, and its fate is known.
type client struct {
	hosts   []*host
	feedKey string
}

// host is one node as its clients see it. A node that does not answer is left alone but for one try every probeEvery.
type host struct {
	number int
	addr   string
	http   *fasthttp.HostClient

	open    atomic.Bool  // the last try had no answer
	probeAt atomic.Int64 // when the next try may go there: Unix nanoseconds
}

const (
	dialWithin  = 500 * time.Millisecond
	pageWithin  = time.Second
	eventWithin = 3 * time.Second
	probeEvery  = 100 * time.Millisecond
	maxConns    = 2048
	idleFor     = 20 * time.Second
)

func newClient(addresses []string, feedKey string) *client {
	c := &client{feedKey: feedKey}
	for i, addr := range addresses {
		c.hosts = append(c.hosts, &host{number: i, addr: addr, http: &fasthttp.HostClient{
			Addr: addr, MaxConns: maxConns, MaxIdleConnDuration: idleFor, MaxIdemponentCallAttempts: 1, // each try is ours to count
			NoDefaultUserAgentHeader: true, DisablePathNormalizing: true,
			Dial: func(addr string) (net.Conn, error) {
				dialer := net.Dialer{Timeout: dialWithin}
				conn, err := dialer.Dial("tcp4", addr)
				if err != nil {
					return nil, &dialError{err}
				}
				return conn, nil
			},
		}})
	}
	return c
}

// close ends the connections that are not in use.
func (c *client) close() {
	for _, h := range c.hosts {
		h.http.CloseIdleConnections()
	}
}

// dialError says that a node cannot have heard of a request.
type dialError struct{ error }

// Unwrap is the cause.
func (e *dialError) Unwrap() error { return e.error }

// pick chooses a node: the preferred one, or the next that answers. With none it is the preferred one.
func (c *client) pick(preferred int) *host {
	now := time.Now()
	for i := range c.hosts {
		if h := c.hosts[(preferred+i)%len(c.hosts)]; h.usable(now) {
			return h
		}
	}
	return c.hosts[preferred%len(c.hosts)]
}

// usable reports whether a try may go to the node: it answers, or it is time to look again.
func (h *host) usable(now time.Time) bool {
	if !h.open.Load() {
		return true
	}
	at := h.probeAt.Load()
	return now.UnixNano() >= at && h.probeAt.CompareAndSwap(at, now.Add(probeEvery).UnixNano())
}

// do sends one request once and returns the status, NoAnswer or NotSent. The body is in resp.
func (h *host) do(req *fasthttp.Request, resp *fasthttp.Response, within time.Duration) int {
	err := h.http.DoTimeout(req, resp, within)
	if err == nil {
		h.open.Store(false)
		return resp.StatusCode()
	}
	if !h.open.Swap(true) {
		h.http.CloseIdleConnections() // the others are most likely dead as well
	}
	h.probeAt.Store(time.Now().Add(probeEvery).UnixNano())
	var dial *dialError
	if errors.As(err, &dial) || errors.Is(err, fasthttp.ErrNoFreeConns) {
		return NotSent
	}
	return NoAnswer
}

// get is a GET of a path.
func (h *host) get(path string, within time.Duration) int {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.SetRequestURI("http://" + h.addr + path)
	return h.do(req, resp, within)
}

// post is a POST of JSON; read gets the answer's body, which it must not keep.
func (h *host) post(path, key string, body []byte, within time.Duration, read func(status int, body []byte)) int {
	req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(resp)
	req.Header.SetMethod(fasthttp.MethodPost)
	req.SetRequestURI("http://" + h.addr + path)
	req.Header.SetContentType("application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	req.SetBodyRaw(body)
	status := h.do(req, resp, within)
	if status > 0 {
		read(status, resp.Body())
	}
	return status
}

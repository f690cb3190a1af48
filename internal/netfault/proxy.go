// Package netfault is a TCP proxy that breaks the network on purpose: it delays, holds, cuts and refuses. It passes raw bytes
// and knows no protocol.
//
// A held direction is a black hole: nothing arrives, not even that the other side has closed, and nobody is told. What was
// sent meanwhile arrives on release, in order. One direction alone is a one-way cut.
package netfault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Direction says which way bytes go.
type Direction int

// The directions. Both is for Hold alone.
const (
	ToServer Direction = 1 << iota
	ToClient
	Both = ToServer | ToClient
)

const (
	chunkBytes  = 32 << 10
	queueChunks = 64 // what one direction of a connection keeps while it is held or delayed; then the sender waits
	dialTimeout = 5 * time.Second
	acceptPause = 10 * time.Millisecond
)

// Proxy passes the connections that it accepts on to a target. It is safe for concurrent use.
type Proxy struct {
	listener net.Listener
	ctx      context.Context
	stop     context.CancelFunc
	work     sync.WaitGroup

	mu      sync.Mutex
	target  string
	refuse  bool
	delay   time.Duration
	held    Direction
	changed chan struct{} // closed and replaced when delay or held change
	links   map[*link]struct{}
	pattern []byte
	cuts    int // how many more times pattern cuts
}

// link is one connection through the proxy.
type link struct {
	client *net.TCPConn
	cut    atomic.Bool   // the next bytes of the server are not passed on: they cut the link
	done   chan struct{} // closed by reset

	mu     sync.Mutex
	server *net.TCPConn // nil while it is being opened
	over   bool
}

// Listen starts a proxy to target (host:port) on a free port of 127.0.0.1. ctx bounds the start alone: it works until Close.
func Listen(ctx context.Context, target string) (*Proxy, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &Proxy{listener: listener, target: target, changed: make(chan struct{}), links: map[*link]struct{}{}}
	p.ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.work.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens, host:port. It never changes.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// SetTarget changes where connections go that are opened from now on.
func (p *Proxy) SetTarget(target string) { p.set(func() { p.target = target }) }

// Delay makes bytes arrive d later than they were sent, in each direction and on every connection, also the open ones: an
// exchange takes 2·d longer. Opening a connection is not delayed. 0 ends it.
func (p *Proxy) Delay(d time.Duration) { p.set(func() { p.delay = d }) }

// Hold makes the directions dir black holes, or ends that; the other direction stays as it is. New connections are opened,
// and no bytes pass.
func (p *Proxy) Hold(dir Direction, on bool) {
	p.set(func() {
		if on {
			p.held |= dir
		} else {
			p.held &^= dir
		}
	})
}

// RefuseNew resets connections as soon as they are opened, or ends that. Open ones stay.
func (p *Proxy) RefuseNew(on bool) { p.set(func() { p.refuse = on }) }

// CutOnClientBytes cuts a connection on which the client sends pattern, the next n times: the server gets it, and the first
// bytes that the server answers after it are thrown away while both sides are reset. So the server has done what was asked,
// and the client cannot know. n = 0 ends it.
func (p *Proxy) CutOnClientBytes(pattern []byte, n int) {
	p.set(func() { p.pattern, p.cuts = bytes.Clone(pattern), n })
}

// CutsLeft is how many of the cuts that CutOnClientBytes asked for have not begun.
func (p *Proxy) CutsLeft() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cuts
}

// CutAll resets every open connection on both sides and returns how many there were.
func (p *Proxy) CutAll() int {
	p.mu.Lock()
	links := make([]*link, 0, len(p.links))
	for l := range p.links {
		links = append(links, l)
	}
	p.mu.Unlock()
	for _, l := range links {
		l.reset()
	}
	return len(links)
}

// Close stops listening, resets every connection and returns when all is quiet. A second call does nothing.
func (p *Proxy) Close() {
	p.stop()
	_ = p.listener.Close() // it has no state that could be lost
	p.CutAll()
	p.work.Wait()
}

// set changes a setting and wakes those who wait for one.
func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			select {
			case <-p.ctx.Done():
				return
			case <-time.After(acceptPause): // out of file descriptors, or the client was gone again
			}
			continue
		}
		client, ok := c.(*net.TCPConn)
		if !ok {
			_ = c.Close() // cannot be: the listener is one of TCP
			continue
		}
		p.work.Go(func() { p.serve(client) })
	}
}

// serve opens the other side and passes bytes until both sides have ended, or one is broken.
func (p *Proxy) serve(client *net.TCPConn) {
	l := &link{client: client, done: make(chan struct{})}
	defer l.reset()
	p.mu.Lock()
	target, refuse := p.target, p.refuse
	if !refuse {
		p.links[l] = struct{}{}
	}
	p.mu.Unlock()
	if refuse || p.ctx.Err() != nil { // Close may have looked before the link was there
		return
	}
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.links, l)
	}()
	dialer := net.Dialer{Timeout: dialTimeout}
	c, err := dialer.DialContext(p.ctx, "tcp", target)
	if err != nil {
		return
	}
	server, ok := c.(*net.TCPConn)
	if !ok || !l.attach(server) {
		_ = c.Close() // cut meanwhile
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.pass(l, ToServer, client, server) })
	both.Go(func() { p.pass(l, ToClient, server, client) })
	both.Wait()
}

// chunk is what was read at once, and when. The last one of a direction says in err how it ended.
type chunk struct {
	data []byte
	at   time.Time
	err  error
}

// pass carries one direction to its end. Reading goes on while bytes wait to be written, so that a delay does not become a
// limit on how much passes.
func (p *Proxy) pass(l *link, dir Direction, from, to *net.TCPConn) {
	queue := make(chan chunk, queueChunks)
	var reader sync.WaitGroup
	reader.Go(func() { l.read(dir, from, queue) })
	defer reader.Wait()
	var tail []byte
	for {
		var c chunk
		select {
		case <-l.done:
			return
		case c = <-queue:
		}
		if !p.wait(l, dir, c.at) {
			return
		}
		if dir == ToServer {
			tail = p.look(l, append(tail, c.data...))
		}
		if _, err := to.Write(c.data); err != nil || (c.err != nil && !errors.Is(c.err, io.EOF)) {
			l.reset()
			return
		}
		if c.err != nil {
			_ = to.CloseWrite() // the other direction may go on; if this is broken, it finds out itself
			return
		}
	}
}

// read fills the queue until from ends.
func (l *link) read(dir Direction, from *net.TCPConn, queue chan<- chunk) {
	for {
		buf := make([]byte, chunkBytes)
		n, err := from.Read(buf)
		if dir == ToClient && l.cut.Load() && (n > 0 || err != nil) {
			l.reset()
			return
		}
		select {
		case queue <- chunk{buf[:n], time.Now(), err}:
		case <-l.done:
			return
		}
		if err != nil {
			return
		}
	}
}

// wait returns true when bytes that came at a time may pass, false when the link has ended.
func (p *Proxy) wait(l *link, dir Direction, at time.Time) bool {
	for {
		p.mu.Lock()
		held, left, changed := p.held&dir != 0, time.Until(at.Add(p.delay)), p.changed
		p.mu.Unlock()
		if !held && left <= 0 {
			return true
		}
		var due <-chan time.Time
		var timer *time.Timer
		if !held {
			timer = time.NewTimer(left)
			due = timer.C
		}
		select {
		case <-l.done:
		case <-changed:
		case <-due:
		}
		if timer != nil {
			timer.Stop()
		}
		select {
		case <-l.done:
			return false
		default:
		}
	}
}

// look searches what the client is sending for the pattern, and returns the end of it, which may be the pattern's beginning.
func (p *Proxy) look(l *link, sent []byte) (tail []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cuts == 0 || len(p.pattern) == 0 {
		return nil
	}
	if bytes.Contains(sent, p.pattern) {
		p.cuts--
		l.cut.Store(true) // before the server gets it, so that no answer can come first
		return nil
	}
	return bytes.Clone(sent[max(0, len(sent)-len(p.pattern)+1):])
}

// attach gives the link its other side, unless it has ended.
func (l *link) attach(server *net.TCPConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.server = server
	return !l.over
}

// reset ends the link at once: both sides get a reset, not an orderly end. A second call does nothing.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over = true
	close(l.done)
	for _, c := range []*net.TCPConn{l.client, l.server} {
		if c != nil {
			_ = c.SetLinger(0) // a connection that is broken already needs no reset
			_ = c.Close()
		}
	}
}

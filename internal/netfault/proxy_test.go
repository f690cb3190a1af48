package netfault_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"gavel/internal/netfault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a TCP server whose connections the test speaks on itself.
type server struct {
	addr  string
	conns chan *net.TCPConn
}

func listen(t *testing.T) *server {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	s := &server{addr: l.Addr().String(), conns: make(chan *net.TCPConn, 16)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns <- c.(*net.TCPConn)
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
		for len(s.conns) > 0 {
			_ = (<-s.conns).Close()
		}
	})
	return s
}

func proxy(t *testing.T, target string) *netfault.Proxy {
	t.Helper()
	p, err := netfault.Listen(t.Context(), target)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

func dial(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp4", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	return c.(*net.TCPConn)
}

// open is a connection through the proxy and its other end.
func open(t *testing.T, p *netfault.Proxy, s *server) (client, other *net.TCPConn) {
	t.Helper()
	client = dial(t, p.Addr())
	select {
	case other = <-s.conns:
	case <-time.After(10 * time.Second):
		t.Fatal("the proxy did not connect")
	}
	t.Cleanup(func() { _ = other.Close() })
	require.NoError(t, other.SetDeadline(time.Now().Add(10*time.Second)))
	return client, other
}

func say(t *testing.T, c *net.TCPConn, text string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
}

func hear(t *testing.T, c *net.TCPConn, text string) {
	t.Helper()
	got := make([]byte, len(text))
	_, err := io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

// silent: nothing comes for a while.
func silent(t *testing.T, c *net.TCPConn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(60*time.Millisecond)))
	n, err := c.Read(make([]byte, 1))
	require.Zero(t, n)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
}

// broken: the connection was reset, not ended in order, and gave no byte before.
func broken(t *testing.T, c *net.TCPConn) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	require.Zero(t, n)
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// refused: a new connection is reset, at once or while it is being opened.
func refused(t *testing.T, addr string) {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp4", addr)
	if err == nil {
		defer func() { _ = c.Close() }()
		_, err = c.Read(make([]byte, 1))
	}
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestBytesAndEndsPass(t *testing.T) {
	s := listen(t)
	p := proxy(t, s.addr)
	client, other := open(t, p, s)
	big := bytes.Repeat([]byte("0123456789"), 1<<20)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = client.Write(big)
		_ = client.CloseWrite()
	})
	got, err := io.ReadAll(other)
	require.NoError(t, err)
	wg.Wait()
	require.True(t, bytes.Equal(big, got))
	say(t, other, "the other half is still open")
	require.NoError(t, other.Close())
	got, err = io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "the other half is still open", string(got))
}

func TestDelayIsLatencyAndNoLimit(t *testing.T) {
	const d = 60 * time.Millisecond
	s := listen(t)
	p := proxy(t, s.addr)
	client, other := open(t, p, s)
	p.Delay(d) // the connection is open already
	began := time.Now()
	for range 20 {
		say(t, client, "ping")
	}
	for range 20 {
		hear(t, other, "ping")
	}
	require.GreaterOrEqual(t, time.Since(began), d)
	say(t, other, "pong")
	hear(t, client, "pong")
	took := time.Since(began)
	require.GreaterOrEqual(t, took, 2*d)
	require.Less(t, took, 12*d, "what is sent together is delayed together")
	p.Delay(time.Hour)
	say(t, client, "late")
	silent(t, other)
	p.Delay(0)
	hear(t, other, "late")
}

func TestHoldIsABlackHoleUntilRelease(t *testing.T) {
	s := listen(t)
	p := proxy(t, s.addr)
	client, other := open(t, p, s)

	p.Hold(netfault.ToClient, true)
	say(t, client, "question")
	hear(t, other, "question")
	say(t, other, "one, ")
	say(t, other, "two")
	silent(t, client)
	p.Hold(netfault.ToClient, false)
	hear(t, client, "one, two")

	p.Hold(netfault.Both, true)
	say(t, client, "a")
	say(t, other, "b")
	p.Hold(netfault.ToServer, false)
	hear(t, other, "a")
	silent(t, client)
	p.Hold(netfault.ToServer, true)
	p.Hold(netfault.ToClient, false)
	hear(t, client, "b")
	require.NoError(t, client.Close())
	silent(t, other) // nor does anybody learn that the client is gone
	newer, newerOther := open(t, p, s)
	say(t, newer, "new")
	silent(t, newerOther)
	p.Hold(netfault.Both, false)
	hear(t, newerOther, "new")
	_, err := other.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func TestCutAllResetsBothSides(t *testing.T) {
	s := listen(t)
	p := proxy(t, s.addr)
	client, other := open(t, p, s)
	held, heldOther := open(t, p, s)
	for _, c := range []*net.TCPConn{client, held} {
		say(t, c, "hello")
	}
	for _, c := range []*net.TCPConn{other, heldOther} {
		hear(t, c, "hello")
	}
	p.Hold(netfault.Both, true)
	say(t, held, "lost")
	require.Equal(t, 2, p.CutAll())
	for _, c := range []*net.TCPConn{client, other, held, heldOther} {
		broken(t, c)
	}
	p.Hold(netfault.Both, false)
	client, other = open(t, p, s)
	say(t, client, "again")
	hear(t, other, "again")
}

func TestRefuseNewKeepsWhatIsOpen(t *testing.T) {
	s := listen(t)
	p := proxy(t, s.addr)
	client, other := open(t, p, s)
	p.RefuseNew(true)
	refused(t, p.Addr())
	require.Empty(t, s.conns)
	say(t, client, "still")
	hear(t, other, "still")
	p.RefuseNew(false)
	client, other = open(t, p, s)
	say(t, client, "same port")
	hear(t, other, "same port")
}

func TestCutOnClientBytesCutsBeforeTheAnswer(t *testing.T) {
	s := listen(t)
	p := proxy(t, s.addr)
	p.CutOnClientBytes([]byte("COMMIT"), 2)
	bystander, bystanderOther := open(t, p, s)

	client, other := open(t, p, s)
	say(t, client, "BEGIN;COM")
	hear(t, other, "BEGIN;COM")
	say(t, other, "begun")
	hear(t, client, "begun")
	require.Equal(t, 2, p.CutsLeft())
	say(t, client, "MIT;") // the pattern came in two pieces
	hear(t, other, "MIT;") // the server gets it
	silent(t, client)
	require.Equal(t, 1, p.CutsLeft())
	say(t, other, "committed")
	broken(t, client)
	broken(t, other)

	client, other = open(t, p, s)
	say(t, client, "COMMIT")
	hear(t, other, "COMMIT")
	require.NoError(t, other.Close()) // it died of it: the client sees a cut just the same
	broken(t, client)

	client, other = open(t, p, s)
	say(t, client, "COMMIT")
	hear(t, other, "COMMIT")
	say(t, other, "committed")
	hear(t, client, "committed")
	say(t, bystander, "unharmed")
	hear(t, bystanderOther, "unharmed")
}

func TestSetTargetIsForNewConnections(t *testing.T) {
	first, second := listen(t), listen(t)
	p := proxy(t, first.addr)
	a, aOther := open(t, p, first)
	p.SetTarget(second.addr)
	b, bOther := open(t, p, second)
	say(t, a, "first")
	hear(t, aOther, "first")
	say(t, b, "second")
	hear(t, bOther, "second")
}

func TestAnAbsentServerIsAReset(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	p := proxy(t, l.Addr().String())
	require.NoError(t, l.Close())
	refused(t, p.Addr())
}

func TestCloseEndsEverything(t *testing.T) {
	s := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	p, err := netfault.Listen(ctx, s.addr)
	require.NoError(t, err)
	cancel() // it was for the start alone
	client, other := open(t, p, s)
	say(t, client, "hello")
	hear(t, other, "hello")
	p.Hold(netfault.Both, true)
	p.Delay(time.Hour)
	say(t, client, "never comes")
	p.Close()
	p.Close()
	broken(t, client)
	broken(t, other)
	var d net.Dialer
	_, err = d.DialContext(t.Context(), "tcp4", p.Addr())
	require.True(t, errors.Is(err, syscall.ECONNREFUSED), "%v", err)
}

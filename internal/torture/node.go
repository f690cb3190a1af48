package torture

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Node is a `gavel serve` process that can be killed and started again. Its addresses and its journal stay the same. Its methods
// may be called from any goroutine, but only one goroutine at a time may start or end a node.
type Node struct {
	// Number is 0 for the first node.
	Number int
	// AdsURL and AdminURL have no slash at the end.
	AdsURL, AdminURL string
	// JournalDir is the node's journal. It may be emptied while the node is not running; then the node that starts is another one.
	JournalDir string

	program string
	env     map[string]string // what every start of it gets
	logFile string
	log     func(format string, args ...any)

	mu       sync.Mutex
	cmd      *exec.Cmd
	exited   chan struct{} // closed when cmd has ended
	exitErr  error         // how; valid after exited
	expected bool          // somebody asked it to end, or said that it may
	accident []string      // ends that nobody asked for
	starts   int
}

const (
	// readyWithin is how long a node may take from its start to its first ad.
	readyWithin = 20 * time.Second
	// stopWithin is how long a node may take to stop in order, above its own GAVEL_STOP_TIMEOUT of 20 s.
	stopWithin = 30 * time.Second
	pollEvery  = 20 * time.Millisecond
)

// Launch starts the process and does not wait until it is ready. extraEnv are "NAME=value", for this start alone.
func (n *Node) Launch(extraEnv ...string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running() {
		return fmt.Errorf("node %d runs already", n.Number)
	}
	out, err := os.OpenFile(n.logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log of node %d: %w", n.Number, err)
	}
	defer func() { _ = out.Close() }() // the child has its own
	n.starts++
	cmd := exec.CommandContext(context.Background(), n.program, "serve") //nolint:gosec // ourselves
	cmd.Dir = filepath.Dir(n.logFile)
	cmd.Env = environment(n.env, extraEnv)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = childAttr()
	started, exited := make(chan error, 1), make(chan struct{})
	go n.run(cmd, started, exited)
	if err := <-started; err != nil {
		return fmt.Errorf("start node %d: %w", n.Number, err)
	}
	n.cmd, n.exited, n.exitErr, n.expected = cmd, exited, nil, false
	return nil
}

// run starts a child and waits for its end on one thread: the kernel's death signal follows the thread that forked.
func (n *Node) run(cmd *exec.Cmd, started chan<- error, exited chan struct{}) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	err := cmd.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.exitErr = err
	if !n.expected {
		n.accident = append(n.accident, fmt.Sprintf("node %d ended by itself: %v; %s", n.Number, orEnded(err), lastLine(n.logFile)))
	}
	close(exited)
}

// Start starts the process and waits until it is ready. It fails when the process ends before that.
func (n *Node) Start(ctx context.Context, extraEnv ...string) error {
	if err := n.Launch(extraEnv...); err != nil {
		return err
	}
	return n.Ready(ctx)
}

// Ready waits until the node answers that it is ready, for 20 seconds.
func (n *Node) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		err := get(ctx, &client, n.AdminURL+"/readyz", nil)
		if err == nil {
			return nil
		}
		select {
		case <-n.Exited():
			return fmt.Errorf("node %d ended before it was ready: %w; %s", n.Number, orEnded(n.exitError()), lastLine(n.logFile))
		case <-ctx.Done():
			return fmt.Errorf("node %d is not ready: %w", n.Number, err)
		case <-time.After(pollEvery):
		}
	}
}

// Kill is kill -9. It returns when the process is gone; a node that does not run is no error.
func (n *Node) Kill() error {
	n.MayExit()
	return n.end(syscall.SIGKILL, stopWithin)
}

// Terminate is SIGTERM: the node stops in order. It returns when the process is gone, with an error if that was not in order.
func (n *Node) Terminate() error {
	if !n.Alive() {
		return nil
	}
	n.MayExit()
	if err := n.end(syscall.SIGTERM, stopWithin); err != nil {
		return errors.Join(err, n.Kill())
	}
	if err := n.exitError(); err != nil {
		return fmt.Errorf("node %d did not stop in order: %w; %s", n.Number, err, lastLine(n.logFile))
	}
	return nil
}

// Pause is SIGSTOP: the process keeps its connections and its port, and does nothing.
func (n *Node) Pause() error { return n.signal(sigStop) }

// Resume is SIGCONT. A node that does not run is no error.
func (n *Node) Resume() error { return n.signal(sigCont) }

// MayExit says that the end of the process that runs now is part of the row: a failpoint kills it, for one.
func (n *Node) MayExit() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.expected = true
}

// Alive reports whether the process runs, or is paused.
func (n *Node) Alive() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.running()
}

// Exited is closed when the process that was started last has ended.
func (n *Node) Exited() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.exited == nil {
		n.exited = make(chan struct{})
		close(n.exited)
	}
	return n.exited
}

// PID is that of the process that was started last.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd == nil {
		return 0
	}
	return n.cmd.Process.Pid
}

// NodeID is the id under which the node joins the protocol; it lives in the journal's folder.
func (n *Node) NodeID() (string, error) {
	text, err := os.ReadFile(filepath.Join(n.JournalDir, "node-id"))
	if err != nil {
		return "", fmt.Errorf("read id of node %d: %w", n.Number, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// accidents are the ends that nobody asked for.
func (n *Node) accidents() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.accident)
}

// running needs the lock.
func (n *Node) running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

func (n *Node) exitError() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.exitErr
}

func (n *Node) end(sig syscall.Signal, within time.Duration) error {
	if err := n.signal(sig); err != nil {
		return err
	}
	select {
	case <-n.Exited():
		return nil
	case <-time.After(within):
		return fmt.Errorf("node %d does not end within %v of signal %v", n.Number, within, sig)
	}
}

func (n *Node) signal(sig syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.running() {
		return nil
	}
	if err := n.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal node %d: %w", n.Number, err)
	}
	return nil
}

// environment is what a node sees: nothing of the caller's but where programs and temporary files are.
func environment(env map[string]string, extra []string) []string {
	list := []string{}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TZ"} {
		if v, ok := os.LookupEnv(name); ok {
			list = append(list, name+"="+v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return append(list, extra...)
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// lastLine is the last line of a log, shortened.
func lastLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return fmt.Sprintf("its log ends: %.600s", lines[len(lines)-1])
}

// freePort finds a port of 127.0.0.1 that nobody listens on now, below those that systems hand to outgoing connections: the port
// of a node that is away must not become the source of somebody's connection.
func freePort(ctx context.Context) (string, error) {
	const lowest, count, tries = 20_000, 12_000, 50
	var err error
	for range tries {
		address := "127.0.0.1:" + strconv.Itoa(lowest+below(count))
		var l net.Listener
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp4", address); err == nil {
			return address, l.Close()
		}
	}
	return "", fmt.Errorf("find a free port: %w", err)
}

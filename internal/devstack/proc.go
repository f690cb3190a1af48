package devstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// command is a program to run as a child.
type command struct {
	path  string
	args  []string
	libs  []string // folders of shared libraries that came with the program
	dir   string   // working directory
	stdin string
	out   string // file for what it says
	acct  account
	death syscall.Signal // what ends it when we die
}

// proc is a running child, or one that has ended.
type proc struct {
	command
	launcher // kept in reach: a lock or a pipe that is collected as garbage is closed, which tells the world that we died
	cmd      *exec.Cmd
	wanted   atomic.Bool   // we asked it to end
	done     chan struct{} // closed when it has ended
	err      error         // how; valid after done
}

// spawn starts a child. It is not bound to ctx, whose values alone are passed on.
func (l launcher) spawn(ctx context.Context, c command) (*proc, error) {
	p := &proc{command: c, launcher: l, done: make(chan struct{})}
	out, err := os.OpenFile(c.out, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log of %s: %w", p.name(), err)
	}
	defer func() { _ = out.Close() }()
	//nolint:gosec // the program was searched for on this system
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), c.path, c.args...)
	p.cmd.Dir = c.dir
	p.cmd.Env = environment(c.dir, c.libs)
	p.cmd.Stdin = strings.NewReader(c.stdin)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = childAttr(c.acct, c.death)

	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", c.path, err)
	}
	return p, nil
}

// run starts the child and waits for its end, on one thread: the kernel's death signal follows the thread that forked, and
// the runtime ends idle threads.
func (p *proc) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	p.guard.add(p.pid(), p.death)
	started <- nil
	p.err = p.cmd.Wait()
	p.guard.del(p.pid())
	if !p.wanted.Load() {
		p.log.Debug("a server ended by itself", "name", p.name(), "how", fmt.Sprint(p.err))
	}
	close(p.done)
}

func (p *proc) name() string { return filepath.Base(p.path) }
func (p *proc) pid() int     { return p.cmd.Process.Pid }

// environment is what servers see: nothing of the caller's PG* variables, a fixed locale and time zone.
func environment(home string, libs []string) []string {
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC", "HOME=" + home}
	if given := os.Getenv("LD_LIBRARY_PATH"); given != "" {
		libs = append(libs[:len(libs):len(libs)], given)
	}
	if len(libs) > 0 {
		env = append(env, "LD_LIBRARY_PATH="+strings.Join(libs, ":"))
	}
	return env
}

// patience is a signal and how long to wait for its effect.
type patience struct {
	sig syscall.Signal
	d   time.Duration
}

// stop sends one signal after the other until the child has ended, and at last kills it. When ctx ends it goes on to the last
// of the signals at once, which still gets its time: to be killed outright leaves shared memory behind.
func (p *proc) stop(ctx context.Context, steps ...patience) error {
	p.wanted.Store(true)
	for i, s := range steps {
		last := i == len(steps)-1
		if ctx.Err() != nil && !last {
			continue
		}
		if err := p.signal(s.sig); err != nil {
			return err
		}
		hurry := ctx.Done()
		if last {
			hurry = nil
		}
		timer := time.NewTimer(s.d)
		select {
		case <-p.done:
			timer.Stop()
			return nil
		case <-timer.C:
			p.log.Warn("a server takes long to stop", "name", p.name(), "pid", p.pid(), "signal", s.sig.String(), "waited", s.d)
		case <-hurry:
			timer.Stop()
		}
	}
	return p.kill()
}

// kill kills the child and returns when it is gone, and with it what it ran in its process group: initdb runs others, which
// end by themselves when they lose it, and are killed if they do not.
func (p *proc) kill() error {
	const each = 2 * time.Second
	p.wanted.Store(true)
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	if p.groupEnds(each) {
		return nil
	}
	if err := signalGroup(p.pid(), syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", p.name(), err)
	}
	if !p.groupEnds(each) {
		return fmt.Errorf("kill %s: its process group %d does not end", p.name(), p.pid())
	}
	return nil
}

func (p *proc) groupEnds(within time.Duration) bool {
	tick, timeout := time.NewTicker(5*time.Millisecond), time.NewTimer(within)
	defer tick.Stop()
	defer timeout.Stop()
	for groupLives(p.pid()) {
		select {
		case <-tick.C:
		case <-timeout.C:
			return false
		}
	}
	return true
}

func (p *proc) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.name(), err)
	}
	return nil
}

// await calls ready until it succeeds. It fails when the child ends or ctx does, with the last words of the child's log.
func (p *proc) await(ctx context.Context, ready func(context.Context) error) error {
	const pause, patience = 10 * time.Millisecond, 2 * time.Second
	tick := time.NewTicker(pause)
	defer tick.Stop()
	var last error // what it answered, rather than that time was up
	for {
		err := p.attempt(ctx, patience, ready)
		if err == nil {
			return nil
		}
		if last == nil || !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
			last = err
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready (%w)%s", p.path, orEnded(p.err), p.lastWords())
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; its last answer: %w%s", p.path, context.Cause(ctx), last, p.lastWords())
		case <-tick.C:
		}
	}
}

// attempt calls ready with a context that ends when the child does: somebody else may have taken its port and keep silent.
func (p *proc) attempt(ctx context.Context, within time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	over := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-p.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := ready(ctx)
	cancel()
	<-over
	return err
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// lastWords are the last lines of the log, ready to be put behind an error.
func (p *proc) lastWords() string {
	tail := tailOf(p.out)
	if tail == "" {
		return ""
	}
	return "\nlast lines of its log:\n" + tail
}

// said reports whether the log holds one of the phrases, in any case.
func (p *proc) said(phrases ...string) bool {
	log := strings.ToLower(tailOf(p.out))
	for _, phrase := range phrases {
		if strings.Contains(log, phrase) {
			return true
		}
	}
	return false
}

// tailOf returns the last lines of a file: at most 20, of at most 4 KiB.
func tailOf(path string) string {
	const maxBytes, maxLines = 4 << 10, 20
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if at, err := f.Stat(); err == nil && at.Size() > maxBytes {
		if _, err := f.Seek(-maxBytes, io.SeekEnd); err != nil {
			return ""
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxBytes))
	if err != nil {
		return ""
	}
	lines := strings.Split(string(bytes.TrimSpace(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-maxLines):], "\n")
}

// freePort finds a port of 127.0.0.1 that nobody listens on now, below those that systems hand to outgoing connections: one of
// those may become the source of any connection before the server listens or while it restarts, even of our own attempt to
// reach it, which then speaks to itself. Somebody may still take the port, so callers try again with another.
func freePort(ctx context.Context) (int, error) {
	const lowest, count, tries = 20_000, 12_000, 50
	var config net.ListenConfig
	var err error
	for range tries {
		port := lowest + rand.IntN(count) //nolint:gosec // any will do
		var l net.Listener
		if l, err = config.Listen(ctx, "tcp4", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

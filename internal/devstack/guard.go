package devstack

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"sync"
	"syscall"
)

//go:embed guard.sh
var guardScript string

// guard is a shell that outlives us by a moment. It holds the reading end of a pipe; when we die in whatever way, it ends the
// servers that are left and removes the temporary directory. A nil guard is valid and does nothing.
type guard struct {
	mu   sync.Mutex
	pipe io.WriteCloser
	cmd  *exec.Cmd
	log  *slog.Logger
}

// startGuard starts one that removes dir, unless that is "". Without a shell there is no guard: the kernel's death signal and
// the next start do most of its work.
func startGuard(ctx context.Context, dir string, log *slog.Logger) *guard {
	//nolint:gosec // our own script; the directory is an argument, not part of it
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/bin/sh", "-c", guardScript, "guard", dir)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C"}
	cmd.SysProcAttr = ownGroup()
	pipe, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		log.Warn("start the guard of temporary files", "error", err)
		return nil
	}
	return &guard{pipe: pipe, cmd: cmd, log: log}
}

func (g *guard) add(pid int, sig syscall.Signal) {
	g.say(fmt.Sprintf("add %d %s\n", pid, signalName(sig)))
}

func (g *guard) del(pid int) { g.say(fmt.Sprintf("del %d\n", pid)) }

func (g *guard) say(line string) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, err := io.WriteString(g.pipe, line); err != nil {
		g.log.Warn("speak to the guard", "error", err)
	}
}

// dismiss sends it away and waits for its end.
func (g *guard) dismiss() {
	if g == nil {
		return
	}
	g.say("quit\n")
	g.pipe.Close()
	if err := g.cmd.Wait(); err != nil {
		g.log.Warn("dismiss the guard", "error", err)
	}
}

// signalName is what kill -s takes.
func signalName(sig syscall.Signal) string {
	switch sig {
	case syscall.SIGQUIT:
		return "QUIT"
	case syscall.SIGINT:
		return "INT"
	case syscall.SIGTERM:
		return "TERM"
	default:
		return "KILL"
	}
}

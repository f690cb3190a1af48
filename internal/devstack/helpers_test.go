//go:build unix

package devstack

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// How long tests wait for a condition, and how often they look.
const (
	waitLong = 20 * time.Second
	waitTick = 10 * time.Millisecond
)

func needsServers(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts servers: skipped by -short")
	}
}

// tempDir is one that the servers' account can reach, unlike t.TempDir.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "devstack-test-") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// start starts a stack that is stopped with the test.
func start(t *testing.T, o Options) *Stack {
	t.Helper()
	s, err := Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	return s
}

func open(t *testing.T, s *Stack) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", s.DatabaseURL)
	require.NoError(t, err)
	return db
}

func query(t *testing.T, s *Stack, text string) (answer string) {
	t.Helper()
	db := open(t, s)
	defer func() { _ = db.Close() }()
	require.NoError(t, db.QueryRowContext(t.Context(), text).Scan(&answer))
	return answer
}

func exec1(t *testing.T, s *Stack, text string) {
	t.Helper()
	db := open(t, s)
	defer func() { _ = db.Close() }()
	_, err := db.ExecContext(t.Context(), text)
	require.NoError(t, err)
}

func client(t *testing.T, s *Stack) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(s.RedisURL)
	require.NoError(t, err)
	o.MaxRetries, o.DialerRetries = -1, 1
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// processes are the ids of the stack's servers, and of the guard, the last.
func processes(t *testing.T, s *Stack) (pids []int) {
	t.Helper()
	for _, i := range s.Info() {
		require.True(t, alive(i.PID), i.Service)
		pids = append(pids, i.PID)
	}
	return append(pids, s.guard.cmd.Process.Pid)
}

// alive reports whether a process exists and is not a zombie, which nobody but its parent can help.
func alive(pid int) bool {
	if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil {
		_, rest, _ := strings.Cut(string(stat), ") ")
		return !strings.HasPrefix(rest, "Z")
	}
	return syscall.Kill(pid, 0) == nil
}

// processesIn are the ids of the processes whose working directory is below dir: servers and their children.
func processesIn(t *testing.T, dir string) (pids []int) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	require.NoError(t, err)
	for _, link := range links {
		if at, err := os.Readlink(link); err == nil && strings.HasPrefix(at, dir+"/") {
			pid, err := strconv.Atoi(strings.Split(link, "/")[2])
			require.NoError(t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

// helper runs this test binary as a process with a stack, and returns once that is ready.
func helper(t *testing.T, o helperOptions) (*exec.Cmd, helperSaid) {
	t.Helper()
	cmd := helperCommand(t, o)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var said helperSaid
	if err := json.NewDecoder(stdout).Decode(&said); err != nil {
		_ = cmd.Wait()
		t.Fatalf("helper: %v\n%s", err, stderr.String())
	}
	return cmd, said
}

func helperCommand(t *testing.T, o helperOptions) *exec.Cmd {
	t.Helper()
	options, err := json.Marshal(o)
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperVar+"="+string(options))
	return cmd
}

// script writes an executable shell script, or nothing for an empty body.
func script(t *testing.T, path, body string) {
	t.Helper()
	if body == "" {
		return
	}
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
}

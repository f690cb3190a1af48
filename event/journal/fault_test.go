package journal_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"gavel/budget"
	"gavel/event"
	"gavel/event/journal"
)

// TestMain lets the test binary be a node that accepts events until it dies.
func TestMain(m *testing.M) {
	if dir := os.Getenv("JOURNAL_TEST_ACCEPT_INTO"); dir != "" {
		accept(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

var errDisk = errors.New("the disk says no")

// breaks is a disk that fails at one of the writes to it.
type breaks struct {
	at, half int64 // the number of the write, counted from 1; whether a part of it is done
	writes   atomic.Int64
}

func (d *breaks) write(op, path string, b []byte, at int64) error {
	if d.writes.Add(1) != d.at {
		return nil
	}
	if d.half > 0 && op == "write" {
		if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
			_, _ = f.WriteAt(b[:int64(len(b))*d.half/4], at)
			_ = f.Close()
		}
	}
	return fmt.Errorf("%w: %s %s", errDisk, op, filepath.Base(path))
}

// scenario is what a node does with a journal over some segments. It returns what was acknowledged, and the first error. acked
// is not reset: what an earlier run has acknowledged stays so.
func scenario(t *testing.T, dir string, d *breaks, acked *uint64) error {
	t.Helper()
	j, err := journal.Open(dir, small.WithFault(d.write))
	if err != nil {
		return err
	}
	for n := range 12 {
		_, last, err := j.Bounds()
		require.NoError(t, err)
		var g [][]byte
		for i := range n%6 + 1 {
			g = append(g, record(int(last)+i+1))
		}
		err = j.Append(g)
		if err == nil {
			*acked = last + uint64(len(g))
			if n%5 == 4 {
				err = j.Trim(*acked - 10)
			}
		}
		if err != nil {
			before := d.writes.Load()
			require.Error(t, j.Append([][]byte{record(1)}), "an error of the disk is for ever")
			require.Error(t, j.Append([][]byte{record(1)}))
			if first, _, err := j.Bounds(); err == nil && first < *acked {
				require.Error(t, j.Trim(*acked-1))
			}
			_ = j.Close()
			require.Equal(t, before, d.writes.Load(), "the disk is not touched again")
			return err
		}
	}
	return j.Close()
}

// TestAnErrorOfTheDiskIsForEver fails each write and each fsync of a journal's life in turn: nothing is acknowledged after it, what
// was acknowledged is there after a restart, and the restart does not take it for damage.
func TestAnErrorOfTheDiskIsForEver(t *testing.T) {
	t.Parallel()
	var count breaks
	var acked uint64
	require.NoError(t, scenario(t, quick(t), &count, &acked))
	require.Greater(t, count.writes.Load(), int64(40))
	dir := filepath.Join(quick(t), "broken")
	for n := int64(1); n <= count.writes.Load(); n += (stride + 2) / 3 {
		for half := range int64(5) {
			restore(t, dir, nil)
			d := &breaks{at: n, half: half}
			acked = 0
			err := scenario(t, dir, d, &acked)
			if d.writes.Load() < n {
				continue // what is made in the background was made elsewhere
			}
			require.ErrorIs(t, err, errDisk, "write %d", n)
			j, err := journal.Open(dir, small)
			require.NoError(t, err, "write %d, %d quarters of it", n, half)
			first, last, err := j.Bounds()
			require.NoError(t, err)
			require.GreaterOrEqual(t, last, acked, "write %d, %d quarters of it", n, half)
			holds(t, j, first, last)
			require.NoError(t, j.Close())
			require.NoError(t, scenario(t, dir, &breaks{}, &acked), "and it goes on")
		}
	}
}

// accept is the program of the tests below: it accepts events, prints the id of each that is accepted, and counts on being
// killed. With JOURNAL_TEST_FILE_BYTES, no file of the process may be written beyond that, once the journal is open.
func accept(dir string) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	j, err := journal.Open(dir, journal.Options{})
	must(err)
	keys, err := event.ParseKeys("1:" + base64.StdEncoding.EncodeToString(make([]byte, event.KeySize)))
	must(err)
	in, err := event.NewIngest(event.IngestConfig{
		Keys: keys, Clock: event.NewClock(event.Ticks()), Journal: j, MaxUnbilled: 1 << 20, Fatal: func(err error) { panic(err) },
	})
	must(err)
	if text := os.Getenv("JOURNAL_TEST_FILE_BYTES"); text != "" {
		limit, err := strconv.ParseUint(text, 10, 64)
		must(err)
		signal.Ignore(syscall.SIGXFSZ)
		must(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: limit}))
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				id := uuid.New()
				token := &event.Token{Exp: time.Now().Add(time.Hour)}
				token.ImpressionID, token.Kind = id, budget.Impression
				_, err := in.Accept(context.Background(), keys.Seal(nil, token), budget.Impression)
				must(err)
				fmt.Println(id)
			}
		})
	}
	wg.Wait()
}

// child runs accept until it dies, or until it has printed some ids, and returns all of them and what it said in the end.
func child(t *testing.T, dir string, killAfter int, env ...string) (ids []string, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), append(env, "JOURNAL_TEST_ACCEPT_INTO="+dir)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if ids = append(ids, strings.TrimSpace(line)); len(ids) == killAfter {
			require.NoError(t, cmd.Process.Kill())
		}
	}
	require.Error(t, cmd.Wait(), "it never ends well")
	return ids, errs.String()
}

// accepted fails unless the journal holds the events with these ids.
func accepted(t *testing.T, dir string, ids []string) {
	t.Helper()
	j := open(t, dir)
	first, last, err := j.Bounds()
	require.NoError(t, err)
	there := map[string]bool{}
	for i := first; i <= last; i++ {
		b, err := j.Read(i)
		require.NoError(t, err)
		r, err := event.DecodeRecord(b)
		require.NoError(t, err)
		there[r.ImpressionID.String()] = true
	}
	for _, id := range ids {
		require.True(t, there[id], "%s was accepted", id)
	}
	require.NoError(t, j.Close())
}

// TestAWriteErrorEndsTheProcess lets the system refuse to write a file beyond a size.
func TestAWriteErrorEndsTheProcess(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{3_000, 40_000, 41_001} {
		dir := t.TempDir()
		ids, stderr := child(t, dir, 0, fmt.Sprintf("JOURNAL_TEST_FILE_BYTES=%d", limit))
		require.NotEmpty(t, ids)
		require.Contains(t, stderr, "append to journal: write journal: ")
		require.Contains(t, stderr, "file too large")
		accepted(t, dir, ids)
	}
}

// TestWhatIsAcceptedSurvivesAKill kills one node again and again.
func TestWhatIsAcceptedSurvivesAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var all []string
	for i := range 6 {
		ids, stderr := child(t, dir, 1+i*i*150)
		require.Empty(t, stderr)
		all = append(all, ids...)
		accepted(t, dir, all)
	}
}

// TestAnAppendIsOneWriteAndOneSync looks at what reaches the disk, and that a start makes sure of the last append before anything
// is built on it: it may have been read from memory only.
func TestAnAppendIsOneWriteAndOneSync(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var mu sync.Mutex
	var ops []string
	o := journal.Options{}.WithFault(func(op, path string, _ []byte, at int64) error {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasSuffix(path, ".wal") {
			ops = append(ops, fmt.Sprint(op, " ", at))
		}
		return nil
	})
	j, err := journal.Open(dir, o)
	require.NoError(t, err)
	ops = nil
	fill(t, j, 100)
	require.Equal(t, []string{"write 0", "sync 0"}, ops)
	from := written(files(t, dir)[tail(t, dir)])
	fill(t, j, 1)
	require.Equal(t, []string{"write 0", "sync 0", fmt.Sprint("write ", from), "sync 0"}, ops)
	require.NoError(t, j.Close())
	ops = nil
	j, err = journal.Open(dir, o)
	require.NoError(t, err)
	require.Equal(t, []string{fmt.Sprint("write ", from), "sync 0"}, ops)
	require.NoError(t, j.Close())
}

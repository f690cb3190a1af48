package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/event/journal"
)

func open(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir, journal.Options{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return j
}

func record(i int) []byte { return fmt.Appendf(nil, "record %04d", i) }

// fill appends groups of records, numbered on from the newest one.
func fill(t *testing.T, j *journal.Journal, groups ...int) {
	t.Helper()
	_, last, err := j.Bounds()
	require.NoError(t, err)
	for _, n := range groups {
		var g [][]byte
		for range n {
			last++
			g = append(g, record(int(last)))
		}
		require.NoError(t, j.Append(g))
	}
}

// holds fails unless the journal has exactly the records from first to last.
func holds(t *testing.T, j *journal.Journal, first, last uint64) {
	t.Helper()
	f, l, err := j.Bounds()
	require.NoError(t, err)
	require.Equal(t, []uint64{first, last}, []uint64{f, l})
	for i := first; i <= last; i++ {
		got, err := j.Read(i)
		require.NoError(t, err)
		require.Equal(t, string(record(int(i))), string(got))
	}
}

// files are the contents of a journal's directory by their names below it. Taken from an open journal, they are what a kill
// would leave: the metadata is read first, because the next segment is made in the background.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, pattern := range []string{"node-id", "wal/meta.*", "wal/*"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		require.NoError(t, err)
		for _, p := range paths {
			name, err := filepath.Rel(dir, p)
			require.NoError(t, err)
			if _, ok := all[name]; ok {
				continue
			}
			b, err := os.ReadFile(p)
			if errors.Is(err, fs.ErrNotExist) { // the spare segment, which has just become one
				continue
			}
			require.NoError(t, err)
			if strings.HasPrefix(name, "wal/meta.") {
				b = bytes.TrimRight(b, "\x00") // a quarter of a megabyte
			}
			all[name] = b
		}
	}
	return all
}

// restore makes dir a journal of these files and no others.
func restore(t *testing.T, dir string, all map[string][]byte) {
	t.Helper()
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "wal"), 0o700))
	for name, b := range all {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
	}
}

// quick is a directory in memory, where an fsync is cheap, if the system has such a place.
func quick(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "gavel-journal-") //nolint:usetesting // t.TempDir is on a disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// segments are the names of the segment files, the oldest first.
func segments(t *testing.T, dir string) (names []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	require.NoError(t, err)
	for _, p := range paths {
		names = append(names, "wal/"+filepath.Base(p))
	}
	return names
}

// logged is a logger and what was written to it.
func logged() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

func TestRecordsComeBackInOrderAndTrimKeepsTheNewest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir)
	first, last, err := j.Bounds()
	require.NoError(t, err)
	require.Greater(t, first, last, "empty")
	require.NoError(t, j.Trim(5))
	for range 50 {
		fill(t, j, 2)
	}
	require.NoError(t, j.Trim(40))
	require.NoError(t, j.Close())

	j = open(t, dir)
	holds(t, j, 41, 100)
	require.NoError(t, j.Trim(100))
	holds(t, j, 100, 100)
	require.NoError(t, j.Close())

	j = open(t, dir)
	fill(t, j, 1)
	holds(t, j, 100, 101)
	require.NoError(t, j.Close())
}

// TestSegmentsComeAndGo appends, trims, stops and is killed over many small segments, the next append after each start included:
// a process may end between the append that fills a segment and the making of the next one.
func TestSegmentsComeAndGo(t *testing.T) {
	t.Parallel()
	dir := quick(t)
	o := journal.Options{}.WithSegments(1024)
	j, err := journal.Open(dir, o)
	require.NoError(t, err)
	first, last := uint64(1), uint64(0)
	for i := 1; i <= 300; i++ {
		fill(t, j, i%7+1)
		last += uint64(i%7 + 1)
		if i%20 == 0 {
			first = last - 40
			require.NoError(t, j.Trim(first-1))
			require.Less(t, len(segments(t, dir)), 8, "what is trimmed is deleted")
		}
		if i%3 == 0 {
			continue
		}
		killed := files(t, dir)
		require.NoError(t, j.Close())
		if i%3 == 1 {
			restore(t, dir, killed)
		}
		j, err = journal.Open(dir, o)
		require.NoError(t, err)
		holds(t, j, first, last)
	}
	require.NoError(t, j.Close())
}

func TestALargeGroupIsWrittenInParts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir)
	fill(t, j, 100_000) // 8 MB in segments of 4
	require.Greater(t, len(segments(t, dir)), 1)
	for _, name := range segments(t, dir) {
		s, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.EqualValues(t, 5<<20, s.Size(), "what was allocated for it in advance was enough")
	}
	require.NoError(t, j.Append([][]byte{bytes.Repeat([]byte("x"), 32<<10)}))
	long, err := j.Read(100_001)
	require.NoError(t, err)
	require.Len(t, long, 32<<10)
	require.Error(t, j.Append([][]byte{make([]byte, 33<<10)}))
	require.NoError(t, j.Close())
	j = open(t, dir)
	_, last, err := j.Bounds()
	require.NoError(t, err)
	require.EqualValues(t, 100_001, last)
	require.NoError(t, j.Trim(100_000))
	require.NoError(t, j.Close())
}

func TestTheNodeIDIsKept(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir)
	id := j.NodeID()
	text, err := os.ReadFile(filepath.Join(dir, "node-id"))
	require.NoError(t, err)
	require.Equal(t, id.String(), strings.TrimSpace(string(text)))
	require.NoError(t, j.Close())

	require.NoError(t, os.Remove(filepath.Join(dir, "node-id")), "as when the first start ends early")
	j = open(t, dir)
	require.Equal(t, id, j.NodeID())
	require.FileExists(t, filepath.Join(dir, "node-id"))
	require.NoError(t, j.Close())
}

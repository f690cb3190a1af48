package journal_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/event/journal"
)

func open(t *testing.T, dir string) *journal.Journal {
	t.Helper()
	j, err := journal.Open(dir)
	require.NoError(t, err)
	return j
}

func record(i int) []byte { return fmt.Appendf(nil, "record %04d", i) }

func TestRecordsComeBackInOrderAndTrimKeepsTheNewest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir)
	first, last, err := j.Bounds()
	require.NoError(t, err)
	require.Greater(t, first, last, "empty")
	require.NoError(t, j.Trim(5))
	for i := 1; i <= 100; i += 2 {
		require.NoError(t, j.Append([][]byte{record(i), record(i + 1)}))
	}
	require.NoError(t, j.Trim(40))
	require.NoError(t, j.Close())

	j = open(t, dir)
	first, last, err = j.Bounds()
	require.NoError(t, err)
	require.Equal(t, []uint64{41, 100}, []uint64{first, last})
	for i := first; i <= last; i++ {
		got, err := j.Read(i)
		require.NoError(t, err)
		require.Equal(t, record(int(i)), got)
	}
	require.NoError(t, j.Trim(100))
	first, last, err = j.Bounds()
	require.NoError(t, err)
	require.Equal(t, []uint64{100, 100}, []uint64{first, last})
	require.NoError(t, j.Close())

	j = open(t, dir)
	require.NoError(t, j.Append([][]byte{record(101)}), "the numbering goes on")
	_, last, err = j.Bounds()
	require.NoError(t, err)
	require.Equal(t, uint64(101), last)
	require.NoError(t, j.Close())
}

// TestATornTailIsCutOff: a crash in the middle of a write leaves a part of it, which nobody was told of.
func TestATornTailIsCutOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, dir)
	for i := 1; i <= 3; i++ {
		require.NoError(t, j.Append([][]byte{record(i)}))
	}
	require.NoError(t, j.Close())
	files, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	text, err := os.ReadFile(files[0])
	require.NoError(t, err)
	at := bytes.Index(text, record(3))
	require.Positive(t, at)
	clear(text[at+4:])
	require.NoError(t, os.WriteFile(files[0], text, 0o600))

	j = open(t, dir)
	_, last, err := j.Bounds()
	require.NoError(t, err)
	require.Equal(t, uint64(2), last)
	require.NoError(t, j.Append([][]byte{record(3)}))
	got, err := j.Read(3)
	require.NoError(t, err)
	require.Equal(t, record(3), got)
	require.NoError(t, j.Close())
}

package journal_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"gavel/event"
)

// smallDisk is a disk of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if errors.Is(err, syscall.EPERM) {
		t.Skip("only root may mount a small disk")
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

// others fills what is left of a disk to the last byte, as somebody else's file may do at any time.
func others(t *testing.T, disk string) (path string) {
	t.Helper()
	path = filepath.Join(disk, "others")
	f, err := os.Create(path)
	require.NoError(t, err)
	_, err = io.Copy(f, zeros{})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, f.Close())
	return path
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestAFullDisk(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "24m")
	dir := filepath.Join(disk, "journal")
	j := open(t, dir)
	require.NoError(t, j.Full())
	fill(t, j, 40_000) // 2 of 4 MB
	path := others(t, disk)
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		require.ErrorContains(t, j.Full(), "disk has only 0 bytes free")
	}, soon, time.Millisecond)
	require.ErrorIs(t, j.Full(), event.ErrFull)

	for range 50 { // 2.5 MB, which begins the next segment
		fill(t, j, 1000)
	}
	require.Len(t, segments(t, dir), 2)
	holds(t, j, 1, 90_000)
	require.NoError(t, j.Trim(100), "the full disk does not stop the trimming")
	require.NoError(t, j.Close())
	j = open(t, dir)
	require.ErrorIs(t, j.Full(), event.ErrFull, "nor a restart")
	holds(t, j, 101, 90_000)
	fill(t, j, 1000)

	require.NoError(t, os.Remove(path))
	require.Eventually(t, func() bool { return j.Full() == nil }, soon, time.Millisecond, "it recovers by itself")
	for range 60 {
		fill(t, j, 1000)
	}
	holds(t, j, 101, 151_000)
	require.NoError(t, j.Close())
}

// TestAFullDiskIsNoAck writes on regardless of Full, until the system has no byte left.
func TestAFullDiskIsNoAck(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "24m")
	dir := filepath.Join(disk, "journal")
	j := open(t, dir)
	path := others(t, disk)
	acked := uint64(0)
	for {
		var g [][]byte
		for i := range uint64(1000) {
			g = append(g, record(int(acked+i+1)))
		}
		if err := j.Append(g); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			break
		}
		acked += 1000
		require.Less(t, acked, uint64(200_000))
	}
	require.Greater(t, acked, uint64(80_000), "the open segment and the spare one")
	require.ErrorIs(t, j.Append([][]byte{record(1)}), syscall.ENOSPC)
	require.NoError(t, os.Remove(path))
	require.ErrorIs(t, j.Append([][]byte{record(1)}), syscall.ENOSPC, "an error of the disk is for ever")
	require.NoError(t, j.Close())
	j = open(t, dir)
	_, last, err := j.Bounds()
	require.NoError(t, err)
	require.GreaterOrEqual(t, last, acked)
	require.NoError(t, j.Close())
}

package journal_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"gavel/event"
	"gavel/event/journal"
)

// soon is how long room that comes back, or goes, may stay unnoticed.
const soon = time.Second

func TestAJournalIsFullByItsBytes(t *testing.T) {
	t.Parallel()
	_, err := journal.Open(t.TempDir(), journal.Options{MaxBytes: journal.MinMaxBytes - 1})
	require.ErrorContains(t, err, "less than 16777216")

	dir := t.TempDir()
	o := journal.Options{MaxBytes: journal.MinMaxBytes}
	j, err := journal.Open(dir, o)
	require.NoError(t, err)
	for n := 0; j.Full() == nil; n++ {
		require.Less(t, n, 400, "a limit of 16 MiB")
		require.NoError(t, j.Append(group(1000)))
	}
	require.ErrorIs(t, j.Full(), event.ErrFull)
	require.Regexp(t, `journal holds 1[67]\d{6} of 16777216 bytes`, j.Full().Error())
	require.NoError(t, j.Append(group(40_000)), "what was admitted is written")
	_, last, err := j.Bounds()
	require.NoError(t, err)
	require.NoError(t, j.Close())

	j, err = journal.Open(dir, o)
	require.NoError(t, err)
	require.ErrorIs(t, j.Full(), event.ErrFull, "after a restart, too")
	require.NoError(t, j.Trim(last/2))
	require.NoError(t, j.Full(), "what is trimmed makes room")
	require.NoError(t, j.Trim(last))
	require.NoError(t, j.Full())
	require.NoError(t, j.Close())
}

func TestADiskThatOthersNeedIsFull(t *testing.T) {
	t.Parallel()
	j, err := journal.Open(t.TempDir(), journal.Options{ReserveBytes: 1 << 60})
	require.NoError(t, err)
	require.ErrorIs(t, j.Full(), event.ErrFull)
	require.ErrorContains(t, j.Full(), "bytes free, and 1152921504606846976 must stay")
	fill(t, j, 1)
	require.NoError(t, j.Close())
}

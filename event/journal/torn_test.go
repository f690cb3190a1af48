package journal_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"gavel/event/journal"
)

// TestATornTailIsCutOffAtEveryByte does to the last append, from each of its bytes on, what a crash in the middle of the write
// can do and more. All appends before it stay, as a whole; what is left of it goes, with a warning; the journal goes on.
func TestATornTailIsCutOffAtEveryByte(t *testing.T) {
	t.Parallel()
	for name, before := range map[string][]int{
		"first append": {},
		"third append": {2, 3},
		"new segment":  {2, 30}, // the second append fills the first segment
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := quick(t)
			o := journal.Options{}.WithSegments(2048)
			j, err := journal.Open(dir, o)
			require.NoError(t, err)
			fill(t, j, before...)
			_, kept, err := j.Bounds()
			require.NoError(t, err)
			// Twice, because a new segment is begun beside the next append.
			fill(t, j, 1)
			from := written(files(t, dir)[tail(t, dir)])
			fill(t, j, 3)
			killed := files(t, dir)
			end := written(killed[tail(t, dir)])
			if len(before) == 0 {
				from, kept = 0, 0
				killed = onlyAppend(t, o)
				end = written(killed[tail(t, dir)])
			} else {
				kept++
			}
			require.NoError(t, j.Close())
			tears(t, filepath.Join(quick(t), "torn"), o, killed, from, end, kept)
		})
	}
}

// onlyAppend is a journal of one append of three records, killed.
func onlyAppend(t *testing.T, o journal.Options) map[string][]byte {
	t.Helper()
	dir := quick(t)
	j, err := journal.Open(dir, o)
	require.NoError(t, err)
	fill(t, j, 3)
	killed := files(t, dir)
	require.NoError(t, j.Close())
	return killed
}

func tail(t *testing.T, dir string) string {
	t.Helper()
	names := segments(t, dir)
	return names[len(names)-1]
}

// written is how much of a segment is, which is a multiple of 8.
func written(b []byte) int { return (len(bytes.TrimRight(b, "\x00")) + 7) / 8 * 8 }

// tears damages the last append, from..end of the newest segment, in every way at every byte.
func tears(t *testing.T, dir string, o journal.Options, killed map[string][]byte, from, end int, kept uint64) {
	t.Helper()
	restore(t, dir, killed)
	segment := tail(t, dir)
	whole := killed[segment]
	random := rand.New(rand.NewPCG(1, 2))
	for at := from; at < end; at += stride {
		for how, torn := range map[string]func(b []byte) []byte{
			"truncated": func(b []byte) []byte { return b[:at] },
			"zeroed":    func(b []byte) []byte { clear(b[at:]); return b },
			"one byte":  func(b []byte) []byte { b[at] ^= byte(1 + random.IntN(255)); return b },
			"one zero":  func(b []byte) []byte { b[at] = 0; return b },
			"garbage": func(b []byte) []byte {
				for i := at; i < end; i++ {
					b[i] = byte(random.Uint32())
				}
				return b
			},
			"sector": func(b []byte) []byte { clear(b[at:min(at+64, end)]); return b },
		} {
			all := maps.Clone(killed)
			all[segment] = torn(bytes.Clone(whole))
			changed := !bytes.Equal(all[segment][:min(end, len(all[segment]))], whole[:end])
			left := 0
			if changed {
				left = len(bytes.TrimRight(all[segment][from:], "\x00"))
			}
			cut := left > 0 || len(all[segment]) < end
			restore(t, dir, all)
			what := fmt.Sprintf("%s at %d of %d..%d", how, at, from, end)
			var log *bytes.Buffer
			o.Log, log = logged()
			j, err := journal.Open(dir, o)
			require.NoError(t, err, what)
			last := kept
			if !changed {
				last += 3
			}
			holds(t, j, 1, last)
			require.Equal(t, cut, log.Len() > 0, "%s: a warning exactly when something is cut: %s", what, log)
			if cut {
				require.Contains(t, log.String(), fmt.Sprintf("file=%s offset=%d bytes=%d whole_records=", filepath.Join(dir, segment), from, left), what)
				require.Contains(t, log.String(), fmt.Sprintf("first_record_cut=%d", kept+1), what)
			}
			fill(t, j, 2)
			log.Reset()
			killed := files(t, dir)
			require.NoError(t, j.Close())
			restore(t, dir, killed)
			j, err = journal.Open(dir, o)
			require.NoError(t, err, what)
			holds(t, j, 1, last+2)
			require.Empty(t, log.String(), "nothing is left of what was cut")
			require.NoError(t, j.Close())
		}
	}
}

// TestWhatWasSyncedIsNeverCut: after Close even damage to the last append is damage.
func TestWhatWasSyncedIsNeverCut(t *testing.T) {
	t.Parallel()
	dir := quick(t)
	j, err := journal.Open(dir, small)
	require.NoError(t, err)
	fill(t, j, 2, 3)
	require.NoError(t, j.Close())
	closed := files(t, dir)
	segment := tail(t, dir)
	for at := 0; at < written(closed[segment]); at += stride {
		all := maps.Clone(closed)
		all[segment] = bytes.Clone(closed[segment])
		all[segment][at] ^= 1
		restore(t, dir, all)
		refused(t, dir, small, segment)
	}
}

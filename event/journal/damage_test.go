package journal_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/stretchr/testify/require"

	"gavel/event"
	"gavel/event/journal"
)

// refused fails unless the journal refuses to start, names the file, and says what to do.
func refused(t *testing.T, dir string, o journal.Options, file string) {
	t.Helper()
	before := files(t, dir)
	j, err := journal.Open(dir, o)
	if err == nil {
		_ = j.Close()
	}
	require.ErrorIs(t, err, event.ErrDamaged)
	advised(t, dir, err)
	require.ErrorContains(t, err, filepath.Base(file))
	require.True(t, maps.EqualFunc(before, files(t, dir), bytes.Equal), "nothing was changed: it is evidence")
}

func advised(t *testing.T, dir string, err error) {
	t.Helper()
	for _, part := range []string{dir, "copy the directory away, start with an empty one", "gavel node fence "} {
		require.ErrorContains(t, err, part)
	}
}

// history is a killed journal of several segments, and the bounds of what was acknowledged before its last append.
type history struct {
	files       map[string][]byte
	first, last uint64
	newest      string // segment with the last append
	from        int    // where that begins
}

var small = journal.Options{}.WithSegments(1024)

func newHistory(t *testing.T) history {
	t.Helper()
	dir := quick(t)
	j, err := journal.Open(dir, small)
	require.NoError(t, err)
	for range 8 {
		fill(t, j, 1, 4, 2)
	}
	require.NoError(t, j.Trim(20))
	fill(t, j, 3, 1, 1, 2)
	h := history{first: 21}
	_, h.last, err = j.Bounds()
	require.NoError(t, err)
	h.newest = tail(t, dir)
	h.from = written(files(t, dir)[h.newest])
	fill(t, j, 2)
	h.files = files(t, dir)
	require.Equal(t, h.newest, tail(t, dir))
	require.Greater(t, h.from, 300, "several appends are in the open segment")
	require.NoError(t, j.Close())
	delete(h.files, "wal/"+journal.Spare)
	return h
}

// survives opens what became of a history: it is refused with advice, or all that was acknowledged is there. Only when the last
// append itself was touched it may be gone, and then there is a warning.
func (h history) survives(t *testing.T, dir, what string, all map[string][]byte) (open bool) {
	t.Helper()
	restore(t, dir, all)
	o := small
	var log *bytes.Buffer
	o.Log, log = logged()
	j, err := journal.Open(dir, o)
	if err != nil {
		require.ErrorIs(t, err, event.ErrDamaged, what)
		advised(t, dir, err)
		return false
	}
	first, last, err := j.Bounds()
	require.NoError(t, err)
	require.LessOrEqual(t, first, h.first, what)
	require.GreaterOrEqual(t, last, h.last, what)
	holds(t, j, first, last)
	if last < h.last+2 {
		require.Contains(t, log.String(), "a torn tail is cut off", what)
		require.False(t, bytes.Equal(all[h.newest][h.from:], h.files[h.newest][h.from:]), what)
	}
	fill(t, j, 3)
	holds(t, j, first, last+3)
	require.NoError(t, j.Close())
	return true
}

func TestEveryByteOfEveryFile(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	for _, name := range slices.Sorted(maps.Keys(h.files)) {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(quick(t), "damaged")
			random := rand.New(rand.NewPCG(3, 4))
			size := min(written(h.files[name])+16, len(h.files[name]))
			refusals := 0
			for at := 0; at < size; at += stride {
				for how, damage := range map[string]func(b []byte) []byte{
					"bit":       func(b []byte) []byte { b[at] ^= 1 << random.IntN(8); return b },
					"byte":      func(b []byte) []byte { b[at] ^= byte(1 + random.IntN(255)); return b },
					"zeroed":    func(b []byte) []byte { clear(b[at:min(at+1+random.IntN(32), len(b))]); return b },
					"truncated": func(b []byte) []byte { return b[:at] },
				} {
					touched := name == h.newest && h.from < size
					if how == "truncated" && touched && at < h.from {
						continue // with the last append gone, nothing says that there was more
					}
					all := maps.Clone(h.files)
					all[name] = damage(bytes.Clone(h.files[name]))
					if !h.survives(t, dir, fmt.Sprintf("%s: %s at %d", name, how, at), all) {
						refusals++
					}
				}
			}
			if !strings.HasPrefix(name, "wal/meta") {
				require.Greater(t, refusals, size/stride, "damage is not overlooked")
			}
		})
	}
}

func TestRandomDamage(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	dir := filepath.Join(quick(t), "damaged")
	random := rand.New(rand.NewPCG(5, 6))
	var names []string
	for name := range h.files {
		if strings.HasSuffix(name, ".wal") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	refusals := 0
	for i := range 2000 / stride {
		all := maps.Clone(h.files)
		for range 1 + random.IntN(3) {
			name := names[random.IntN(len(names))]
			b := bytes.Clone(all[name])
			end := written(h.files[name])
			if name == h.newest {
				end = h.from
			}
			at := random.IntN(end)
			part := b[at:min(at+1+random.IntN(1<<random.IntN(9)), end)]
			if random.IntN(2) == 0 {
				clear(part)
			} else {
				part[0] ^= byte(1 + random.IntN(255))
			}
			all[name] = b
		}
		if !h.survives(t, dir, fmt.Sprint(i), all) {
			refusals++
		}
	}
	require.Greater(t, refusals, 1500/stride)
}

func TestAMissingFileIsDamage(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	dir := filepath.Join(quick(t), "damaged")
	for name := range h.files {
		all := maps.Clone(h.files)
		delete(all, name)
		open := h.survives(t, dir, name+" is missing", all)
		switch {
		case strings.HasSuffix(name, ".wal"):
			require.False(t, open, name)
		case name == "node-id":
			require.True(t, open, name)
		}
	}
	all := maps.Clone(h.files)
	delete(all, "wal/meta.0")
	delete(all, "wal/meta.1")
	restore(t, dir, all)
	refused(t, dir, small, "meta.0")
	delete(all, "node-id")
	restore(t, dir, all)
	refused(t, dir, small, ".wal")
	restore(t, dir, map[string][]byte{"node-id": h.files["node-id"]})
	refused(t, dir, small, "meta.1")
}

func TestForeignFilesAreNotTaken(t *testing.T) {
	t.Parallel()
	h, other := newHistory(t), newHistory(t)
	dir := filepath.Join(quick(t), "mixed")
	all := maps.Clone(h.files)
	all["node-id"] = other.files["node-id"]
	restore(t, dir, all)
	refused(t, dir, small, "node-id")

	all = maps.Clone(h.files)
	all["wal/00000000000000099999-00000000000000ff.wal"] = h.files[h.newest]
	restore(t, dir, all)
	refused(t, dir, small, "00000000000000ff.wal")

	all = maps.Clone(h.files)
	all["wal/00000000000000099999-00000000000000ff.wal"] = make([]byte, 1000)
	all["wal/00000000000000000001-00000000000000fe.wal"] = h.files[h.newest]
	require.True(t, h.survives(t, dir, "left-overs", all), "an unused segment, and one that was trimmed")
	require.NotContains(t, files(t, dir), "wal/00000000000000099999-00000000000000ff.wal")
	require.NotContains(t, files(t, dir), "wal/00000000000000000001-00000000000000fe.wal")

	restore(t, dir, map[string][]byte{"node-id": h.files["node-id"], "wal/wal-meta.db": {1}})
	refused(t, dir, small, "earlier version")
}

// TestASegmentOfSomethingElseIsRefused puts a segment in the place of another, and one that raft-wal alone has written.
func TestASegmentOfSomethingElseIsRefused(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	dir := filepath.Join(quick(t), "mixed")
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(h.files)), func(name string) bool { return !strings.HasSuffix(name, ".wal") })
	for _, name := range names {
		for _, other := range names {
			all := maps.Clone(h.files)
			all[name] = h.files[other]
			require.Equal(t, name == other, h.survives(t, dir, other+" as "+name, all))
		}
	}

	strange := quick(t)
	log, err := wal.Open(strange, wal.WithSegmentSize(1024))
	require.NoError(t, err)
	require.NoError(t, log.StoreLogs([]*raft.Log{{Index: 1, Data: record(1)}}))
	require.NoError(t, log.Close())
	o, dir := small, filepath.Join(quick(t), "strange")
	j, err := journal.Open(dir, o)
	require.NoError(t, err)
	fill(t, j, 1)
	all := files(t, dir)
	require.NoError(t, j.Close())
	all[tail(t, dir)], err = os.ReadFile(filepath.Join(strange, filepath.Base(tail(t, dir))))
	require.NoError(t, err)
	restore(t, dir, all)
	refused(t, dir, o, "record 1 is not what was written")
}

// TestDamageWhileItIsOpen changes each byte of a record under a running journal.
func TestDamageWhileItIsOpen(t *testing.T) {
	t.Parallel()
	dir := quick(t)
	j, err := journal.Open(dir, small)
	require.NoError(t, err)
	fill(t, j, 3)
	path := filepath.Join(dir, tail(t, dir))
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	from, wrong := bytes.Index(whole, record(2)), 0
	for at := from - 12; at < from+len(record(2))+20; at++ {
		require.NoError(t, os.WriteFile(path, whole, 0o600))
		b := bytes.Clone(whole)
		b[at] ^= 4
		require.NoError(t, os.WriteFile(path, b, 0o600))
		if got, err := j.Read(2); err != nil {
			wrong++
		} else {
			require.Equal(t, record(2), got)
		}
	}
	require.Greater(t, wrong, len(record(2))+8)
	require.NoError(t, j.Close())
}

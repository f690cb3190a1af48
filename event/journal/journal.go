package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/gofrs/flock"
	"github.com/google/uuid"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	walsegment "github.com/hashicorp/raft-wal/segment"

	"gavel/event"
)

var _ event.Journal = (*Journal)(nil)

// ErrInUse says that another process has the directory.
var ErrInUse = errors.New("journal: directory is in use by another process")

const (
	// segmentBytes is the size at which a segment is full; trimming deletes whole segments.
	segmentBytes = 4 << 20
	// maxRecordBytes bounds one record.
	maxRecordBytes = 32 << 10
	// idName is the file with the node's id, for operators.
	idName = "node-id"
)

// MinMaxBytes is the least that Options.MaxBytes may be: what is billed and still in the same segment as what is not must fit.
const MinMaxBytes = 4 * segmentBytes

// Options are what Open may be told. The zero value is usable.
type Options struct {
	// Log is told when a torn tail is cut off. The default is slog.Default.
	Log *slog.Logger
	// MaxBytes is how many bytes of segments make the journal full, 0 for no limit but the disk's. It is a limit on what is
	// admitted: on the disk are up to two segments (4 MiB each) more, and what is admitted is always written.
	MaxBytes int64
	// ReserveBytes is how much of the disk must stay free for others; below it the journal is full. It is no less than the size
	// of a segment file.
	ReserveBytes int64

	segmentBytes int // tests: small ones
	fault        func(op, path string, b []byte, at int64) error
}

// Journal is an open journal. Append and Trim are called by one goroutine each; Read, Bounds and Full by any.
type Journal struct {
	nodeID uuid.UUID
	lock   *flock.Flock
	disk   *disk
	wal    *wal.WAL

	appendBytes       int // the most that one write has, but for its last record
	maxBytes, reserve int64
	last, first       atomic.Uint64
	full              atomic.Pointer[error]
	stop              chan struct{}
	watching          sync.WaitGroup
}

// Open opens or makes the journal in dir. It returns ErrInUse when another process has it, and an error that wraps
// event.ErrDamaged and says what to do when anything but the end of the newest append is not as it was written.
func Open(dir string, o Options) (*Journal, error) {
	if o.MaxBytes != 0 && o.MaxBytes < MinMaxBytes {
		return nil, fmt.Errorf("journal: %d bytes are less than %d, the least that works", o.MaxBytes, MinMaxBytes)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.segmentBytes == 0 {
		o.segmentBytes = segmentBytes
	}
	records := filepath.Join(dir, "wal")
	if err := os.MkdirAll(records, 0o700); err != nil {
		return nil, fmt.Errorf("make journal directory: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if ok, err := lock.TryLock(); err != nil {
		return nil, fmt.Errorf("lock journal: %w", err)
	} else if !ok {
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	j := &Journal{lock: lock, stop: make(chan struct{}), appendBytes: o.segmentBytes / 8, maxBytes: o.MaxBytes}
	// The append that fills a segment goes beyond its size, by itself and by what it adds to the index.
	fileBytes := o.segmentBytes + 2*j.appendBytes
	j.reserve = max(o.ReserveBytes, int64(fileBytes))
	j.disk = &disk{dir: records, log: o.Log, fileBytes: uint64(fileBytes), fault: o.fault, ends: map[string]int64{}}
	if err := j.open(dir, o.segmentBytes); err != nil {
		if errors.Is(err, event.ErrDamaged) {
			err = fmt.Errorf("journal %s: %w. It may hold accepted events that are not billed, so it is not skipped: copy the directory away, "+
				"start with an empty one, and give up what the old node held with: gavel node fence %s", dir, err, j.nodeID)
		}
		return nil, errors.Join(err, lock.Unlock())
	}
	j.measure()
	j.watching.Go(j.watch)
	return j, nil
}

func (j *Journal) open(dir string, segmentBytes int) error {
	fresh, err := j.identify(dir)
	if err != nil {
		return err
	}
	tail, err := j.disk.inspect()
	if err != nil {
		return err
	}
	if err := j.disk.prepare(tail); err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	j.wal, err = wal.Open(j.disk.dir, wal.WithSegmentSize(segmentBytes), wal.WithMetaStore(j.disk), wal.WithSegmentFiler(walsegment.NewFiler(j.disk.dir, j.disk)))
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	j.disk.serving.Store(true)
	first, err := j.wal.FirstIndex()
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	last, err := j.wal.LastIndex()
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	if last != tail.last {
		return errors.Join(fmt.Errorf("%w: its last record is %d, and %d was read", event.ErrDamaged, tail.last, last), j.wal.Close())
	}
	j.first.Store(max(first, 1))
	j.last.Store(last)
	if _, err := os.Stat(filepath.Join(j.disk.dir, metaName(j.disk.meta.Seq+1))); err != nil {
		// Both files must have their room on the disk before it is full.
		if err := j.disk.writeMeta(j.disk.meta); err != nil {
			return errors.Join(fmt.Errorf("open journal: %w", err), j.wal.Close())
		}
	}
	if fresh {
		if err := j.writeNodeID(dir); err != nil {
			return errors.Join(err, j.wal.Close())
		}
	}
	return nil
}

// writeNodeID makes the file with the node's id.
func (j *Journal) writeNodeID(dir string) error {
	path := filepath.Join(dir, idName)
	if err := j.disk.write(path+".new", []byte(j.nodeID.String()+"\n"), 0); err != nil {
		return fmt.Errorf("write node id: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write node id: %w", err)
	}
	if err := j.disk.syncDir(dir); err != nil {
		return fmt.Errorf("write node id: %w", err)
	}
	return nil
}

// NodeID is the id of the node that the directory belongs to.
func (j *Journal) NodeID() uuid.UUID { return j.nodeID }

// Append implements event.Journal: one write and one fsync for all records, or for each appendBytes of them.
func (j *Journal) Append(records [][]byte) error {
	for len(records) > 0 {
		n, err := j.append(records)
		if err != nil {
			return fmt.Errorf("write journal: %w", j.disk.fail(err))
		}
		records = records[n:]
	}
	j.measure()
	return nil
}

// append writes the first records, and returns how many.
func (j *Journal) append(records [][]byte) (n int, err error) {
	if err := j.disk.failure(); err != nil {
		return 0, err
	}
	first := j.last.Load() + 1
	entries := make([]raft.Log, 0, len(records))
	for size := 0; n < len(records) && size < j.appendBytes; n++ {
		if len(records[n]) > maxRecordBytes {
			return 0, fmt.Errorf("record of %d bytes: the most is %d", len(records[n]), maxRecordBytes)
		}
		entries = append(entries, newEntry(first+uint64(n), first, records[n]))
		size += len(records[n]) + entryOverhead
	}
	logs := make([]*raft.Log, n)
	for i := range entries {
		logs[i] = &entries[i]
	}
	if err := j.wal.StoreLogs(logs); err != nil {
		return 0, err
	}
	last := first + uint64(n) - 1
	j.disk.synced.Store(last)
	j.last.Store(last)
	return n, nil
}

// Bounds implements event.Journal.
func (j *Journal) Bounds() (first, last uint64, err error) { return j.first.Load(), j.last.Load(), nil }

// Read implements event.Journal. What is not as it was written is event.ErrDamaged.
func (j *Journal) Read(index uint64) ([]byte, error) {
	var log raft.Log
	if err := j.wal.GetLog(index, &log); err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	if want := newEntry(index, log.Term, log.Data); log.Index != index || string(log.Extensions) != string(want.Extensions) {
		return nil, fmt.Errorf("read journal: record %d: %w", index, event.ErrDamaged)
	}
	return log.Data, nil
}

// Trim implements event.Journal. The newest record always stays, so that the numbering goes on after a restart; billing it
// again then finds a duplicate.
func (j *Journal) Trim(index uint64) error {
	index = min(index, j.last.Load()-1)
	first := j.first.Load()
	if index < first || j.last.Load() == 0 {
		return nil
	}
	if err := j.disk.failure(); err != nil {
		return fmt.Errorf("trim journal: %w", err)
	}
	if err := j.wal.DeleteRange(first, index); err != nil {
		return fmt.Errorf("trim journal: %w", err)
	}
	j.first.Store(index + 1)
	j.measure()
	return nil
}

// Close notes that all is on the disk, closes the files and gives the directory free.
func (j *Journal) Close() error {
	close(j.stop)
	j.watching.Wait()
	err := j.wal.Close()
	if j.disk.failure() == nil {
		err = errors.Join(err, j.disk.writeMeta(j.disk.meta))
	}
	return errors.Join(err, j.lock.Unlock())
}

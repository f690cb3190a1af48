// Package journal is a node's durable queue of accepted events: hashicorp/raft-wal, which gives segments, checksums, one
// fsync per append, and a torn tail cut off at the last good record.
//
// A directory belongs to one process at a time (a lock file says so) and to one node for ever: the node's id is kept in it,
// because only that node's restart bills what the journal still holds.
package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/uuid"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"

	"gavel/event"
)

var _ event.Journal = (*Journal)(nil)

// ErrInUse says that another process has the directory.
var ErrInUse = errors.New("journal: directory is in use by another process")

// segmentBytes is the size of one segment file; trimming deletes whole segments.
const segmentBytes = 16 << 20

// Journal is an open journal. Append and Trim are called by one goroutine each.
type Journal struct {
	nodeID uuid.UUID
	lock   *flock.Flock
	wal    *wal.WAL
	meta   *metadb.BoltMetaDB // the log does not close its own
	last   atomic.Uint64
	first  atomic.Uint64
}

// Open opens or makes the journal in dir. It returns ErrInUse when another process has it, and an error that says what to do
// when a record in the middle is damaged.
func Open(dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make journal directory: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if ok, err := lock.TryLock(); err != nil {
		return nil, fmt.Errorf("lock journal: %w", err)
	} else if !ok {
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	j := &Journal{lock: lock}
	if err := j.open(dir); err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	return j, nil
}

func (j *Journal) open(dir string) (err error) {
	if j.nodeID, err = nodeID(filepath.Join(dir, "node-id")); err != nil {
		return err
	}
	records := filepath.Join(dir, "wal")
	if err := os.MkdirAll(records, 0o700); err != nil {
		return fmt.Errorf("make journal directory: %w", err)
	}
	j.meta = &metadb.BoltMetaDB{}
	if j.wal, err = wal.Open(records, wal.WithSegmentSize(segmentBytes), wal.WithMetaStore(j.meta)); err != nil {
		return fmt.Errorf("journal %s cannot be read: %w. It may hold accepted events that are not billed: copy the directory away, then start with an empty one and fence node %s", dir, err, j.nodeID)
	}
	first, err := j.wal.FirstIndex()
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	last, err := j.wal.LastIndex()
	if err != nil {
		return fmt.Errorf("read journal: %w", err)
	}
	j.first.Store(max(first, 1))
	j.last.Store(last)
	return nil
}

// nodeID reads the node's id from path, or makes one.
func nodeID(path string) (uuid.UUID, error) {
	text, err := os.ReadFile(path)
	if err == nil {
		id, err := uuid.Parse(strings.TrimSpace(string(text)))
		if err != nil {
			return uuid.Nil, fmt.Errorf("%s: %w", path, err)
		}
		return id, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return uuid.Nil, fmt.Errorf("read node id: %w", err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.Nil, fmt.Errorf("make node id: %w", err)
	}
	if err := os.WriteFile(path+".new", []byte(id.String()+"\n"), 0o600); err != nil {
		return uuid.Nil, fmt.Errorf("write node id: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return uuid.Nil, fmt.Errorf("write node id: %w", err)
	}
	return id, nil
}

// NodeID is the id of the node that the directory belongs to.
func (j *Journal) NodeID() uuid.UUID { return j.nodeID }

// Append implements event.Journal: one write and one fsync for all records.
func (j *Journal) Append(records [][]byte) error {
	next := j.last.Load() + 1
	logs := make([]*raft.Log, len(records))
	now := time.Now()
	for i, r := range records {
		logs[i] = &raft.Log{Index: next + uint64(i), Data: r, AppendedAt: now}
	}
	if err := j.wal.StoreLogs(logs); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	j.last.Add(uint64(len(records)))
	return nil
}

// Bounds implements event.Journal.
func (j *Journal) Bounds() (first, last uint64, err error) { return j.first.Load(), j.last.Load(), nil }

// Read implements event.Journal.
func (j *Journal) Read(index uint64) ([]byte, error) {
	var log raft.Log
	if err := j.wal.GetLog(index, &log); err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
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
	if err := j.wal.DeleteRange(first, index); err != nil {
		return fmt.Errorf("trim journal: %w", err)
	}
	j.first.Store(index + 1)
	return nil
}

// Close closes the files and gives the directory free.
func (j *Journal) Close() error {
	return errors.Join(j.wal.Close(), j.meta.Close(), j.lock.Unlock())
}

package journal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft-wal/fs"
	walsegment "github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

var (
	_ types.VFS       = (*disk)(nil)
	_ types.MetaStore = (*disk)(nil)
)

// spareName is the next segment, allocated in advance. A full disk then stops nobody from writing what is admitted.
const spareName = "spare"

// disk is the folder of the segments as raft-wal sees it: its files and its metadata. It writes nothing after an error.
type disk struct {
	dir string
	log *slog.Logger
	// fileBytes is the size at which a segment file is made.
	fileBytes uint64
	// fault stands in for the disk in tests: it may do a part of what is asked, and returns the error.
	fault func(op, path string, b []byte, at int64) error

	meta   meta          // the newest that is durable; owned by whoever holds raft-wal's write lock
	synced atomic.Uint64 // index of the newest record that is durable
	failed atomic.Pointer[error]
	// serving is set once raft-wal has opened its files.
	serving atomic.Bool

	mu    sync.Mutex
	ends  map[string]int64 // written bytes of each segment file
	spare bool             // there is a spare segment
}

// fail keeps the first error of a write, and returns what is kept.
func (d *disk) fail(err error) error {
	d.failed.CompareAndSwap(nil, &err)
	return d.failure()
}

func (d *disk) failure() error {
	if err := d.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// do writes, unless a write has failed before.
func (d *disk) do(op, path string, b []byte, at int64, act func() error) error {
	if err := d.failure(); err != nil {
		return err
	}
	if d.fault != nil {
		if err := d.fault(op, path, b, at); err != nil {
			return d.fail(fmt.Errorf("%s %s: %w", op, path, err))
		}
	}
	if err := act(); err != nil {
		return d.fail(err)
	}
	return nil
}

// file is an open file of the journal.
type file struct {
	*os.File
	disk *disk
}

// WriteAt implements io.WriterAt.
func (f *file) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.disk.do("write", f.Name(), b, at, func() error { n, err = f.File.WriteAt(b, at); return err })
	if err == nil {
		f.disk.written(filepath.Base(f.Name()), at+int64(n))
	}
	return n, err
}

// Sync returns when the disk has what was written.
func (f *file) Sync() error { return f.disk.do("sync", f.Name(), nil, 0, f.File.Sync) }

const (
	// readAhead is what raft-wal reads when it looks for a record, before it knows the record's length.
	readAhead = 64 << 10
	// readBytes is what we give it: our records are short. It asks again for one that is longer.
	readBytes = 512
)

// ReadAt implements io.ReaderAt.
func (f *file) ReadAt(b []byte, at int64) (int, error) {
	if len(b) != readAhead || !f.disk.serving.Load() {
		return f.File.ReadAt(b, at)
	}
	n, err := f.File.ReadAt(b[:readBytes], at)
	if err == nil {
		err = io.EOF
	}
	return n, err
}

// written notes how far a segment file is written.
func (d *disk) written(name string, end int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old, ok := d.ends[name]; ok {
		d.ends[name] = max(old, end)
	}
}

// held is how many bytes the segments hold.
func (d *disk) held() (sum int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, end := range d.ends {
		sum += end
	}
	return sum
}

// makeSegment makes the file of a segment durable, from the spare one if there is one.
func (d *disk) makeSegment(info types.SegmentInfo) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := walsegment.FileName(info)
	path := filepath.Join(d.dir, name)
	if _, ok := d.ends[name]; ok {
		return nil
	}
	d.ends[name] = 0
	if _, err := os.Stat(path); err == nil { // made just before a crash
		return nil
	}
	if err := d.do("create", path, nil, 0, func() error {
		if err := d.allocateSpare(); err != nil {
			return fmt.Errorf("make the next segment: %w", err)
		}
		d.spare = false
		return os.Rename(filepath.Join(d.dir, spareName), path)
	}); err != nil {
		return err
	}
	return d.syncDir(d.dir)
}

// allocateSpare makes the spare segment if there is none. d.mu is held.
func (d *disk) allocateSpare() error {
	path := filepath.Join(d.dir, spareName)
	if s, err := os.Stat(path); err == nil && uint64(s.Size()) == d.fileBytes {
		d.spare = true
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := fs.New().Create(d.dir, spareName, d.fileBytes)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		_ = os.Remove(path) // a part of it is of no use, and takes what room there is
		return err
	}
	d.spare = true
	return nil
}

// needSpare makes the spare segment if there is none, or returns why it cannot.
func (d *disk) needSpare() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spare {
		return nil
	}
	return d.allocateSpare()
}

func (d *disk) syncDir(dir string) error {
	return d.do("sync", dir, nil, 0, func() error {
		f, err := os.Open(dir)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// ListDir implements types.VFS.
func (d *disk) ListDir(dir string) ([]string, error) { return fs.New().ListDir(dir) }

// Create implements types.VFS: CommitState has made the file.
func (d *disk) Create(dir, name string, _ uint64) (types.WritableFile, error) {
	return d.OpenWriter(dir, name)
}

// OpenWriter implements types.VFS.
func (d *disk) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &file{File: f, disk: d}, nil
}

// OpenReader implements types.VFS.
func (d *disk) OpenReader(dir, name string) (types.ReadableFile, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	return &file{File: f, disk: d}, nil
}

// Delete implements types.VFS. A file that stays is deleted at the next start.
func (d *disk) Delete(dir, name string) error {
	d.mu.Lock()
	delete(d.ends, name)
	d.mu.Unlock()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		d.log.Warn("journal: a segment that is no longer needed stays", "error", err)
		return nil
	}
	return nil
}

package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	wal "github.com/hashicorp/raft-wal"
	walsegment "github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"gavel/event"
)

// identify finds out whose journal this is. A new one gets an id, and metadata without segments; the file with the id comes
// last, so that where it is, metadata must be.
func (j *Journal) identify(dir string) (fresh bool, err error) {
	path := filepath.Join(dir, idName)
	text, idErr := os.ReadFile(path)
	if idErr != nil && !errors.Is(idErr, fs.ErrNotExist) {
		return false, fmt.Errorf("read node id: %w", idErr)
	}
	kept := strings.TrimSpace(string(text))
	var metaErr error
	j.disk.meta, metaErr = loadMeta(j.disk.dir)
	j.nodeID = j.disk.meta.NodeID
	switch {
	case metaErr != nil && idErr == nil:
		j.nodeID, _ = uuid.Parse(kept)
		if _, err := os.Stat(filepath.Join(j.disk.dir, "wal-meta.db")); err == nil {
			return false, fmt.Errorf("%w: it was written by an earlier version, which can still bill it", event.ErrDamaged)
		}
		return false, fmt.Errorf("%w: %w", event.ErrDamaged, metaErr)
	case metaErr != nil:
		j.nodeID, err = uuid.NewV7()
		j.disk.meta = meta{NodeID: j.nodeID}
		return true, err
	case idErr == nil && kept != j.nodeID.String():
		return false, fmt.Errorf("%w: %s says %.40q, the metadata says %s", event.ErrDamaged, idName, kept, j.nodeID)
	}
	return idErr != nil, nil
}

// inspect reads all segments, changes nothing, and returns the open one, or an error that wraps event.ErrDamaged. There is no
// open one (its data is nil) in a new journal.
func (d *disk) inspect() (tail segment, err error) {
	next := uint64(0)
	for i, info := range d.meta.Segments {
		name := walsegment.FileName(info)
		data, err := os.ReadFile(filepath.Join(d.dir, name))
		if err != nil {
			return tail, fmt.Errorf("%w: records from %d: %w", event.ErrDamaged, info.BaseIndex, err)
		}
		s, err := scan(data, info)
		if err != nil {
			return tail, damaged(name, s.last+1, err.Error())
		}
		open := info.SealTime.IsZero()
		switch {
		case i > 0 && info.BaseIndex != next, open != (i == len(d.meta.Segments)-1):
			return tail, damaged(name, s.last+1, "the metadata contradicts itself")
		case !open && (s.last != info.MaxIndex || uint64(s.index) != info.IndexStart):
			return tail, damaged(name, s.last+1, fmt.Sprintf("the records up to %d and their index cannot be read", info.MaxIndex))
		case open && s.remains().later:
			return tail, damaged(name, s.last+1, "it cannot be read, and later ones can")
		case open && s.last < d.meta.Synced:
			return tail, damaged(name, s.last+1, fmt.Sprintf("it cannot be read, and all up to %d were on the disk", d.meta.Synced))
		}
		d.ends[name] = int64(s.end)
		next, tail = s.last+1, s
	}
	return tail, d.inspectOthers()
}

func damaged(name string, record uint64, what string) error {
	return fmt.Errorf("%w: %s, record %d: %s", event.ErrDamaged, name, record, what)
}

// inspectOthers looks at the segment files that the metadata does not name. What is older is left of a trim. What is newer was
// made just before a crash, and nothing was written to it. Both may go.
func (d *disk) inspectOthers() error {
	files, err := filepath.Glob(filepath.Join(d.dir, "*.wal"))
	if err != nil {
		return err
	}
	first := uint64(0)
	if len(d.meta.Segments) > 0 {
		first = d.meta.Segments[0].BaseIndex
	}
	for _, path := range files {
		var base, id uint64
		name := filepath.Base(path)
		if _, err := fmt.Sscanf(name, "%020d-%016x.wal", &base, &id); err != nil {
			return fmt.Errorf("%w: %s is not a segment's name", event.ErrDamaged, name)
		}
		if _, named := d.ends[name]; named || base < first {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%w: %w", event.ErrDamaged, err)
		}
		if s := (segment{data: data}); s.remains().bytes > 0 {
			return fmt.Errorf("%w: %s has records and is not in the metadata", event.ErrDamaged, name)
		}
	}
	return nil
}

// prepare brings the files in order before raft-wal sees them.
func (d *disk) prepare(tail segment) error {
	if err := d.settle(tail); err != nil {
		return err
	}
	if err := d.seal(tail); err != nil {
		return err
	}
	// raft-wal deletes files that it does not know, but only when it has made a new one, which may have the same name.
	names, err := filepath.Glob(filepath.Join(d.dir, "*.wal"))
	if err != nil {
		return err
	}
	for _, path := range names {
		if _, named := d.ends[filepath.Base(path)]; !named {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle makes the open segment what the next append expects: nothing behind the last good append, and that on the disk.
func (d *disk) settle(tail segment) error {
	if tail.data == nil {
		return nil
	}
	name := walsegment.FileName(tail.info)
	path := filepath.Join(d.dir, name)
	torn := tail.remains()
	// The last append is written again. It may be in the page cache and not on the disk, even with a failed fsync before us.
	b := make([]byte, tail.end-tail.from+torn.bytes)
	copy(b, tail.data[tail.from:tail.end])
	if err := d.write(path, b, int64(tail.from)); err != nil {
		return err
	}
	d.ends[name] = int64(tail.end)
	missing := max(0, int(tail.info.SizeLimit)-len(tail.data)) // no crash of ours does that
	if missing > 0 {
		// Its room is wanted, but a full disk must not keep the rest from being billed.
		if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
			_, _ = f.WriteAt(make([]byte, int(d.fileBytes)-len(tail.data)), int64(len(tail.data)))
			_ = f.Close()
		}
	}
	if torn.bytes > 0 || missing > 0 {
		d.log.Warn("journal: a torn tail is cut off: the process or the machine ended in the middle of a write, and nobody was told that these events are accepted",
			"file", path, "offset", tail.end, "bytes", torn.bytes, "whole_records", torn.records, "first_record_cut", tail.last+1, "missing_bytes", missing)
	}
	d.synced.Store(tail.last)
	return nil
}

// seal ends an open segment that is full. raft-wal does so after the append that fills it; when the process ends before that,
// it would refuse every append of the next one.
func (d *disk) seal(tail segment) error {
	if tail.index == 0 {
		return nil
	}
	m := d.meta
	m.Segments = append([]types.SegmentInfo(nil), m.Segments...)
	full, now := &m.Segments[len(m.Segments)-1], time.Now()
	full.SealTime, full.MaxIndex, full.IndexStart = now, tail.last, uint64(tail.index)
	m.Segments = append(m.Segments, types.SegmentInfo{
		ID: m.NextSegmentID, BaseIndex: tail.last + 1, MinIndex: tail.last + 1, SizeLimit: full.SizeLimit, Codec: wal.CodecBinaryV1, CreateTime: now,
	})
	m.NextSegmentID++
	return d.CommitState(m.PersistentState)
}

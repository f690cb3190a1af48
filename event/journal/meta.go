package journal

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/google/uuid"
	"github.com/hashicorp/raft-wal/types"
)

// meta is what the segments do not say of themselves. It is written to two files in turns, so that a crash in the middle of
// a write leaves the one before it; in place, so that it can be written when the disk is full; and with a checksum, which the
// database that raft-wal would use does not have.
type meta struct {
	// Seq counts the writes; the file with the greater one counts.
	Seq uint64
	// NodeID is in the file node-id, too.
	NodeID uuid.UUID
	// Synced is the index of the newest record that was on the disk when this was written.
	Synced uint64
	types.PersistentState
}

// metaBytes is the size at which a metadata file is made, so that a full disk does not stop it from growing: enough for about
// 1,000 segments.
const metaBytes = 256 << 10

// metaHeader is the length of a CRC-32C of the rest and of the length of the JSON.
const metaHeader = 8

var errNoMeta = errors.New("there is no metadata")

func metaName(seq uint64) string { return fmt.Sprintf("meta.%d", seq%2) }

// loadMeta returns the newest metadata in dir that is whole, or an error that says what is wrong with both files.
func loadMeta(dir string) (newest meta, err error) {
	var errs []error
	for i := range uint64(2) {
		m, err := readMeta(filepath.Join(dir, metaName(i)))
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", metaName(i), err))
		case m.Seq > newest.Seq:
			newest = m
		}
	}
	if newest.Seq == 0 {
		return meta{}, fmt.Errorf("%w: %w", errNoMeta, errors.Join(errs...))
	}
	return newest, nil
}

func readMeta(path string) (m meta, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return meta{}, err
	}
	if len(b) < metaHeader {
		return meta{}, errors.New("too short")
	}
	size := int64(binary.BigEndian.Uint32(b[4:]))
	if size > int64(len(b)-metaHeader) || binary.BigEndian.Uint32(b) != crc32.Checksum(b[4:metaHeader+size], castagnoli) {
		return meta{}, errors.New("checksum differs")
	}
	if err := json.Unmarshal(b[metaHeader:metaHeader+size], &m); err != nil {
		return meta{}, fmt.Errorf("read metadata: %w", err)
	}
	return m, nil
}

// Load implements types.MetaStore with what Open has read and verified.
func (d *disk) Load(string) (types.PersistentState, error) { return d.meta.PersistentState, nil }

// CommitState implements types.MetaStore. The file of a new segment is made first: a segment that is named here and has no
// file is missing.
func (d *disk) CommitState(s types.PersistentState) error {
	if n := len(s.Segments); n > 0 && s.Segments[n-1].SealTime.IsZero() {
		if err := d.makeSegment(s.Segments[n-1]); err != nil {
			return err
		}
	}
	m := d.meta
	m.PersistentState = s
	return d.writeMeta(m)
}

// writeMeta makes m durable, with the number of the newest synced record.
func (d *disk) writeMeta(m meta) error {
	m.Seq++
	m.Synced = max(m.Synced, d.synced.Load())
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode metadata: %w", err)
	}
	b := make([]byte, metaHeader, max(metaBytes, metaHeader+len(text)))
	b = append(b, text...)
	binary.BigEndian.PutUint32(b[4:], uint32(len(text)))
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	path := filepath.Join(d.dir, metaName(m.Seq))
	if _, err := os.Stat(path); err != nil {
		b = b[:cap(b)]
	}
	if err := d.write(path, b, 0); err != nil {
		return err
	}
	d.meta = m
	return nil
}

// write writes a file in place and syncs it, with the directory if it is new.
func (d *disk) write(path string, b []byte, at int64) (err error) {
	_, missing := os.Stat(path)
	raw, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return d.fail(err)
	}
	f := &file{File: raw, disk: d}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt(b, at); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if missing != nil {
		return d.syncDir(filepath.Dir(path))
	}
	return nil
}

// GetStable implements types.MetaStore; a journal has no such values.
func (d *disk) GetStable([]byte) ([]byte, error) { return nil, errors.ErrUnsupported }

// SetStable implements types.MetaStore; a journal has no such values.
func (d *disk) SetStable(_, _ []byte) error { return errors.ErrUnsupported }

// Close implements types.MetaStore: nothing is open between writes.
func (d *disk) Close() error { return nil }

package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/types"
)

// The format of raft-wal's segment files, version 0: a header of 32 bytes, then frames, each on a multiple of 8 bytes with a
// header of 8: the type, three zeros, and the payload's length; for a commit frame, which has no payload, the CRC-32C of
// everything since the one before it. What is not written yet is zero. An append is entry frames and a commit frame; the last
// append of a segment has before its commit the index, the offsets of all entries.
const (
	headerLen = 32
	magic     = 0x58eb6b0d
	frameLen  = 8

	frameEntry  = 1
	frameIndex  = 2
	frameCommit = 3
)

// castagnoli is read only.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame reads the frame at an offset of a segment. ok is false when there is no whole one.
func frame(segment []byte, at int) (kind byte, payload []byte, next int, ok bool) {
	if at+frameLen > len(segment) {
		return 0, nil, 0, false
	}
	h := segment[at : at+frameLen]
	if h[1] != 0 || h[2] != 0 || h[3] != 0 {
		return 0, nil, 0, false
	}
	at += frameLen
	switch h[0] {
	case frameCommit:
		return h[0], h[4:], at, true
	case frameEntry, frameIndex:
		size := int(binary.LittleEndian.Uint32(h[4:]))
		next = at + (size+frameLen-1)/frameLen*frameLen
		if next > len(segment) {
			return 0, nil, 0, false
		}
		return h[0], segment[at : at+size], next, true
	}
	return 0, nil, 0, false
}

// newEntry is a record as raft-wal stores it. first is the index of the first record of its append, so everything before it
// was synced when this was written. It travels as the term of a Raft log entry, and our checksum as its extensions.
func newEntry(index, first uint64, record []byte) raft.Log {
	return raft.Log{Index: index, Term: first, Data: record, Extensions: binary.BigEndian.AppendUint32(nil, checksum(index, first, record))}
}

func checksum(index, first uint64, record []byte) uint32 {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], index)
	binary.BigEndian.PutUint64(b[8:], first)
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, record)
}

const (
	// timeLen is the length of a time.Time in an entry, which we leave zero.
	timeLen = 15
	// entryOverhead is the most bytes that an entry has in a segment besides the record: frame, padding, five varints, checksum and time.
	entryOverhead = frameLen + 7 + 4*binary.MaxVarintLen64 + 1 + 4 + timeLen
)

// readEntry reads what newEntry made, as raft-wal's codec writes it, from a frame that may be damaged in any way.
func readEntry(payload []byte) (index, first uint64, ok bool) {
	var head [4]uint64 // index, term, type, length of the record
	for i := range head {
		v, n := binary.Uvarint(payload)
		if n <= 0 {
			return 0, 0, false
		}
		head[i], payload = v, payload[n:]
	}
	const tail = 1 + 4 + timeLen
	size := len(payload) - tail
	if size < 0 || head[2] != 0 || head[3] != uint64(size) || payload[size] != 4 {
		return 0, 0, false
	}
	return head[0], head[1], checksum(head[0], head[1], payload[:size]) == binary.BigEndian.Uint32(payload[size+1:])
}

// segment is what is good of a segment file.
type segment struct {
	info types.SegmentInfo
	data []byte
	// last is the index of the last good record; one less than the first when there is none.
	last uint64
	// from and end bound the last good append in data.
	from, end int
	// index is the offset of the index, or 0 when the segment is not full.
	index int
}

var errHeader = errors.New("its header is not that of the metadata")

// scan reads a segment up to the last append that is good, with all before it.
func scan(data []byte, info types.SegmentInfo) (segment, error) {
	s := segment{info: info, data: data, last: info.BaseIndex - 1}
	from, at, last, index := 0, headerLen, s.last, 0
	var strange error // an entry of this append that is not what it should be, which is damage if the append is good
	for {
		kind, payload, next, ok := frame(data, at)
		if !ok {
			return s, nil
		}
		switch kind {
		case frameEntry:
			last++
			if i, first, ok := readEntry(payload); !ok || i != last || first != s.last+1 {
				strange = fmt.Errorf("record %d is not what was written", last)
			}
		case frameIndex:
			index = at + frameLen
		case frameCommit:
			if crc32.Checksum(data[from:at], castagnoli) != binary.LittleEndian.Uint32(payload) {
				return s, nil
			}
			if from == 0 && !headerIs(data, info) {
				strange = errHeader
			}
			if strange != nil {
				return s, strange
			}
			s.from, s.end, s.last, s.index = from, next, last, index
			from = next
		}
		at = next
	}
}

func headerIs(data []byte, info types.SegmentInfo) bool {
	field := func(i int) uint64 { return binary.LittleEndian.Uint64(data[8*i:]) }
	return field(0) == magic && field(1) == info.BaseIndex && field(2) == info.ID && field(3) == info.Codec
}

// remains describes what is behind the last good append of a segment.
type remains struct {
	// bytes is the distance from the end of the last good append to the last byte that is not zero.
	bytes int
	// records is how many whole records are among them.
	records int
	// later says that one of them is of an append that began when the missing one had been synced.
	later bool
}

func (s *segment) remains() remains {
	rest := s.data[s.end:]
	for len(rest) > 0 && rest[len(rest)-1] == 0 {
		rest = rest[:len(rest)-1]
	}
	r := remains{bytes: len(rest)}
	for at := max(s.end, headerLen); at < s.end+len(rest); at += frameLen {
		kind, payload, _, ok := frame(s.data, at)
		if !ok || kind != frameEntry {
			continue
		}
		if index, first, ok := readEntry(payload); ok && index > s.last {
			r.records++
			r.later = r.later || first > s.last+1
		}
	}
	return r
}

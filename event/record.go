package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/google/uuid"

	"gavel/budget"
	"gavel/campaign"
	"gavel/internal/money"
)

// Record is what the journal keeps of an accepted event.
type Record struct {
	budget.Event
	AdGroupID campaign.AdGroupID
}

// A record of version 1 has no Served, one of version 2 has it before the checksum.
const (
	plainRecord  = 1
	servedRecord = 2
	plainBody    = 2 + 16 + 4 + 8*6
	checksumSize = 4
)

// ErrDamaged says that a record in the journal is not what was written.
var ErrDamaged = errors.New("event: journal record is damaged")

// castagnoli is read only.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendRecord appends the journal's form of r to dst: one size per version, with a CRC-32C of its own, so that a record can be
// trusted whatever keeps it.
func AppendRecord(dst []byte, r *Record) []byte {
	from := len(dst)
	version := byte(plainRecord)
	if r.Served != (Served{}) {
		version = servedRecord
	}
	dst = append(dst, version, kindCode(r.Kind))
	dst = append(dst, r.ImpressionID[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.Day))
	for _, v := range []int64{int64(r.LeaseID), int64(r.AdID), int64(r.Price), r.UserHash, int64(r.AdGroupID), r.AcceptedAt.UnixMicro()} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(v))
	}
	if version == servedRecord {
		dst = append(dst, r.Served[:]...)
	}
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[from:], castagnoli))
}

// DecodeRecord reads what AppendRecord wrote, or returns ErrDamaged.
func DecodeRecord(b []byte) (Record, error) {
	version, body := byte(plainRecord), plainBody
	switch len(b) {
	case plainBody + checksumSize:
	case plainBody + servedSize + checksumSize:
		version, body = servedRecord, plainBody+servedSize
	default:
		return Record{}, fmt.Errorf("%d bytes: %w", len(b), ErrDamaged)
	}
	if binary.BigEndian.Uint32(b[body:]) != crc32.Checksum(b[:body], castagnoli) {
		return Record{}, fmt.Errorf("checksum differs: %w", ErrDamaged)
	}
	if b[0] != version || b[1] == 0 || int(b[1]) >= len(kinds) {
		return Record{}, fmt.Errorf("version %d, kind %d: %w", b[0], b[1], ErrDamaged)
	}
	field := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[22+i*8:])) }
	r := Record{AdGroupID: campaign.AdGroupID(field(4))}
	r.EventID = budget.EventID{Day: int(binary.BigEndian.Uint32(b[18:])), ImpressionID: uuid.UUID(b[2:18]), Kind: kinds[b[1]]}
	r.LeaseID, r.AdID, r.Price = budget.LeaseID(field(0)), campaign.AdID(field(1)), money.Nanos(field(2))
	r.UserHash, r.AcceptedAt = field(3), time.UnixMicro(field(5))
	copy(r.Served[:], b[plainBody:body])
	switch {
	case r.Price < 0:
		return Record{}, fmt.Errorf("price %d: %w", r.Price, ErrDamaged)
	case version == servedRecord && r.Served == (Served{}):
		return Record{}, fmt.Errorf("version %d without what was served: %w", version, ErrDamaged)
	}
	return r, nil
}

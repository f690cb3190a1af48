package event

import (
	"encoding/binary"
	"fmt"
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

const (
	recordVersion = 1
	recordSize    = 2 + 16 + 4 + 8*6
)

// AppendRecord appends the journal's form of r to dst: fixed size, versioned; the journal adds the checksum.
func AppendRecord(dst []byte, r *Record) []byte {
	dst = append(dst, recordVersion, kindCode(r.Kind))
	dst = append(dst, r.ImpressionID[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.Day))
	for _, v := range []int64{int64(r.LeaseID), int64(r.AdID), int64(r.Price), r.UserHash, int64(r.AdGroupID), r.AcceptedAt.UnixMicro()} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(v))
	}
	return dst
}

// DecodeRecord reads what AppendRecord wrote.
func DecodeRecord(b []byte) (Record, error) {
	if len(b) != recordSize {
		return Record{}, fmt.Errorf("journal record of %d bytes, want %d", len(b), recordSize)
	}
	if b[0] != recordVersion || b[1] == 0 || int(b[1]) >= len(kinds) {
		return Record{}, fmt.Errorf("journal record of version %d, kind %d", b[0], b[1])
	}
	field := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[22+i*8:])) }
	r := Record{AdGroupID: campaign.AdGroupID(field(4))}
	r.EventID = budget.EventID{Day: int(binary.BigEndian.Uint32(b[18:])), ImpressionID: uuid.UUID(b[2:18]), Kind: kinds[b[1]]}
	r.LeaseID, r.AdID, r.Price = budget.LeaseID(field(0)), campaign.AdID(field(1)), money.Nanos(field(2))
	r.UserHash, r.AcceptedAt = field(3), time.UnixMicro(field(5))
	if r.Price < 0 {
		return Record{}, fmt.Errorf("journal record with price %d", r.Price)
	}
	return r, nil
}

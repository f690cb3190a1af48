package redis

import (
	"encoding/binary"
	"fmt"

	"gavel/campaign"
)

// appendLists appends the record of a user's lists, which are sorted and without duplicates: the first as a varint, then of each
// how much more it is than the one before.
func appendLists(dst []byte, lists []campaign.ListID) []byte {
	before := campaign.ListID(0)
	for _, id := range lists {
		dst = binary.AppendUvarint(dst, uint64(id-before))
		before = id
	}
	return dst
}

// maxListID is far above what a sequence reaches.
const maxListID = 1 << 53

// decodeLists reads a record that appendLists wrote, or returns ErrDamaged: there is one record for each set of lists, and an
// empty one for none.
func decodeLists(record string) ([]campaign.ListID, error) {
	if record == "" {
		return nil, nil
	}
	n := 0
	for i := range len(record) {
		if record[i] < 0x80 {
			n++
		}
	}
	lists := make([]campaign.ListID, 0, n)
	before := uint64(0)
	for i := 0; i < len(record); {
		delta, used := uvarint(record[i:])
		if used <= 0 || delta == 0 || delta > maxListID-before {
			return nil, fmt.Errorf("lists %x at byte %d: %w", record, i, ErrDamaged)
		}
		before += delta
		lists = append(lists, campaign.ListID(before))
		i += used
	}
	return lists, nil
}

// uvarint is binary.Uvarint of a string; it returns 0 bytes used for one that does not end, is too long, or longer than needed.
func uvarint(s string) (value uint64, used int) {
	for i := 0; i < len(s) && i < 8; i++ {
		value |= uint64(s[i]&0x7f) << (7 * i)
		if s[i] < 0x80 {
			if i > 0 && s[i] == 0 {
				return 0, 0
			}
			return value, i + 1
		}
	}
	return 0, 0
}

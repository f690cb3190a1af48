package campaign

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"gavel/internal/fault"
)

// partBuffer is how much of a part is read at once.
const partBuffer = 64 << 10

// ReadPart reads the records of a part: one a line, or separated by commas, with any space around them; empty ones do not count. It
// holds eight bytes of each valid record and nothing else, whatever the size. A record that names no user is counted; errors are
// those of r, and a [fault.TooLarge] for a part over its limits.
func ReadPart(r io.Reader, t ListType) (PartContents, error) {
	c := PartContents{}
	sum := sha256.New()
	buffer := make([]byte, partBuffer)
	// The record that a read ended in.
	var rest []byte
	for {
		n, err := r.Read(buffer)
		sum.Write(buffer[:n])
		if c.Bytes += int64(n); c.Bytes > MaxPartBytes {
			return c, fault.New(fault.TooLarge, fmt.Sprintf("a part may have at most %d bytes", MaxPartBytes))
		}
		rest = c.take(buffer[:n], rest, t)
		if c.Records > MaxPartRecords {
			return c, fault.New(fault.TooLarge, fmt.Sprintf("a part may have at most %d records", MaxPartRecords))
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return c, fmt.Errorf("read part: %w", err)
		}
	}
	c.add(rest, t)
	sum.Sum(c.SHA256[:0])
	slices.Sort(c.Users)
	return c, nil
}

// take adds the records that end in data, the first of which began with rest, and returns what the last begins with.
func (c *PartContents) take(data, rest []byte, t ListType) []byte {
	for {
		end := bytes.IndexAny(data, "\n,")
		if end < 0 {
			return keepRecord(rest, data)
		}
		if len(rest) > 0 {
			rest = keepRecord(rest, data[:end])
			c.add(rest, t)
			rest = rest[:0]
		} else {
			c.add(data[:end], t)
		}
		data = data[end+1:]
	}
}

// longestRecord is how long a record may be with the space around it. One that is longer is refused unread.
const longestRecord = 4 * MaxUserIDLength

// keepRecord appends to a record what still tells whether it is too long.
func keepRecord(record, more []byte) []byte {
	return append(record, more[:min(len(more), longestRecord+1-len(record))]...)
}

func (c *PartContents) add(record []byte, t ListType) {
	tooLong := len(record) > longestRecord
	record = bytes.TrimSpace(record)
	if len(record) == 0 && !tooLong {
		return
	}
	c.Records++
	user, problem := t.user(record)
	if tooLong {
		problem = RecordTooLong
	}
	if problem != 0 {
		if c.Invalid == nil {
			c.Invalid = map[RecordProblem]int64{}
		}
		c.Invalid[problem]++
		return
	}
	c.Users = append(c.Users, user)
}

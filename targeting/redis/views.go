package redis

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"gavel/campaign"
)

const (
	// window is the window of frequency caps: an impression counts while it is less than this old. It is a length of time, so no
	// time zone and no change of clocks has a part in it.
	window = 30 * 24 * time.Hour
	// viewsSlack is how much longer impressions are kept than they count: nodes' clocks differ.
	viewsSlack = time.Hour
	// maxViewedGroups is the most ad groups that are remembered of a user, minViewsKept the most impressions of one, unless its cap is
	// higher: so a user takes at most about 512 · (8 + 8 · 256) bytes, and in practice some hundred.
	maxViewedGroups = 512
	minViewsKept    = 256
)

// Impression is one view of an ad by a user.
type Impression struct {
	UserHash  int64
	AdGroupID campaign.AdGroupID
	// ID is the impression's UUID v7, which says when the ad was served: the impression is counted once, however often it comes.
	ID [16]byte
	// Cap is the most impressions of the ad group in the window; 0 counts without a check.
	Cap int
}

// Counted is what became of an impression.
type Counted uint8

// What can become of an impression. One that was over its cap is counted like any other: it has happened.
const (
	WithinCap Counted = iota
	OverCap
	CountedBefore
	TooOld
)

// viewSize is the length of a stored impression: 6 bytes of its time in ms, 2 of its id.
const viewSize = 8

func (imp *Impression) entry() string {
	return string(imp.ID[:6]) + string(imp.ID[14:])
}

// RecordImpressions checks impressions against their caps and counts them, in one round trip, and says for each what became of it.
// Each user's are checked and counted in one step, whoever else counts at the same time, and in the order given. After an error
// some may be counted; counting them again is harmless.
func (u *Users) RecordImpressions(ctx context.Context, impressions []Impression) ([]Counted, error) {
	if len(impressions) == 0 {
		return nil, nil
	}
	of := map[int64]int{} // user → its index into calls
	var calls []call
	var which [][]int // for each call, the impressions it counts
	now := u.now().UnixMilli()
	for i := range impressions {
		imp := &impressions[i]
		n, known := of[imp.UserHash]
		if !known {
			n = len(calls)
			of[imp.UserHash] = n
			calls = append(calls, call{keyViews(imp.UserHash), []any{now, window.Milliseconds(), viewsSlack.Milliseconds(), maxViewedGroups}})
			which = append(which, nil)
		}
		calls[n].args = append(calls[n].args, groupField(imp.AdGroupID), imp.entry(), imp.Cap, max(imp.Cap, minViewsKept))
		which[n] = append(which[n], i)
	}
	counted := make([]Counted, len(impressions))
	for n, answer := range answersOf(ctx, u.client, impressionsScript, calls) {
		numbers, err := answer.Int64Slice()
		if err != nil {
			return nil, fmt.Errorf("record impressions: %w", sentinel(err))
		}
		if len(numbers) != len(which[n]) {
			return nil, fmt.Errorf("record impressions: %d answers for %d", len(numbers), len(which[n]))
		}
		for k, i := range which[n] {
			counted[i] = Counted(numbers[k])
		}
	}
	return counted, nil
}

func groupField(id campaign.AdGroupID) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(id))
	return string(b[:])
}

// countViews counts the impressions of each ad group that are later than a time, or returns ErrDamaged.
func countViews(fields map[string]string, later time.Time) (map[campaign.AdGroupID]int, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	views := make(map[campaign.AdGroupID]int, len(fields))
	from := later.UnixMilli()
	for field, list := range fields {
		if len(field) != 8 || list == "" || len(list)%viewSize != 0 {
			return nil, fmt.Errorf("views of %x = %x: %w", field, list, ErrDamaged)
		}
		n, before := 0, uint64(0)
		for i := 0; i < len(list); i += viewSize {
			at := bigEndian(list[i : i+viewSize])
			if at <= before {
				return nil, fmt.Errorf("views of %x are not in order: %w", field, ErrDamaged)
			}
			before = at
			if int64(at>>16) > from {
				n++
			}
		}
		if n > 0 {
			views[campaign.AdGroupID(bigEndian(field))] = n
		}
	}
	return views, nil
}

// bigEndian reads eight bytes.
func bigEndian(s string) uint64 {
	_ = s[7]
	return uint64(s[0])<<56 | uint64(s[1])<<48 | uint64(s[2])<<40 | uint64(s[3])<<32 |
		uint64(s[4])<<24 | uint64(s[5])<<16 | uint64(s[6])<<8 | uint64(s[7])
}

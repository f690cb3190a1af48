package campaign

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// WeekHours is a set of the 168 hours of a week in local time, one bit each: bit 0 is Monday 00:00 to 00:59, bit 167 Sunday 23:00 to
// 23:59. The zero value means every hour. In JSON it is 42 hexadecimal digits, hour 0 in the lowest bit of the last.
type WeekHours [3]uint64

// HoursInWeek is how many hours a WeekHours tells apart.
const HoursInWeek = 7 * 24

// HourOfWeek is the bit of the local hour that t is in, in 0..167. An hour that a change of clocks repeats is one bit both times.
func HourOfWeek(t time.Time, zone *time.Location) int {
	t = t.In(zone)
	return (int(t.Weekday())+6)%7*24 + t.Hour()
}

// IsZero reports whether h means every hour.
func (h WeekHours) IsZero() bool { return h == WeekHours{} }

// Has reports whether the set allows an hour of the week, 0..167.
func (h WeekHours) Has(hour int) bool {
	return h.IsZero() || h[hour/64]>>(hour%64)&1 == 1
}

// With returns the set with an hour of the week, 0..167, added to it.
func (h WeekHours) With(hour int) WeekHours {
	h[hour/64] |= 1 << (hour % 64)
	return h
}

// MarshalText writes the 42 digits.
func (h WeekHours) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%010x%016x%016x", h[2], h[1], h[0]), nil
}

var errHours = errors.New("hours of the week are not 42 hexadecimal digits")

// UnmarshalText reads what MarshalText wrote.
func (h *WeekHours) UnmarshalText(text []byte) error {
	raw, err := hex.AppendDecode(nil, text)
	if err != nil || len(raw) != HoursInWeek/8 {
		return errHours
	}
	*h = WeekHours{}
	for i, b := range raw {
		at := len(raw) - 1 - i
		h[at/8] |= uint64(b) << (at % 8 * 8)
	}
	return nil
}

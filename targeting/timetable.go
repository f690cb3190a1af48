package targeting

import (
	"math/bits"
	"strings"
	"time"

	"gavel/campaign"
)

// span is a schedule in whole minutes since 1970, rounded inwards: from is when the row is on for sure, until when it is no longer.
// In the minute before from and in the minute after until it may be on: then the code is asked.
type span struct{ from, until int32 }

const (
	always      = 1<<31 - 1
	minuteMicro = 60_000_000
)

func newSpan(start, end int64) span {
	s := span{-always, always}
	if start != 0 {
		s.from = clampMinute(-floorDiv(-start, minuteMicro))
	}
	if end != 0 {
		s.until = clampMinute(floorDiv(end, minuteMicro))
	}
	return s
}

func floorDiv(n, d int64) int64 {
	q := n / d
	if n%d < 0 {
		q--
	}
	return q
}

// clampMinute keeps a minute within int32, with room for one more on either side.
func clampMinute(m int64) int32 { return int32(min(max(m, -always+2), always-2)) }

// timetable says which rows of a segment are on, for as long as that stays so.
type timetable struct {
	// from (inclusive) and until (exclusive) are the minutes for which it holds.
	from, until int32
	// on are the rows that are on or may be; edge those of them that may be, nil if there are none.
	on   column
	edge []uint64
}

// weekly is a row with hours of the week.
type weekly struct {
	row   uint16
	hours campaign.WeekHours
	zone  *time.Location
}

// quarter is what the offsets of time zones from UTC are multiples of, in minutes, as are the times at which they change.
const quarter = 15

// setTimes finds what the rows say of time, and those whose keywords columns do not decide.
func (s *Segment) setTimes() {
	n := wordsFor(s.rows())
	for row := range s.rows() {
		r := reader{s: string(s.code(row))}
		_, parts := r.head()
		if parts&partSchedule != 0 {
			if s.spans == nil {
				s.spans = make([]span, s.rows())
				for i := range s.spans {
					s.spans[i] = span{-always, always}
				}
			}
			s.spans[row] = newSpan(int64(r.uvarint()), int64(r.uvarint()))
		}
		if parts&partHours != 0 {
			s.weekly = append(s.weekly, weekly{uint16(row), r.hours(), s.group(row).Zone})
			r.text()
		}
		if parts&partKeywords != 0 && r.needsText() {
			s.worded = mark(s.worded, n, row, true)
			s.wordedCodes = append(s.wordedCodes, s.code(row))
		}
	}
	before := 0
	for _, w := range s.worded {
		s.wordedBefore = append(s.wordedBefore, uint32(before))
		before += bits.OnesCount64(w)
	}
}

// needsText reads the keywords of a code, and reports whether one that must hit is more than a word.
func (r *reader) needsText() bool {
	more := false
	for range r.count(2) {
		k := keyword{how: r.matchType()}
		text := r.text()
		switch {
		case k.isNegative():
		case k.how == campaign.MatchExact, strings.Count(text, " ") > 2:
			more = true
		}
	}
	return more
}

// mark sets the bit of a row, in words that are made when the first is set.
func mark(words []uint64, n, row int, set bool) []uint64 {
	if !set {
		return words
	}
	if words == nil {
		words = make([]uint64, n)
	}
	words[row/64] |= 1 << (row % 64)
	return words
}

// timetable is the one for a time in Unix microseconds. It is made anew when the last one does not hold, which takes some 100 µs
// once in the time between two starts or ends of rows of this segment, or once in a quarter of an hour if rows have hours.
func (s *Segment) timetable(micros int64) *timetable {
	minute := clampMinute(floorDiv(micros, minuteMicro))
	if t := s.latest.Load(); t != nil && t.from <= minute && minute < t.until {
		return t
	}
	t := s.timesAt(minute)
	s.latest.Store(t)
	return t
}

func (s *Segment) timesAt(minute int32) *timetable {
	n := wordsFor(s.rows())
	t := &timetable{from: -always, until: always, on: column{dense: make([]uint64, n)}}
	// A row changes its state at each of these minutes.
	border := func(m int32) {
		if m <= minute {
			t.from = max(t.from, m)
		} else {
			t.until = min(t.until, m)
		}
	}
	if s.spans == nil {
		t.on.fill(s.rows())
	}
	for row, sp := range s.spans {
		if sp.from != -always {
			border(sp.from - 1)
			border(sp.from)
		}
		if sp.until != always {
			border(sp.until)
			border(sp.until + 1)
		}
		if minute < sp.from-1 && sp.from != -always || minute > sp.until {
			continue
		}
		t.on.dense[row/64] |= 1 << (row % 64)
		t.edge = mark(t.edge, n, row, sp.from != -always && minute == sp.from-1 || minute == sp.until)
	}
	if len(s.weekly) > 0 {
		at := int32(floorDiv(int64(minute), quarter) * quarter)
		border(at)
		border(at + quarter)
	}
	now := time.Unix(int64(minute)*60, 0)
	for _, w := range s.weekly {
		row := int(w.row)
		if _, offset := now.In(w.zone).Zone(); offset%(quarter*60) != 0 {
			t.edge = mark(t.edge, n, row, true)
		} else if !w.hours.Has(campaign.HourOfWeek(now, w.zone)) {
			t.on.dense[row/64] &^= 1 << (row % 64)
		}
	}
	t.on.count = countBits(t.on.dense)
	return t
}

// fill adds all rows.
func (c *column) fill(rows int) {
	for i := range c.dense {
		switch rest := rows - i*64; {
		case rest >= 64:
			c.dense[i] = ^uint64(0)
		case rest > 0:
			c.dense[i] = 1<<rest - 1
		}
	}
}

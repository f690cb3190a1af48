package targeting

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

// setTimes finds the rows that columns do not decide.
func (s *Segment) setTimes() {
	n := wordsFor(s.rows())
	for row := range s.rows() {
		r := reader{s: string(s.code(row))}
		_, parts := r.head()
		s.hours = mark(s.hours, n, row, parts&partHours != 0)
		s.worded = mark(s.worded, n, row, parts&partKeywords != 0)
		if parts&partSchedule == 0 {
			continue
		}
		if s.spans == nil {
			s.spans = make([]span, s.rows())
			for i := range s.spans {
				s.spans[i] = span{-always, always}
			}
		}
		s.spans[row] = newSpan(int64(r.uvarint()), int64(r.uvarint()))
	}
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
// once in the time between two starts or ends of rows of this segment.
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
		t.on.count++
		t.edge = mark(t.edge, n, row, sp.from != -always && minute == sp.from-1 || minute == sp.until)
	}
	return t
}

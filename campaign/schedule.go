package campaign

import (
	"fmt"
	"slices"
	"strings"

	"gavel/internal/fault"
)

// MaxAdSchedule is the most entries of an ad_schedule as it is given: six a day.
const MaxAdSchedule = 42

const hoursInDay = 24

// ScheduleInput is one entry of an ad_schedule: on this day of the week, from an hour (0..23) to before another (1..24).
type ScheduleInput struct {
	Day                Opt[string]
	StartHour, EndHour Opt[int64]
}

// ScheduleEntry is one entry of an ad_schedule as it is shown.
type ScheduleEntry struct {
	Day                string // MONDAY to SUNDAY
	StartHour, EndHour int
}

// daysOfWeek are the days in the order of WeekHours.
func daysOfWeek() []string {
	return []string{"MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"}
}

// Schedule is h as the shortest list of entries, by day and hour; nil for every hour. Entries end at midnight.
func (h WeekHours) Schedule() []ScheduleEntry {
	if h.IsZero() {
		return nil
	}
	var list []ScheduleEntry
	for day, name := range daysOfWeek() {
		for hour := range hoursInDay {
			if !h.Has(day*hoursInDay + hour) {
				continue
			}
			if n := len(list); n > 0 && list[n-1].Day == name && list[n-1].EndHour == hour {
				list[n-1].EndHour++
				continue
			}
			list = append(list, ScheduleEntry{name, hour, hour + 1})
		}
	}
	return list
}

// weekHours reads an ad_schedule. Entries may overlap; together they may be every hour, which is no restriction.
func weekHours(p *fault.Fields, field string, entries []ScheduleInput) WeekHours {
	switch n := len(entries); {
	case n == 0:
		p.Add(field, "is empty, which would be for nobody: null means all hours")
	case n > MaxAdSchedule:
		p.Add(field, fmt.Sprintf("has %d entries, at most %d are allowed", n, MaxAdSchedule))
		return WeekHours{}
	}
	var h WeekHours
	for i, e := range entries {
		day, first, end, problems := e.check()
		p.Nest(fault.Index(field, i), problems)
		if len(problems) > 0 {
			continue
		}
		for hour := first; hour < end; hour++ {
			h = h.With(day*hoursInDay + hour)
		}
	}
	if every := (WeekHours{^uint64(0), ^uint64(0), 1<<(HoursInWeek-128) - 1}); h == every {
		return WeekHours{}
	}
	return h
}

// check returns the entry's day, 0 for Monday, and its hours, or what is wrong with it.
func (e ScheduleInput) check() (day, first, end int, problems []fault.Field) {
	var p fault.Fields
	required(&p, "day_of_week", e.Day)
	required(&p, "start_hour", e.StartHour)
	required(&p, "end_hour", e.EndHour)
	var name string
	var from, to int64
	apply(&p, "day_of_week", e.Day, &name)
	apply(&p, "start_hour", e.StartHour, &from)
	apply(&p, "end_hour", e.EndHour, &to)
	day = slices.Index(daysOfWeek(), name)
	if e.Day.Given() && day < 0 {
		p.Add("day_of_week", "must be one of "+strings.Join(daysOfWeek(), ", "))
	}
	startIs := from >= 0 && from < hoursInDay
	if e.StartHour.Given() && !startIs {
		p.Add("start_hour", fmt.Sprintf("is %d, must be from 0 to 23", from))
	}
	switch {
	case !e.EndHour.Given():
	case to < 1 || to > hoursInDay:
		p.Add("end_hour", fmt.Sprintf("is %d, must be from 1 to 24", to))
	case e.StartHour.Given() && startIs && to <= from:
		p.Add("end_hour", fmt.Sprintf("is %d, must be after start_hour %d: what goes past midnight is two entries, one for each day", to, from))
	}
	return day, int(from), int(to), p
}

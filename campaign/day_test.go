package campaign

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// run is one stretch of instants that DayOf gives the same day.
type run struct {
	day int
	// from is the first instant of the stretch, to the second.
	from time.Time
}

// runsOf walks from one instant to another in steps of 7 minutes and finds where each run
// begins, to the second. It fails when a day is less than the one before.
func runsOf(t *testing.T, zone *time.Location, from, to time.Time) []run {
	t.Helper()
	const step = 7 * time.Minute
	runs := []run{{DayOf(from, zone), from}}
	for at := from; at.Before(to); at = at.Add(step) {
		before, after := DayOf(at, zone), DayOf(at.Add(step), zone)
		require.GreaterOrEqual(t, after, before, "%s goes back at %s", zone, at)
		if before == after {
			continue
		}
		low, high := at, at.Add(step) // the last instant known to be of the day before, the first known to be of the next
		for high.Sub(low) > time.Second {
			if mid := low.Add(high.Sub(low) / 2).Truncate(time.Second); DayOf(mid, zone) == before {
				low = mid
			} else {
				high = mid
			}
		}
		runs = append(runs, run{after, high})
	}
	return runs
}

// TestEachLocalDayIsOnePeriod: a day of the account's zone is one period, whatever its clocks do.
func TestEachLocalDayIsOnePeriod(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		zone string
		year int
		// odd are the days that do not last 24 hours; skipped those that the calendar of the zone does not have.
		odd     map[int]time.Duration
		skipped []int
	}{
		"UTC":                     {zone: "UTC", year: 2026},
		"UTC, a leap year":        {zone: "UTC", year: 2028},
		"New York":                {zone: "America/New_York", year: 2026, odd: map[int]time.Duration{20260308: 23 * time.Hour, 20261101: 25 * time.Hour}},
		"Berlin":                  {zone: "Europe/Berlin", year: 2026, odd: map[int]time.Duration{20260329: 23 * time.Hour, 20261025: 25 * time.Hour}},
		"Kathmandu, 5:45 ahead":   {zone: "Asia/Kathmandu", year: 2026},
		"Lord Howe, half an hour": {zone: "Australia/Lord_Howe", year: 2026, odd: map[int]time.Duration{20260405: 24*time.Hour + 30*time.Minute, 20261004: 23*time.Hour + 30*time.Minute}},
		"Apia, across the line":   {zone: "Pacific/Apia", year: 2011, odd: map[int]time.Duration{20110402: 25 * time.Hour, 20110924: 23 * time.Hour}, skipped: []int{20111230}},
		"Apia, without DST":       {zone: "Pacific/Apia", year: 2026},
		"Santiago, at midnight":   {zone: "America/Santiago", year: 2026, odd: map[int]time.Duration{20260404: 25 * time.Hour, 20260906: 23 * time.Hour}},
		"Berlin, the year after":  {zone: "Europe/Berlin", year: 2027, odd: map[int]time.Duration{20270328: 23 * time.Hour, 20271031: 25 * time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			zone, err := LoadZone(c.zone)
			require.NoError(t, err)
			// Two days of slack on either side: the zone's year begins and ends up to 14 hours from that of UTC.
			runs := runsOf(t, zone, time.Date(c.year-1, 12, 30, 0, 0, 0, 0, time.UTC), time.Date(c.year+1, 1, 3, 0, 0, 0, 0, time.UTC))

			var days []int
			odd := map[int]time.Duration{}
			for i, r := range runs[:len(runs)-1] {
				if r.day/10000 != c.year {
					continue
				}
				days = append(days, r.day)
				if length := runs[i+1].from.Sub(r.from); length != 24*time.Hour {
					odd[r.day] = length
				}
				if i > 0 && c.odd[runs[i-1].day] == 0 && c.odd[r.day] == 0 { // clocks that change at midnight make it 01:00
					require.Equal(t, "00:00:00", r.from.In(zone).Format(time.TimeOnly), "%d begins at midnight", r.day)
				}
			}
			require.Equal(t, calendar(c.year, c.skipped), days, "each day of the calendar is one run, in order")
			if c.odd == nil {
				c.odd = map[int]time.Duration{}
			}
			require.Equal(t, c.odd, odd, "the days that do not last 24 hours, of %v", slices.Sorted(maps.Keys(odd)))
		})
	}
}

// calendar lists the days of a year without those that are skipped, counted by hand: by no code that DayOf uses.
func calendar(year int, skipped []int) []int {
	lengths := []int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}
	if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
		lengths[1] = 29
	}
	var days []int
	for month, length := range lengths {
		for d := 1; d <= length; d++ {
			if day := year*10000 + (month+1)*100 + d; !slices.Contains(skipped, day) {
				days = append(days, day)
			}
		}
	}
	return days
}

package campaign

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"gavel/internal/fault"
)

func entry(day string, first, end int64) ScheduleInput {
	return ScheduleInput{Day: Some(day), StartHour: Some(first), EndHour: Some(end)}
}

func TestAdScheduleNamesTheField(t *testing.T) {
	t.Parallel()
	ok := entry("MONDAY", 9, 17)
	for name, c := range map[string]struct {
		entries []ScheduleInput
		want    []string
	}{
		"valid":              {[]ScheduleInput{ok, entry("SUNDAY", 0, 24)}, []string{}},
		"the same twice":     {[]ScheduleInput{ok, ok}, []string{}},
		"none":               {nil, []string{"ad_schedule"}},
		"most":               {slices.Repeat([]ScheduleInput{ok}, MaxAdSchedule), []string{}},
		"too many":           {slices.Repeat([]ScheduleInput{ok}, MaxAdSchedule+1), []string{"ad_schedule"}},
		"nothing said":       {[]ScheduleInput{ok, {}}, []string{"ad_schedule[1].day_of_week", "ad_schedule[1].start_hour", "ad_schedule[1].end_hour"}},
		"lower case day":     {[]ScheduleInput{entry("monday", 9, 17)}, []string{"ad_schedule[0].day_of_week"}},
		"null day":           {[]ScheduleInput{{Day: Null[string](), StartHour: Some[int64](1), EndHour: Some[int64](2)}}, []string{"ad_schedule[0].day_of_week"}},
		"start below 0":      {[]ScheduleInput{entry("MONDAY", -1, 17)}, []string{"ad_schedule[0].start_hour"}},
		"start at 24":        {[]ScheduleInput{entry("MONDAY", 24, 24)}, []string{"ad_schedule[0].start_hour"}},
		"end at 0":           {[]ScheduleInput{entry("MONDAY", 22, 0)}, []string{"ad_schedule[0].end_hour"}},
		"end at 25":          {[]ScheduleInput{entry("MONDAY", 22, 25)}, []string{"ad_schedule[0].end_hour"}},
		"end beyond an int":  {[]ScheduleInput{entry("MONDAY", 22, 1<<40)}, []string{"ad_schedule[0].end_hour"}},
		"ends as it starts":  {[]ScheduleInput{ok, entry("MONDAY", 9, 9)}, []string{"ad_schedule[1].end_hour"}},
		"ends before":        {[]ScheduleInput{ok, entry("FRIDAY", 22, 2)}, []string{"ad_schedule[1].end_hour"}},
		"everything at once": {[]ScheduleInput{entry("x", 99, 99)}, []string{"ad_schedule[0].day_of_week", "ad_schedule[0].start_hour", "ad_schedule[0].end_hour"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p fault.Fields
			weekHours(&p, "ad_schedule", c.entries)
			require.Equal(t, c.want, names(p))
		})
	}
	var p fault.Fields
	weekHours(&p, "ad_schedule", []ScheduleInput{entry("FRIDAY", 22, 2)})
	require.Equal(t, "is 2, must be after start_hour 22: what goes past midnight is two entries, one for each day", p[0].Message)
}

func TestAdScheduleIsASetOfHours(t *testing.T) {
	t.Parallel()
	var p fault.Fields
	h := weekHours(&p, "ad_schedule", []ScheduleInput{
		entry("TUESDAY", 22, 24), entry("WEDNESDAY", 0, 2), entry("MONDAY", 9, 12), entry("MONDAY", 11, 17), entry("MONDAY", 17, 18), entry("MONDAY", 20, 21),
	})
	require.Empty(t, p)
	require.Equal(t, []ScheduleEntry{
		{"MONDAY", 9, 18}, {"MONDAY", 20, 21}, {"TUESDAY", 22, 24}, {"WEDNESDAY", 0, 2},
	}, h.Schedule(), "what overlaps or touches is one, within a day")
	tuesday := time.Date(2026, 11, 24, 23, 30, 0, 0, time.UTC)
	require.True(t, h.Has(HourOfWeek(tuesday, time.UTC)))
	require.True(t, h.Has(HourOfWeek(tuesday.Add(time.Hour), time.UTC)), "past midnight")
	require.False(t, h.Has(HourOfWeek(tuesday.Add(-2*time.Hour), time.UTC)))

	var week []ScheduleInput
	for _, day := range daysOfWeek() {
		week = append(week, entry(day, 0, 13), entry(day, 12, 24))
	}
	every := weekHours(&p, "ad_schedule", week)
	require.Empty(t, p)
	require.True(t, every.IsZero(), "all hours are no restriction")
	require.Nil(t, every.Schedule())
}

// What is shown can be given again and means the same, however it was given first.
func TestAdScheduleShownIsAdScheduleGiven(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var given []ScheduleInput
		want := map[[2]int]bool{}
		for range rapid.IntRange(1, MaxAdSchedule).Draw(t, "entries") {
			day, first := rapid.IntRange(0, 6).Draw(t, "day"), rapid.IntRange(0, 23).Draw(t, "first")
			end := rapid.IntRange(first+1, 24).Draw(t, "end")
			given = append(given, entry(daysOfWeek()[day], int64(first), int64(end)))
			for hour := first; hour < end; hour++ {
				want[[2]int{day, hour}] = true
			}
		}
		var p fault.Fields
		h := weekHours(&p, "ad_schedule", given)
		require.Empty(t, p)
		for day := range 7 {
			for hour := range 24 {
				require.Equal(t, want[[2]int{day, hour}], h.Has(day*24+hour), "day %d hour %d", day, hour)
			}
		}
		shown := h.Schedule()
		require.LessOrEqual(t, len(shown), len(given))
		var again []ScheduleInput
		for _, e := range shown {
			again = append(again, entry(e.Day, int64(e.StartHour), int64(e.EndHour)))
		}
		if len(want) < HoursInWeek {
			require.Equal(t, h, weekHours(&p, "ad_schedule", again))
			require.Empty(t, p)
		}
	})
}

// TestAdScheduleWhenClocksChange: an hour that is skipped is not missed, one that is repeated counts both times.
func TestAdScheduleWhenClocksChange(t *testing.T) {
	t.Parallel()
	berlin, err := LoadZone("Europe/Berlin")
	require.NoError(t, err)
	var p fault.Fields
	h := weekHours(&p, "ad_schedule", []ScheduleInput{entry("SUNDAY", 2, 3)})
	require.Empty(t, p)
	on := func(start time.Time) (minutes int) {
		for m := range 24 * 60 {
			if h.Has(HourOfWeek(start.Add(time.Duration(m)*time.Minute), berlin)) {
				minutes++
			}
		}
		return minutes
	}
	require.Equal(t, 60, on(time.Date(2026, 3, 21, 23, 0, 0, 0, time.UTC)), "a Sunday of 24 hours")
	require.Equal(t, 0, on(time.Date(2026, 3, 28, 23, 0, 0, 0, time.UTC)), "2:00 to 3:00 does not exist")
	require.Equal(t, 120, on(time.Date(2026, 10, 24, 22, 0, 0, 0, time.UTC)), "2:00 to 3:00 is there twice")
}

func TestAdScheduleOfAnAdGroup(t *testing.T) {
	t.Parallel()
	parent := &Campaign{ID: 3, AdAccountID: testAccount}
	in := AdGroupInput{
		CampaignID: Some[CampaignID](3), Name: Some("g"), BillableEvent: Some(BillImpression), Bid: Some(MaxBidMicros), Budget: Some(MaxAmountMicros),
		AdSchedule: Some([]ScheduleInput{entry("MONDAY", 0, 1)}),
	}
	g, problems := newAdGroup(testAccount, parent, in, anyTargeting)
	require.Empty(t, problems)
	require.Equal(t, WeekHours{1}, g.Hours)
	same, problems := changedAdGroup(g, parent, AdGroupInput{}, anyTargeting)
	require.Empty(t, problems)
	require.Equal(t, g.Hours, same.Hours, "what is not given stays")
	cleared, problems := changedAdGroup(g, parent, AdGroupInput{AdSchedule: Null[[]ScheduleInput]()}, anyTargeting)
	require.Empty(t, problems)
	require.True(t, cleared.Hours.IsZero())
	_, problems = changedAdGroup(g, parent, AdGroupInput{AdSchedule: Some([]ScheduleInput{})}, anyTargeting)
	require.Equal(t, []string{"ad_schedule"}, names(problems))
}

package torture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gavel/internal/torture/postgres"
)

const (
	jumpFor = 15 * time.Second
	// dayRate is how fast a day passes: half an hour a second. Events are accepted for dayEventTTL then, so that there is time.
	dayRate     = 1800
	dayEventTTL = "4h"
	// nextDayWithin is how soon after midnight the next day's budgets must be spent.
	nextDayWithin = 20 * time.Second
)

// clockFaults are what happens to the time. The nodes take theirs from Postgres, so it is Postgres's now() that jumps.
func clockFaults() []Fault {
	var rows []Fault
	for _, by := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour} {
		rows = append(rows, jump(by))
	}
	for _, d := range []struct {
		zone             string
		year, month, day int
		hours            int
	}{
		{"America/New_York", 2027, 3, 14, 23},
		{"Europe/Berlin", 2027, 3, 28, 23},
		{"America/New_York", 2027, 11, 7, 25},
	} {
		rows = append(rows, wholeDay(d.zone, d.year, time.Month(d.month), d.day, d.hours))
	}
	return rows
}

// withClock gives the row's database a clock that can be set.
func withClock(p *Plan) {
	p.DatabaseOptions = map[string]string{"search_path": postgres.ClockPath}
	p.Prepare = func(ctx context.Context, db *postgres.DB) error { return db.InstallClock(ctx) }
	p.ClockUnsure = true
}

// jump sets the clock by a span, and back after a while.
func jump(by time.Duration) Fault {
	name, what := "clock-plus-", by
	if by < 0 {
		name, what = "clock-minus-", -by
	}
	return Fault{
		Name:  name + strings.TrimSuffix(what.String(), "0m0s"),
		About: fmt.Sprintf("the clock jumps by %v, and back after %v", by, jumpFor),
		Setup: withClock,
		Run: func(ctx context.Context, w *World) error {
			if err := w.DB.ShiftClock(ctx, by); err != nil {
				return err
			}
			err := Wait(ctx, jumpFor)
			ahead, aheadErr := w.DB.WatermarkAhead(ctx)
			err = errors.Join(err, aheadErr, w.DB.ShiftClock(context.WithoutCancel(ctx), 0))
			w.Log("the slowest node's watermark is %v ahead of the true time", ahead.Round(time.Second))
			if by > 0 && ahead < by-time.Minute {
				err = errors.Join(err, fmt.Errorf("the nodes did not follow the clock: they are %v ahead", ahead))
			}
			return err
		},
	}
}

// wholeDay runs through one local day of a zone on which its clocks are changed.
func wholeDay(zone string, year int, month time.Month, day, hours int) Fault {
	_, city, _ := strings.Cut(strings.ToLower(strings.ReplaceAll(zone, "_", "-")), "/")
	length := time.Duration(hours) * time.Hour
	return Fault{
		Name:  fmt.Sprintf("dst-%dh-%s", hours, city),
		About: fmt.Sprintf("the %d hours of %d-%02d-%02d in %s, half an hour a second", hours, year, month, day, zone),
		Setup: func(p *Plan) {
			withClock(p)
			p.TimeZone = zone
			p.Limit = max(p.Limit, 2*length/dayRate+nextDayWithin)
			for _, env := range p.NodeEnv {
				env["GAVEL_EVENT_TTL"] = dayEventTTL
			}
			p.Prepare = func(ctx context.Context, db *postgres.DB) error {
				begin, end, err := bounds(zone, year, month, day)
				if err == nil && end.Sub(begin) != length {
					err = fmt.Errorf("the day has %v here, not %d hours", end.Sub(begin), hours)
				}
				return errors.Join(err, db.InstallClock(ctx), db.ShiftClock(ctx, time.Until(begin.Add(time.Minute))))
			}
		},
		Run: func(ctx context.Context, w *World) error {
			begin, end, err := bounds(zone, year, month, day)
			if err != nil {
				return err
			}
			return passDay(ctx, w, begin, end)
		},
	}
}

// bounds are the first instants of a local day and of the next.
func bounds(zone string, year int, month time.Month, day int) (begin, end time.Time, err error) {
	place, err := time.LoadLocation(zone)
	if err != nil {
		return begin, end, fmt.Errorf("find time zone: %w", err)
	}
	return time.Date(year, month, day, 0, 0, 0, 0, place), time.Date(year, month, day+1, 0, 0, 0, 0, place), nil
}

// passDay lets a day pass. Until its last minute there is one period for each budget line and none of another day; then the next
// day has its own. The clock goes on after that: what was promised must expire.
func passDay(ctx context.Context, w *World, begin, end time.Time) error {
	if err := w.DB.RunClock(ctx, dayRate); err != nil {
		return err
	}
	today, tomorrow := yyyymmdd(begin), yyyymmdd(end)
	var before []postgres.Day
	for {
		days, err := w.DB.Days(ctx)
		if err != nil {
			return err
		}
		now, err := w.DB.Clock(ctx)
		if err != nil {
			return err
		}
		if !now.Before(end) {
			break
		}
		if before = days; len(days) != 1 || days[0].Period != today {
			return fmt.Errorf("at %v there should be %d alone, there is %+v", now.In(end.Location()), today, days)
		}
		if err := Wait(ctx, pollEvery); err != nil {
			return err
		}
	}
	var after []postgres.Day
	err := Until(ctx, nextDayWithin, "the next day's budgets are spent", func(ctx context.Context) bool {
		var err error
		after, err = w.DB.Days(ctx)
		return err == nil && len(after) == 2 && after[1].Spent > 0
	})
	w.Log("just before midnight: %+v; after it: %+v", before, after)
	if err != nil {
		return err
	}
	if len(before) == 0 || after[0].Period != today || after[1].Period != tomorrow || after[0].Above+after[1].Above > 0 {
		return fmt.Errorf("there should be %d and then %d, none above its limit", today, tomorrow)
	}
	return nil
}

func yyyymmdd(t time.Time) int {
	y, m, d := t.Date()
	return y*10000 + int(m)*100 + d
}

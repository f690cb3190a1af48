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
	// A day passes in steps: stepBy every stepEvery.
	stepBy, stepEvery = 30 * time.Minute, time.Second
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
	steps := int(time.Duration(hours)*time.Hour/stepBy) + 4
	return Fault{
		Name:  fmt.Sprintf("dst-%dh-%s", hours, city),
		About: fmt.Sprintf("the %d hours of %d-%02d-%02d in %s, %v a second", hours, year, month, day, zone, stepBy),
		Setup: func(p *Plan) {
			withClock(p)
			p.TimeZone = zone
			p.Limit = max(p.Limit, time.Duration(2*steps)*stepEvery)
			p.Prepare = func(ctx context.Context, db *postgres.DB) error {
				begin, end, err := bounds(zone, year, month, day)
				if err == nil && end.Sub(begin) != time.Duration(hours)*time.Hour {
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

// passDay lets a day pass, and an hour of the next. In it there is one period for each budget line and none of another day,
// and the next day has its own.
func passDay(ctx context.Context, w *World, begin, end time.Time) error {
	step := func(to time.Time) error {
		if err := w.DB.ShiftClock(ctx, time.Until(to)); err != nil {
			return err
		}
		return Wait(ctx, stepEvery)
	}
	at := begin.Add(stepBy)
	for ; at.Before(end); at = at.Add(stepBy) {
		if err := step(at); err != nil {
			return err
		}
	}
	today, tomorrow := yyyymmdd(begin), yyyymmdd(end)
	days, err := w.DB.Days(ctx)
	if err != nil {
		return err
	}
	if len(days) != 1 || days[0].Period != today || days[0].Spent == 0 {
		return fmt.Errorf("before midnight there should be %d alone, there is %+v", today, days)
	}
	for range 3 {
		if err := step(at); err != nil {
			return err
		}
		at = at.Add(stepBy)
	}
	if days, err = w.DB.Days(ctx); err != nil {
		return err
	}
	w.Log("days: %+v", days)
	if len(days) != 2 || days[0].Period != today || days[1].Period != tomorrow || days[1].Spent == 0 {
		return fmt.Errorf("there should be %d and %d, there is %+v", today, tomorrow, days)
	}
	if days[0].Above+days[1].Above > 0 {
		return fmt.Errorf("budget lines above their limit: %+v", days)
	}
	return nil
}

func yyyymmdd(t time.Time) int {
	y, m, d := t.Date()
	return y*10000 + int(m)*100 + d
}

package openbandit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"gavel/internal/money"
)

// EventCount is how many events of an ad have one outcome: BILLED, OVER_BUDGET or INVALID.
type EventCount struct {
	Account int64  `db:"ad_account_id"`
	AdID    int64  `db:"ad_id"`
	Kind    string `db:"kind"`
	Outcome string `db:"outcome"`
	Events  int    `db:"events"`
}

// Charge is what the events of a campaign or an ad group on one day (yyyymmdd) came to.
type Charge struct {
	Scope string      `db:"scope"`
	ID    int64       `db:"scope_id"`
	Day   int         `db:"day"`
	Nanos money.Nanos `db:"nanos"`
}

// Posting is what a budget line says of one period: a day as yyyymmdd, or 0 for the lifetime.
type Posting struct {
	Scope  string       `db:"scope"`
	ID     int64        `db:"scope_id"`
	Kind   string       `db:"kind"`
	Period int          `db:"period"`
	Limit  *money.Nanos `db:"limit_nanos"`
	Posted money.Nanos  `db:"posted_nanos"`
}

// Tally is what the server's database says of some ad accounts.
type Tally struct {
	Events   []EventCount
	Charges  []Charge
	Postings []Posting
}

// TallyFunc reads a Tally of the accounts; of all if there are none.
type TallyFunc func(ctx context.Context, databaseURL string, accounts []int64) (Tally, error)

// Verdict is what the server's own audit says.
type Verdict struct {
	Clean      bool     `json:"clean"`
	Violations []string `json:"violations"`
	Summary    string   `json:"summary"`
}

// AuditFunc runs the audit.
type AuditFunc func(ctx context.Context, databaseURL string) (Verdict, error)

// tokensOf counts a tally's events by ad and kind.
func (t *Tally) tokensOf() map[int64]*[kinds]int {
	found := map[int64]*[kinds]int{}
	for _, e := range t.Events {
		for k := range kinds {
			if e.Kind != k.String() {
				continue
			}
			if found[e.AdID] == nil {
				found[e.AdID] = &[kinds]int{}
			}
			found[e.AdID][k] += e.Events
		}
	}
	return found
}

func (t *Tally) outcomes() map[string]int {
	found := map[string]int{}
	for _, e := range t.Events {
		found[e.Outcome] += e.Events
	}
	return found
}

func (t *Tally) total() (events int) {
	for _, e := range t.Events {
		events += e.Events
	}
	return events
}

// since is the tally without the events that were there before. The money stays: it is of the campaigns' whole life.
func (t *Tally) since(before *Tally) Tally {
	had := map[EventCount]int{}
	for _, e := range before.Events {
		key := e
		key.Events = 0
		had[key] = e.Events
	}
	fresh := Tally{Charges: t.Charges, Postings: t.Postings}
	for _, e := range t.Events {
		key := e
		key.Events = 0
		if e.Events -= had[key]; e.Events != 0 {
			fresh.Events = append(fresh.Events, e)
		}
	}
	return fresh
}

// verify compares the driver's diary with what the run has left in the database, and that with the plan. It returns every
// disagreement.
func (d *driver) verify(fresh *Tally) []string {
	problems := d.verifyEvents(fresh)
	problems = append(problems, verifyOutcomes(fresh)...)
	return append(problems, d.verifyMoney(fresh)...)
}

// verifyEvents finds what was lost and what is there more than once.
func (d *driver) verifyEvents(fresh *Tally) (problems []string) {
	found := fresh.tokensOf()
	for _, id := range slices.Sorted(maps.Keys(d.diary.ads)) {
		ad := d.diary.ads[id]
		_, ours := d.items[id]
		for k := range kinds {
			rows := 0
			if found[id] != nil {
				rows = found[id][k]
			}
			switch {
			case rows < ad.accepted[k]:
				problems = append(problems, fmt.Sprintf("LOST: ad %d: %d %s events were accepted, the database has %d", id, ad.accepted[k], k, rows))
			case ours && rows > ad.accepted[k]+ad.unsure[k]: // other campaigns may have other visitors
				problems = append(problems, fmt.Sprintf("DOUBLE: ad %d: %d %s events were accepted (%d more may have been), the database has %d",
					id, ad.accepted[k], k, ad.unsure[k], rows))
			}
		}
	}
	for _, ids := range d.shops {
		if found[ids.Ad] != nil && d.diary.ads[ids.Ad] == nil {
			problems = append(problems, fmt.Sprintf("DOUBLE: ad %d has events and was never served", ids.Ad))
		}
	}
	return problems
}

// verifyOutcomes holds every event to an outcome that it may have. A promised impression is always paid for.
func verifyOutcomes(fresh *Tally) (problems []string) {
	for _, e := range fresh.Events {
		switch {
		case e.Outcome == "BILLED", e.Outcome == "OVER_BUDGET" && e.Kind == click.String():
		default:
			problems = append(problems, fmt.Sprintf("OUTCOME: ad %d: %d %s events are %s", e.AdID, e.Events, e.Kind, e.Outcome))
		}
	}
	return problems
}

// line names a budget line, period one of its periods.
type (
	line struct {
		scope string
		id    int64
		kind  string
	}
	period struct {
		line
		period int
	}
)

// limits are the four budget lines of each shop's campaign and ad group; 0 is no limit.
func (d *driver) limits() map[line]money.Nanos {
	limits := map[line]money.Nanos{}
	for i, ids := range d.shops {
		for _, kind := range []string{daily, lifetime} {
			limits[line{scopeCampaign, ids.Campaign, kind}], limits[line{scopeAdGroup, ids.AdGroup, kind}] = 0, 0
		}
		for _, l := range d.plan.Shops[i].Limits {
			limits[ids.line(l)] = l.nanos()
		}
	}
	return limits
}

// verifyMoney recomputes what each campaign and ad group has spent from its events, in each period, and holds that to what
// the plan allows and to what the budgets say.
func (d *driver) verifyMoney(t *Tally) (problems []string) {
	found := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	limits, spent := d.limits(), t.spent()
	for p, nanos := range spent {
		if most := limits[p.line]; most > 0 && nanos > most {
			found("OVERSPENT: %s: %s spent of %s", p, nanos, most)
		}
	}
	for _, posting := range t.Postings {
		p := period{line{posting.Scope, posting.ID, posting.Kind}, posting.Period}
		most, ours := limits[p.line]
		if !ours {
			continue
		}
		if posting.Posted != spent[p] {
			found("POSTED: %s: the events come to %s, the budget says %s", p, spent[p], posting.Posted)
		}
		if (most > 0) != (posting.Limit != nil) || posting.Limit != nil && *posting.Limit != most {
			found("LIMIT: %s: is not the %s that was asked for", p, most)
		}
		delete(spent, p)
	}
	for p, nanos := range spent {
		if _, ours := limits[p.line]; ours && nanos > 0 {
			found("POSTED: %s: the events come to %s, and there is no budget", p, nanos)
		}
	}
	slices.Sort(problems)
	return problems
}

// String is how a report names the period.
func (p period) String() string {
	return fmt.Sprintf("%s %d, %s budget, period %d", p.scope, p.id, p.kind, p.period)
}

// spent sums the charges for each day and for the lifetime.
func (t *Tally) spent() map[period]money.Nanos {
	spent := map[period]money.Nanos{}
	for _, c := range t.Charges {
		spent[period{line{c.Scope, c.ID, daily}, c.Day}] += c.Nanos
		spent[period{line{c.Scope, c.ID, lifetime}, 0}] += c.Nanos
	}
	return spent
}

func (ids placed) line(l Limit) line {
	if l.Scope == scopeCampaign {
		return line{l.Scope, ids.Campaign, l.Kind}
	}
	return line{l.Scope, ids.AdGroup, l.Kind}
}

// nanos is the limit in the ledger's unit; the plan's amounts are far from the end of the range.
func (l Limit) nanos() money.Nanos {
	n, err := l.Most.Nanos()
	if err != nil {
		panic("openbandit: a planned budget is out of range: " + err.Error())
	}
	return n
}

const pollEvery = 50 * time.Millisecond

// untilBilled reads the tally until it has all accepted events, or stands still. It returns what is new since before.
func (d *driver) untilBilled(ctx context.Context, accounts []int64, before *Tally) (Tally, error) {
	sure, _ := d.diary.expected()
	had, moved := -1, time.Now()
	for {
		now, err := d.Tally(ctx, d.client.access().DatabaseURL, accounts)
		if err != nil {
			return now, fmt.Errorf("read the database: %w", err)
		}
		fresh := now.since(before)
		if events := fresh.total(); events != had {
			had, moved = events, time.Now()
		}
		// A moment longer, for one too many.
		if had >= sure && time.Since(moved) > 4*pollEvery || time.Since(moved) > d.BilledWithin {
			return fresh, nil
		}
		if had < sure {
			d.progress.step("events billed", had, sure)
		}
		if err := wait(ctx, pollEvery); err != nil {
			return fresh, err
		}
	}
}

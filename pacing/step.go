package pacing

import (
	"math"
	"time"

	"gavel/campaign"
	"gavel/internal/money"
)

// How fast multipliers move. A time constant is how long an error of 1 takes to move a multiplier by a factor of e.
const (
	// automaticPace is the time constant of AUTOMATIC_BID, and slowestShare the largest part of the time that is left that it may be.
	automaticPace = 5 * time.Minute
	slowestShare  = 10
	// chargesPerPace is how many charges the time constant spans at least, or single clicks would throw the bid about.
	chargesPerPace = 3
	// impressionPace and clickPace are the time constants of TARGET_AVG: clicks come later than what they answer to.
	impressionPace = time.Minute
	clickPace      = 5 * time.Minute
	// perEvent is what one event at most counts for in TARGET_AVG, when there are few.
	perEvent = 0.02
	// idlePace is the time constant by which a TARGET_AVG multiplier below 1 rises when nothing is billed.
	idlePace = 10 * time.Minute
	// maxDown and maxUp bound what one round may change of the logarithm of a multiplier; maxRound is the longest time that it may answer for.
	maxDown, maxUp = -1.0, 0.5
	maxRound       = time.Minute
	// openEnd is how far off the end of a lifetime budget counts as that has none.
	openEnd = 30 * 24 * time.Hour
)

// Line is a budget line with a limit, in its present period.
type Line struct {
	ID     int64
	Kind   campaign.BudgetKind
	Period int // yyyymmdd; 0 = lifetime
	// Limit may be below Posted, after a cut.
	Limit, Posted money.Nanos
}

// Reading is what is known of an ad group at one time.
type Reading struct {
	Strategy campaign.BidStrategy
	Event    campaign.BillableEvent
	// Bid is per billable event: what TARGET_AVG holds, what AUTOMATIC_BID is capped by.
	Bid money.Nanos
	// Zone is the account's. Hours, Start (inclusive) and End (exclusive) say when the ad group serves; zero = open.
	Zone       *time.Location
	Hours      campaign.WeekHours
	Start, End time.Time
	// Lines are those with a limit, of the ad group, its campaign and its account.
	Lines []Line
	// Since is where the counting of Billed billable events and of what they were Charged begins.
	Since   time.Time
	Billed  int64
	Charged money.Nanos
}

// State is what the controller remembers of an ad group. The zero value is that of a new one.
type State struct {
	Strategy   campaign.BidStrategy
	Multiplier float64
	// At is the time of the reading that it is from, and the rest what that reading said: Posted of which line and period, and what was
	// counted since when.
	At       time.Time
	BudgetID int64
	Period   int
	Posted   money.Nanos
	Since    time.Time
	Billed   int64
	Charged  money.Nanos
}

// Step is the state after a reading at a time. A state of another strategy, or of a later time, begins anew.
//
// AUTOMATIC_BID: the multiplier m is the inverse of the dual variable μ of "the most value for at most the budget", whose best bid is
// value/μ; the bid, a cap, makes μ ≥ 1. Each round is a step of dual mirror descent with the entropy function (Balseiro, Lu, Mirrokni
// 2020, "Dual Mirror Descent for Online Allocation Problems", section 4.2), μ ← μ·exp(−η(1 − z/ρ)), toward spending ρ, what is left of
// the tightest budget line evenly over the rest of its period, where z was spent; as in adaptive pacing (Balseiro, Gur 2019,
// "Learning in Repeated Auctions with Budgets") one needs to know nothing of the market.
//
// TARGET_AVG: the integral of the errors 1 − price/target in the logarithm of the multiplier. The errors of all events add up to what
// the multiplier has moved, which is bounded: so the average error falls as one over their number, while the multiplier is
// within its limits.
func Step(s State, r Reading, now time.Time) State {
	line, left, limited := r.tightest(now)
	next := State{
		Strategy: r.Strategy, Multiplier: r.Strategy.Multiplier(s.Multiplier), At: now, Since: r.Since, Billed: r.Billed, Charged: r.Charged,
	}
	if limited {
		next.BudgetID, next.Period, next.Posted = line.ID, line.Period, line.Posted
	}
	if s.Strategy != r.Strategy || now.Before(s.At) {
		next.Multiplier = r.Strategy.Multiplier(0)
		return next
	}
	took := now.Sub(s.At)
	if took <= 0 || !r.serves(now) {
		return next
	}
	var move float64
	switch r.Strategy {
	case campaign.AutomaticBid:
		if limited && s.BudgetID == line.ID && s.Period == line.Period {
			move = automatic(&r, next.Multiplier, line, left, took, line.Posted-s.Posted)
		}
	case campaign.TargetAvg:
		if s.Since.Equal(r.Since) {
			move = average(&r, next.Multiplier, took, r.Billed-s.Billed, r.Charged-s.Charged)
		}
	case campaign.MaxBid:
	}
	next.Multiplier = r.Strategy.Multiplier(next.Multiplier * math.Exp(min(max(move, maxDown), maxUp)))
	return next
}

// automatic is the change of the logarithm of the multiplier after spent in a time.
func automatic(r *Reading, multiplier float64, line Line, left, took time.Duration, spent money.Nanos) float64 {
	remaining := float64(line.Limit - line.Posted)
	if remaining <= 0 || left <= 0 {
		return 0 // nothing more can be spent: what was bid last is as good as anything for the next period
	}
	spent = max(0, spent) // refunds
	seconds := left.Seconds()
	charge := float64(r.Bid) * multiplier
	if r.Billed > 0 {
		charge = float64(r.Charged) / float64(r.Billed)
	}
	pace := max(min(automaticPace.Seconds(), seconds/slowestShare), chargesPerPace*seconds*charge/remaining)
	even := (remaining + float64(spent)) / (seconds + took.Seconds()) * took.Seconds()
	return min(took, maxRound).Seconds() / pace * (1 - float64(spent)/even)
}

// average is the change of the logarithm of the multiplier after so many events at a price of charged together.
func average(r *Reading, multiplier float64, took time.Duration, events int64, charged money.Nanos) float64 {
	took = min(took, maxRound)
	if events <= 0 || r.Bid <= 0 {
		if multiplier < 1 { // at 1 no price is above the target, so that much is always safe
			return min(took.Seconds()/idlePace.Seconds(), -math.Log(multiplier))
		}
		return 0
	}
	pace := impressionPace
	if r.Event == campaign.BillClickthrough {
		pace = clickPace
	}
	off := 1 - float64(charged)/float64(events)/float64(r.Bid)
	return min(took.Seconds()/pace.Seconds(), perEvent*float64(events)) * off
}

// serves reports whether the ad group may serve at a time.
func (r *Reading) serves(now time.Time) bool {
	return !now.Before(r.Start) && (r.End.IsZero() || now.Before(r.End)) && r.Hours.Has(campaign.HourOfWeek(now, r.Zone))
}

// tightest is the line of which least may be spent per time that is left, and that time, in which the ad group serves; of equal ones
// the first.
func (r *Reading) tightest(now time.Time) (line Line, left time.Duration, limited bool) {
	slowest := math.Inf(1)
	for _, l := range r.Lines {
		end := r.End
		if l.Kind == campaign.BudgetDaily {
			if day := r.dayEnd(now); end.IsZero() || day.Before(end) {
				end = day
			}
		}
		if end.IsZero() {
			end = now.Add(openEnd)
		}
		rest := r.serving(now, end)
		if rate := float64(max(0, l.Limit-l.Posted)) / max(1, rest.Seconds()); rate < slowest {
			line, left, limited, slowest = l, rest, true, rate
		}
	}
	return line, left, limited
}

// dayEnd is the next midnight of the account, whatever the length of its day.
func (r *Reading) dayEnd(now time.Time) time.Time {
	y, m, d := now.In(r.Zone).Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, r.Zone)
}

// serving is how much of the time between two moments is in the hours of the ad group.
func (r *Reading) serving(from, to time.Time) time.Duration {
	if from.Before(r.Start) {
		from = r.Start
	}
	if r.Hours.IsZero() || !from.Before(to) {
		return max(0, to.Sub(from))
	}
	var sum time.Duration
	whole := to.Sub(from).Truncate(campaign.HoursInWeek * time.Hour) // weeks; a change of clocks moves an hour at most
	for h := range campaign.HoursInWeek {
		if r.Hours.Has(h) {
			sum += whole / campaign.HoursInWeek
		}
	}
	from = from.Add(whole)
	for from.Before(to) {
		local := from.In(r.Zone)
		next := from.Add(time.Hour - time.Duration(local.Minute())*time.Minute - time.Duration(local.Second())*time.Second - time.Duration(local.Nanosecond()))
		if next.After(to) {
			next = to
		}
		if r.Hours.Has(campaign.HourOfWeek(from, r.Zone)) {
			sum += next.Sub(from)
		}
		from = next
	}
	return sum
}

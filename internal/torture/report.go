package torture

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What a row must keep to.
const (
	max5xxPercent    = 0.1
	maxFullService   = 10.0 // seconds
	goroutineSlack   = 12
	rssFactor        = 1.5 // of what the node took under load before the fault
	rssSlackMB       = 48
	bytesPerMegabyte = 1 << 20
)

// The verdicts.
const (
	Pass   = "PASS"
	Fail   = "FAIL"
	NotRun = "NOT RUN"
)

// Row is what became of one fault.
type Row struct {
	Name        string   `json:"name"`
	About       string   `json:"about"`
	Verdict     string   `json:"verdict"`
	Reasons     []string `json:"reasons,omitempty"`
	NotRun      string   `json:"not_run,omitempty"`
	OverserveOK bool     `json:"overserve_ok,omitempty"`

	Findings Findings `json:"findings"`
	Totals   Totals   `json:"totals"`
	Audit    Audit    `json:"audit"`
	Seconds  []Second `json:"seconds"`

	BaselineAds  float64 `json:"baseline_ads_per_second"`
	FaultSeconds float64 `json:"fault_seconds"`
	// FullService is in seconds after the fault was cleared, or NeverFull.
	FullService float64 `json:"full_service_seconds"`
	TookSeconds float64 `json:"took_seconds"`
	// Idle is before the load, Busy under load before the fault, AtRest when everything is done: one for each node.
	Idle   []Usage `json:"idle"`
	Busy   []Usage `json:"busy"`
	AtRest []Usage `json:"at_rest"`

	// Ran says that the row came to its end.
	Ran bool `json:"ran"`
}

// fail adds an error to the reasons; nil is none.
func (r *Row) fail(err error) {
	if err == nil {
		return
	}
	var notRun *NotRunError
	if errors.As(err, &notRun) {
		r.NotRun = notRun.Reason
		return
	}
	r.Reasons = append(r.Reasons, strings.Split(err.Error(), "\n")[0])
}

// compare notes what the nodes took, and fails the row when they have not come back.
func (r *Row) compare(w *World, idle, busy, rest []Usage) {
	r.Idle, r.Busy, r.AtRest, r.Ran = idle, busy, rest, true
	for i := range w.Nodes {
		if rest[i].keepsGoroutines(idle[i]) {
			r.fail(fmt.Errorf("node %d has %d goroutines at rest, it had %d before", i, rest[i].Goroutines, idle[i].Goroutines))
		}
		if rest[i].keepsMemory(busy[i]) {
			r.fail(fmt.Errorf("node %d takes %d MB at rest, it took %d MB before the fault", i, rest[i].RSSBytes/bytesPerMegabyte, busy[i].RSSBytes/bytesPerMegabyte))
		}
	}
}

// ad5xx is the share of answered ad requests that were answered 5xx, in percent.
func (r *Row) ad5xx() float64 {
	return 100 * float64(r.Totals.Ad5xx) / float64(max(1, r.Totals.AdAnswers))
}

// judge adds what the figures say to the reasons and sets the verdict.
func (r *Row) judge() {
	if r.NotRun != "" {
		r.Verdict = NotRun
		return
	}
	f := &r.Findings
	for _, zero := range []struct {
		n    int64
		what string
	}{
		{f.Overspend, "nanos overspent"},
		{int64(f.DoubleBilled), "events billed twice"},
		{int64(f.Lost), "events accepted and lost"},
		{f.Imbalance, "nanos of imbalance"},
		{int64(f.FromNowhere), "events from nowhere"},
	} {
		if zero.n != 0 {
			r.Reasons = append(r.Reasons, fmt.Sprintf("%d %s", zero.n, zero.what))
		}
	}
	if f.OverserveCPM != 0 && !r.OverserveOK {
		r.Reasons = append(r.Reasons, fmt.Sprintf("%d nanos of CPM over-serve", f.OverserveCPM))
	}
	r.Reasons = append(r.Reasons, f.Problems...)
	if more := f.Found - len(f.Problems); more > 0 {
		r.Reasons = append(r.Reasons, fmt.Sprintf("and %d more of the checker's", more))
	}
	for _, v := range r.Audit.Violations {
		r.Reasons = append(r.Reasons, "audit: "+v)
	}
	if r.Ran {
		r.judgeService()
	} else if len(r.Reasons) == 0 {
		r.Reasons = append(r.Reasons, "the row did not come to its end")
	}
	r.Verdict = Pass
	if len(r.Reasons) > 0 {
		r.Verdict = Fail
	}
}

func (r *Row) judgeService() {
	switch {
	case r.FullService == NeverFull:
		r.Reasons = append(r.Reasons, fmt.Sprintf("no full service (%.0f ads/s without an error) after the fault", fullShare*r.BaselineAds))
	case r.FullService > maxFullService:
		r.Reasons = append(r.Reasons, fmt.Sprintf("full service only %.1f s after the fault", r.FullService))
	}
	if p := r.ad5xx(); p > max5xxPercent {
		r.Reasons = append(r.Reasons, fmt.Sprintf("%.2f %% of ad answers are 5xx", p))
	}
	if r.Totals.Ads == 0 || r.Findings.Billed == 0 {
		r.Reasons = append(r.Reasons, "nothing was served or billed: the row proves nothing")
	}
	if r.Totals.Skipped > r.Totals.Pages/100 {
		r.Reasons = append(r.Reasons, fmt.Sprintf("the generator was too slow for %d pages", r.Totals.Skipped))
	}
	if !r.Audit.Clean && len(r.Audit.Violations) == 0 {
		r.Reasons = append(r.Reasons, "the audit did not say that it is clean")
	}
}

// line is the row for somebody who watches.
func (r *Row) line() string {
	if r.NotRun != "" {
		return "NOT RUN: " + r.NotRun
	}
	f := &r.Findings
	full := "never"
	if r.FullService != NeverFull {
		full = fmt.Sprintf("%.1f s", r.FullService)
	}
	return fmt.Sprintf("%s in %.0f s: %d ads (%.0f/s before), %d events sent, %d outcomes, 5xx %.3f %%, full service %s; overspend %d, double %d, lost %d, imbalance %d, over-serve CPM %d CPC %d",
		r.Verdict, r.TookSeconds, r.Totals.Ads, r.BaselineAds, r.Totals.EventTries, f.Billed, r.ad5xx(), full,
		f.Overspend, f.DoubleBilled, f.Lost, f.Imbalance, f.OverserveCPM, f.OverserveCPC)
}

// Report is a run.
type Report struct {
	Machine string `json:"machine"`
	// Busy is the machine's load average when the run began: the work of others.
	Busy  float64   `json:"load_average"`
	Load  string    `json:"load"`
	Scope string    `json:"scope"`
	Began time.Time `json:"began"`
	Rows  []Row     `json:"rows"`
}

// Join adds the rows of another run on the same machine under the same load, so that a long run can be made in parts. The rows
// are then in the order of Faults; two of one name are an error.
func (r *Report) Join(part *Report) error {
	if r.Machine != part.Machine || r.Load != part.Load {
		return fmt.Errorf("the runs differ: %s, %s; and %s, %s", r.Machine, r.Load, part.Machine, part.Load)
	}
	r.Busy = max(r.Busy, part.Busy)
	if part.Began.Before(r.Began) {
		r.Began = part.Began
	}
	place := map[string]int{}
	for i, f := range Faults() {
		place[f.Name] = i
	}
	r.Rows = append(r.Rows, part.Rows...)
	slices.SortStableFunc(r.Rows, func(a, b Row) int { return place[a.Name] - place[b.Name] })
	for i := range r.Rows[1:] {
		if r.Rows[i].Name == r.Rows[i+1].Name {
			return fmt.Errorf("row %s is in both runs", r.Rows[i].Name)
		}
	}
	r.Scope = "only the rows below"
	if len(r.Rows) == len(place) {
		r.Scope = "all rows"
	}
	return nil
}

// Failed reports whether a row has.
func (r *Report) Failed() bool {
	return slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Verdict == Fail })
}

// Passed reports whether every row has, and there is one.
func (r *Report) Passed() bool {
	return len(r.Rows) > 0 && !slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Verdict != Pass })
}

package openbandit

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"gavel/internal/money"
)

// Print writes the report as tables for a terminal.
func (r *Report) Print(w io.Writer) {
	render := func(t table.Writer) {
		t.SetStyle(table.StyleLight)
		t.Style().Format.Header = text.FormatDefault
		t.Style().Format.Footer = text.FormatDefault
		fmt.Fprintln(w, t.Render())
	}
	render(r.campaigns())
	render(r.summary())
	for _, p := range r.Problems {
		fmt.Fprintln(w, "ERROR", p)
	}
	for _, v := range slices.Concat(r.Audit.Violations, r.Violations) {
		fmt.Fprintln(w, "VIOLATION", v)
	}
	fmt.Fprintln(w, r.Verdict)
}

// Markdown writes the report as Markdown.
func (r *Report) Markdown(w io.Writer) {
	fmt.Fprintf(w, "# Open Bandit replay: %s\n\n%s.\n\n", r.Verdict, r.Machine)
	fmt.Fprintf(w, "%s\n\n## Campaigns\n\n%s\n", r.summary().RenderMarkdown(), r.campaigns().RenderMarkdown())
	problems := slices.Concat(r.Problems, r.Audit.Violations, r.Violations)
	if len(problems) > 0 {
		fmt.Fprintf(w, "\n## Problems\n\n- %s\n", strings.Join(problems, "\n- "))
	}
}

// summary is all but the campaigns.
func (r *Report) summary() table.Writer {
	t := table.NewWriter()
	row := func(name, format string, args ...any) {
		t.AppendRow(table.Row{name, fmt.Sprintf(format, args...)})
	}
	pace := "as fast as possible"
	if r.Speed > 0 {
		pace = fmt.Sprintf("%.0f times the log's speed, at most %d ms late", r.Speed, r.MaxLagMS)
	}
	t.AppendHeader(table.Row{"", "run " + r.Run})
	row("page loads", "%d of %d in %.1f s, %s, %d at once", r.Pages, r.Asked, r.TookSeconds, pace, r.Concurrency)
	row("HTTP requests", "%d (%.0f/s)", r.Requests, float64(r.Requests)/max(r.TookSeconds, 1e-3))
	row("errors", "%d", r.Errors)
	row("retries", "%d without an answer, %d after 503", r.Cut, r.Busy)
	row("fill rate", "%.2f %% (%d ads on %d slots, %d of other campaigns)%s", 100*r.FillRate, r.AdsServed, r.Slots, r.OtherAds, reasons(r.NoFill))
	row("POST /v1/ads", "%s", r.AdsLatency)
	if r.FloorLatency != nil {
		row("floor", "%s; %d errors", *r.FloorLatency, r.FloorErrors)
	}
	row("events", "%s", r.EventLatency)
	row("events accepted", "%d impressions, %d viewable, %d clicks; %d sent again on purpose",
		r.Accepted[impression.String()], r.Accepted[viewable.String()], r.Accepted[click.String()], r.Repeated)
	row("events in the database", "%d: %d billed, %d over budget; fate unknown to the driver: %d",
		r.InDatabase, r.Outcomes["BILLED"], r.Outcomes["OVER_BUDGET"], r.Unsure)
	row("clicks", "%d in the log, %d on a page that shows the same item", r.ClicksInLog, r.Accepted[click.String()])
	row("spent", "%s by %d campaigns, %d within 1 %% of their limit", dollars(r.SpentNanos), len(r.Campaigns), r.exhausted())
	row("gavel audit", "%s", r.Audit.Summary)
	row("violations", "%d", len(r.Audit.Violations)+len(r.Violations))
	row("verdict", "%s", r.Verdict)
	return t
}

// campaigns is a line for each campaign.
func (r *Report) campaigns() table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"item", "campaign", "bills", "bid", "cap", "nearest limit", "limit", "spent in it", "used", "served", "impressions", "clicks"})
	var configs []table.ColumnConfig
	for _, name := range []string{"bid", "limit", "spent in it", "used", "served", "impressions", "clicks", "cap"} {
		configs = append(configs, table.ColumnConfig{Name: name, Align: text.AlignRight, AlignFooter: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	var served, impressions, clicks int
	for i := range r.Campaigns {
		c := &r.Campaigns[i]
		bills, capped := "CPM", ""
		if c.Billable == billClick {
			bills = "CPC"
		}
		if c.Capped > 0 {
			capped = fmt.Sprint(c.Capped)
		}
		t.AppendRow(table.Row{
			c.Item, c.CampaignID, bills, c.BidMicros, capped, strings.ToLower(strings.ReplaceAll(c.Budget, "_", " ")),
			dollars(c.LimitNanos), dollars(c.PeriodNanos), fmt.Sprintf("%.2f %%", 100*c.used()), c.Served, c.Impressions, c.Clicks,
		})
		served, impressions, clicks = served+c.Served, impressions+c.Impressions, clicks+c.Clicks
	}
	t.AppendFooter(table.Row{"", "", "", "", "", "", "", dollars(r.SpentNanos), "", served, impressions, clicks})
	return t
}

func (c *CampaignReport) used() float64 {
	return float64(c.PeriodNanos) / float64(max(c.LimitNanos, 1))
}

func (r *Report) exhausted() (n int) {
	for i := range r.Campaigns {
		if r.Campaigns[i].used() > 0.99 {
			n++
		}
	}
	return n
}

// dollars shows an amount with its micros; an amount that is not whole micros shows as the micros below.
func dollars(n money.Nanos) string { return n.MicrosFloor().String() }

// String is the percentiles on one line.
func (l Latency) String() string {
	return fmt.Sprintf("p50 %.2f ms, p90 %.2f ms, p99 %.2f ms, max %.1f ms", l.P50, l.P90, l.P99, l.Max)
}

func reasons(counts map[string]int) string {
	out := ""
	for _, name := range byFrequency(counts) {
		out += fmt.Sprintf("; %s %d", name, counts[name])
	}
	return out
}

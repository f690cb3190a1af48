package torture

import (
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Table is the report for a terminal.
func (r *Report) Table() string {
	t := r.table()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	return t.Render() + "\n" + r.sum() + "\n"
}

// table has a line for each row.
func (r *Report) table() table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{
		"row", "ads, before/s", "events", "overspend", "billed twice", "lost", "from nowhere", "imbalance", "over-serve CPM", "over-serve CPC",
		"ad 5xx", "full service", "MB", "goroutines", "verdict",
	})
	for i := range r.Rows {
		t.AppendRow(r.Rows[i].cells())
	}
	return t
}

func (r *Row) cells() table.Row {
	if !r.Ran {
		cells := table.Row{r.Name}
		for range 13 {
			cells = append(cells, "")
		}
		return append(cells, r.Verdict)
	}
	full := "never"
	if r.FullService != NeverFull {
		full = fmt.Sprintf("%.1f s", r.FullService)
	}
	var memory, goroutines []string
	for i := range r.AtRest {
		memory = append(memory, fmt.Sprintf("%d→%d", r.Busy[i].RSSBytes/bytesPerMegabyte, r.AtRest[i].RSSBytes/bytesPerMegabyte))
		goroutines = append(goroutines, fmt.Sprintf("%d→%d", r.Idle[i].Goroutines, r.AtRest[i].Goroutines))
	}
	f := &r.Findings
	return table.Row{
		r.Name, fmt.Sprintf("%d, %.0f", r.Totals.Ads, r.BaselineAds), f.Billed, f.Overspend, f.DoubleBilled, f.Lost, f.FromNowhere, f.Imbalance,
		f.OverserveCPM, f.OverserveCPC, fmt.Sprintf("%.3f %%", r.ad5xx()), full, strings.Join(memory, " "), strings.Join(goroutines, " "), r.Verdict,
	}
}

// sum counts the verdicts.
func (r *Report) sum() string {
	counts := map[string]int{}
	for i := range r.Rows {
		counts[r.Rows[i].Verdict]++
	}
	return fmt.Sprintf("%d rows: %d %s, %d %s, %d %s", len(r.Rows), counts[Pass], Pass, counts[Fail], Fail, counts[NotRun], NotRun)
}

// Markdown is the report as docs/reliability.md.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Reliability

What happens to the money, and to the ads, when a part fails. This page is written by the command; nothing in it is by hand.

`+"```console"+`
$ go run -tags faults ./cmd/gavel torture --out docs/reliability.md    # all rows
$ go run -tags faults ./cmd/gavel torture --short                      # what CI runs
$ go run -tags faults ./cmd/gavel torture --list
$ go run -tags faults ./cmd/gavel torture --only kill-9-both-nodes --seconds 20 --rate 500
`+"```"+`

It needs nothing but Go: two nodes, a Postgres (fsync on), a Redis and a TCP proxy before each are started for it, and are gone after it.
Some rows about disks need root. The exit status is 1 when a row does not pass.

- **Machine**: %s. Its load average was %.1f before the run: what others did.
- **Load**: %s. The clients go to the other node when one does not answer, and send an event until it has an answer.
- **Run**: %s, %s.
- **Result**: %s.

`, r.Machine, r.Busy, r.Load, r.Began.UTC().Format("2006-01-02 15:04 UTC"), r.Scope, r.sum())
	b.WriteString(r.table().RenderMarkdown())
	b.WriteString("\n\n## The rows\n\n")
	for i := range r.Rows {
		row := &r.Rows[i]
		fmt.Fprintf(&b, "- **%s**: %s.", row.Name, row.About)
		if row.Ran {
			fmt.Fprintf(&b, " The fault lasted %.1f s.", row.FaultSeconds)
		}
		if row.NotRun != "" {
			fmt.Fprintf(&b, " NOT RUN: %s.", row.NotRun)
		}
		if row.OverserveOK {
			fmt.Fprintf(&b, " What was in the destroyed journal, %d nanos, is over-served.", row.Findings.LostWithDisk)
		}
		b.WriteString("\n")
		for _, reason := range row.Reasons {
			fmt.Fprintf(&b, "  - FAIL: %s\n", reason)
		}
	}
	fmt.Fprintf(&b, columns, fullShare*100, goodSeconds, maxFullService, max5xxPercent, rssFactor, rssSlackMB, goroutineSlack)
	return b.String()
}

// columns says what the table means.
const columns = `
## What is measured

Each row has a database of its own. The load runs before, during and after the fault, which begins when nearly every
slot has been filled for some seconds; then every event gets its answer, every journal is
billed and every lease closed, and an independent checker compares. It has the clients' diary (each token, each answer) and the token
keys, opens tokens and adds amounts by code of its own, and reads ` + "`events`, `ledger_entries`, `budget_periods`" + `. Amounts are nanos, a
billionth of a currency unit. What must be 0 is compared to the last nano.

| column | what it is | must be |
| --- | --- | --- |
| ads, before/s | ads served in the row; ads per second before the fault | |
| events | events with an outcome in the database | |
| overspend | the most that a budget line (ad group, campaign, account; day, lifetime) has posted above what its advertiser allowed; after a cut, above what was posted and promised then | 0 |
| billed twice | events charged more than once, or above their token's price | 0 |
| lost | events answered with 2xx that have no outcome | 0 |
| from nowhere | outcomes that no client caused, or of what every node refused | 0 |
| imbalance | debits less credits, ledger less diary, budgets less diary, summed without signs | 0 |
| over-serve CPM | impressions accepted in time that no budget pays for | 0, but where a disk is destroyed |
| over-serve CPC | clicks accepted in time that no budget pays for | |
| ad 5xx | of answered ad requests; refused and cut connections are not answers, and the client asks the other node | |
| full service | after the fault is cleared, until ads/s are at %.0f %% of before and no request of any kind fails, to the end of the load, %d s at least | |
| MB | resident memory of each node: under load before the fault → at rest at the end | |
| goroutines | of each node, without the HTTP server's idle workers: before the load → at rest at the end | |

Beyond the zeros, a row fails when full service takes more than %.0f s, more than %.1f %% of ad answers are 5xx, a node keeps more than
%.1f times its memory and %d MB, or more than %d more goroutines; when a node ends that nobody ended, does not stop in order, or does not
come to rest; when a forged token is taken, an event is taken after its time or refused within it; and when the server's own audit
(` + "`gavel audit`" + `) finds a violation.
`

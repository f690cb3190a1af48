package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"gavel/internal/targetbench"
	"gavel/internal/targetbench/redis"
)

type benchTargetingCmd struct {
	Ads     []int         `default:"100000" placeholder:"N,…" help:"How many ads: ${default}. More than one number gives more rows."`
	Engines []string      `default:"gavel,scan,roaring,redis-sets,redis-bitop" placeholder:"NAME,…" help:"Which engines: ${default}."`
	Queries int           `default:"2000" help:"How many different queries."`
	Seed    uint64        `default:"1" help:"What the ads, queries and changes are made from."`
	Churn   int           `placeholder:"N" help:"Time the engines that can change also while N ads a second change."`
	Budget  time.Duration `default:"10s" help:"How long one row is timed at most."`
	Check   time.Duration `default:"20s" help:"About how long the rule may answer queries on its own, to compare with; at least 20 queries."`
	All     bool          `help:"Also load columns into Redis that need tens of gigabytes."`
	JSON    bool          `name:"json" help:"Print an array of rows and nothing else."`
}

const (
	maxSetAds      = 1_000_000
	maxBitmapBytes = 4 << 30
	maxBenchAds    = 20_000_000
)

// Run prints the rows. The exit status is 1 when an answer was wrong, after an error, and after an interruption, which comes with
// the rows that there are.
func (c benchTargetingCmd) Run(ctx context.Context, w world) (err error) {
	ctx, cancel := underGoRun(ctx)
	defer cancel()
	server := &lazyRedis{}
	defer func() { err = errors.Join(err, server.stop(ctx)) }()
	engines, err := c.engines(server)
	if err != nil {
		return err
	}
	fmt.Fprintln(w.stderr, machine())
	var rows []targetbench.Row
	for _, n := range c.Ads {
		part, failed := targetbench.Run(ctx, targetbench.Options{
			Engines: engines, Ads: n, Queries: c.Queries, Seed: c.Seed, Bounds: modelBounds(),
			Budget: c.Budget, CheckBudget: c.Check, ChangesPerS: c.Churn, Progress: w.stderr,
		})
		rows = append(rows, part...)
		if err = failed; err != nil {
			break
		}
	}
	if c.JSON {
		err = errors.Join(err, printRows(w.stdout, rows))
	} else {
		printTargeting(w.stdout, rows)
	}
	return orUnclean(err, targetbench.Agree(rows))
}

func (c benchTargetingCmd) engines(server *lazyRedis) ([]targetbench.Maker, error) {
	var problems []error
	for _, n := range c.Ads {
		if n < 1 || n > maxBenchAds {
			problems = append(problems, fmt.Errorf("--ads: %d is not from 1 to %d", n, maxBenchAds))
		}
	}
	if c.Queries < 1 || c.Churn < 0 || c.Budget <= 0 || c.Check < 0 {
		problems = append(problems, errors.New("--queries and --budget must be above 0, --churn and --check not below"))
	}
	sets, bitmaps := maxSetAds, int64(maxBitmapBytes)
	if c.All {
		sets, bitmaps = 0, 0
	}
	known := []targetbench.Maker{
		targetbench.Gavel(), targetbench.Scan(), targetbench.Roaring(), redis.Sets(server.url, sets), redis.Bitop(server.url, bitmaps),
	}
	var list []targetbench.Maker
	for _, name := range c.Engines {
		before := len(list)
		for _, m := range known {
			if m.Name == name {
				list = append(list, m)
			}
		}
		if len(list) == before {
			problems = append(problems, fmt.Errorf("--engines: %q: %w", name, errNoEngine))
		}
	}
	return list, errors.Join(problems...)
}

// printTargeting prints a table. Ratios are against gavel in the same mode, over as many ads, without changes.
func printTargeting(w io.Writer, rows []targetbench.Row) {
	t := newTable(4, 12, "ads", "mode", "engine", "p50 µs", "p99 µs", "× gavel p50", "wall p99 µs", "allocs", "MB", "build s", "matches", "changes/s", "agrees")
	micros := func(ns int64) string { return fmt.Sprintf("%.1f", float64(ns)/1e3) }
	for _, r := range rows {
		if r.Skipped != "" {
			t.AppendRow(table.Row{r.Ads, r.Mode, r.Engine, "skipped: " + r.Skipped})
			continue
		}
		agrees := fmt.Sprintf("yes (%d)", r.Checked)
		if !r.Agrees {
			agrees = "NO: " + r.Wrong
		}
		t.AppendRow(table.Row{
			r.Ads, r.Mode, r.Engine, micros(r.P50NS), micros(r.P99NS), ratio(rows, r), micros(r.WallP99NS), r.Allocs, fmt.Sprintf("%.1f", float64(r.Bytes)/1e6),
			fmt.Sprintf("%.2f", r.BuildMS/1e3), r.Matches, r.ChangesPerS, agrees,
		})
	}
	fmt.Fprintln(w, t.Render())
	fmt.Fprintln(w, strings.TrimSpace(`
p50 and p99 are CPU time of the asking thread; of the redis engines wall time, since the server works elsewhere. MB are beside the
records of the ads. agrees: the answers to so many queries are those of the reference rule.`))
}

func ratio(rows []targetbench.Row, r targetbench.Row) string {
	for _, g := range rows {
		if g.Engine == "gavel" && g.Mode == r.Mode && g.Ads == r.Ads && g.ChangesPerS == 0 && g.P50NS > 0 {
			return fmt.Sprintf("%.1f", float64(r.P50NS)/float64(g.P50NS))
		}
	}
	return ""
}

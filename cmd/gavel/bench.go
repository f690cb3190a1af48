package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	pretty "github.com/jedib0t/go-pretty/v6/text"

	"gavel/internal/devstack"
)

type benchCmd struct {
	Targeting benchTargetingCmd `cmd:"" help:"Time the matching of ads beside other ways to do it, on the same generated ads and queries, and compare the answers."`
	Index     benchIndexCmd     `cmd:"" help:"Take a market through Postgres, the indexer and Redis into nodes, and time each part, also while ads change."`
	Model     benchModelCmd     `cmd:"" help:"Train the click model on a made-up world whose truth is known, or on the log of a real feed, and judge what it predicts."`
	Auction   benchAuctionCmd   `cmd:"" help:"Time the scoring, slating and pricing of pages beside the plain way to do it, and compare the answers."`
	Replay    benchReplayCmd    `cmd:"" help:"Decide and record random auctions, and replay the records on one core and on all: all must come out the same."`
	Audiences benchAudiencesCmd `cmd:"" help:"Upload many memberships to a server of its own, then empty its Redis; time and weigh it."`
}

// machine is one line about where figures were measured.
func machine() string {
	return fmt.Sprintf("%s, %d cores, %s/%s, %s", cpuModel(), runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH, runtime.Version())
}

// cpuModel is what Linux calls the processor.
func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// printRows prints an array and nothing else.
func printRows[T any](w io.Writer, rows []T) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(append([]T{}, rows...)) // no rows are [], not null
}

// newTable is a table whose columns from the first to the last given, counted from 1, are figures.
func newTable(first, last int, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = pretty.FormatDefault // µs is not ΜS
	t.AppendHeader(header)
	var figures []table.ColumnConfig
	for i := first; i <= last; i++ {
		figures = append(figures, table.ColumnConfig{Number: i, Align: pretty.AlignRight})
	}
	t.SetColumnConfigs(figures)
	return t
}

// lazyRedis starts a private Redis when its URL is first asked for.
type lazyRedis struct {
	stack *devstack.Stack
}

func (l *lazyRedis) url(ctx context.Context) (string, error) {
	if l.stack != nil {
		return l.stack.RedisURL, nil
	}
	var err error
	if l.stack, err = devstack.Start(ctx, devstack.Options{Redis: true}); err != nil {
		return "", err
	}
	return l.stack.RedisURL, nil
}

func (l *lazyRedis) stop(ctx context.Context) error {
	if l.stack == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return l.stack.Stop(ctx)
}

// orUnclean joins what went wrong with the exit status of rows that are not what they should be.
func orUnclean(err error, clean bool) error {
	if err == nil && !clean {
		return errUnclean
	}
	return err
}

var errNoEngine = errors.New("there is no such engine")

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"gavel/campaign"
	"gavel/internal/devstack"
	"gavel/internal/targetbench"
	market "gavel/internal/targetbench/postgres"
)

type benchIndexCmd struct {
	Ads      int           `default:"100000" placeholder:"N" help:"How many ads: ${default}."`
	Seed     uint64        `default:"1" help:"What the ads, queries and changes are made from."`
	Rate     int           `default:"1000" placeholder:"N" help:"How many ads change per second: ${default}."`
	Duration time.Duration `default:"20s" help:"How long they change."`
	Quiet    time.Duration `default:"5s" help:"How long the same is measured before."`
	Within   time.Duration `default:"10m" help:"How long a node may take until it serves."`
	Log      string        `type:"path" placeholder:"FILE" help:"Write the nodes' log there."`
	JSON     bool          `name:"json" help:"Print an array of rows and nothing else."`
}

// indexRow is one figure.
type indexRow struct {
	What  string  `json:"what"`
	Ads   int     `json:"ads"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Run prints the rows, also those that there are when something fails or ctx ends, which makes the exit status 1.
func (c benchIndexCmd) Run(ctx context.Context, w world) (err error) {
	if c.Ads < 1 || c.Ads > maxBenchAds || c.Rate < 1 || c.Duration <= 0 || c.Quiet <= 0 || c.Within <= 0 {
		return errors.New("--ads, --rate, --duration, --quiet and --within must be above 0")
	}
	ctx, cancel := underGoRun(ctx)
	defer cancel()
	dir, err := os.MkdirTemp("", "gavel-bench-")
	if err != nil {
		return fmt.Errorf("make temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	logs := io.Discard
	if c.Log != "" {
		f, err := os.Create(c.Log)
		if err != nil {
			return fmt.Errorf("open log: %w", err)
		}
		defer func() { _ = f.Close() }()
		logs = f
	}
	fmt.Fprintln(w.stderr, machine())
	stack, err := devstack.Start(ctx, devstack.Options{Postgres: true, Redis: true, Log: slog.New(slog.NewTextHandler(logs, nil))})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, stack.Stop(ctx))
	}()
	b := &indexBench{benchIndexCmd: c, w: w, dir: dir, stack: stack, logs: logs, source: targetbench.NewMarket(c.Seed)}
	err = b.run(ctx)
	if c.JSON {
		return errors.Join(err, printRows(w.stdout, b.rows))
	}
	printIndex(w.stdout, b.rows)
	return err
}

func printIndex(w io.Writer, rows []indexRow) {
	t := newTable(3, 3, "ads", "what", "value", "unit")
	for _, r := range rows {
		t.AppendRow(table.Row{r.Ads, r.What, strconv.FormatFloat(r.Value, 'f', -1, 64), r.Unit})
	}
	fmt.Fprintln(w, t.Render())
}

// indexBench is one run.
type indexBench struct {
	benchIndexCmd
	w      world
	dir    string
	stack  *devstack.Stack
	logs   io.Writer
	source *targetbench.Market
	access access
	loaded *market.Market
	rows   []indexRow
}

// add keeps a figure, rounded to a thousandth.
func (b *indexBench) add(what string, value float64, unit string) {
	b.rows = append(b.rows, indexRow{what, b.Ads, math.Round(value*1000) / 1000, unit})
	fmt.Fprintf(b.w.stderr, "%-60s %.3f %s\n", what, value, unit)
}

// percentiles adds two figures of a list of times.
func (b *indexBench) percentiles(what string, times []time.Duration, in time.Duration, unit string) {
	if len(times) == 0 {
		return
	}
	p50, p99 := targetbench.Percentiles(times)
	b.add(what+", p50", float64(p50)/float64(in), unit)
	b.add(what+", p99", float64(p99)/float64(in), unit)
}

func (b *indexBench) run(ctx context.Context) (err error) {
	if err := migrateUp(ctx, b.stack.DatabaseURL); err != nil {
		return err
	}
	began := time.Now()
	db, err := openDatabase(ctx, b.stack.DatabaseURL, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	b.loaded, err = market.Load(ctx, db, b.source, b.Ads, func(done int) { fmt.Fprintf(b.w.stderr, "%d of %d ads are in Postgres\n", done, b.Ads) })
	if err != nil {
		return err
	}
	b.add("load the market into Postgres", time.Since(began).Seconds(), "s")
	err = databaseFlag{b.stack.DatabaseURL}.withService(ctx, func(s *campaign.Service) error { return demoKeys(ctx, s, &b.access) })
	if err != nil {
		return err
	}
	began = time.Now()
	return b.node(ctx, "first", func(ctx context.Context, n *node) error {
		if err := b.untilServing(ctx, n); err != nil {
			return err
		}
		b.add("from an empty Redis to serving", time.Since(began).Seconds(), "s")
		return b.measure(ctx, n)
	})
}

// node runs a node until do returns.
func (b *indexBench) node(ctx context.Context, name string, do func(context.Context, *node) error) error {
	secrets, err := loadSecrets(filepath.Join(b.dir, "secrets.json"))
	if err != nil {
		return err
	}
	dev := devCmd{Addr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", EventTTL: time.Hour}
	conf, err := dev.config(b.w, b.stack, secrets, filepath.Join(b.dir, name))
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	err = serve(running, conf, b.logs, b.w.getenv, nil, func(n *node) error {
		defer stop()
		return do(ctx, n)
	})
	if err != nil {
		return fmt.Errorf("%s node: %w", name, err)
	}
	return ctx.Err()
}

// untilServing waits until the node has loaded an index with all the ads.
func (b *indexBench) untilServing(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, b.Within)
	defer cancel()
	return until(ctx, func(ctx context.Context) error {
		if err := n.follower.Ready(ctx); err != nil {
			return err
		}
		if have := n.replica.Current().Len(); have < b.Ads {
			return fmt.Errorf("the node has %d of %d ads", have, b.Ads)
		}
		return nil
	})
}

// until asks every few milliseconds until there is no error. When ctx ends it returns the last one.
func until(ctx context.Context, ready func(context.Context) error) error {
	const pause = 2 * time.Millisecond
	t := time.NewTicker(pause)
	defer t.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-t.C:
		}
	}
}

// measure has a node that serves.
func (b *indexBench) measure(ctx context.Context, n *node) error {
	if err := b.sizes(ctx, n); err != nil {
		return err
	}
	began := time.Now()
	err := b.node(ctx, "second", func(ctx context.Context, second *node) error {
		if err := b.untilServing(ctx, second); err != nil {
			return err
		}
		b.add("start of a second node, from Redis alone, to serving", time.Since(began).Seconds(), "s")
		return nil
	})
	if err != nil {
		return err
	}
	p, err := newProbe(ctx, n, b.access)
	if err != nil {
		return fmt.Errorf("make the probe: %w", err)
	}
	quiet, stop := context.WithTimeout(ctx, b.Quiet)
	l := load{bench: b, node: n, probe: p}
	err = l.run(quiet, 0)
	stop()
	if err != nil {
		return err
	}
	l.report("quiet")
	changing, stop := context.WithTimeout(ctx, b.Duration)
	defer stop()
	l = load{bench: b, node: n, probe: p}
	if err := l.run(changing, b.Rate); err != nil {
		return err
	}
	l.report(fmt.Sprintf("%d changes/s", b.Rate))
	waiting, err := b.loaded.Waiting(ctx)
	if err != nil {
		return err
	}
	b.add("changes that wait in the outbox at the end", float64(waiting), "rows")
	return ctx.Err()
}

// sizes adds what the index takes in Redis and in a node.
func (b *indexBench) sizes(ctx context.Context, n *node) error {
	info, err := n.redis.Info(ctx, "memory").Result()
	if err != nil {
		return fmt.Errorf("ask Redis for its memory: %w", err)
	}
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "used_memory:"); ok {
			bytes, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return fmt.Errorf("read Redis's memory: %w", err)
			}
			b.add("memory of Redis", bytes/1e6, "MB")
		}
	}
	b.add("matching's part of a node's memory", float64(n.replica.Current().Bytes())/1e6, "MB")
	return nil
}

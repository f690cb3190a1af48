package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"golang.org/x/sync/errgroup"

	"gavel/auction/record"
	"gavel/internal/replaybench"
)

type benchReplayCmd struct {
	Decisions int    `default:"1000000" help:"How many auctions are decided, recorded and replayed; each takes about 2 kB of the temporary directory."`
	Seed      uint64 `default:"1" help:"What the auctions are made from."`
	JSON      bool   `name:"json" help:"Print an array of rows and nothing else."`
}

// replayRow is one replay of the whole file.
type replayRow struct {
	Decisions int `json:"decisions"`
	Workers   int `json:"workers"`
	Equal     int `json:"equal"`
	Different int `json:"different"`
	// Seconds are wall time, with reading and decoding; so is PerS.
	Seconds float64 `json:"seconds"`
	PerS    float64 `json:"per_s"`
	// RecordBytes is a record's size on average, FileBytes that of the compressed file.
	RecordBytes int64 `json:"record_bytes"`
	FileBytes   int64 `json:"file_bytes"`
}

const maxDecisions = 100_000_000

// Run prints a row for one core and one for all. The exit status is 1 when a decision does not come out as it was recorded.
func (c benchReplayCmd) Run(ctx context.Context, w world) (err error) {
	ctx, cancel := underGoRun(ctx)
	defer cancel()
	if c.Decisions < 1 || c.Decisions > maxDecisions {
		return fmt.Errorf("--decisions: %d is not from 1 to %d", c.Decisions, maxDecisions)
	}
	dir, err := os.MkdirTemp("", "gavel-replay-")
	if err != nil {
		return fmt.Errorf("make temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Fprintln(w.stderr, machine())
	path := filepath.Join(dir, "auctions.rec")
	start := time.Now()
	size, err := c.decide(ctx, path)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.stderr, "decided and recorded in %.1f s\n", time.Since(start).Seconds())
	var rows []replayRow
	clean := true
	for _, workers := range workerCounts() {
		var result replayed
		if result, err = replayPath(ctx, path, workers); err != nil {
			break
		}
		if result.Different > 0 || result.Records != c.Decisions {
			clean = false
			result.print(w.stderr)
		}
		rows = append(rows, replayRow{
			Decisions: c.Decisions, Workers: workers, Equal: result.Records - result.Different, Different: result.Different,
			Seconds: result.Took.Seconds(), PerS: result.perS(), RecordBytes: size.records / int64(c.Decisions), FileBytes: size.file,
		})
	}
	if c.JSON {
		err = errors.Join(err, printRows(w.stdout, rows))
	} else {
		printReplays(w.stdout, rows)
	}
	return orUnclean(err, clean)
}

// workerCounts are one core, and all when there are more.
func workerCounts() []int {
	if n := runtime.GOMAXPROCS(0); n > 1 {
		return []int{1, n}
	}
	return []int{1}
}

func replayPath(ctx context.Context, path string, workers int) (_ replayed, err error) {
	f, err := os.Open(path)
	if err != nil {
		return replayed{}, fmt.Errorf("open records: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return replayFile(ctx, f, workers)
}

// sizes are bytes.
type sizes struct{ records, file int64 }

// decide decides on all cores and writes the records in order, so that the file depends on the seed only.
func (c benchReplayCmd) decide(ctx context.Context, path string) (size sizes, err error) {
	f, err := os.Create(path)
	if err != nil {
		return size, fmt.Errorf("write records: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buffered := bufio.NewWriterSize(f, 1<<20)
	out, err := record.NewWriter(buffered)
	if err != nil {
		return size, err
	}
	markets := make([]*replaybench.Market, runtime.GOMAXPROCS(0))
	chunks := make([]chunk, len(markets))
	for i := range markets {
		markets[i] = replaybench.NewMarket()
	}
	for first := 0; first < c.Decisions && err == nil; first += len(markets) * decidedAtOnce {
		var g errgroup.Group
		for i, m := range markets {
			from := min(first+i*decidedAtOnce, c.Decisions)
			to := min(from+decidedAtOnce, c.Decisions)
			g.Go(func() error { chunks[i].decide(m, c.Seed, from, to); return nil })
		}
		err = errors.Join(g.Wait(), ctx.Err())
		for i := range chunks {
			err = errors.Join(err, chunks[i].write(out))
			size.records += int64(len(chunks[i].data))
		}
	}
	if err = errors.Join(err, out.Close(), buffered.Flush()); err != nil {
		return size, err
	}
	size.file, err = f.Seek(0, io.SeekCurrent)
	return size, err
}

// decidedAtOnce is how many auctions a core decides before they are written.
const decidedAtOnce = 2000

// decide fills c with auctions from to below to.
func (c *chunk) decide(m *replaybench.Market, seed uint64, from, to int) {
	c.data, c.ends = c.data[:0], c.ends[:0]
	var r record.Record
	for n := from; n < to; n++ {
		m.Make(seed, uint64(n), &r)
		c.data = record.Append(c.data, &r)
		c.ends = append(c.ends, len(c.data))
	}
}

func (c *chunk) write(out *record.Writer) error {
	begin := 0
	for _, end := range c.ends {
		if err := out.Write(c.data[begin:end]); err != nil {
			return err
		}
		begin = end
	}
	return nil
}

func printReplays(w io.Writer, rows []replayRow) {
	t := newTable(1, 8, "decisions", "workers", "equal", "different", "s", "per s", "bytes/record", "file MB")
	for _, r := range rows {
		t.AppendRow(table.Row{
			r.Decisions, r.Workers, r.Equal, r.Different, fmt.Sprintf("%.1f", r.Seconds), fmt.Sprintf("%.0f", r.PerS), r.RecordBytes,
			fmt.Sprintf("%.1f", float64(r.FileBytes)/1e6),
		})
	}
	fmt.Fprintln(w, t.Render())
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"gavel/auction"
	records "gavel/auction/postgres"
	"gavel/auction/record"
)

type replayCmd struct {
	What        string `arg:"" name:"file|id" help:"A file of recorded auctions, or the id of one that is in the database."`
	DatabaseURL string `name:"database-url" env:"DATABASE_URL" help:"Postgres, as a URL with sslmode; only for an id."`
	Save        string `type:"path" placeholder:"FILE" help:"Write the record of an id to this file, too."`
	Workers     int    `placeholder:"N" help:"How many cores decide; all by default."`
}

// Run replays. The exit status is 1 when a decision does not come out as it was recorded.
func (c replayCmd) Run(ctx context.Context, w world) (err error) {
	if c.Workers < 0 {
		return errors.New("--workers must be above 0")
	}
	if c.Workers == 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	id, notID := uuid.Parse(c.What)
	if notID == nil {
		if _, err := os.Stat(c.What); errors.Is(err, os.ErrNotExist) {
			return c.one(ctx, w, id)
		}
	}
	if c.Save != "" {
		return errors.New("--save is for an id")
	}
	f, err := os.Open(c.What)
	if err != nil {
		return fmt.Errorf("open records: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	result, err := replayFile(ctx, f, c.Workers)
	if err != nil {
		err = fmt.Errorf("%s: %w", c.What, err)
	}
	result.print(w.stdout)
	return orUnclean(err, result.Different == 0)
}

// one replays the record of one auction.
func (c replayCmd) one(ctx context.Context, w world, id uuid.UUID) (err error) {
	if c.DatabaseURL == "" {
		return fmt.Errorf("there is no file %s, and to find the auction of this id DATABASE_URL or --database-url is needed", id)
	}
	db, err := databaseFlag{c.DatabaseURL}.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	data, err := records.NewRecords(db, time.Now).Load(ctx, id)
	if err != nil {
		return err
	}
	if c.Save != "" {
		if err := saveRecord(c.Save, data); err != nil {
			return err
		}
	}
	var result replayed
	if err := result.add(0, data, &auction.Decider{}, &record.Record{}); err != nil {
		return err
	}
	result.print(w.stdout)
	return orUnclean(nil, result.Different == 0)
}

func saveRecord(path string, data []byte) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("save record: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	out, err := record.NewWriter(f)
	if err != nil {
		return err
	}
	return errors.Join(out.Write(data), out.Close())
}

// replayed is what came of a replay.
type replayed struct {
	Records   int
	Different int
	// First are the first that differ, in the order of the file.
	First []difference
	Took  time.Duration
	// rate says that Took is worth telling.
	rate bool
}

// difference is a record that came out otherwise.
type difference struct {
	index   int
	auction uuid.UUID
	program string
	lines   []string
}

// maxShown is how many records that differ are shown.
const maxShown = 5

// add replays one record.
func (p *replayed) add(index int, data []byte, d *auction.Decider, r *record.Record) error {
	if err := record.Decode(data, r); err != nil {
		return fmt.Errorf("record %d: %w", index+1, err)
	}
	p.Records++
	lines := record.Replay(r, d)
	if len(lines) == 0 {
		return nil
	}
	p.Different++
	p.First = append(p.First, difference{index, r.AuctionID, r.Program, lines})
	p.cut()
	return nil
}

func (p *replayed) cut() {
	slices.SortFunc(p.First, func(a, b difference) int { return cmp.Compare(a.index, b.index) })
	p.First = p.First[:min(len(p.First), maxShown)]
}

func (p *replayed) merge(q replayed) {
	p.Records, p.Different, p.First = p.Records+q.Records, p.Different+q.Different, append(p.First, q.First...)
	p.cut()
}

// perS is how many records were replayed in a second.
func (p *replayed) perS() float64 { return float64(p.Records) / p.Took.Seconds() }

func (p *replayed) print(w io.Writer) {
	for _, d := range p.First {
		fmt.Fprintf(w, "auction %s, record %d, decided by gavel %s:\n", d.auction, d.index+1, d.program)
		for _, line := range d.lines {
			fmt.Fprintln(w, "  "+line)
		}
	}
	if more := p.Different - len(p.First); more > 0 {
		fmt.Fprintf(w, "and %d more that differ\n", more)
	}
	fmt.Fprintf(w, "%d replayed, %d equal, %d different", p.Records, p.Records-p.Different, p.Different)
	if p.rate {
		fmt.Fprintf(w, "; %.0f/s", p.perS())
	}
	fmt.Fprintln(w)
}

// chunk is so many records of a file as a worker takes at once.
type chunk struct {
	first int
	data  []byte
	ends  []int
}

const chunkRecords = 256

// replayFile replays a file on several cores. After an error the result is of what was replayed by then.
func replayFile(ctx context.Context, f io.Reader, workers int) (replayed, error) {
	start := time.Now()
	in, err := record.NewReader(f)
	if err != nil {
		return replayed{}, err
	}
	defer in.Close()
	var (
		all    = replayed{rate: true}
		mu     sync.Mutex
		full   = make(chan *chunk, workers)
		unused = sync.Pool{New: func() any { return new(chunk) }}
	)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(full)
		return readChunks(ctx, in, full, &unused)
	})
	for range workers {
		g.Go(func() error {
			var part replayed
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				all.merge(part)
			}()
			var d auction.Decider
			var r record.Record
			for c := range full {
				begin := 0
				for i, end := range c.ends {
					if err := part.add(c.first+i, c.data[begin:end], &d, &r); err != nil {
						return err
					}
					begin = end
				}
				unused.Put(c)
			}
			return nil
		})
	}
	err = g.Wait()
	all.Took = time.Since(start)
	return all, err
}

// readChunks reads the file to its end.
func readChunks(ctx context.Context, in *record.Reader, full chan<- *chunk, unused *sync.Pool) error {
	for n := 0; ; {
		c, _ := unused.Get().(*chunk)
		c.first, c.data, c.ends = n, c.data[:0], c.ends[:0]
		var err error
		for len(c.ends) < chunkRecords && err == nil {
			if c.data, err = in.Next(c.data); err == nil {
				c.ends = append(c.ends, len(c.data))
			}
		}
		n += len(c.ends)
		select {
		case full <- c:
		case <-ctx.Done():
			return ctx.Err()
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

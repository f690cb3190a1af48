package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	bank "gavel/budget/postgres"
	"gavel/campaign"
	"gavel/internal/openbandit"
	books "gavel/internal/openbandit/postgres"
)

type loadtestCmd struct {
	Openbandit openBanditCmd `cmd:"" name:"openbandit" help:"Replay a feed log in the Open Bandit format: campaigns from its items, page loads in its order; audit what came of it."`
}

type openBanditCmd struct {
	Dir         string        `arg:"" type:"existingdir" help:"Directory with items-C.csv, random-C.csv.gz and bts-C.csv.gz."`
	ReadyFile   string        `required:"" type:"path" placeholder:"FILE" help:"What gavel dev --ready-file wrote. It is read again when the server does not answer."`
	Campaign    string        `default:"men" help:"The campaign C of the log."`
	Name        string        `name:"run" help:"Name of the run. The same name again continues with the same campaigns; without one each run has new ones."`
	Duration    time.Duration `default:"2m" help:"How long the log's week takes."`
	Speed       string        `placeholder:"X" help:"Instead of --duration: how many times faster than the log, or max for as fast as the server answers."`
	Limit       int           `help:"Replay only the first page loads."`
	Concurrency int           `default:"16" help:"Most page loads at once."`
	RideOut     time.Duration `help:"How long the server may be away, to be killed and started again, before that is an error."`
	Floor       bool          `help:"Send every page load also to a handler that only parses it and asks Redis once, and show its latency beside."`
	JSON        bool          `name:"json" help:"Print the report as JSON."`
	Report      string        `type:"path" placeholder:"FILE.md" help:"Write the report there, too, as Markdown."`
}

// Run replays the log. The exit status is 1 after an error, a violation, or an interruption.
func (c openBanditCmd) Run(ctx context.Context, w world) (err error) {
	o, err := c.options(w)
	if err != nil {
		return err
	}
	ready, err := openbandit.ReadReady(c.ReadyFile)
	if err != nil {
		return err
	}
	if err := addInterests(ctx, ready.DatabaseURL, o.Plan); err != nil {
		return err
	}
	if c.Floor {
		floor, err := startFloor(ready.RedisURL)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, floor.stop()) }()
		o.FloorURL = floor.url
	}
	r, err := openbandit.Run(ctx, o)
	if err != nil {
		return fmt.Errorf("openbandit: %w", err)
	}
	if err := c.print(w.stdout, r); err != nil {
		return err
	}
	if r.Verdict != openbandit.Pass {
		return errUnclean
	}
	return nil
}

func (c openBanditCmd) options(w world) (openbandit.Options, error) {
	o := openbandit.Options{
		ReadyFile: c.ReadyFile, Limit: c.Limit, Concurrency: c.Concurrency, RideOut: c.RideOut,
		Progress: w.stderr, Terminal: isTerminal(w.stderr), BilledWithin: 20 * time.Second, Tally: tally, Audit: verdict,
	}
	log, err := openbandit.ReadDir(c.Dir, c.Campaign)
	if err != nil {
		return o, err
	}
	if o.Speed, err = c.speed(log); err != nil {
		return o, err
	}
	run := c.Name
	if run == "" {
		run = strings.ToLower(rand.Text()[:10])
	}
	o.Plan, err = openbandit.NewPlan(log, run)
	return o, err
}

// speed is how many times faster than the log; 0 is as fast as possible.
func (c openBanditCmd) speed(log *openbandit.Log) (float64, error) {
	switch c.Speed {
	case "max":
		return 0, nil
	case "":
		if c.Duration <= 0 {
			return 0, errors.New("--duration must be above 0")
		}
		span := log.Rows[len(log.Rows)-1].At.Sub(log.Rows[0].At)
		return max(float64(span)/float64(c.Duration), 1e-9), nil
	}
	x, err := strconv.ParseFloat(c.Speed, 64)
	if err != nil || !(x > 0 && x <= 1e9) {
		return 0, fmt.Errorf(`--speed: %q is neither max nor a number above 0`, c.Speed)
	}
	return x, nil
}

func (c openBanditCmd) print(stdout io.Writer, r *openbandit.Report) (err error) {
	if c.Report != "" {
		f, err := os.Create(c.Report)
		if err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		r.Markdown(f)
		if err := f.Close(); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	if !c.JSON {
		r.Print(stdout)
		return nil
	}
	e := json.NewEncoder(stdout)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// addInterests adds the interests of a plan to the server's taxonomy, at the top. Without a taxonomy any interest may be targeted, and
// nothing is added: the first interest of one would rule all others out.
func addInterests(ctx context.Context, url string, plan *openbandit.Plan) error {
	return databaseFlag{url}.withService(ctx, func(s *campaign.Service) error {
		all, err := s.Interests(ctx)
		if err != nil || len(all) == 0 {
			return err
		}
		known := make(map[string]bool, len(all))
		for _, in := range all {
			known[in.ID] = true
		}
		before := len(all)
		for _, in := range plan.Interests() {
			if !known[in.ID] {
				all = append(all, campaign.Interest{ID: in.ID, Name: in.Name})
			}
		}
		if len(all) == before {
			return nil
		}
		if _, err = s.ReplaceInterests(ctx, all); err != nil {
			return fmt.Errorf("add the run's interests to the taxonomy: %w", err)
		}
		return nil
	})
}

// tally and verdict read the database that the server has at the moment: one that was started again may have another address.
func tally(ctx context.Context, url string, accounts []int64) (t openbandit.Tally, err error) {
	db, err := openDatabase(ctx, url, nil)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return books.Tally(ctx, db, accounts)
}

func verdict(ctx context.Context, url string) (v openbandit.Verdict, err error) {
	db, err := openDatabase(ctx, url, nil)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	a, err := bank.New(db).Audit(ctx)
	if err != nil {
		return v, err
	}
	v = openbandit.Verdict{Clean: a.Clean, Violations: []string{}, Summary: auditLine(a)}
	for _, x := range a.Violations {
		v.Violations = append(v.Violations, x.Invariant+" "+x.Detail)
	}
	return v, nil
}

func auditLine(a bank.Audit) string {
	state := "clean: I1-I6 hold"
	if !a.Clean {
		state = fmt.Sprintf("%d violations", len(a.Violations))
	}
	return fmt.Sprintf("%s; %d events, %d budget periods, %d leases (%d open), %d ledger transactions", state,
		a.Checked["events"], a.Checked["budget_periods"], a.Checked["leases"], a.OpenLeases, a.Checked["ledger_transactions"])
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

//go:build faults

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/uuid"

	bank "gavel/budget/postgres"
	"gavel/campaign"
	"gavel/internal/torture"
)

// TortureCmds are the commands of builds with the tag faults: the nodes that they start are this same executable.
type TortureCmds struct {
	Torture tortureCmd `cmd:"" help:"Run two nodes on a Postgres and a Redis of their own, do them harm, and check every nano."`
}

type tortureCmd struct {
	Short   bool     `help:"Only the rows that CI runs, each of them shorter."`
	Only    []string `placeholder:"NAME,…" help:"Only these rows."`
	List    bool     `help:"List the rows and run nothing."`
	Seconds int      `placeholder:"N" help:"How long the load runs before each fault, and at least after it."`
	Rate    int      `placeholder:"N" help:"Page loads per second, of four slots each."`
	JSON    bool     `name:"json" help:"Print the report as JSON."`
	Join    []string `type:"existingfile" placeholder:"FILE.json,…" help:"Run nothing: report what these runs, printed with --json, have found together."`
	Out     string   `type:"path" placeholder:"FILE.md" help:"Write the report there, too, as Markdown."`
}

// Run runs the rows. The exit status is 1 when one of them did not pass.
func (c tortureCmd) Run(ctx context.Context, w world) error {
	faults, err := c.faults()
	if err != nil {
		return err
	}
	if c.List {
		for _, f := range faults {
			short := " "
			if f.Short {
				short = "*"
			}
			fmt.Fprintf(w.stdout, "%s %-32s %s\n", short, f.Name, f.About)
		}
		fmt.Fprintln(w.stdout, "* also with --short")
		return nil
	}
	ctx, cancel := underGoRun(ctx)
	defer cancel()
	var r *torture.Report
	if len(c.Join) > 0 {
		r, err = c.join()
	} else {
		r, err = c.run(ctx, w, faults)
	}
	if r == nil || len(r.Rows) == 0 {
		return err
	}
	if err := errors.Join(err, c.print(w.stdout, r)); err != nil {
		return err
	}
	if !r.Passed() {
		return errUnclean
	}
	return nil
}

// faults are the rows that were asked for.
func (c tortureCmd) faults() ([]torture.Fault, error) {
	all := torture.Faults()
	if len(c.Only) == 0 {
		if c.Short {
			all = slices.DeleteFunc(all, func(f torture.Fault) bool { return !f.Short })
		}
		return all, nil
	}
	var list []torture.Fault
	for _, name := range c.Only {
		i := slices.IndexFunc(all, func(f torture.Fault) bool { return f.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q (try: gavel torture --list)", name)
		}
		list = append(list, all[i])
	}
	return list, nil
}

// join reads the reports of earlier runs.
func (c tortureCmd) join() (*torture.Report, error) {
	var all *torture.Report
	for _, name := range c.Join {
		text, err := os.ReadFile(name) //nolint:gosec // what the caller named
		if err != nil {
			return nil, fmt.Errorf("read report: %w", err)
		}
		part := new(torture.Report)
		if err := json.Unmarshal(text, part); err != nil {
			return nil, fmt.Errorf("read report %s: %w", name, err)
		}
		if all == nil {
			all = part
		} else if err := all.Join(part); err != nil {
			return nil, fmt.Errorf("join %s: %w", name, err)
		}
	}
	return all, nil
}

const tortureTemp = "gavel-torture-"

func (c tortureCmd) run(ctx context.Context, w world, faults []torture.Fault) (_ *torture.Report, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	reap(filepath.Join(os.TempDir(), tortureTemp+"*"))
	dir, err := os.MkdirTemp("", tortureTemp)
	if err != nil {
		return nil, fmt.Errorf("make temporary directory: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	if _, err := lock.TryLock(); err != nil {
		return nil, fmt.Errorf("lock temporary directory: %w", err)
	}
	keep := false
	defer func() {
		if keep {
			fmt.Fprintln(w.stderr, "the logs of the nodes are in", dir, "until the next run")
		} else {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		err = errors.Join(err, lock.Unlock())
	}()
	scope := "all rows"
	switch {
	case len(c.Only) > 0:
		scope = "only the rows below"
	case c.Short:
		scope = "the rows of --short, each of them shorter"
	}
	r, err := torture.Run(ctx, torture.Options{
		Program: program, Dir: dir, Faults: faults, Rate: c.Rate, Before: time.Duration(c.Seconds) * time.Second, Short: c.Short, Scope: scope,
		Progress: w.stderr, Prepare: prepareTorture, Audit: auditTorture, Fence: fenceTorture,
	})
	if err != nil {
		err = fmt.Errorf("torture: %w", err)
	}
	keep = r != nil && r.Failed()
	return r, err
}

// prepareTorture migrates a database and makes the clients' keys.
func prepareTorture(ctx context.Context, url string) (keys torture.Keys, err error) {
	if err := migrateUp(ctx, url); err != nil {
		return keys, err
	}
	return keys, databaseFlag{url}.withService(ctx, func(s *campaign.Service) error {
		var a access
		if err := demoKeys(ctx, s, &a); err != nil {
			return err
		}
		keys = torture.Keys{Feed: a.FeedKey, Operator: a.OperatorKey}
		return nil
	})
}

func auditTorture(ctx context.Context, url string) (a torture.Audit, err error) {
	db, err := openDatabase(ctx, url, nil)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	found, err := bank.New(db).Audit(ctx)
	if err != nil {
		return a, err
	}
	a = torture.Audit{Clean: found.Clean, Violations: []string{}, Summary: auditLine(found)}
	for _, v := range found.Violations {
		a.Violations = append(a.Violations, v.Invariant+" "+v.Detail)
	}
	return a, nil
}

func fenceTorture(ctx context.Context, url, node string) (err error) {
	id, err := uuid.Parse(node)
	if err != nil {
		return fmt.Errorf("id of a node: %w", err)
	}
	db, err := openDatabase(ctx, url, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return bank.New(db).Fence(ctx, id)
}

func (c tortureCmd) print(stdout io.Writer, r *torture.Report) error {
	if c.Out != "" {
		if err := os.WriteFile(c.Out, []byte(r.Markdown()), 0o644); err != nil { //nolint:gosec // a document
			return fmt.Errorf("write report: %w", err)
		}
	}
	if !c.JSON {
		_, err := io.WriteString(stdout, r.Table())
		return err
	}
	e := json.NewEncoder(stdout)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

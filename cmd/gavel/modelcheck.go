package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gavel/budget/model"
)

type modelcheckCmd struct {
	Seeds uint64 `default:"100000" help:"How many runs."`
	First uint64 `default:"1" help:"The first seed."`
	Seed  uint64 `xor:"seed" help:"Run this one seed only and say what happened in it."`
}

// Run prints what was covered. A broken invariant is printed with its seed and what led to it, and makes the exit status 1.
func (c modelcheckCmd) Run(ctx context.Context, w world) error {
	start := time.Now()
	if c.Seed != 0 {
		c.First, c.Seeds = c.Seed, 1
	}
	var coverage model.Coverage
	var violation *model.Violation
	for done, step := uint64(0), uint64(10_000); done < c.Seeds && violation == nil && ctx.Err() == nil; done += step {
		var part model.Coverage
		part, violation = model.Check(ctx, c.First+done, min(step, c.Seeds-done))
		coverage.Add(&part)
		if _, err := fmt.Fprintf(w.stderr, "%d runs, %.0f s\n", coverage.Runs, time.Since(start).Seconds()); err != nil {
			return err
		}
	}
	if violation != nil {
		_, err := fmt.Fprintf(w.stdout, "%s\n\n%v\nSee it again: gavel modelcheck --seed %d\n", strings.Join(violation.Trace, "\n"), violation, violation.Seed)
		if err != nil {
			return err
		}
		return errUnclean
	}
	if ctx.Err() != nil {
		return fmt.Errorf("stopped after %d runs without a violation: %w", coverage.Runs, ctx.Err())
	}
	_, err := fmt.Fprintf(w.stdout, "%vno invariant broken in %d runs (seeds %d to %d), %.0f runs/s\n",
		&coverage, coverage.Runs, c.First, c.First+c.Seeds-1, float64(coverage.Runs)/time.Since(start).Seconds())
	return err
}

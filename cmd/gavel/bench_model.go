package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"gavel/internal/modelbench"
	"gavel/internal/openbandit"
	"gavel/ranking"
)

type benchModelCmd struct {
	Impressions int    `default:"10000000" help:"How many impressions are made up; the last fortieth is not learned but predicted. Default ${default}."`
	Seed        uint64 `default:"1" help:"What the made-up world is made from."`
	Openbandit  string `name:"openbandit" placeholder:"DIR" help:"Use the log of a real feed instead: the files of the campaign \"men\" of the Open Bandit Dataset."`
	JSON        bool   `name:"json" help:"Print an object and nothing else."`
}

// Run prints what was measured. On a made-up world the exit status is 1 when a bound of modelbench was missed; the log of a real feed
// is reported as it is.
func (c benchModelCmd) Run(ctx context.Context, w world) error {
	if c.Impressions < 100_000 || c.Impressions > 1_000_000_000 {
		return errors.New("--impressions must be from 100000 to 1000000000")
	}
	fmt.Fprintln(w.stderr, machine())
	if c.Openbandit != "" {
		l, err := openbandit.ReadDir(c.Openbandit, "men")
		if err != nil {
			return err
		}
		res, err := modelbench.RunFeed(ctx, l)
		if err != nil {
			return err
		}
		return c.print(w.stdout, res, res.Print)
	}
	res, err := modelbench.RunTruth(ctx, modelbench.Options{Impressions: c.Impressions, Seed: c.Seed, Params: ranking.DefaultParams()})
	if err != nil {
		return err
	}
	if err := c.print(w.stdout, res, res.Print); err != nil {
		return err
	}
	if wrong := res.Wrong(); wrong != nil {
		fmt.Fprintln(w.stderr, wrong)
		return errUnclean
	}
	return nil
}

func (c benchModelCmd) print(w io.Writer, res any, text func(io.Writer)) error {
	if !c.JSON {
		text(w)
		return nil
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(res)
}

package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"

	"gavel/campaign"
	"gavel/targeting"
)

type interestsCmd struct {
	Load interestsLoadCmd `cmd:"" help:"Replace the taxonomy of interests by that of a CSV file, all at once."`
	List interestsListCmd `cmd:"" help:"Print the taxonomy of interests as CSV, as load reads it."`
}

type interestsLoadCmd struct {
	databaseFlag
	File string `arg:"" help:"CSV with the header id,parent_id,name; - reads standard input. With nothing but the header there is no taxonomy any more."`
}

type interestsListCmd struct{ databaseFlag }

// Run replaces the taxonomy.
func (c interestsLoadCmd) Run(ctx context.Context, w world) error {
	all, lines, err := c.read(w)
	if err != nil {
		return err
	}
	return c.withService(ctx, func(s *campaign.Service) error {
		changed, err := s.ReplaceInterests(ctx, all)
		if wrong, ok := errors.AsType[*targeting.TaxonomyError](err); ok {
			return fmt.Errorf("%s:%d: %w", c.File, lines[wrong.Index], err)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(w.stdout, "%d interests, %d of them new, changed or dropped\n", len(all), changed)
		return nil
	})
}

func (c interestsLoadCmd) read(w world) (all []campaign.Interest, lines []int, err error) {
	in := w.stdin
	if c.File != "-" {
		file, err := os.Open(c.File)
		if err != nil {
			return nil, nil, fmt.Errorf("read interests: %w", err)
		}
		defer func() { _ = file.Close() }() // it was only read
		in = file
	}
	if all, lines, err = targeting.ReadInterests(in); err != nil {
		return nil, nil, fmt.Errorf("%s:%w", c.File, err)
	}
	return all, lines, nil
}

// Run prints the taxonomy.
func (c interestsListCmd) Run(ctx context.Context, w world) error {
	return c.withService(ctx, func(s *campaign.Service) error {
		all, err := s.Interests(ctx)
		if err != nil {
			return err
		}
		out := csv.NewWriter(w.stdout)
		_ = out.Write(targeting.InterestColumns()) // Error tells
		for _, in := range all {
			_ = out.Write([]string{in.ID, in.ParentID, in.Name})
		}
		out.Flush()
		return out.Error()
	})
}

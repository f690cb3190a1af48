package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

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
	if all, lines, err = readInterests(in); err != nil {
		return nil, nil, fmt.Errorf("%s:%w", c.File, err)
	}
	return all, lines, nil
}

// interestColumns is the header of a file of interests.
func interestColumns() []string { return []string{"id", "parent_id", "name"} }

// readInterests reads a file of interests and the line of each. Errors begin with the line. What is wrong with the interests as
// a whole is the service's to say; only the rows are counted here, so that no file is too long to read.
func readInterests(in io.Reader) (all []campaign.Interest, lines []int, err error) {
	r := csv.NewReader(in)
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, atLine(err)
	}
	if len(header) > 0 {
		header[0] = strings.TrimPrefix(header[0], "\ufeff") // as some spreadsheets write it
	}
	if !slices.Equal(header, interestColumns()) {
		return nil, nil, fmt.Errorf("1: the header must be %s", strings.Join(interestColumns(), ","))
	}
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return all, lines, nil
		}
		if err != nil {
			return nil, nil, atLine(err)
		}
		line, _ := r.FieldPos(0)
		if len(all) == targeting.MaxTaxonomy {
			return nil, nil, fmt.Errorf("%d: at most %d interests are allowed", line, targeting.MaxTaxonomy)
		}
		all = append(all, campaign.Interest{ID: strings.Clone(row[0]), ParentID: strings.Clone(row[1]), Name: strings.Clone(row[2])})
		lines = append(lines, line)
	}
}

// atLine makes an error of the reader begin with its line.
func atLine(err error) error {
	if wrong, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Errorf("%d: %w", wrong.Line, wrong.Err)
	}
	return fmt.Errorf(" %w", err)
}

// Run prints the taxonomy.
func (c interestsListCmd) Run(ctx context.Context, w world) error {
	return c.withService(ctx, func(s *campaign.Service) error {
		all, err := s.Interests(ctx)
		if err != nil {
			return err
		}
		out := csv.NewWriter(w.stdout)
		_ = out.Write(interestColumns()) // Error tells
		for _, in := range all {
			_ = out.Write([]string{in.ID, in.ParentID, in.Name})
		}
		out.Flush()
		return out.Error()
	})
}

package targeting

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gavel/campaign"
)

// InterestColumns is the header of a file of interests.
func InterestColumns() []string { return []string{"id", "parent_id", "name"} }

// ReadInterests reads a file of interests and the line of each. Errors begin with the line. What is wrong with the interests as
// a whole is NewTaxonomy's to say; only the rows are counted here, so that no file is too long to read.
func ReadInterests(in io.Reader) (all []campaign.Interest, lines []int, err error) {
	r := csv.NewReader(in)
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, atLine(err)
	}
	if len(header) > 0 {
		header[0] = strings.TrimPrefix(header[0], "\ufeff") // as some spreadsheets write it
	}
	if !slices.Equal(header, InterestColumns()) {
		return nil, nil, fmt.Errorf("1: the header must be %s", strings.Join(InterestColumns(), ","))
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
		if len(all) == MaxTaxonomy {
			return nil, nil, fmt.Errorf("%d: at most %d interests are allowed", line, MaxTaxonomy)
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

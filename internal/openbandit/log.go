package openbandit

import (
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Limits of a log: far above the small-size dataset, far below what would fill the memory.
const (
	MaxRows  = 2_000_000
	MaxItems = 10_000
)

// userFeatures is how many hashed features a row has of its user.
const userFeatures = 4

// Item is one line of the items file.
type Item struct {
	ID int
	// Score is item_feature_0, a standardised number.
	Score float64
	// Features are item_feature_1 to item_feature_3, hashed.
	Features [3]string
}

// Row is one line of a log: an item that was shown to a user.
type Row struct {
	At time.Time
	// Policy is what chose the item: "random" or "bts".
	Policy string
	// Line is where the row stands in the file of its policy; the header is line 1.
	Line     int
	Item     int
	Position int // 1 to 3
	Click    bool
	User     [userFeatures]string
}

// Log is both policies' logs of one campaign in the order of time, and its items in the order of their ids.
type Log struct {
	Campaign string
	Items    []Item
	Rows     []Row
}

// The headers of the two kinds of file.
const (
	rowHeader  = "timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,user_feature_2,user_feature_3,shown_item_affinity"
	itemHeader = ",item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3"
)

// ReadDir reads items-C.csv, random-C.csv.gz and bts-C.csv.gz of the campaign C ("men", "women", "all") in dir.
func ReadDir(dir, campaign string) (*Log, error) {
	l := &Log{Campaign: campaign}
	err := withFile(filepath.Join(dir, "items-"+campaign+".csv"), func(name string, r io.Reader) (err error) {
		l.Items, err = readItems(name, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	known := make(map[int]bool, len(l.Items))
	for _, i := range l.Items {
		known[i.ID] = true
	}
	for _, policy := range []string{"random", "bts"} { // rows of the same instant are merged in this order
		err := withFile(filepath.Join(dir, policy+"-"+campaign+".csv.gz"), func(name string, r io.Reader) error {
			z, err := gzip.NewReader(r)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			rows, err := readRows(name, z, policy, known)
			l.Rows = append(l.Rows, rows...)
			return errors.Join(err, z.Close())
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(l.Rows, func(a, b Row) int { return a.At.Compare(b.At) })
	return l, nil
}

func withFile(path string, read func(name string, r io.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	return errors.Join(read(filepath.Base(path), f), f.Close())
}

// readItems reads an items file; the ids are unique.
func readItems(name string, r io.Reader) ([]Item, error) {
	var items []Item
	seen := map[int]bool{}
	err := readTable(name, r, itemHeader, MaxItems, func(p *fields) {
		p.number(0, 0, math.MaxInt32)
		i := Item{ID: p.number(1, 0, math.MaxInt32), Score: p.decimal(2, -1e6, 1e6)}
		if seen[i.ID] {
			p.fail(1, "is there twice")
		}
		seen[i.ID] = true
		for n := range i.Features {
			i.Features[n] = p.hash(3 + n)
		}
		items = append(items, i)
	})
	if err == nil && len(items) == 0 {
		err = fmt.Errorf("%s: has no items", name)
	}
	slices.SortFunc(items, func(a, b Item) int { return cmp.Compare(a.ID, b.ID) })
	return items, err
}

// readRows reads a log, which must be in the order of time. known are the items that its rows may name.
func readRows(name string, r io.Reader, policy string, known map[int]bool) ([]Row, error) {
	var rows []Row
	values := map[string]string{} // few values, many rows: keep each once
	err := readTable(name, r, rowHeader, MaxRows, func(p *fields) {
		row := Row{
			At: p.time(0), Policy: policy, Line: p.line,
			Item: p.number(1, 0, math.MaxInt32), Position: p.number(2, 1, 3), Click: p.number(3, 0, 1) == 1,
		}
		if !known[row.Item] {
			p.fail(1, "is not in the items file")
		}
		if p.decimal(4, 0, 1) == 0 {
			p.fail(4, "is 0: what was shown had a chance")
		}
		for n := range row.User {
			h := p.hash(5 + n)
			if _, ok := values[h]; !ok {
				values[h] = h
			}
			row.User[n] = values[h]
		}
		p.decimal(9, 0, math.MaxFloat64)
		if len(rows) > 0 && row.At.Before(rows[len(rows)-1].At) {
			p.fail(0, "is before that of the line above")
		}
		rows = append(rows, row)
	})
	if err == nil && len(rows) == 0 {
		err = fmt.Errorf("%s: has no rows", name)
	}
	return rows, err
}

package openbandit

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// readTable reads a CSV with exactly this header and calls row for each line, until the first problem.
func readTable(name string, r io.Reader, header string, limit int, row func(*fields)) error {
	p := &fields{name: name, columns: strings.Split(header, ",")}
	c := csv.NewReader(r)
	c.FieldsPerRecord = len(p.columns)
	c.ReuseRecord = true
	for n := 0; ; n++ {
		record, err := c.Read()
		if errors.Is(err, io.EOF) && n > 0 {
			return nil
		}
		if err != nil {
			return readProblem(name, p.line+1, err)
		}
		p.record = record
		p.line, _ = c.FieldPos(0)
		switch {
		case n == 0 && strings.Join(record, ",") != header:
			return fmt.Errorf("%s:1: the header is %q, want %q", name, strings.Join(record, ","), header)
		case n == 0:
			continue
		case n > limit:
			return fmt.Errorf("%s:%d: has more than %d rows", name, p.line, limit)
		}
		if row(p); p.err != nil {
			return p.err
		}
	}
}

// readProblem names the line of a failed read; next is the one after the last that was read.
func readProblem(name string, next int, err error) error {
	var parse *csv.ParseError
	switch {
	case errors.As(err, &parse):
		return fmt.Errorf("%s:%d: %w", name, parse.StartLine, parse.Err) // where the record begins
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s:1: is empty", name)
	default:
		return fmt.Errorf("%s:%d: %w", name, next, err)
	}
}

// fields reads the values of one record, by column number, and keeps the first problem.
type fields struct {
	name    string
	columns []string
	line    int
	record  []string
	err     error
}

func (p *fields) fail(n int, problem string) {
	if p.err == nil {
		p.err = fmt.Errorf("%s:%d: %s %q %s", p.name, p.line, p.columns[n], p.record[n], problem)
	}
}

func (p *fields) number(n, least, most int) int {
	v, err := strconv.Atoi(p.record[n])
	if err != nil || v < least || v > most {
		p.fail(n, fmt.Sprintf("is not a whole number from %d to %d", least, most))
	}
	return v
}

func (p *fields) decimal(n int, least, most float64) float64 {
	v, err := strconv.ParseFloat(p.record[n], 64)
	if err != nil || !(v >= least && v <= most) {
		p.fail(n, fmt.Sprintf("is not a number from %g to %g", least, most))
	}
	return v
}

// time reads "2019-11-24 00:01:03.979311+00:00"; the fraction may be absent.
func (p *fields) time(n int) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05Z07:00", p.record[n])
	if err != nil {
		p.fail(n, "is not a time such as 2019-11-24 00:01:03.979311+00:00")
	}
	return t.UTC()
}

// hash reads 32 hexadecimal digits.
func (p *fields) hash(n int) string {
	s := p.record[n]
	ok := len(s) == 32
	for i := range len(s) {
		ok = ok && (s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f')
	}
	if !ok {
		p.fail(n, "is not 32 hexadecimal digits")
	}
	return s
}

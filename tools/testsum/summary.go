package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output and build-fail
	Test       string
	Output     string
}

// name is one test of one package.
type name struct{ pkg, test string }

// summary is what a run came to.
type summary struct {
	out io.Writer
	// pending holds the output of tests that have not ended: only that of failures is shown.
	pending map[name]*bytes.Buffer
	lines   []string // the packages' own lines: ok, FAIL, ?
	skips   []name

	passed, failed, packages, badPackages, badBuilds int
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, pending: map[name]*bytes.Buffer{}}
}

// read takes in the whole stream. A line that is not an event, such as a complaint of the go command, is shown as it is.
func (s *summary) read(in io.Reader) error {
	r := bufio.NewReader(in)
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				fmt.Fprint(s.out, string(line))
			} else {
				s.add(e)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read test events: %w", err)
		}
	}
}

func (s *summary) add(e event) {
	n := name{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "build-fail":
		s.badBuilds++
	case "output":
		s.output(n, e.Output)
	case "pass", "fail", "skip":
		s.end(n, e.Action)
	}
}

func (s *summary) output(n name, text string) {
	if n.test == "" {
		if text != "PASS\n" {
			fmt.Fprint(s.out, text)
		}
		if isPackageLine(text) {
			s.lines = append(s.lines, strings.TrimRight(text, "\n"))
		}
		return
	}
	b := s.pending[n]
	if b == nil {
		b = new(bytes.Buffer)
		s.pending[n] = b
	}
	b.WriteString(text)
}

// isPackageLine tells the one line with which `go test` ends a package.
func isPackageLine(text string) bool {
	for _, start := range []string{"ok  \t", "FAIL\t", "?   \t"} {
		if strings.HasPrefix(text, start) {
			return true
		}
	}
	return false
}

func (s *summary) end(n name, action string) {
	if n.test == "" {
		s.endPackage(n.pkg, action)
		return
	}
	switch action {
	case "pass":
		s.passed++
	case "fail":
		s.failed++
		s.show(n)
	case "skip":
		s.skips = append(s.skips, n)
	}
	delete(s.pending, n)
}

// endPackage counts a package and shows what its unfinished tests said, for example those that a panic cut off.
func (s *summary) endPackage(pkg, action string) {
	if action == "fail" {
		s.badPackages++
	}
	if action != "skip" { // skip: it has no test files
		s.packages++
	}
	for n := range s.pending {
		if n.pkg == pkg {
			if action == "fail" {
				s.show(n)
			}
			delete(s.pending, n)
		}
	}
}

func (s *summary) show(n name) {
	if b := s.pending[n]; b != nil {
		fmt.Fprint(s.out, b.String())
	}
}

// ok reports whether everything that ran passed, and something ran.
func (s *summary) ok() bool {
	return s.failed == 0 && s.badPackages == 0 && s.badBuilds == 0 && s.passed > 0
}

func (s *summary) totals(refused int) string {
	t := fmt.Sprintf("%d passed, %d failed, %d skipped, in %d packages", s.passed, s.failed, len(s.skips), s.packages)
	if refused > 0 {
		t += fmt.Sprintf("; %d skipped that may not be", refused)
	}
	if s.badPackages > 0 {
		t += fmt.Sprintf("; %d packages failed", s.badPackages)
	}
	if s.badBuilds > 0 {
		t += fmt.Sprintf("; %d did not build", s.badBuilds)
	}
	if s.passed+s.failed == 0 {
		t += "; no test ran"
	}
	return t
}

func (s *summary) leave(path, total string) error {
	text := strings.Join(append(s.lines, total), "\n") + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("leave summary: %w", err)
	}
	return nil
}

package main

import (
	"fmt"
	"os"
	"strings"
)

// allowList maps a test that may be skipped to the path whose existence takes the leave away; "-" is never there.
type allowList map[name]string

func readAllowed(path string) (allowList, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read allowed skips: %w", err)
	}
	list := allowList{}
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 4 {
			return nil, fmt.Errorf("read allowed skips: line %d of %s: want <package> <test> <path or -> <reason>", i+1, path)
		}
		list[name{fields[0], fields[1]}] = fields[2]
	}
	return list, nil
}

// refusedSkips returns the skipped tests that the list does not let off, in the order in which they ended.
func (s *summary) refusedSkips(allowed allowList) []name {
	var refused []name
	for _, skip := range s.skips {
		if !allowed.lets(skip) {
			refused = append(refused, skip)
		}
	}
	return refused
}

func (a allowList) lets(n name) bool {
	test, _, _ := strings.Cut(n.test, "/")
	for _, listed := range []string{n.test, test} {
		if unless, ok := a[name{n.pkg, listed}]; ok {
			_, err := os.Stat(unless)
			return unless == "-" || err != nil
		}
	}
	return false
}

package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	code, err := run(os.Args[1:], os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		code = 1
	}
	os.Exit(code)
}

func run(args []string, in io.Reader, out io.Writer) (code int, err error) {
	flags := flag.NewFlagSet("testsum", flag.ContinueOnError)
	allowPath := flags.String("allow", "", "file that lists the tests that may be skipped")
	linesPath := flags.String("lines", "", "file to leave the packages' lines and the totals in")
	if err := flags.Parse(args); err != nil {
		return 1, fmt.Errorf("read flags: %w", err)
	}
	allowed := allowList{}
	if *allowPath != "" {
		if allowed, err = readAllowed(*allowPath); err != nil {
			return 1, err
		}
	}
	sum := newSummary(out)
	if err := sum.read(in); err != nil {
		return 1, err
	}
	refused := sum.refusedSkips(allowed)
	for _, s := range refused {
		fmt.Fprintf(out, "SKIPPED, but not listed as allowed: %s %s\n", s.pkg, s.test)
	}
	total := sum.totals(len(refused))
	fmt.Fprintln(out, total)
	if *linesPath != "" {
		if err := sum.leave(*linesPath, total); err != nil {
			return 1, err
		}
	}
	if sum.ok() && len(refused) == 0 {
		return 0, nil
	}
	return 1, nil
}

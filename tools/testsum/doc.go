// Command testsum reads `go test -json` from standard input, prints what `go test` prints, and judges the run.
//
// It exits with 1 when a test or a build failed, when no test ran at all, and when a test was skipped that the file given
// with -allow does not list. With -lines it leaves the packages' own lines and the totals in a file, to be shown last.
//
// A line of the allow file is
//
//	<package> <test> <path or -> <reason>
//
// and lets the test, with its subtests, be skipped as long as the path does not exist; "-" means always.
package main

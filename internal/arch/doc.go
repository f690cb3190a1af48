// Package arch holds the test that keeps the project's shape: which package may import which, where drivers, SQL and HTTP
// may be spoken of, and which packages do no I/O and read no clock.
//
// The rules are tables in rules_test.go, each row with its reason, and they deny by default: a new package or a new arrow
// needs a row. The checker reads every Go file of the tree, whatever its build tags, and needs nothing but the files, so it
// runs with -short. It holds itself to account: synthetic offenders must be reported.
package arch

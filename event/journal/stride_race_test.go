//go:build race

package journal_test

// Under the race detector the tests of damage are there for the detector, which makes each many times slower.
const stride = 11

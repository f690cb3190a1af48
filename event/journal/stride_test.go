//go:build !race

package journal_test

// stride is the distance of the bytes that tests damage one after the other.
const stride = 1

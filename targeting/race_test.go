//go:build race

package targeting_test

// raced says that the race detector is on: it makes sync.Pool forget on purpose.
const raced = true

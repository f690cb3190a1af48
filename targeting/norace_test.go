//go:build !race

package targeting_test

const raced = false

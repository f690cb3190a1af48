//go:build !race

package model

// seeds is how many runs every `go test` does.
const seeds = 10_000

// mutantSeeds is how many seeds a mutant may hide from.
const mutantSeeds = 4000

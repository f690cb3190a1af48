//go:build race

package model

// Under the race detector the runs are there for the detector, which makes each many times slower.
const (
	seeds       = 400
	mutantSeeds = 400
)

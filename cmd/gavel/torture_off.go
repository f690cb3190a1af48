//go:build !faults

package main

// TortureCmds are the commands of builds with the tag faults. It is exported so that an empty one counts as used.
type TortureCmds struct{}

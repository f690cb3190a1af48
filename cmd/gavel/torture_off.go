//go:build !faults

package main

// tortureCmds are the commands of builds with the tag faults.
type tortureCmds struct{}

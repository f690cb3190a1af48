//go:build !linux

package targetbench

import "time"

// clockName is what threadTime measures.
const clockName = "wall"

var start = time.Now()

// threadTime is the wall clock where there is no clock of a thread.
func threadTime() time.Duration { return time.Since(start) }

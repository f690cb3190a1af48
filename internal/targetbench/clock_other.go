//go:build !linux

package targetbench

import "time"

// clockName is what ThreadTime measures.
const clockName = "wall"

var start = time.Now()

// ThreadTime is the wall clock where there is no clock of a thread.
func ThreadTime() time.Duration { return time.Since(start) }

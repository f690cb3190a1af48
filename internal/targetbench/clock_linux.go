package targetbench

import (
	"time"

	"golang.org/x/sys/unix"
)

// clockName is what ThreadTime measures.
const clockName = "thread_cpu"

// ThreadTime is the CPU time of the calling thread, which must be locked. A shared machine takes the core away now and then; that
// is not in it.
func ThreadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic("targetbench: CLOCK_THREAD_CPUTIME_ID: " + err.Error()) // Linux has it since 2.6
	}
	return time.Duration(t.Nano())
}

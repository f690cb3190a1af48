//go:build !linux

package torture

import "syscall"

// The torture reads /proc and pauses processes: it runs on Linux alone, and compiles elsewhere.
const (
	sigStop = syscall.SIGTERM
	sigCont = syscall.SIGTERM
)

func childAttr() *syscall.SysProcAttr { return nil }

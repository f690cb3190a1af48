//go:build unix && !linux

package devstack

import "syscall"

// childAttr puts a child into its own process group and, as root, into the account. There is no death signal here: the guard
// does that work.
func childAttr(a account, _ syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: a.credential()}
}

func roomInMemory(string) uint64 { return 0 }

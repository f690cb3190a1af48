package devstack

import "syscall"

// childAttr puts a child into its own process group and, as root, into the account; the kernel sends it death when the
// thread that started it ends.
func childAttr(a account, death syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: death, Credential: a.credential()}
}

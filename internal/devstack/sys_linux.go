package devstack

import "syscall"

// childAttr puts a child into its own process group and, as root, into the account; the kernel sends it death when the
// thread that started it ends.
func childAttr(a account, death syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: death, Credential: a.credential()}
}

// roomInMemory is how many bytes are free at root if that is a file system in memory, otherwise 0.
func roomInMemory(root string) uint64 {
	const tmpfs = 0x01021994
	var fs syscall.Statfs_t
	if syscall.Statfs(root, &fs) != nil || fs.Type != tmpfs {
		return 0
	}
	return fs.Bavail * uint64(fs.Bsize)
}

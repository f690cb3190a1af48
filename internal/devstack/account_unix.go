//go:build unix

package devstack

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

const supported = true

// account is the user that the servers run as.
type account struct {
	uid, gid uint32
	name     string
	drop     bool // we are root and the server must not be
}

// servant is the account for servers: ourselves, or for root the user postgres or nobody, since Postgres refuses root.
func servant() (account, error) {
	if os.Geteuid() != 0 {
		return account{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()), name: "this user"}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errUID := strconv.ParseUint(u.Uid, 10, 32)
		gid, errGID := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(errUID, errGID); err != nil {
			return account{}, fmt.Errorf("read user %s: %w", name, err)
		}
		return account{uid: uint32(uid), gid: uint32(gid), name: "user " + name, drop: true}, nil
	}
	return account{}, errors.New("running as root, and there is neither a user postgres nor nobody to run Postgres as")
}

// forDir is the account that owns an existing directory, if we may become it; otherwise a itself. A directory that was made
// when there was no user postgres stays usable after one appears.
func (a account) forDir(dir string) account {
	var st syscall.Stat_t
	if !a.drop || syscall.Stat(dir, &st) != nil || st.Uid == 0 || st.Uid == a.uid {
		return a
	}
	return account{uid: st.Uid, gid: st.Gid, name: fmt.Sprintf("user %d", st.Uid), drop: true}
}

func (a account) credential() *syscall.Credential {
	if !a.drop {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// give makes the account the owner of path.
func (a account) give(path string) error {
	if !a.drop {
		return nil
	}
	return os.Chown(path, int(a.uid), int(a.gid))
}

// mayReach reports as an error what stands between the account and path: a folder above it (or path itself) that it may not
// enter. Only mode bits are looked at.
func (a account) mayReach(path string) error {
	if !a.drop {
		return nil
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", path, err)
	}
	for dir := target; ; dir = filepath.Dir(dir) {
		var st syscall.Stat_t
		if err := syscall.Stat(dir, &st); err != nil {
			return fmt.Errorf("look at %s: %w", dir, err)
		}
		var bit fs.FileMode = 0o001
		switch {
		case st.Uid == a.uid:
			bit = 0o100
		case st.Gid == a.gid:
			bit = 0o010
		}
		if fs.FileMode(st.Mode)&bit == 0 {
			return fmt.Errorf("%s may not enter %s", a.name, dir)
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// ownedByUs reports whether path belongs to this user, without following a symbolic link.
func ownedByUs(path string) bool {
	var st syscall.Stat_t
	return syscall.Lstat(path, &st) == nil && st.Uid == uint32(os.Geteuid())
}

// ownGroup puts a child into a process group of its own.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// signalGroup signals a process group. One that has ended is no error.
func signalGroup(leader int, sig syscall.Signal) error {
	if err := syscall.Kill(-leader, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process group %d: %w", leader, err)
	}
	return nil
}

// groupLives reports whether a process group has members.
func groupLives(leader int) bool { return !errors.Is(syscall.Kill(-leader, 0), syscall.ESRCH) }

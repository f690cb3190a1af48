package devstack

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

const (
	// A temporary directory is made as unready, locked, and renamed to ready, so that whoever sees a ready one that is not
	// locked knows its owner to be dead.
	unreadyPrefix = "gavel-new-"
	readyPrefix   = "gavel-stack-"
	// unreadyAge is when an unready one is taken for left over.
	unreadyAge = time.Hour

	lockName     = "lock"
	passwordName = "password"
)

// home is the directory of one stack. Its lock is held for as long as the stack lives.
//
//	lock        held by the process that has the stack; holds its process id
//	password    of Postgres, in a kept directory
//	postgres/   data directory of Postgres, owned by the account
//	redis/      the same of Redis
//	*.log       what the servers say
type home struct {
	path      string
	temporary bool
	inMemory  bool
	acct      account
	lock      *flock.Flock
}

// memoryRoot is where Linux keeps files in memory, and memoryRoom what must be free there: a few databases and their WAL.
const (
	memoryRoot = "/dev/shm"
	memoryRoom = 2 << 30 // bytes
)

// openHome takes dir, or makes a temporary directory when it is "", and removes those of dead processes.
func openHome(dir string, inMemory bool, log *slog.Logger) (*home, error) {
	if !supported {
		return nil, errors.New("starting servers needs a Unix system: give the URLs of running ones instead")
	}
	acct, err := servant()
	if err != nil {
		return nil, err
	}
	roots := temporaryRoots(acct)
	for _, root := range append(roots, memoryRoot) {
		reap(root, time.Now().Add(-unreadyAge), log)
	}
	if dir != "" {
		return keepHome(dir, acct)
	}
	if inMemory && acct.mayReach(memoryRoot) == nil && roomInMemory(memoryRoot) >= memoryRoom {
		if h, err := makeHome(memoryRoot, acct); err == nil {
			h.inMemory = true
			return h, nil
		}
	}
	if len(roots) == 0 {
		return nil, fmt.Errorf("no folder for temporary files that %s may reach: set TMPDIR", acct.name)
	}
	return makeHome(roots[0], acct)
}

// temporaryRoots are the folders for temporary files that the account can reach.
func temporaryRoots(acct account) []string {
	var roots []string
	for _, dir := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		if acct.mayReach(dir) == nil && !slices.Contains(roots, dir) {
			roots = append(roots, dir)
		}
	}
	return roots
}

func makeHome(root string, acct account) (*home, error) {
	unready, err := os.MkdirTemp(root, unreadyPrefix)
	if err != nil {
		return nil, fmt.Errorf("make temporary directory: %w", err)
	}
	h, err := lockHome(unready, acct)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(unready))
	}
	h.temporary = true
	ready := filepath.Join(root, readyPrefix+strings.TrimPrefix(filepath.Base(unready), unreadyPrefix))
	if err := os.Rename(unready, ready); err != nil {
		return nil, errors.Join(fmt.Errorf("name temporary directory: %w", err), h.close())
	}
	h.path = ready
	return h, nil
}

func keepHome(dir string, acct account) (*home, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	mode := fs.FileMode(0o700)
	if acct.drop {
		mode = 0o711 // to be passed through
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	if err := acct.mayReach(filepath.Dir(dir)); err != nil {
		return nil, fmt.Errorf("data directory %s cannot be used: Postgres refuses to run as root, and %w; choose another place", dir, err)
	}
	return lockHome(dir, acct)
}

// lockHome locks dir and lets the account, if it is not ourselves, pass through (not look).
func lockHome(dir string, acct account) (*home, error) {
	h := &home{path: dir, acct: acct, lock: flock.New(filepath.Join(dir, lockName), flock.SetPermissions(0o600))}
	got, err := h.lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if !got {
		owner, _ := os.ReadFile(h.lock.Path())
		return nil, fmt.Errorf("%w: %s by process %s", ErrDirInUse, dir, strings.TrimSpace(string(owner)))
	}
	err = os.WriteFile(h.lock.Path(), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600)
	if err == nil && acct.drop {
		var at fs.FileInfo
		if at, err = os.Stat(dir); err == nil {
			err = os.Chmod(dir, at.Mode().Perm()|0o011)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare data directory: %w", err), h.lock.Unlock())
	}
	return h, nil
}

// removeOnExit is what a guard removes when we die: the directory if it is temporary, otherwise "".
func (h *home) removeOnExit() string {
	if h.temporary {
		return h.path
	}
	return ""
}

func (h *home) file(name string) string { return filepath.Join(h.path, name) }

// sub makes a folder for a server and gives it to the account that is to run it, which it returns: the owner of the folder
// if there was one.
func (h *home) sub(name string) (string, account, error) {
	dir := h.file(name)
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return dir, h.acct.forDir(dir), nil
	}
	if err == nil {
		err = h.acct.give(dir)
	}
	if err != nil {
		return "", account{}, fmt.Errorf("make folder of %s: %w", name, err)
	}
	return dir, h.acct, nil
}

// newPassword makes the password of a new Postgres and keeps it if the directory is kept.
func (h *home) newPassword() (string, error) {
	password := rand.Text()
	if h.temporary {
		return password, nil
	}
	if err := os.WriteFile(h.file(passwordName), []byte(password+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("keep password: %w", err)
	}
	return password, nil
}

// oldPassword is the one that newPassword kept.
func (h *home) oldPassword() (string, error) {
	b, err := os.ReadFile(h.file(passwordName))
	if err != nil {
		return "", fmt.Errorf("read password of the kept Postgres: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// close removes the directory if it is temporary, then gives up the lock.
func (h *home) close() error {
	var errs []error
	if h.temporary {
		if err := os.RemoveAll(h.path); err != nil {
			errs = append(errs, fmt.Errorf("remove temporary directory: %w", err))
		}
	}
	if err := h.lock.Unlock(); err != nil {
		errs = append(errs, fmt.Errorf("unlock data directory: %w", err))
	}
	return errors.Join(errs...)
}

// reap removes the directories of this user's dead stacks in root. What cannot be removed now is left for the next time.
func reap(root string, unreadyBefore time.Time, log *slog.Logger) {
	unready, _ := filepath.Glob(filepath.Join(root, unreadyPrefix+"*"))
	for _, dir := range unready {
		at, err := os.Lstat(dir)
		if err == nil && at.IsDir() && ownedByUs(dir) && at.ModTime().Before(unreadyBefore) {
			remove(dir, log)
		}
	}
	ready, _ := filepath.Glob(filepath.Join(root, readyPrefix+"*"))
	for _, dir := range ready {
		at, err := os.Lstat(dir)
		if err != nil || !at.IsDir() || !ownedByUs(dir) {
			continue
		}
		// The lock is not created here: a directory without one is being removed by its owner at this moment, or was
		// half removed before; either way it is dead, since a live one was locked before it got its name.
		lock := flock.New(filepath.Join(dir, lockName), flock.SetFlag(os.O_RDWR))
		got, err := lock.TryLock()
		if errors.Is(err, fs.ErrNotExist) || got {
			remove(dir, log)
		}
		_ = lock.Close()
	}
}

func remove(dir string, log *slog.Logger) {
	if err := os.RemoveAll(dir); err != nil {
		log.Debug("remove directory of a dead stack", "dir", dir, "error", err)
		return
	}
	log.Debug("removed directory of a dead stack", "dir", dir)
}

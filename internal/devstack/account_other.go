//go:build !unix

package devstack

import (
	"errors"
	"syscall"
)

const supported = false

// account stands in for the one of Unix systems: servers are not started here, their URLs are to be given.
type account struct {
	name string
	drop bool
}

func servant() (account, error)                              { return account{}, errors.ErrUnsupported }
func (a account) forDir(string) account                      { return a }
func (account) give(string) error                            { return nil }
func (account) mayReach(string) error                        { return nil }
func ownedByUs(string) bool                                  { return false }
func ownGroup() *syscall.SysProcAttr                         { return nil }
func childAttr(account, syscall.Signal) *syscall.SysProcAttr { return nil }
func signalGroup(int, syscall.Signal) error                  { return errors.ErrUnsupported }
func groupLives(int) bool                                    { return false }
func roomInMemory(string) uint64                             { return 0 }

package main

import (
	"errors"
	"fmt"
	"syscall"
)

// cannotListen says in the operator's words why a port could not be opened, and what to do. addressKey is the key that the
// address is from.
func cannotListen(err error, key string, port int, addressKey, address string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s %d is taken by another program (another salt-broker?): stop it or set %s", key, port, key)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s %d is not for everybody to open: set %s to 1024 or more, or start as root", key, port, key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s %d cannot be opened: %s %s is no address of this machine: set %s", key, port, addressKey, address, addressKey)
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return fmt.Errorf("%s %d cannot be opened: this machine has no addresses like %s %s: set %s", key, port, addressKey, address, addressKey)
	case errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("%s %d cannot be opened: too many open files: raise the hard limit (LimitNOFILE in the unit)", key, port)
	}
	return fmt.Errorf("%s %d cannot be opened: %w", key, port, err)
}

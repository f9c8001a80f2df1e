package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// account is the user that a process started as root becomes. nil is the one that it is.
type account struct {
	name     string
	uid, gid int
	groups   []int
}

// accountOf finds the account for the key user; nil when there is nothing to become.
func accountOf(name string) (*account, error) {
	if name == "" || os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if errors.As(err, new(user.UnknownUserError)) {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return nil, misconfigured{fmt.Errorf("user: %s is not a user of this system: make one or set user", name)}
	}
	a := &account{name: name}
	numbers := []*int{&a.uid, &a.gid}
	for i, text := range []string{u.Uid, u.Gid} {
		if *numbers[i], err = strconv.Atoi(text); err != nil {
			return nil, misconfigured{fmt.Errorf("user: %s has no number: %w", name, err)}
		}
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("user: the groups of %s cannot be read: %w", name, err)
	}
	for _, id := range ids {
		gid, err := strconv.Atoi(id)
		if err != nil {
			return nil, fmt.Errorf("user: a group of %s has no number: %w", name, err)
		}
		a.groups = append(a.groups, gid)
	}
	return a, nil
}

// cannotBecome says whether the key user has no effect: the process is neither root's nor that user's already.
func cannotBecome(name string) bool {
	if name == "" || os.Getuid() == 0 {
		return false
	}
	u, err := user.Lookup(name)
	return (err != nil || u.Uid != strconv.Itoa(os.Getuid())) && name != strconv.Itoa(os.Getuid())
}

// become makes the process a, for good. All its threads change: the syscall package sees to that.
func (a *account) become() error {
	if a == nil || a.uid == 0 {
		return nil
	}
	err := errors.Join(syscall.Setgroups(a.groups), syscall.Setgid(a.gid))
	if err == nil {
		err = syscall.Setuid(a.uid)
	}
	if err != nil {
		return fmt.Errorf("user: cannot become %s: %w", a.name, err)
	}
	return nil
}

//go:build linux

// Package apart runs the tests of a package in namespaces of their own, so that neither their networks, mounts and
// processes are anybody else's, and nothing of them stays whatever happens: when their first process ends, the kernel ends
// the rest. namespaces(7) says what they are; to make them needs root.
package apart

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Lacks is the first of some programs that is not installed; "" when all are.
func Lacks(programs ...string) string {
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			return program
		}
	}
	return ""
}

// Skip says why the tests of a package do not run here, and returns with what the process is to end: 0, or 1 where all
// that they need has to be there (SALT_BROKER_REQUIRE_TOOLS).
func Skip(name, why string) int {
	_, _ = fmt.Fprintf(os.Stdout, "%s: %s: skipped\n", name, why)
	if os.Getenv("SALT_BROKER_REQUIRE_TOOLS") == "1" {
		return 1
	}
	return 0
}

// Run runs this program once more, in new namespaces and with another environment variable, by which it knows that. It
// returns with what that has ended; name is for the case that it has not begun.
func Run(name, variable string) int {
	c := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:gosec // ourselves
	c.Env = append(os.Environ(), variable)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	switch err := c.Run(); {
	case c.ProcessState != nil:
		return c.ProcessState.ExitCode()
	default:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
}

// Settle makes new namespaces a place to be: mounts stay here, /proc is of the new processes, and lo is up.
func Settle() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	if err := raise("lo"); err != nil {
		return fmt.Errorf("lo: %w", err)
	}
	return nil
}

// raise brings an interface up.
func raise(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// A Go process has threads before main begins, so it cannot fork itself into the background as Salt's daemons do
// (Salt: salt/utils/process.py, daemonize). It starts its own program again, in a session of its own, and waits on a
// pipe for what becomes of it.

const (
	// daemonMark is the environment variable that tells the second process that it is the daemon.
	daemonMark = "SALT_BROKER_DAEMON"
	// daemonPipe is the descriptor of the pipe there.
	daemonPipe = 3
	// daemonReady is what the daemon writes when both ports are open. Anything else is the error that it ends with.
	daemonReady = "ready\n"
)

// isDaemon says whether this process is the one in the background.
func isDaemon() bool { return parent != nil }

// parent is the pipe to the process that the operator has started, while that waits.
var parent = pipeToParent()

func pipeToParent() *os.File {
	var there syscall.Stat_t
	if os.Getenv(daemonMark) == "" || syscall.Fstat(daemonPipe, &there) != nil || there.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		return nil // nobody has started us so, whatever the environment says
	}
	syscall.CloseOnExec(daemonPipe)
	return os.NewFile(daemonPipe, "parent")
}

// terminal is where the operator sees errors.
func terminal() io.Writer {
	if isDaemon() {
		return parent
	}
	return os.Stderr
}

// tellParent lets the operator have the shell back.
func tellParent() {
	if isDaemon() {
		_, _ = io.WriteString(parent, daemonReady) // the operator may have gone
		parent.Close()
	}
}

// startDaemon starts the daemon and returns when it serves, or with its error.
func startDaemon(ctx context.Context, stderr io.Writer) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot start in the background: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot start in the background: %w", err)
	}
	defer r.Close()
	c := exec.CommandContext(ctx, program, os.Args[1:]...) //nolint:gosec // it is this program
	c.Env = append(os.Environ(), daemonMark+"=1")
	c.ExtraFiles = []*os.File{w} // becomes daemonPipe; the others are /dev/null
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = c.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("cannot start in the background: %w", err)
	}
	said, err := io.ReadAll(r) // until the daemon has closed its end or has ended
	if err != nil {
		return fmt.Errorf("cannot read what the daemon says: %w", err)
	}
	if bytes.Equal(said, []byte(daemonReady)) {
		return nil
	}
	err = c.Wait()
	if len(said) == 0 {
		return fmt.Errorf("the daemon ended without a word (%w): start without -d to see why", err)
	}
	_, _ = stderr.Write(said)
	if c.ProcessState.ExitCode() == exitConfig {
		return misconfigured{errSaid}
	}
	return errors.Join(errSaid, err)
}

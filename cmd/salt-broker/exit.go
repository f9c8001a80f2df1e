package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sirupsen/logrus"

	"salt-broker/internal/reactor"
)

// Exit codes.
const (
	// exitClean: salt-broker was told to stop and did, or a command had nothing to complain about.
	exitClean = 0
	// exitRuntime: the machine or the network is in the way: a port is taken, a file cannot be opened or written. The
	// same configuration may work in a minute, or on another machine. A log file that cannot be opened is one of these.
	exitRuntime = 1
	// exitConfig: what the operator has said is wrong: a file of the configuration, a flag, a user that does not exist.
	// Starting again is of no use before somebody has changed it.
	exitConfig = 2
)

// misconfigured is an error that somebody must change the configuration for.
type misconfigured struct{ error }

func (m misconfigured) Unwrap() error { return m.error }

// codeOf is the exit code for what a command returned.
func codeOf(err error) int {
	switch {
	case err == nil:
		return exitClean
	case errors.As(err, new(misconfigured)):
		return exitConfig
	}
	return exitRuntime
}

// say writes the error that ends the process, each of its lines with the program's name, so that it is found between
// those of other programs. It does not go through the log: log_level must not hide why a daemon is not there.
func say(w io.Writer, err error) {
	prefix := ""
	if isJournal() && !isDaemon() {
		prefix = priority(logrus.FatalLevel)
	}
	for line := range strings.Lines(oneLineEach(err)) {
		_, _ = fmt.Fprintf(w, "%ssalt-broker: %s\n", prefix, escaped(strings.TrimSuffix(line, "\n"))) // there is no better place to say it
	}
}

// oneLineEach is the text of err. Faults of the configuration have a line each; nothing else has more than one, but for
// the stack of a panic, which goes to the log.
func oneLineEach(err error) string {
	var panicked *reactor.PanicError
	if errors.As(err, &panicked) {
		return fmt.Sprintf("%v; this is a fault of salt-broker's own: please report it with the stack in the log", err)
	}
	return err.Error()
}

package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// execute runs the command that args name and returns the exit code. Results go to stdout, what went wrong to stderr.
func execute(args []string, stdout, stderr io.Writer) int {
	root := newCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	if err != nil && !errors.Is(err, errSaid) {
		sayAtMost(time.Second, stderr, err)
	}
	return codeOf(err)
}

// sayAtMost says err and goes on after timeout: a terminal that somebody has stopped must not keep the process, which
// the supervisor waits for, from ending.
func sayAtMost(timeout time.Duration, w io.Writer, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		say(w, err)
	}()
	select {
	case <-done:
	case <-time.After(timeout):
	}
}

// errSaid marks errors whose lines the operator has seen already.
var errSaid = errors.New("said already")

// newCommand returns the root, which is the command run, with all others below it.
func newCommand() *cobra.Command {
	root := newRunCommand()
	root.Use = "salt-broker"
	root.Short = "Relay between a Salt master and the minions of a region"
	root.Long = rootHelp
	root.SilenceErrors = true // execute says them
	root.SilenceUsage = true  // a page of help hides the one line that matters
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return misconfigured{errors.New(err.Error() + "; see " + c.CommandPath() + " --help")}
	})
	root.Version = versionOf(buildInfo())
	root.SetVersionTemplate("salt-broker {{.Version}}\n")
	root.Flags().Bool("version", false, "say the version and exit")
	root.AddCommand(newRunCommand(), newCheckConfigCommand(), newHealthCommand(), newStatusCommand(), newTraceCommand(),
		newDemoCommand(),
		newVersionCommand())
	return root
}

// noArguments refuses words behind a command, as a mistake of the operator's.
func noArguments(c *cobra.Command, args []string) error {
	if err := cobra.NoArgs(c, args); err != nil {
		return misconfigured{errors.New(err.Error() + "; see " + c.CommandPath() + " --help")}
	}
	return nil
}

const rootHelp = `salt-broker stands between a Salt master and the minions of a region. Minions have "master: <this machine>" and
notice nothing; the master sees a handful of connections. It holds no keys, no cache and no jobs.

Without a command it runs in the foreground, reading /etc/salt/broker and /etc/salt/broker.d/*.conf.

Something does not work?
  salt-broker check-config       says everything that is wrong with the configuration
  salt-broker status             shows what the one that runs does; health says whether minions are served
  salt-broker -l debug           runs with every connection in the log
  kill -USR1 <pid>               writes what the process is doing into the log
  kill -TERM <pid>               stops it when the requests under way are answered; a second one stops it at once

Exit codes: 0 stopped as asked, 1 something is in the way (a port is taken, a file cannot be written), 2 the
configuration or a flag is wrong.`

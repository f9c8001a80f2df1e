package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"salt-broker/internal/demo"
)

func newDemoCommand() *cobra.Command {
	o := demo.Options{Minions: 500, Duration: 10 * time.Second}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show salt-broker at work: a stand-in master and minions through a real broker on loopback",
		Long: `demo starts a stand-in for a Salt master, a salt-broker as a process of its own, and stand-in minions that connect to it,
all on 127.0.0.1 and on ports that nobody has. For a while the master publishes jobs and every minion makes requests, half
of the minions over one connection and half over a new one for each request, as the releases of Salt do. Every message is
checked. No configuration is read, nothing is installed, and nothing stays.

Ctrl-C ends it early.

Exit codes: 0 nothing was lost, 1 something was, or the demonstration could not be held, 2 a flag is wrong.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Minions < 1 || o.Duration <= 0 {
				return misconfigured{errors.New("demo needs at least one minion and a duration above 0; see " + c.CommandPath() + " --help")}
			}
			return demonstrate(c.Context(), o, c.OutOrStdout())
		},
	}
	c.Flags().IntVar(&o.Minions, "minions", o.Minions, "how many `MINIONS` there are; each takes up to two connections")
	c.Flags().DurationVar(&o.Duration, "duration", o.Duration, "how long they work, `TIME` as in 30s or 5m")
	return c
}

// demonstrate holds a demonstration with this very program as the broker.
func demonstrate(ctx context.Context, o demo.Options, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends it at once
	var err error
	if o.Program, err = os.Executable(); err != nil {
		return err
	}
	o.Output, o.Live = stdout, isLive(stdout)
	err = demo.Run(ctx, o)
	if errors.Is(err, demo.ErrFailed) {
		return errors.Join(errSaid, err)
	}
	return err
}

// isLive says whether figures on w can be refreshed in their place.
func isLive(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

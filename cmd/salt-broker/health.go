package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"salt-broker/config"
	"salt-broker/internal/status"
)

// healthTimeout is what the command health takes at most, all checks together.
const healthTimeout = time.Second

func newHealthCommand() *cobra.Command {
	var master bool
	c := &cobra.Command{
		Use:   "health",
		Short: "Say whether minions are served, for keepalived and containers",
		Long: `health asks the salt-broker that runs on this machine with the same configuration whether it lives and has not been told
to stop, and connects to both ports for minions. It takes no longer than a second. Without a master, minions stay connected and what they ask waits:
that is healthy, unless --master is given.

With status_port: 0 only the two ports are looked at.

Exit codes: 0 minions are served, 1 they are not (standard error says why), 2 the configuration or a flag is wrong.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), healthTimeout)
			defer cancel()
			settings, _, err := config.Load(configOptions(c.Flags()))
			if err != nil {
				return misconfigured{err}
			}
			if settings.StatusPort == 0 && master {
				return errNoStatus
			}
			if err := errors.Join(health(ctx, settings, master)...); err != nil {
				return err
			}
			_, err = io.WriteString(c.OutOrStdout(), "minions are served\n")
			return err
		},
	}
	addConfigFlags(c.Flags())
	c.Flags().BoolVar(&master, "master", false, "demand that the master is connected, too")
	return c
}

// health returns what is wrong.
func health(ctx context.Context, c config.Config, master bool) []error {
	checks := []func() error{
		func() error { return greets(ctx, "publish_port", c.PublishPort, c.Interface) },
		func() error { return greets(ctx, "ret_port", c.RetPort, c.Interface) },
	}
	if c.StatusPort != 0 {
		checks = append(checks, func() error { return verdictOf(ctx, c, master) })
	}
	errs := make([]error, len(checks))
	done := make(chan struct{})
	for i, check := range checks { // at the same time: there is one second for all
		go func() {
			errs[i] = check()
			done <- struct{}{}
		}()
	}
	for range checks {
		<-done
	}
	return errs
}

// withoutMaster are the checks that count where nobody demands a master.
var withoutMaster = []string{status.CheckLoops, status.CheckStopping, status.CheckPublishPort, status.CheckRequestPort}

// verdictOf asks the broker itself.
func verdictOf(ctx context.Context, c config.Config, master bool) error {
	var v verdict
	if err := ask(ctx, c, "/readyz", &v); err != nil {
		return err
	}
	var all error
	for _, r := range v.Reasons {
		if master || slices.Contains(withoutMaster, r.Check) {
			all = errors.Join(all, errors.New(r.Text))
		}
	}
	return all
}

// greeting is the first byte of every ZMTP greeting (RFC 23/ZMTP 3.0).
const greeting = 0xff

// greets connects to a port for minions and waits for the broker's greeting. A connection that is closed instead was
// accepted as well: allow, deny or a limit keep this machine out, or somebody else in.
func greets(ctx context.Context, key string, port int, address string) error {
	at := dialable(address, port)
	var dialer net.Dialer
	nc, err := dialer.DialContext(ctx, "tcp", at)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return fmt.Errorf("%s: nobody can connect to %s: %w: salt-broker does not run, or does not take minions now: see its log", key, at, err)
	}
	defer nc.Close()
	deadline, _ := ctx.Deadline()
	_ = nc.SetReadDeadline(deadline) // a connection that is open takes one
	var first [1]byte
	switch _, err := nc.Read(first[:]); {
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %s does not greet in time: salt-broker hangs, or has no descriptors left (max_open_files): see its log", key, at)
	case first[0] != greeting:
		return fmt.Errorf("%s: who answers at %s is no salt-broker: see who has the port (ss -ltnp)", key, at)
	}
	return nil
}

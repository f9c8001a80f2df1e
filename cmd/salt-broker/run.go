package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"salt-broker/config"
	"salt-broker/internal/supervise"
)

func newRunCommand() *cobra.Command {
	var daemonize bool
	c := &cobra.Command{
		Use:   "run",
		Short: "Relay until told to stop; what salt-broker does without a command",
		Long: `run opens both ports for minions, connects to the master, and relays until SIGTERM or SIGINT. The master need not be
there: minions are let in, and what they ask waits.

Signals:
  SIGTERM, SIGINT   stop: no new connections, requests under way are answered (drain_timeout), then exit 0;
                    a second one ends it at once with exit code 1
  SIGHUP            read the configuration again: what can change while running does, the rest is named in a warning;
                    with a fault in it nothing changes, and the log says why
  SIGUSR1           write the stack of every goroutine into the log
  SIGUSR2           log everything from debug on; a second one restores the levels`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if daemonize && !isDaemon() {
				return startDaemon(c.Context(), c.ErrOrStderr())
			}
			return run(c.Context(), configOptions(c.Flags()))
		},
	}
	addConfigFlags(c.Flags())
	c.Flags().BoolVarP(&daemonize, "daemon", "d", false, "run in the background; returns when both ports are open")
	return c
}

// run is the life of a broker, from reading its configuration to the last line of its log.
func run(ctx context.Context, o config.Options) error {
	// Writing to a terminal that has gone must fail, not kill: the relay matters more than its console.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGHUP)
	defer signal.Stop(signals)

	c, warnings, err := config.Load(o)
	if err != nil {
		return misconfigured{err}
	}
	owner, err := accountOf(c.User)
	if err != nil {
		return err
	}
	log, err := newLogging(c, os.Stderr, os.Getpid(), owner)
	if err != nil {
		return err
	}
	defer log.close()
	for _, w := range warnings {
		log.Warn(w)
	}
	err = start(ctx, c, o, owner, log, signals)
	if err != nil {
		log.last(err)
	}
	return err
}

// start makes the process what the configuration says and serves.
func start(ctx context.Context, c config.Config, o config.Options, owner *account, log *logging, signals <-chan os.Signal) error {
	main := log.WithField("component", "main")
	openFiles := raiseOpenFiles(uint64(c.MaxOpenFiles), main)
	threads := raiseThreads(c)
	if cannotBecome(c.User) {
		main.Warnf("user: %s has no effect: only root can become another user", c.User)
	}
	if err := owner.become(); err != nil {
		return err
	}
	boundMemory(c)
	b, err := openBroker(c, log) //nolint:contextcheck // opening a port does not wait for anything
	if err != nil {
		return err
	}
	services := []supervise.Service{b.publishes, b.requests, b.masters}
	asked, err := openStatus(ctx, b)
	if err != nil {
		return err
	}
	if asked != nil {
		services = append(services, asked)
	}
	// After the ports: a second broker with the same configuration must not take the file of the first one.
	if err := writePIDFile(c.PIDFile); err != nil {
		return err
	}
	defer removePIDFile(c.PIDFile)

	is := summary{
		config: c, files: filesOf(o, c), publish: b.publishAddr, request: b.requestAddr, openFiles: openFiles, threads: threads,
	}
	if asked != nil {
		is.status = asked.Addr()
	}
	announce(log, is)
	notify(ready, fmt.Sprintf("minions connect to %v and %v, master %s", b.publishAddr, b.requestAddr, c.Master))
	tellParent()

	if openFiles > 0 {
		watch := descriptors{
			limit: int(min(openFiles, 1<<31)), others: openDescriptors() + linksOf(c), log: main,
			publish:  func() int { return b.publishes.Stats().Minions },
			requests: func() int { return b.requests.Stats().Minions },
		}
		defer watch.start(ctx)()
	}
	defer reports{publishes: b.publishes, requests: b.requests, log: main}.start(ctx)()
	again := reloading{options: o, broker: b}
	watcher := newReloadWatcher(again.reload)
	s := serving{
		log: log, drain: func() time.Duration { return b.config().DrainTimeout }, reload: watcher.ask, twins: twinSignals,
	}
	err = s.run(ctx, signals, append(services, watcher.service())...)
	farewell(log, b.publishes.Stats(), b.requests.Stats(), time.Since(s.since))
	return err
}

// last logs the error that ends the process. The terminal gets it from say.
func (l *logging) last(err error) { l.fileOnly(logrus.FatalLevel, oneLineEach(err)) }

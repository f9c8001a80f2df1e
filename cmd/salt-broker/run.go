package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"salt-broker/config"
	"salt-broker/internal/buffers"
	"salt-broker/internal/masters"
	"salt-broker/internal/supervise"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
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

// spareTime is how long replies that are due may hold up the other requests when a good master, or a good path, is left for
// a better one. One of them may be lost.
const spareTime = 5 * time.Second

// start makes the process what the configuration says and serves.
func start(ctx context.Context, c config.Config, o config.Options, owner *account, log *logging, signals <-chan os.Signal) error {
	main := log.WithField("component", "main")
	openFiles := raiseOpenFiles(uint64(c.MaxOpenFiles), main)
	threads := raiseThreads(c)
	if why := cannotBecome(c.User); why != "" {
		main.Warn(why)
	}
	if err := owner.become(); err != nil {
		return err
	}
	boundMemory(c)
	budget := buffers.New(c.MaxBufferedBytes, main)
	var running atomic.Pointer[config.Config] // replaced by a reload
	running.Store(&c)
	var publishes *publishChannel
	var requests *requestChannel
	var overMasters *masters.Watch
	var links heralds // of both channels
	publishesOf := func(s masters.Serving) pubproxy.Options {
		o := publishOptions(*running.Load(), s, budget, log)
		o.Keep = supervise.Options{Log: log}.KeepLink
		o.Master.Changed, o.Master.Herald = overMasters.Nudge, links.to("")
		for i := range o.Masters {
			peer := &o.Masters[i]
			peer.Master.Changed, peer.Master.Herald = overMasters.Nudge, links.to(peer.Name)
		}
		return o
	}
	requestsOf := func(s masters.Serving) retproxy.Options {
		o := requestOptions(*running.Load(), s, budget, log)
		o.Keep, o.MasterKey = supervise.Options{Log: log}.KeepLink, overMasters.KeySeen
		o.Master.Changed, o.Master.Herald = overMasters.Nudge, links.to("")
		for i := range o.Masters {
			peer := &o.Masters[i]
			peer.Master.Changed, peer.Master.Herald = overMasters.Nudge, links.to(peer.Name)
		}
		return o
	}
	overMasters = masters.New(watchOptions(c), log.WithField("component", "masters"), func(s masters.Serving) { // both channels at once
		p, r := publishesOf(s), requestsOf(s)
		if s.Spare {
			r.Spare = min(r.RequestDeadline, spareTime)
		}
		heed(publishes, func(proxy *pubproxy.Proxy) { proxy.Apply(p) }, s.Peers)
		heed(requests, func(proxy *retproxy.Proxy) { proxy.Apply(r) }, s.Peers)
	}, func(name string) masters.Traffic { return trafficOf(publishes.Stats(), requests.Stats(), name) })
	newPublish := func() (*pubproxy.Proxy, error) { //nolint:contextcheck // opening a port does not wait for anything
		p, err := pubproxy.New(publishesOf(overMasters.Serving()))
		if err != nil {
			return nil, cannotListen(err, "publish_port", c.PublishPort, "interface", c.Interface)
		}
		return p, nil
	}
	newRequest := func() (*retproxy.Proxy, error) { //nolint:contextcheck // opening a port does not wait for anything
		p, err := retproxy.New(requestsOf(overMasters.Serving()))
		if err != nil {
			return nil, cannotListen(err, "ret_port", c.RetPort, "interface", c.Interface)
		}
		return p, nil
	}
	publish, err := newPublish()
	if err != nil {
		return err
	}
	request, err := newRequest()
	if err != nil {
		return err
	}
	publishes = supervise.NewChannel("publish", publish, newPublish)
	requests = supervise.NewChannel("request", request, newRequest)
	services := []supervise.Service{publishes, requests, overMasters}
	asked, err := openStatus(ctx, c, func() int { return running.Load().MaxInFlight }, publishes, requests, overMasters, publish.Addr(), request.Addr(), budget, main)
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
		config: c, files: filesOf(o, c), publish: publish.Addr(), request: request.Addr(), openFiles: openFiles, threads: threads,
	}
	if asked != nil {
		is.status = asked.Addr()
	}
	announce(log, is)
	notify(ready, fmt.Sprintf("minions connect to %v and %v, master %s", publish.Addr(), request.Addr(), c.Master))
	tellParent()

	if openFiles > 0 {
		watch := descriptors{
			limit: int(min(openFiles, 1<<31)), others: openDescriptors() + linksOf(c), log: main,
			publish:  func() int { return publishes.Stats().Minions },
			requests: func() int { return requests.Stats().Minions },
		}
		defer watch.start(ctx)()
	}
	defer reports{publishes: publishes, requests: requests, log: main}.start(ctx)()
	again := reloading{options: o, running: &running, log: log, budget: budget, masters: overMasters, publishes: publishes, requests: requests}
	watcher := newReloadWatcher(again.reload)
	s := serving{
		log: log, drain: func() time.Duration { return running.Load().DrainTimeout }, reload: watcher.ask, twins: twinSignals,
	}
	err = s.run(ctx, signals, append(services, watcher.service())...)
	farewell(log, publishes.Stats(), requests.Stats(), time.Since(s.since))
	return err
}

// last logs the error that ends the process. The terminal gets it from say.
func (l *logging) last(err error) { l.fileOnly(logrus.FatalLevel, oneLineEach(err)) }

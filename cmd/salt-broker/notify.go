package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"salt-broker/internal/master"
	"salt-broker/internal/supervise"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

// What systemd is told: sd_notify(3).
const (
	ready   = daemon.SdNotifyReady
	stops   = daemon.SdNotifyStopping
	lives   = daemon.SdNotifyWatchdog
	reloads = daemon.SdNotifyReloading
)

// statusEvery is how often systemd gets a new status.
const statusEvery = 5 * time.Second

// notify tells systemd the state of the process, with a status for who asks `systemctl status`. Without systemd, or when
// it does not listen, nothing happens: the broker works all the same.
func notify(state, status string) {
	_, _ = daemon.SdNotify(false, state+"\nSTATUS="+status)
}

// notifyReloading tells systemd that the configuration is read again; ready follows. Since version 253 it wants to know
// when that began, by the monotonic clock; those before do not look at it.
func notifyReloading() {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // there is one
	notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", reloads, now.Nano()/1000), "reading the configuration")
}

// reports are the channels as systemd hears of them while they serve.
type reports struct {
	publishes *publishChannel
	requests  *requestChannel
	log       logrus.FieldLogger
}

// start tells systemd that the process lives, as often as the unit wants to know (WatchdogSec), and what it does, until
// the function that it returns is called, which waits for the end. Nobody who has not asked is told anything.
func (r reports) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var ended sync.WaitGroup
	if interval, err := daemon.SdWatchdogEnabled(false); err == nil && interval > 0 {
		dog := supervise.Watchdog{
			Interval: interval, Log: r.log,
			Alive: func() { _, _ = daemon.SdNotify(false, lives) },
		}
		ended.Go(func() { dog.Run(ctx, r.publishes, r.requests) })
	}
	if os.Getenv("NOTIFY_SOCKET") != "" {
		ended.Go(func() { r.tellStatus(ctx) })
	}
	return func() {
		cancel()
		ended.Wait()
	}
}

// tellStatus tells what the broker does, with the rates since the time before.
func (r reports) tellStatus(ctx context.Context) {
	ticker := time.NewTicker(statusEvery)
	defer ticker.Stop()
	last := doing{time.Now(), r.publishes.Stats(), r.requests.Stats()}
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			d := doing{now, r.publishes.Stats(), r.requests.Stats()}
			_, _ = daemon.SdNotify(false, "STATUS="+d.text(last))
			last = d
		}
	}
}

// doing is what the broker does at a time.
type doing struct {
	at       time.Time
	publish  pubproxy.Stats
	requests retproxy.Stats
}

// text is that in a line, with the rates since last.
func (d doing) text(last doing) string {
	rate := func(before, after uint64) float64 { return float64(after-before) / d.at.Sub(last.at).Seconds() }
	return fmt.Sprintf("%d minions wait for publishes, %d are connected for requests; %s; %.1f publishes/s, %.1f requests/s",
		d.publish.Minions, d.requests.Minions, masterText(d.at, d.publish.Master, d.requests.Links),
		rate(last.publish.Publishes, d.publish.Publishes), rate(last.requests.Requests, d.requests.Requests))
}

// masterText says whether the master is there. It is when all links to it are.
func masterText(now time.Time, publish master.State, requests []master.State) string {
	away := time.Time{}
	for _, l := range append([]master.State{publish}, requests...) {
		if !l.Connected && (away.IsZero() || l.Since.Before(away)) {
			away = l.Since
		}
	}
	if away.IsZero() {
		return "master " + publish.Master + " connected"
	}
	return fmt.Sprintf("master %s away for %v", publish.Master, now.Sub(away).Round(time.Second))
}

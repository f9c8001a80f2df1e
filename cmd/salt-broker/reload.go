package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/config"
	"salt-broker/internal/supervise"
)

// reloadWatcher is the service that reads the configuration again when somebody has asked for it.
type reloadWatcher struct {
	asked  chan struct{} // has room for one: who reads then reads for all that have asked
	reload func()
}

func newReloadWatcher(reload func()) *reloadWatcher {
	return &reloadWatcher{asked: make(chan struct{}, 1), reload: reload}
}

// ask has the configuration read. It does not wait.
func (w *reloadWatcher) ask() {
	select {
	case w.asked <- struct{}{}:
	default:
	}
}

func (w *reloadWatcher) service() supervise.Service {
	return supervise.NewTask("reload watcher", "the configuration may have been read and not taken over", func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-w.asked:
				w.reload()
			}
		}
	})
}

// reloading reads the configuration again and has the running broker follow it.
type reloading struct {
	options config.Options
	broker  *broker
}

// reload is what SIGHUP does. With a fault in the configuration nothing changes.
func (r *reloading) reload() {
	notifyReloading()
	status := "the configuration has not been taken over: the log says why" // by a panic
	defer func() { notify(ready, status) }()
	b := r.broker
	log := b.log.WithField("component", "main")
	before := b.config()

	next, warnings, err := config.Load(r.options)
	for _, w := range warnings {
		b.log.Warn(w)
	}
	now := follow(before, next)
	if err == nil {
		if faults := now.Validate(); len(faults) > 0 { // what can change does not go with what cannot
			err = faults
		}
	}
	if err == nil {
		err = b.log.apply(now)
	}
	if err != nil {
		why := strings.ReplaceAll(err.Error(), "\n", "; ")
		status = "the configuration has not been taken over: " + why
		log.Errorf("the configuration cannot be taken over, nothing has changed: %s", why)
		return
	}

	b.running.Store(&now)
	b.budget.SetLimit(now.MaxBufferedBytes)
	boundMemory(now)
	b.masters.Apply(watchOptions(now))
	r.settle()

	changed := "nothing has changed"
	if keys := before.Changes(now); len(keys) > 0 {
		changed = strings.Join(keys, ", ")
	}
	b.log.always(fmt.Sprintf("the configuration has been read again (%s): %s", strings.Join(filesOf(r.options, next), ", "), changed),
		logrus.Fields{"component": "main"})
	status = "the configuration has been read again"
	if keys := now.Changes(next); len(keys) > 0 {
		log.Warnf("restart salt-broker for what cannot change while it runs: %s", strings.Join(keys, ", "))
	}
}

// settleTime bounds the wait for loops; one that takes longer is a matter for the watchdog.
const settleTime = time.Second

// settle returns when every event loop has taken over what was applied: who has reloaded can rely on it.
func (r *reloading) settle() {
	ctx, cancel := context.WithTimeout(context.Background(), settleTime)
	defer cancel()
	_ = r.broker.publishes.Turned(ctx)
	_ = r.broker.requests.Turned(ctx)
}

// follow is c with what can change while the broker runs as next has it.
func follow(c, next config.Config) config.Config {
	c.Master, c.MasterType, c.RandomMaster = next.Master, next.MasterType, next.RandomMaster
	c.MasterAliveInterval, c.MasterAliveTimeout = next.MasterAliveInterval, next.MasterAliveTimeout
	c.MasterFailback, c.MasterFailbackInterval = next.MasterFailback, next.MasterFailbackInterval
	c.MasterPort, c.MasterPublishPort = next.MasterPort, next.MasterPublishPort
	c.SourceAddress, c.ConnectTimeout = next.SourceAddress, next.ConnectTimeout
	c.ReconDefault, c.ReconMax, c.ReconRandomize = next.ReconDefault, next.ReconMax, next.ReconRandomize

	c.MaxConnections, c.MaxConnectionsPerAddress = next.MaxConnections, next.MaxConnectionsPerAddress
	c.Allow, c.Deny = next.Allow, next.Deny
	c.HeartbeatInterval, c.HeartbeatTimeout = next.HeartbeatInterval, next.HeartbeatTimeout

	c.PubHWM, c.MaxLostPublishes, c.MaxSubscriptions = next.PubHWM, next.MaxLostPublishes, next.MaxSubscriptions
	c.PublishHold = next.PublishHold
	c.RequestDeadline = next.RequestDeadline
	c.MaxMessageSize, c.MaxBufferedBytes = next.MaxMessageSize, next.MaxBufferedBytes
	c.DrainTimeout = next.DrainTimeout
	if next.MaxInFlight >= requestLoops(c) { // each loop has a place at least
		c.MaxInFlight = next.MaxInFlight
	}

	c.LogFile, c.LogLevel, c.LogLevelLogfile = next.LogFile, next.LogLevel, next.LogLevelLogfile
	return c
}

package main

import (
	"net"
	"os"
	"runtime"

	"github.com/sirupsen/logrus"

	"salt-broker/config"
	"salt-broker/internal/buffers"
	"salt-broker/internal/master"
	"salt-broker/internal/reactor"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

// publishOptions is what the publish channel gets of the configuration while m serves.
func publishOptions(c config.Config, m config.Master, b *buffers.Budget, log logrus.FieldLogger) pubproxy.Options {
	log = log.WithField("component", "publish")
	return pubproxy.Options{
		Listen:            c.ListenPublish(),
		Backlog:           c.Backlog,
		KeepAlive:         minionKeepAlive(c),
		HandshakeTimeout:  c.HandshakeTimeout,
		HeartbeatInterval: c.HeartbeatInterval,
		HeartbeatTimeout:  c.HeartbeatTimeout,
		MaxConnections:    c.MaxConnections,
		MaxPerAddress:     c.MaxConnectionsPerAddress,
		Allow:             c.AllowNetworks(),
		Deny:              c.DenyNetworks(),
		Master:            masterOptions(c, m.Paths[0].Publish, log),
		Paths:             publishPaths(m),
		Hold:              c.PublishHold,
		Loops:             publishLoops(c),
		HWM:               c.PubHWM,
		LogBytes:          c.PubLogSize,
		MaxLost:           c.MaxLostPublishes,
		MaxMessage:        c.MaxMessageSize,
		MaxSubscriptions:  c.MaxSubscriptions,
		Buffers:           b,
		CloseOnMasterLoss: c.OnMasterLoss == config.OnMasterLossClose,
		MasterLossAfter:   c.OnMasterLossAfter,
		Log:               log,
	}
}

// requestOptions is what the request channel gets of the configuration while m serves.
func requestOptions(c config.Config, m config.Master, b *buffers.Budget, log logrus.FieldLogger) retproxy.Options {
	log = log.WithField("component", "request")
	return retproxy.Options{
		Listen:            c.ListenRequest(),
		Backlog:           c.Backlog,
		KeepAlive:         minionKeepAlive(c),
		HandshakeTimeout:  c.HandshakeTimeout,
		HeartbeatInterval: c.HeartbeatInterval,
		HeartbeatTimeout:  c.HeartbeatTimeout,
		MaxConnections:    c.MaxConnections,
		MaxPerAddress:     c.MaxConnectionsPerAddress,
		Allow:             c.AllowNetworks(),
		Deny:              c.DenyNetworks(),
		Master:            masterOptions(c, m.Paths[0].Request, log),
		Loops:             requestLoops(c),
		MaxInFlight:       c.MaxInFlight,
		RequestDeadline:   c.RequestDeadline,
		MaxMessage:        c.MaxMessageSize,
		Buffers:           b,
		DrainTimeout:      c.DrainTimeout,
		CloseOnMasterLoss: c.OnMasterLoss == config.OnMasterLossClose,
		MasterLossAfter:   c.OnMasterLossAfter,
		Name:              hostname(),
		Version:           versionOf(buildInfo()),
		Log:               log,
	}
}

// hostname is what other brokers know this one by.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "?"
	}
	return name
}

// publishPaths are where a master publishes, if that is more than one address.
func publishPaths(m config.Master) (paths []string) {
	if len(m.Paths) > 1 {
		for _, p := range m.Paths {
			paths = append(paths, p.Publish)
		}
	}
	return paths
}

// masterOptions is how either channel reaches its port of the master.
func masterOptions(c config.Config, address string, log logrus.FieldLogger) master.Options {
	return master.Options{
		Address:          address,
		SourceAddress:    c.SourceAddress,
		DialTimeout:      c.ConnectTimeout,
		HandshakeTimeout: c.HandshakeTimeout,
		Backoff:          master.Backoff{Default: c.ReconDefault, Max: c.ReconMax, Randomize: c.ReconRandomize},
		KeepAlive: net.KeepAliveConfig{
			Enable: c.TCPKeepalive, Idle: c.TCPKeepaliveIdle, Interval: c.TCPKeepaliveInterval, Count: c.TCPKeepaliveCount,
		},
		Log: log,
	}
}

func minionKeepAlive(c config.Config) reactor.KeepAlive {
	return reactor.KeepAlive{
		On: c.TCPKeepalive, Idle: c.TCPKeepaliveIdle, Interval: c.TCPKeepaliveInterval, Count: c.TCPKeepaliveCount,
	}
}

func publishLoops(c config.Config) int {
	if c.Loops == 0 {
		return runtime.NumCPU()
	}
	return c.Loops
}

// linksOf is how many connections to masters there are: one for publishes by each path of the one that serves, and for each
// loop of the request channel one for requests and one for large ones; and now and then one by each path, to ask whether the
// master lives.
func linksOf(c config.Config) int {
	publish, probes := 0, 0
	for _, m := range c.Masters() {
		publish, probes = max(publish, len(m.Paths)), probes+len(m.Paths)
	}
	return publish + 2*requestLoops(c) + probes
}

// requestLoops may be fewer than publishLoops: a loop without a place at the master would have no work.
func requestLoops(c config.Config) int { return min(publishLoops(c), c.MaxInFlight) }

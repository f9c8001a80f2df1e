package main

import (
	"net"
	"os"
	"runtime"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/config"
	"salt-broker/internal/buffers"
	"salt-broker/internal/master"
	"salt-broker/internal/masters"
	"salt-broker/internal/reactor"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

// publishOptions is what the publish channel gets of the configuration while these masters serve.
func publishOptions(c config.Config, s masters.Serving, b *buffers.Budget, log logrus.FieldLogger) pubproxy.Options {
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
		Master:            masterOptions(c, s.Master.Paths[0].Publish, log),
		Paths:             publishPaths(s.Master),
		Masters:           publishPeers(c, s, log),
		MoveAfter:         moveAfter(c),
		WarmKeep:          warmKeep(c),
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

// requestOptions is what the request channel gets of the configuration while these masters serve.
func requestOptions(c config.Config, s masters.Serving, b *buffers.Budget, log logrus.FieldLogger) retproxy.Options {
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
		Master:            masterOptions(c, s.Master.Paths[0].Request, log),
		Masters:           requestPeers(c, s, log),
		MoveAfter:         moveAfter(c),
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

// publishPeers are where the peers of a cluster publish.
func publishPeers(c config.Config, s masters.Serving, log logrus.FieldLogger) (peers []pubproxy.Peer) {
	for _, p := range s.Peers {
		log := log.WithField("peer", p.Name)
		peers = append(peers, pubproxy.Peer{Name: p.Name, Master: masterOptions(c, p.Paths[0].Publish, log), Paths: publishPaths(p.Master)})
	}
	return peers
}

// requestPeers are where the peers of a cluster take requests.
func requestPeers(c config.Config, s masters.Serving, log logrus.FieldLogger) (peers []retproxy.Peer) {
	for _, p := range s.Peers {
		log := log.WithField("peer", p.Name)
		peers = append(peers, retproxy.Peer{Name: p.Name, Master: masterOptions(c, p.Paths[0].Request, log)})
	}
	return peers
}

// moveAfter is how long a peer of a cluster may be without a connection until others take over: the first pause before it
// is dialed again, twice, and a second to shake hands. There is no key for it: one that has died is found by the watch over
// the masters, sooner, and one that has not should have its minions when it is connected again.
func moveAfter(c config.Config) time.Duration { return 2*c.ReconDefault + time.Second }

// warmKeep is how long publishes are kept that may have to follow when the peer that publishes has fallen silent: longer
// than it takes the watch to find that out.
func warmKeep(c config.Config) time.Duration {
	return c.MasterAliveInterval + 4*c.MasterAliveTimeout + 10*time.Second
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
func publishPaths(m masters.Master) (paths []string) {
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

// linksOf is how many connections to masters there are: one for publishes by each path of the one that serves and, of a
// cluster, of the one that is kept warm; for each loop of the request channel one for requests and one for large ones, to
// each peer of a cluster; and now and then one by each path, to ask whether the master lives.
func linksOf(c config.Config) int {
	publishing, requested, paths, probes := 1, 1, 0, 0
	all := c.Masters()
	for _, m := range all {
		paths, probes = max(paths, len(m.Paths)), probes+len(m.Paths)
	}
	if c.MasterType == config.MasterTypeCluster {
		publishing, requested = min(2, len(all)), len(all)
	}
	return publishing*paths + 2*requestLoops(c)*requested + probes
}

// requestLoops may be fewer than publishLoops: a loop without a place at the master would have no work.
func requestLoops(c config.Config) int { return min(publishLoops(c), c.MaxInFlight) }

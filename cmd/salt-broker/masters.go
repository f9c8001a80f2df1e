package main

import (
	"cmp"
	"slices"
	"sync"

	"salt-broker/config"
	"salt-broker/internal/master"
	"salt-broker/internal/masters"
	"salt-broker/internal/supervise"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

// watchOptions is what the watch over the masters gets of the configuration.
func watchOptions(c config.Config) masters.Options {
	var list []masters.Master
	for _, m := range c.Masters() {
		one := masters.Master{Name: m.Name}
		for _, p := range m.Paths {
			one.Paths = append(one.Paths, masters.Path{Publish: p.Publish, Request: p.Request})
		}
		list = append(list, one)
	}
	return masters.Options{
		Masters:       list,
		Failover:      c.MasterType == config.MasterTypeFailover,
		Cluster:       c.MasterType == config.MasterTypeCluster,
		Random:        c.RandomMaster,
		Failback:      c.MasterFailback,
		FailbackAfter: cmp.Or(c.MasterFailbackInterval, c.MasterAliveInterval),
		Interval:      c.MasterAliveInterval,
		Timeout:       c.MasterAliveTimeout,
		Dial:          masterOptions(c, "", nil),
	}
}

// heralds are those of the links to each master: one that is back is back for all links to it, and for no others.
type heralds struct {
	mu sync.Mutex
	of map[string]*master.Herald
}

// to is the herald of a peer of a cluster, or of the one master that serves, which is called "". It is safe from any
// goroutine.
func (h *heralds) to(peer string) *master.Herald {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[string]*master.Herald{}
	}
	if h.of[peer] == nil {
		h.of[peer] = new(master.Herald)
	}
	return h.of[peer]
}

// told is a proxy of a channel that is told which peers are healthy.
type told[S any] interface {
	supervise.Proxy[S]
	SetHealthy(peer string, healthy bool)
}

// answers says that a peer is good enough to take publishes from: the publish channel has no way back by itself.
func answers(p masters.Peer) bool { return p.Healthy }

// trusted says that a peer is good enough for requests: minions that come for a moment have to authenticate twice.
func trusted(p masters.Peer) bool { return p.Trusted }

// heed has a channel do what the watch says: the proxy that it has, and each one after it, which knows of no peer that
// it is down until it is told. fit is what a peer must be for the channel.
func heed[S supervise.Counted[S], P told[S]](
	channel *supervise.Channel[S, P], apply func(P), peers []masters.Peer, fit func(masters.Peer) bool,
) {
	channel.Apply(func(p P) {
		apply(p)
		for _, peer := range peers {
			p.SetHealthy(peer.Name, fit(peer))
		}
	})
}

// trafficOf is what passes between minions and a master that serves, by its name.
func trafficOf(p pubproxy.Stats, r retproxy.Stats, name string) masters.Traffic {
	for _, peer := range r.Peers {
		if !peer.Leaving && (peer.Name == name || peer.Name == "") { // without a cluster there is one, and it has no name
			down := slices.ContainsFunc(peer.Links, func(l master.State) bool { return !l.Connected })
			return masters.Traffic{
				Replies: peer.Replies, InFlight: peer.InFlight, Linked: !down && (peer.Name != "" || p.Master.Connected),
			}
		}
	}
	return masters.Traffic{}
}

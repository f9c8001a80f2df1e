package main

import (
	"cmp"
	"slices"
	"sync"

	"salt-broker/config"
	"salt-broker/internal/master"
	"salt-broker/internal/masters"
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
		Failover:      c.MasterType != config.MasterTypeStr,
		Cluster:       c.MasterType == config.MasterTypeCluster,
		Random:        c.RandomMaster,
		Failback:      c.MasterFailback && c.MasterType == config.MasterTypeFailover,
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

// followRequests has the request channel follow what the watch says, the proxy that it has and each one after it.
func followRequests(requests *requestChannel, o retproxy.Options, peers []masters.Peer) {
	requests.Apply(func(p *retproxy.Proxy) {
		p.Apply(o)
		for _, peer := range peers {
			p.SetHealthy(peer.Name, peer.Healthy)
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

package main

import (
	"net/netip"
	"sync/atomic"
	"time"

	"salt-broker/config"
	"salt-broker/internal/buffers"
	"salt-broker/internal/master"
	"salt-broker/internal/masters"
	"salt-broker/internal/supervise"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

type (
	publishChannel = supervise.Channel[pubproxy.Stats, *pubproxy.Proxy]
	requestChannel = supervise.Channel[retproxy.Stats, *retproxy.Proxy]
)

// broker is what relays: both channels, and the watch that tells them which masters serve.
type broker struct {
	log       *logging
	running   atomic.Pointer[config.Config] // replaced by a reload, never changed
	budget    *buffers.Budget
	publishes *publishChannel
	requests  *requestChannel
	masters   *masters.Watch
	links     heralds // of both channels

	publishAddr, requestAddr netip.AddrPort // where minions connect to
}

// openBroker opens both ports for minions. Nothing is relayed until its services run.
func openBroker(c config.Config, log *logging) (*broker, error) {
	b := &broker{log: log, budget: buffers.New(c.MaxBufferedBytes, log.WithField("component", "main"))}
	b.running.Store(&c)
	b.masters = masters.New(watchOptions(c), log.WithField("component", "masters"), b.turnTo, b.traffic)
	publish, err := b.openPublish()
	if err != nil {
		return nil, err
	}
	request, err := b.openRequest()
	if err != nil {
		return nil, err
	}
	b.publishAddr, b.requestAddr = publish.Addr(), request.Addr()
	b.publishes = supervise.NewChannel("publish", publish, b.openPublish)
	b.requests = supervise.NewChannel("request", request, b.openRequest)
	return b, nil
}

// config is the one that holds now.
func (b *broker) config() config.Config { return *b.running.Load() }

// openPublish makes the proxy of the publish channel: the first one, and another after each failure.
func (b *broker) openPublish() (*pubproxy.Proxy, error) {
	c := b.config()
	p, err := pubproxy.New(b.publishOptions(b.masters.Serving()))
	if err != nil {
		return nil, cannotListen(err, "publish_port", c.PublishPort, "interface", c.Interface)
	}
	return p, nil
}

// openRequest makes the proxy of the request channel, as openPublish does.
func (b *broker) openRequest() (*retproxy.Proxy, error) {
	c := b.config()
	p, err := retproxy.New(b.requestOptions(b.masters.Serving()))
	if err != nil {
		return nil, cannotListen(err, "ret_port", c.RetPort, "interface", c.Interface)
	}
	return p, nil
}

func (b *broker) publishOptions(s masters.Serving) pubproxy.Options {
	o := publishOptions(b.config(), s, b.budget, b.log)
	o.Keep = supervise.Options{Log: b.log}.KeepLink
	b.hear(&o.Master, "")
	for i := range o.Masters {
		b.hear(&o.Masters[i].Master, o.Masters[i].Name)
	}
	return o
}

func (b *broker) requestOptions(s masters.Serving) retproxy.Options {
	o := requestOptions(b.config(), s, b.budget, b.log)
	o.Keep, o.MasterKey = supervise.Options{Log: b.log}.KeepLink, b.masters.KeySeen
	b.hear(&o.Master, "")
	for i := range o.Masters {
		b.hear(&o.Masters[i].Master, o.Masters[i].Name)
	}
	return o
}

// hear has the watch and the other links to that peer hear of what happens to a link; "" is the one master that serves.
func (b *broker) hear(o *master.Options, peer string) {
	o.Changed, o.Herald = b.masters.Nudge, b.links.to(peer)
}

// spareTime is how long replies that are due may hold up the other requests when a good master, or a good path, is left
// for a better one. One of them may be lost.
const spareTime = 5 * time.Second

// turnTo has both channels at once do what the watch says.
func (b *broker) turnTo(s masters.Serving) {
	p, r := b.publishOptions(s), b.requestOptions(s)
	if s.Spare {
		r.Spare = min(r.RequestDeadline, spareTime)
	}
	heed(b.publishes, func(proxy *pubproxy.Proxy) { proxy.Apply(p) }, s.Peers, answers)
	heed(b.requests, func(proxy *retproxy.Proxy) { proxy.Apply(r) }, s.Peers, trusted)
}

// traffic is what passes between minions and a master that serves, by its name.
func (b *broker) traffic(name string) masters.Traffic {
	return trafficOf(b.publishes.Stats(), b.requests.Stats(), name)
}

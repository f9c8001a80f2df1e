//go:build linux

// Package tree_test is about brokers behind brokers behind brokers: both channels of each run inside the test with the
// defaults of package config, between a stand-in master at the top and stand-in minions at every level (package sim).
package tree_test

import (
	"context"
	"flag"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"salt-broker/config"
	"salt-broker/internal/master"
	"salt-broker/internal/sim"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // the tests wait more than they work
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen. It is long, because only a failure uses it up.
const patience = time.Minute

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what nothing announces.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-tick.C
	}
}

// watchStandstill watches until the test ends for how long this process stands still, and with it everything in the test.
func watchStandstill(t *testing.T) *sim.Standstill {
	t.Helper()
	s := sim.WatchStandstill()
	t.Cleanup(s.Stop)
	return s
}

// broker is both channels, as the program runs them, on ports of its own.
type broker struct {
	t                *testing.T
	name             string
	config           config.Config
	publish, request *sim.Port
	above            [2]netip.AddrPort // the master's ports, or those of the broker above
	pub              *pubproxy.Proxy
	ret              *retproxy.Proxy
	stop             func()
}

// startBroker starts a broker towards a publish and a request port, until the end of the test.
func startBroker(t *testing.T, name string, c config.Config, publish, request netip.AddrPort) *broker {
	t.Helper()
	b := &broker{t: t, name: name, config: c, above: [2]netip.AddrPort{publish, request}}
	for _, p := range []**sim.Port{&b.publish, &b.request} {
		kept, err := sim.KeepPort(netip.MustParseAddrPort("127.0.0.1:0")) // also while it restarts
		must(t, err)
		t.Cleanup(kept.Close)
		*p = kept
	}
	b.start()
	t.Cleanup(func() { b.stop() })
	return b
}

func (b *broker) start() {
	b.t.Helper()
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	c := b.config
	towards := func(a netip.AddrPort) master.Options {
		// Quicker than the default: not the pauses are tested, but what happens then.
		return master.Options{Address: a.String(), Backoff: master.Backoff{Default: 10 * time.Millisecond, Max: 50 * time.Millisecond}, Log: silent}
	}
	var err error
	b.pub, err = pubproxy.New(pubproxy.Options{
		Listen: b.publish.Addr().String(), Backlog: c.Backlog, HandshakeTimeout: c.HandshakeTimeout,
		HeartbeatInterval: c.HeartbeatInterval, HeartbeatTimeout: c.HeartbeatTimeout, Master: towards(b.above[0]), Loops: 2,
		HWM: c.PubHWM, LogBytes: c.PubLogSize, MaxLost: c.MaxLostPublishes, MaxMessage: c.MaxMessageSize,
		MaxSubscriptions: c.MaxSubscriptions, Log: silent,
	})
	must(b.t, err)
	b.ret, err = retproxy.New(retproxy.Options{
		Listen: b.request.Addr().String(), Backlog: c.Backlog, HandshakeTimeout: c.HandshakeTimeout,
		HeartbeatInterval: c.HeartbeatInterval, HeartbeatTimeout: c.HeartbeatTimeout, Master: towards(b.above[1]), Loops: 2,
		MaxInFlight: c.MaxInFlight, RequestDeadline: c.RequestDeadline, MaxMessage: c.MaxMessageSize,
		DrainTimeout: time.Second, Name: b.name, Log: silent,
	})
	must(b.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- b.pub.Run(ctx) }()
	go func() { ended <- b.ret.Run(ctx) }()
	b.stop = func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				b.t.Error(err)
			}
		}
		b.stop = func() {}
	}
}

// connected says whether all its links are there.
func (b *broker) connected() bool {
	links := append(b.ret.Stats().Links, b.pub.Stats().Master)
	for _, s := range links {
		if !s.Connected {
			return false
		}
	}
	return true
}

// dials is how often its links were made.
func (b *broker) dials() (n uint64) {
	for _, s := range append(b.ret.Stats().Links, b.pub.Stats().Master) {
		n += s.Connections
	}
	return n
}

// tree is a master and three brokers, one behind the other, from the top.
type tree struct {
	t       *testing.T
	master  *sim.Master
	brokers []*broker
}

// startTree returns when all links are there. Those below the top may have another configuration.
func startTree(t *testing.T, o sim.MasterOptions, c config.Config, below ...config.Config) *tree {
	t.Helper()
	m, err := sim.StartMaster(o)
	must(t, err)
	t.Cleanup(func() { must(t, m.Stop()) })
	tr := &tree{t: t, master: m}
	publish, request := m.PublishAddr(), m.RequestAddr()
	for _, name := range []string{"top", "middle", "bottom"} {
		b := startBroker(t, name, c, publish, request)
		publish, request = b.publish.Addr(), b.request.Addr()
		tr.brokers = append(tr.brokers, b)
		if len(below) > 0 {
			c = below[0]
		}
	}
	eventually(t, "all links are there", tr.connected)
	return tr
}

func (tr *tree) connected() bool {
	for _, b := range tr.brokers {
		if !b.connected() {
			return false
		}
	}
	return true
}

func startMinions(t *testing.T, b *broker, o sim.MinionsOptions) *sim.Minions {
	t.Helper()
	o.Publish, o.Request = b.publish.Addr(), b.request.Addr()
	m, err := sim.StartMinions(o)
	must(t, err)
	t.Cleanup(func() { must(t, m.Stop()) })
	return m
}

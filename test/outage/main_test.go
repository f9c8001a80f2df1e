// Package outage_test holds the broker to its promise for bad days: it is never a dam that breaks when the master comes
// back, never busy with what nobody waits for, and slow minions are slow at their own cost.
//
// Both proxies run inside the test with the defaults of package config, between a stand-in master and stand-in minions
// (package sim). The clocks are real: the order of service changes with seconds, and so does the patience of minions. What
// is checked are counts and ratios. `go test` runs a short form, with hundreds of minions that wait for 3 s instead of
// 5,000 that wait for 5 and 60; `make outage`, which sets SALT_BROKER_OUTAGE=long, the long one. It takes a quarter of an
// hour and 12,000 descriptors.
package outage_test

import (
	"context"
	"flag"
	"io"
	"os"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"salt-broker/config"
	"salt-broker/internal/master"
	"salt-broker/internal/sim"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // the tests wait more than they work, and want to do so at once
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		files.Cur = files.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &files) // a test that lacks them says so
	}
	goleak.VerifyTestMain(m)
}

// long says whether the long form is to run.
func long() bool { return os.Getenv("SALT_BROKER_OUTAGE") == "long" }

// patience is how long a test waits for what must happen. It is long, because only a failure uses it up.
const patience = 5 * time.Minute

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

// settings of a broker: the defaults, where a test does not say otherwise.
type settings struct {
	config.Config
	loops int
	way   time.Duration // to the master, in each direction
	paths []*sim.Way    // to its publish port; none: straight to it
	hold  time.Duration
}

func defaults() settings {
	return settings{Config: config.Default(), loops: 2}
}

// broker is both channels, as the program runs them.
type broker struct {
	publish *pubproxy.Proxy
	request *retproxy.Proxy
}

func startBroker(t *testing.T, m *sim.Master, s settings) *broker {
	t.Helper()
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	// Quicker than the default: not the way to the master is measured, but what happens on it.
	backoff := master.Backoff{Default: 10 * time.Millisecond, Max: 50 * time.Millisecond}
	var b broker
	var err error
	var paths []string
	for _, w := range s.paths {
		paths = append(paths, w.Addr().String())
	}
	b.publish, err = pubproxy.New(pubproxy.Options{
		Listen: "127.0.0.1:0", Backlog: s.Backlog, HandshakeTimeout: s.HandshakeTimeout,
		HeartbeatInterval: s.HeartbeatInterval, HeartbeatTimeout: s.HeartbeatTimeout,
		Master: master.Options{Address: m.PublishAddr().String(), Backoff: backoff, Log: silent},
		Paths:  paths, Hold: s.hold,
		Loops: s.loops, HWM: s.PubHWM, LogBytes: s.PubLogSize, MaxLost: s.MaxLostPublishes,
		MaxMessage: s.MaxMessageSize, MaxSubscriptions: s.MaxSubscriptions, Log: silent,
	})
	must(t, err)
	run(t, b.publish)
	request := m.RequestAddr()
	if s.way > 0 {
		request = startWay(t, request, s.way).Addr()
	}
	b.request, err = retproxy.New(retproxy.Options{
		Listen: "127.0.0.1:0", Backlog: s.Backlog, HandshakeTimeout: s.HandshakeTimeout,
		HeartbeatInterval: s.HeartbeatInterval, HeartbeatTimeout: s.HeartbeatTimeout,
		Master: master.Options{Address: request.String(), Backoff: backoff, Log: silent},
		Loops:  s.loops, MaxInFlight: s.MaxInFlight, RequestDeadline: s.RequestDeadline,
		MaxMessage: s.MaxMessageSize, DrainTimeout: time.Second, Log: silent,
	})
	must(t, err)
	run(t, b.request)
	return &b
}

type proxy interface {
	Run(ctx context.Context) error
}

func run(t *testing.T, p proxy) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func startMaster(t *testing.T, o sim.MasterOptions) *sim.Master {
	t.Helper()
	m, err := sim.StartMaster(o)
	must(t, err)
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func startMinions(t *testing.T, o sim.MinionsOptions) *sim.Minions {
	t.Helper()
	m, err := sim.StartMinions(o)
	must(t, err)
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// watchStandstill watches until the test ends for how long this process stands still, and with it the proxies, the minions and
// the master.
func watchStandstill(t *testing.T) *sim.Standstill {
	t.Helper()
	p := sim.WatchStandstill()
	t.Cleanup(p.Stop)
	return p
}

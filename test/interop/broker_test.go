package interop_test

import (
	"context"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"salt-broker/internal/master"
	"salt-broker/internal/reactor"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

// masterHost is where masters listen: beside the rest of this machine, so that no connection to somewhere else takes the
// port of a dead master before the next one does.
const masterHost = "127.0.0.2"

// local is the address of a master's port.
func local(port int) string { return net.JoinHostPort(masterHost, strconv.Itoa(port)) }

func towards(address string, log logrus.FieldLogger) master.Options {
	return master.Options{
		Address: address, DialTimeout: patience, HandshakeTimeout: patience, Log: log,
		Backoff: master.Backoff{Default: 5 * time.Millisecond, Max: 20 * time.Millisecond, Randomize: true},
	}
}

func newLog() (*logrus.Logger, *logtest.Hook) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	log.SetLevel(logrus.DebugLevel)
	return log, logtest.NewLocal(log)
}

// publishBroker is the publish channel of a broker.
type publishBroker struct {
	*pubproxy.Proxy
	log *logtest.Hook
}

// startPublish runs a publish channel between a master and minions until the test ends.
func startPublish(t testing.TB, masterAddress string, change ...func(o *pubproxy.Options)) publishBroker {
	t.Helper()
	log, hook := newLog()
	o := pubproxy.Options{
		Listen: "127.0.0.1:0", KeepAlive: reactor.KeepAlive{On: true}, HandshakeTimeout: patience,
		Master: towards(masterAddress, log), Loops: 2, HWM: 1 << 20, LogBytes: 1 << 30, MaxMessage: 64 << 20,
		MaxSubscriptions: 1000, Log: log,
	}
	for _, c := range change {
		c(&o)
	}
	p, err := pubproxy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	runUntilEnd(t, p.Run)
	return publishBroker{p, hook}
}

func (b publishBroker) address() string { return b.Addr().String() }

// requestBroker is the request channel of a broker.
type requestBroker struct {
	*retproxy.Proxy
	log *logtest.Hook
}

// startRequest runs a request channel between a master and minions until the test ends.
func startRequest(t testing.TB, masterAddress string, change ...func(o *retproxy.Options)) requestBroker {
	t.Helper()
	log, hook := newLog()
	o := retproxy.Options{
		Listen: "127.0.0.1:0", KeepAlive: reactor.KeepAlive{On: true}, HandshakeTimeout: patience,
		Master: towards(masterAddress, log), Loops: 2, MaxInFlight: 64, RequestDeadline: time.Minute,
		MaxMessage: 64 << 20, DrainTimeout: time.Millisecond, Log: log,
	}
	for _, c := range change {
		c(&o)
	}
	p, err := retproxy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	runUntilEnd(t, p.Run)
	return requestBroker{p, hook}
}

func (b requestBroker) address() string { return b.Addr().String() }

// linked waits until all links to the master are up.
func (b requestBroker) linked(t testing.TB) {
	t.Helper()
	eventually(t, "all links to the master are up", func() bool {
		for _, k := range b.Stats().Links {
			if !k.Connected {
				return false
			}
		}
		return true
	})
}

func runUntilEnd(t testing.TB, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// ended is how many connections of minions have ended for these reasons, for any if none is named.
func ended(ends map[string]uint64, reasons ...string) uint64 {
	total := uint64(0)
	for reason, n := range ends {
		if len(reasons) == 0 {
			total += n
		}
		for _, r := range reasons {
			if r == reason {
				total += n
			}
		}
	}
	return total
}

// nobodyLeft checks that all minions of a broker are connected still, by their first connection.
func nobodyLeft(t testing.TB, minions, want int, ends map[string]uint64) {
	t.Helper()
	if minions != want || ended(ends) != 0 {
		t.Errorf("%d minions are connected, want %d; ended: %v", minions, want, ends)
	}
}

package footprint

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"salt-broker/config"
	"salt-broker/internal/sim"
)

// TestHeartbeatsCostLittle has minions on both ports answer a PING a second, of the real program, which has nothing else to
// do. What it computes meanwhile is what heartbeats cost; with the default interval that is so many times less. The long
// form has as many minions as descriptors allow, 10,000 at most.
func TestHeartbeatsCostLittle(t *testing.T) {
	const interval = time.Second
	n, window := listeners, measured
	if spare := (openFiles(t) - 500) / 2; spare < n {
		n = spare
	}
	m, err := sim.StartMaster(sim.MasterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Stop() })
	b := startBroker(t, int(m.PublishAddr().Port()), int(m.RequestAddr().Port()),
		fmt.Sprint("zmq_heartbeat_ivl: ", interval.Milliseconds()), "zmq_heartbeat_timeout: 30000")
	all, err := sim.StartMinions(sim.MinionsOptions{
		Count: n, Publish: netip.MustParseAddrPort(b.publish), Request: netip.MustParseAddrPort(b.request), Loops: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = all.Stop() })
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	all.AskAll() // so they have a connection on the request port, which they keep
	for _, err := range []error{
		all.AwaitSubscribed(ctx, n),
		all.Await(ctx, func(s sim.MinionsStats) bool { return s.Replies == uint64(n) }),
		all.Await(ctx, func(s sim.MinionsStats) bool { return s.Pings >= uint64(2*n) }), // it goes round
	} {
		if err != nil {
			t.Fatal(err)
		}
	}

	pings, spent, began := all.Stats().Pings, b.computed(t), time.Now()
	<-time.After(window)
	s := all.Stats()
	pings, spent = s.Pings-pings, b.computed(t)-spent
	took := time.Since(began)
	each := spent / time.Duration(max(1, pings))
	share := float64(spent) / float64(took)
	usual := config.Default().HeartbeatInterval
	t.Logf("%d minions on both ports: %d PINGs in %v, %v of a processor each; %.2f %% of one with an interval of %v, %.2f %% with %v",
		n, pings, took.Round(time.Millisecond), each, 100*share, interval, 100*share*float64(interval)/float64(usual), usual)
	if least := float64(2*n) * float64(took/interval) / 2; float64(pings) < least {
		t.Errorf("%d PINGs came, want %.0f at least", pings, least)
	}
	if each > 200*time.Microsecond {
		t.Errorf("a heartbeat costs %v", each)
	}
	if s.Subscribed != n || s.Connections != 2*n || s.Cut+s.Broken+s.Failed != 0 {
		t.Errorf("not all who answer stay: %+v", s)
	}
}

// computed returns what the process has had of processors so far.
func (b *broker) computed(t *testing.T) (sum time.Duration) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", b.pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("no threads of %d: %v", b.pid, err)
	}
	for _, name := range threads {
		text, err := os.ReadFile(name) // nanoseconds on a processor, waiting for one, times
		if err != nil {
			continue // it has ended
		}
		n, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(n)
	}
	return sum
}

//go:build linux

package service_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"salt-broker/internal/sim"
)

// minions is how many stand-ins there are.
const minions = 50

var (
	publishPort = netip.MustParseAddrPort("127.0.0.1:4505")
	requestPort = netip.MustParseAddrPort("127.0.0.1:4506")
)

// configuration makes the installed service the broker of the people.
const configuration = `
# edited by an operator
interface: 127.0.0.1
master: 127.0.0.2
recon_default: 20
recon_max: 20
log_level: info
log_level_logfile: debug
`

// people are a master and minions that ask all the time. They outlive every salt-broker.
type people struct {
	master  *sim.Master
	minions *sim.Minions
}

func gather(t *testing.T) *people {
	t.Helper()
	p := &people{}
	var err error
	p.master, err = sim.StartMaster(sim.MasterOptions{PublishAddress: "127.0.0.2:4505", RequestAddress: "127.0.0.2:4506"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.master.Stop(); err != nil {
			t.Error(err)
		}
	})
	p.minions, err = sim.StartMinions(sim.MinionsOptions{
		Count: minions, Publish: publishPort, Request: requestPort, Filtering: true,
		Interval: 100 * time.Millisecond, Reconnect: 50 * time.Millisecond, Insist: true, Timeout: 2 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.minions.Stop(); err != nil {
			t.Error(err)
		}
		if s := p.minions.Stats(); s.Faults() > 0 {
			t.Errorf("minions have seen what never should be: %+v", s)
		}
	})
	return p
}

// served waits until a publish reaches every minion, and as many requests as there are minions are answered.
func (p *people) served(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.minions.AwaitSubscribed(ctx, minions); err != nil {
		t.Fatal(err)
	}
	// A minion has subscribed a moment before the broker knows, and the broker before the master does: those that come
	// too late for one publish get the next.
	reached := func() bool {
		order := p.master.PublishJob([]byte(sim.Broadcast)).Order
		soon, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		return p.minions.AwaitArrived(soon, order, minions) == nil
	}
	for !reached() {
		if ctx.Err() != nil {
			t.Fatalf("no publish reaches all minions: %+v", p.minions.Stats())
		}
	}
	before := p.minions.Stats().Replies
	if err := p.minions.Await(ctx, func(s sim.MinionsStats) bool { return s.Replies >= before+2*minions }); err != nil {
		t.Fatal(err)
	}
}

// knock connects to a port and leaves again, and returns the address that it came from.
func knock(t *testing.T, port netip.AddrPort) string {
	t.Helper()
	nc, err := net.Dial("tcp", port.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	return nc.LocalAddr().String()
}

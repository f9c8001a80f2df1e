//go:build linux

package pair_test

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBrokerKilled: its connections end at once, and the address follows. It stays there when the broker is back, and
// the way back is the same.
func TestBrokerKilled(t *testing.T) {
	t.Parallel()
	s := startSite(t, 1, "")
	c := startCrowd(s)
	c.event(t, "broker killed", 3*time.Second, s.nodes[1], func() { kill(s.nodes[0].broker) })
	s.nodes[0].startBroker()
	s.nodes[0].awaitHealthy()
	if s.nodes[0].hasAddress() && s.steady() {
		t.Error("the address has moved back, for nothing")
	}
	c.event(t, "and then the other one", 3*time.Second, s.nodes[0], func() { kill(s.nodes[1].broker) })
}

// TestBrokerHangs: connections stay open to a process that says nothing. Minions find out by TCP keepalive, or when they
// ask something.
func TestBrokerHangs(t *testing.T) {
	t.Parallel()
	s := startSite(t, 2, "")
	c := startCrowd(s)
	c.event(t, "broker hangs", 5*time.Second, s.nodes[1], func() { must(t, s.nodes[0].broker.Process.Signal(syscall.SIGSTOP)) })
}

// TestMasterLost: only with the option. The way of one node to the master is cut, which its heartbeats find out; when that
// of the other one is cut too, the address stays.
func TestMasterLost(t *testing.T) {
	t.Parallel()
	s := startSite(t, 3, "zmq_heartbeat_ivl: 1000\nzmq_heartbeat_timeout: 1000\n", "salt_broker_master")
	c := startCrowd(s)
	c.event(t, "master lost, heartbeats of 1 s and 1 s", 8*time.Second, s.nodes[1], func() { s.nodes[0].cutMaster() })
	s.nodes[1].cutMaster()
	eventually(t, "no broker has a master", func() bool { return s.nodes[1].unhealthy("--master") })
	lost := c.Stats().Cut
	eventually(t, "keepalived knows that", func() bool {
		return strings.Contains(s.nodes[1].logged("keepalived"), "Changing effective priority from 200 to 150")
	})
	if s.steady() && (s.nodes[0].hasAddress() || !s.nodes[1].hasAddress() || c.Stats().Cut != lost) {
		t.Error("the address has moved though neither has a master")
	}
}

// TestNodeGone: the machine is off the network, with all that it has.
func TestNodeGone(t *testing.T) {
	t.Parallel()
	s := startSite(t, 4, "")
	c := startCrowd(s)
	c.event(t, "machine off the network", 5*time.Second, s.nodes[1], func() { ip(t, "link set", s.nodes[0].port, "down") })
}

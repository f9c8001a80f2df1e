package interop_test

import (
	"slices"
	"testing"

	"salt-broker/internal/zmtp"
)

// heartbeats of libzmq every tenth of a second. The time-out is long enough for what waits before a PONG in these tests.
func heartbeats(timeout int) options {
	return options{"HEARTBEAT_IVL": 100, "HEARTBEAT_TIMEOUT": timeout, "SNDBUF": tapChunk}
}

// TestHeartbeatsWhenIdle: libzmq cuts a connection whose other side does not answer its PINGs.
func TestHeartbeatsWhenIdle(t *testing.T) {
	t.Parallel()
	const timeout = 1000
	master := startProcess(t)
	pubTap := newTap(t, local(master.listen("pub", "PUB", 0, heartbeats(timeout))), 0, 0)
	retTap := newTap(t, local(master.listen("ret", "ROUTER", 0, heartbeats(timeout))), 0, 0)
	pub, ret := startPublish(t, pubTap.address()), startRequest(t, retTap.address())
	ret.linked(t)
	minionPubTap, minionRetTap := newTap(t, pub.address(), 0, 0), newTap(t, ret.address(), 0, 0)
	minions := startProcess(t)
	minions.join("sub", "SUB", minionPubTap.address(), heartbeats(timeout))
	minions.join("req", "REQ", minionRetTap.address(), heartbeats(timeout))

	// Far more than fit into the time-out, on each connection.
	for name, pongs := range map[string]struct {
		from  *direction
		links int
	}{
		"master's publish port": {&pubTap.to, 1},
		"master's request port": {&retTap.to, len(ret.Stats().Links)},
		"subscriber":            {&minionPubTap.from, 1},
		"asking minion":         {&minionRetTap.from, 1},
	} {
		eventually(t, "enough PONGs for the "+name, func() bool {
			return pongs.from.read().commands[zmtp.CommandPong] >= 25*pongs.links
		})
	}
	ps, rs := pub.Stats(), ret.Stats()
	nobodyLeft(t, ps.Minions, 1, ps.Ends)
	nobodyLeft(t, rs.Minions, 1, rs.Ends)
	if ps.Master.Connections != 1 {
		t.Errorf("the publish link was made %d times", ps.Master.Connections)
	}
	for i, k := range rs.Links {
		if k.Connections != 1 {
			t.Errorf("request link %d was made %d times", i, k.Connections)
		}
	}
}

// TestHeartbeatsUnderPublishes has a master and minions send heartbeats while publishes of many frames pile up on both
// sides of the broker. libzmq puts PINGs between the frames of a message then; the broker must not.
func TestHeartbeatsUnderPublishes(t *testing.T) {
	t.Parallel()
	const timeout = 20_000
	master := startProcess(t)
	masterTap := newTap(t, local(master.listen("pub", "XPUB", 0, heartbeats(timeout))), 0, 15<<20)
	broker := startPublish(t, masterTap.address())
	slowTap, topicsTap := newTap(t, broker.address(), 0, 0), newTap(t, broker.address(), 0, 0)
	minions := startProcess(t)
	minions.join("slow", "SUB", slowTap.address(), heartbeats(timeout))
	minions.join("quick", "SUB", broker.address(), heartbeats(timeout))
	minions.join("topics", "SUB", topicsTap.address(), heartbeats(timeout))
	minions.subscribe("slow", "")
	minions.subscribe("quick", "")
	minions.subscribe("topics", "odd")
	master.hears("pub", "+", "+odd")
	for _, name := range []string{"slow", "quick", "topics"} {
		settle(master, "pub", minions, name, "SUB")
	}

	// Two minions get nothing for a time. What they are to get is more than the kernel takes for either, so the broker
	// stands in the midst of a message to each while their PINGs come.
	release := []func(){slowTap.from.hold(), topicsTap.from.hold()}
	all := series{heads: [][]string{{"odd"}, {"odd"}, {"even"}}, count: 180, parts: 100, size: 700}
	master.stream("pub", all)
	want := all.digests(nil)
	same(t, "quick", minions.recv("quick", len(want)), want)
	eventually(t, "the two lag", func() bool { return broker.Stats().Behind == 2 })
	for i, tap := range []*tap{slowTap, topicsTap} {
		before := tap.to.read().commands[zmtp.CommandPing]
		eventually(t, "PINGs come while the minion lags", func() bool {
			return tap.to.read().commands[zmtp.CommandPing] >= before+3
		})
		release[i]()
	}
	same(t, "slow", minions.recv("slow", len(want)), want)
	want = all.digests(subscribedTo([]string{"odd"}))
	same(t, "topics", minions.recv("topics", len(want)), want)

	if c := masterTap.from.read(); c.inside == 0 {
		t.Errorf("the master sent no command between the frames of a message, so this has tried nothing: %+v", c)
	}
	for _, d := range []*direction{&slowTap.from, &topicsTap.from} {
		if c := d.read(); c.inside != 0 || c.commands[zmtp.CommandPong] == 0 {
			t.Errorf("of the broker's commands to a minion %d stand inside messages: %+v", c.inside, c)
		}
	}
	if c := masterTap.to.read(); c.inside != 0 || c.commands[zmtp.CommandPong] == 0 {
		t.Errorf("of the broker's commands to the master %d stand inside messages: %+v", c.inside, c)
	}
	s := broker.Stats()
	nobodyLeft(t, s.Minions, 3, s.Ends)
	if s.Lost != 0 || s.Master.Connections != 1 {
		t.Errorf("%+v", s)
	}
}

// TestHeartbeatsUnderRequests does the same with requests and replies of many frames.
func TestHeartbeatsUnderRequests(t *testing.T) {
	t.Parallel()
	const timeout = 20_000
	master := startProcess(t)
	masterTap := newTap(t, local(master.listen("ret", "ROUTER", 0, heartbeats(timeout))), 0, 15<<20)
	master.do(step{"step": "workers", "name": "ret"})
	broker := startRequest(t, masterTap.address())
	minionTap := newTap(t, broker.address(), 10<<20, 0)
	minions := startProcess(t)
	minions.join("dealer", "DEALER", minionTap.address(), heartbeats(timeout))

	all := series{heads: [][]string{{""}}, count: 70, parts: 150, size: 700}
	minions.stream("dealer", all)
	var asks, replies []string
	for i := range all.count {
		message := all.message(i)
		asks = append(asks, digest(message[1:]...))
		replies = append(replies, digest(slices.Concat(message[:1], answered(message[1:]...))...))
	}
	sameSet(t, "minion", minions.recv("dealer", all.count), replies)
	sameSet(t, "master", master.served(), asks)

	for name, d := range map[string]*direction{"minion": &minionTap.to, "master": &masterTap.from} {
		if c := d.read(); c.inside == 0 {
			t.Errorf("the %s sent no command between the frames of a message, so this has tried nothing: %+v", name, c)
		}
	}
	for name, d := range map[string]*direction{"minion": &minionTap.from, "master": &masterTap.to} {
		if c := d.read(); c.inside != 0 || c.commands[zmtp.CommandPong] == 0 {
			t.Errorf("of the broker's commands to the %s %d stand inside messages: %+v", name, c.inside, c)
		}
	}
	s := broker.Stats()
	nobodyLeft(t, s.Minions, 1, s.Ends)
	for i, k := range s.Links {
		if k.Connections > 1 {
			t.Errorf("request link %d was made %d times", i, k.Connections)
		}
	}
}

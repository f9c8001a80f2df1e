package interop_test

import (
	"fmt"
	"testing"

	"salt-broker/retproxy"
)

// both is a whole broker: the two channels, towards the same master.
type both struct {
	pub publishBroker
	ret requestBroker
}

// saltMaster starts a process with both ports of a master; port 0 lets the kernel choose. Its PUB is an XPUB, which says
// what it has heard.
func saltMaster(t testing.TB, publishPort, requestPort int) (m *process, pub, ret int) {
	t.Helper()
	m = startProcess(t)
	pub = m.listen("pub", "XPUB", publishPort, nil)
	ret = m.listen("ret", "ROUTER", requestPort, nil)
	m.do(step{"step": "workers", "name": "ret"})
	return m, pub, ret
}

// minionSet is a process of minions, with two kept connections each: a SUB and a REQ.
type minionSet struct {
	*process
	names []string
}

func startMinions(t testing.TB, b both, set string, count int) minionSet {
	t.Helper()
	m := minionSet{process: startProcess(t)}
	for i := range count {
		name := fmt.Sprint(set, i)
		m.names = append(m.names, name)
		m.join("sub "+name, "SUB", b.pub.address(), nil)
		m.subscribe("sub "+name, "broadcast", topicOf(name))
		m.join("req "+name, "REQ", b.ret.address(), nil)
	}
	return m
}

// topics are the minions' own, with a sign.
func (m minionSet) topics(sign string) []string {
	var all []string
	for _, name := range m.names {
		all = append(all, sign+topicOf(name))
	}
	return all
}

// work has the master publish to all and each minion ask, and checks all of it.
func (m minionSet) work(master *process, what string) {
	m.t.Helper()
	heads := [][]string{{"broadcast"}}
	for _, name := range m.names {
		heads = append(heads, []string{topicOf(name)})
	}
	all := series{heads: heads, count: 20 * len(heads), parts: 1, size: 440}
	master.stream("pub", all)
	for _, name := range m.names {
		m.send("req "+name, []byte(what), []byte(name))
	}
	for _, name := range m.names {
		want := all.digests(subscribedTo([]string{"broadcast", topicOf(name)}))
		same(m.t, name, m.recv("sub "+name, len(want)), want)
		same(m.t, name, m.recv("req "+name, 1), []string{digest(answered([]byte(what), []byte(name))...)})
	}
}

// TestMasterRestarts kills a master and starts another on the same ports, again and again. The minions keep their
// connections all the time, and the new master hears what they have subscribed to.
func TestMasterRestarts(t *testing.T) {
	master, pub, ret := saltMaster(t, 0, 0)
	b := both{startPublish(t, local(pub)), startRequest(t, local(ret))}
	minions := startMinions(t, b, "m", 10)
	union := append(minions.topics("+"), "+broadcast")
	master.hears("pub", union...)
	for _, name := range minions.names {
		settle(master, "pub", minions.process, "sub "+name, "SUB")
	}
	minions.work(master, "at first")

	for i := range 3 {
		master.kill()
		eventually(t, "the broker knows that its master is gone", func() bool {
			if b.pub.Stats().Master.Connected {
				return false
			}
			for _, k := range b.ret.Stats().Links {
				if k.Connected {
					return false
				}
			}
			return true
		})
		master, _, _ = saltMaster(t, pub, ret)
		master.hears("pub", union...)
		minions.work(master, fmt.Sprint("after restart ", i))
	}

	ps, rs := b.pub.Stats(), b.ret.Stats()
	nobodyLeft(t, ps.Minions, len(minions.names), ps.Ends)
	nobodyLeft(t, rs.Minions, len(minions.names), rs.Ends)
	if ps.Master.Connections != 4 {
		t.Errorf("the publish link was made %d times for four masters", ps.Master.Connections)
	}
}

// TestMinionsRestart kills minions, and starts them again, beside others that notice nothing.
func TestMinionsRestart(t *testing.T) {
	t.Parallel()
	master, pub, ret := saltMaster(t, 0, 0)
	b := both{startPublish(t, local(pub)), startRequest(t, local(ret))}
	steady := startMinions(t, b, "steady", 3)
	master.hears("pub", append(steady.topics("+"), "+broadcast")...)
	for _, name := range steady.names {
		settle(master, "pub", steady.process, "sub "+name, "SUB")
	}
	for i := range 3 {
		minions := startMinions(t, b, "m", 8)
		master.hears("pub", minions.topics("+")...)
		for _, name := range minions.names {
			settle(master, "pub", minions.process, "sub "+name, "SUB")
		}
		minions.work(master, fmt.Sprint("life ", i))
		for range 20 {
			// What was broadcast in that work reached the others too.
			for _, name := range steady.names {
				steady.recv("sub "+name, 1)
			}
		}
		minions.kill()
		master.hears("pub", minions.topics("-")...)
		eventually(t, "the killed minions are gone", func() bool {
			return b.pub.Stats().Minions == len(steady.names) && b.ret.Stats().Minions == len(steady.names)
		})
		gone := uint64((i + 1) * len(minions.names))
		for _, ends := range []map[string]uint64{b.pub.Stats().Ends, b.ret.Stats().Ends} {
			if ended(ends) != gone || ended(ends, "left", "reset") != gone {
				t.Errorf("after the death of %d minions, ended: %v", gone, ends)
			}
		}
		steady.work(master, fmt.Sprint("beside life ", i))
	}
}

// TestRequestUnderWayWhenMasterDies: what was at the master is not sent again, for it may have been done; what had to wait
// in the broker goes to the next master, once.
func TestRequestUnderWayWhenMasterDies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		size int
	}{
		{"small", 540},
		{"large, on a link of its own", 3 << 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			master := startProcess(t)
			port := master.listen("ret", "ROUTER", 0, nil)
			// One loop: all that comes later goes the same way, so what is sent again would be seen before it.
			broker := startRequest(t, local(port), func(o *retproxy.Options) { o.Loops, o.MaxInFlight = 1, 1 })
			broker.linked(t)
			minions := startProcess(t)
			minions.join("at the master", "REQ", broker.address(), nil)
			minions.join("in the broker", "REQ", broker.address(), nil)
			minions.send("at the master", filler("under way", tt.size))
			if got := master.recvRaw("ret"); len(got[len(got)-1]) != tt.size {
				t.Fatalf("the master got a request of %d bytes, want %d", len(got[len(got)-1]), tt.size)
			}
			minions.send("in the broker", filler("waits", tt.size))
			eventually(t, "the second request waits", func() bool { return broker.Stats().Waiting == 1 })
			master.kill()
			eventually(t, "the link's end is noticed", func() bool { return broker.Stats().LostWithLink == 1 })

			master = startProcess(t)
			master.listen("ret", "ROUTER", port, nil)
			master.do(step{"step": "workers", "name": "ret"})
			same(t, "who waited", minions.recv("in the broker", 1),
				[]string{digest(answered(filler("waits", tt.size))...)})
			s := broker.Stats()
			nobodyLeft(t, s.Minions, 2, s.Ends)

			minions.close("at the master") // gives up, as minions do, and asks again
			requests := []seeded{{"under way", tt.size}, {"and small", 1}}
			minions.beginAsk(broker.address(), requests, true, nil)
			asks, replies := answers(requests)
			same(t, "who asked again", minions.finish().Messages, replies)
			same(t, "the new master", master.served(), append([]string{digest(filler("waits", tt.size))}, asks...))
			if s := broker.Stats(); s.LostWithLink != 1 || s.Requests != 4 || s.Replies != 3 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestMinionKilledWhileItWaits: a request that waits in the broker dies with its minion; the reply to one that was at the
// master by then reaches nobody.
func TestMinionKilledWhileItWaits(t *testing.T) {
	t.Parallel()
	master := startProcess(t)
	port := master.listen("ret", "ROUTER", 0, nil)
	broker := startRequest(t, local(port), func(o *retproxy.Options) { o.Loops, o.MaxInFlight = 1, 1 })
	minions := startProcess(t)
	minions.join("at the master", "REQ", broker.address(), nil)
	minions.send("at the master", []byte("never"))
	request := master.recvRaw("ret")
	minions.join("in the broker", "REQ", broker.address(), nil)
	minions.send("in the broker", []byte("mind"))
	eventually(t, "one waits", func() bool { return broker.Stats().Waiting == 1 })
	minions.kill()
	eventually(t, "nobody waits", func() bool { return broker.Stats().Forgotten == 1 && broker.Stats().Minions == 0 })

	other := startProcess(t)
	other.join("req", "REQ", broker.address(), nil)
	other.send("req", []byte("hello"))
	eventually(t, "the next one waits", func() bool { return broker.Stats().Waiting == 1 }) // the place is held still
	master.send("ret", request...)
	request = master.recvRaw("ret")
	if got := string(request[len(request)-1]); got != "hello" {
		t.Fatalf("the master got %q", got)
	}
	master.send("ret", request...)
	same(t, "the next one", other.recv("req", 1), []string{digest([]byte("hello"))})
	if s := broker.Stats(); s.Unwanted != 1 || s.Forgotten != 1 || s.Waiting+s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
}

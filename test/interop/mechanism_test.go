package interop_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"salt-broker/internal/admission"
	"salt-broker/internal/zmtp"
)

// secured are sockets with a security mechanism that the broker does not speak: RECONNECT_IVL -1 has them try once.
func secured(t testing.TB, p *process, mechanism string, server bool) options {
	t.Helper()
	switch {
	case mechanism == "PLAIN" && server:
		return options{"PLAIN_SERVER": 1}
	case mechanism == "PLAIN":
		return options{"PLAIN_USERNAME": "minion", "PLAIN_PASSWORD": "secret", "RECONNECT_IVL": -1}
	case !p.do(step{"step": "has", "feature": "curve"}).Has:
		t.Skip("this libzmq has no CURVE")
	case server:
		return options{"CURVE": "server"}
	}
	return options{"CURVE": "client", "RECONNECT_IVL": -1}
}

// atOnce is the greeting of a peer with this mechanism that does not wait for ours. libzmq does: it sends its mechanism
// after it has seen the other side's version, and hangs up, before it has sent it, when it sees another mechanism than
// its own. So its own words never come, and what is known of it is that it left.
func atOnce(mechanism string) []byte {
	greeting := zmtp.AppendGreeting(nil)
	clear(greeting[12:32])
	copy(greeting[12:32], mechanism)
	return greeting
}

// TestSecuredMinions: libzmq minions with another mechanism than NULL get nothing through, and the others go on. One that
// sends its greeting at once is counted and named.
func TestSecuredMinions(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"PLAIN", "CURVE"} {
		t.Run(mechanism, func(t *testing.T) {
			master, pub, ret := saltMaster(t, 0, 0)
			b := both{startPublish(t, local(pub)), startRequest(t, local(ret))}
			minions := startMinions(t, b, "m", 2)
			master.hears("pub", append(minions.topics("+"), "+broadcast")...)
			for _, name := range minions.names {
				settle(master, "pub", minions.process, "sub "+name, "SUB")
			}
			ports := []struct {
				name, address string
				ends          func() map[string]uint64
				log           *logtest.Hook
			}{
				{"publish port", b.pub.address(), func() map[string]uint64 { return b.pub.Stats().Ends }, b.pub.log},
				{"request port", b.ret.address(), func() map[string]uint64 { return b.ret.Stats().Ends }, b.ret.log},
			}

			stranger := startProcess(t)
			o := secured(t, stranger, mechanism, false)
			stranger.join("sub", "SUB", b.pub.address(), o)
			stranger.subscribe("sub", "for strangers")
			stranger.join("dealer", "DEALER", b.ret.address(), o)
			// It may have been refused by now.
			stranger.do(step{"step": "try_send", "name": "dealer", "frames": []string{"", "736563726574"}})
			for _, port := range ports {
				eventually(t, port.name+" sees it go", func() bool { return ended(port.ends()) == 1 })
				if ends := port.ends(); ended(ends, admission.EndLeft, admission.EndReset, string(zmtp.ReasonMechanism)) != 1 {
					t.Errorf("%s, ended: %v", port.name, ends)
				}

				before := ended(port.ends(), string(zmtp.ReasonMechanism))
				nc := dialTCP(t, port.address)
				if _, err := nc.Write(atOnce(mechanism)); err != nil {
					t.Fatal(err)
				}
				eventually(t, port.name+" refuses", func() bool {
					return ended(port.ends(), string(zmtp.ReasonMechanism)) == before+1
				})
				eventually(t, port.name+" says so", func() bool {
					return logged(port.log, logrus.WarnLevel, func(e *logrus.Entry) bool {
						return strings.Contains(e.Message, nc.LocalAddr().String()) &&
							strings.Contains(e.Message, mechanism) && e.Data["reason"] == string(zmtp.ReasonMechanism)
					})
				})
			}
			minions.work(master, "beside strangers")
			if n := len(master.served()); n != len(minions.names) {
				t.Errorf("the master got %d requests, want %d", n, len(minions.names))
			}
			ps, rs := b.pub.Stats(), b.ret.Stats()
			if ps.Minions != 2 || rs.Minions != 2 || ended(ps.Ends) != 2 || ended(rs.Ends) != 2 || ps.Subscriptions != 3 {
				t.Errorf("want two minions on each port and two ends: %+v, %+v", ps, rs)
			}
		})
	}
}

// TestSecuredMaster: a master with another mechanism is no master for this broker, which says where that is, keeps its
// minions, and goes on with a master that speaks NULL.
func TestSecuredMaster(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"PLAIN", "CURVE"} {
		t.Run(mechanism, func(t *testing.T) {
			secret := startProcess(t)
			o := secured(t, secret, mechanism, true)
			pub, ret := secret.listen("pub", "XPUB", 0, o), secret.listen("ret", "ROUTER", 0, o)
			b := both{startPublish(t, local(pub)), startRequest(t, local(ret))}
			minions := startMinions(t, b, "m", 2)
			for port, log := range map[int]*logtest.Hook{pub: b.pub.log, ret: b.ret.log} {
				eventually(t, "the log says that the master is none", func() bool {
					return logged(log, logrus.WarnLevel, func(e *logrus.Entry) bool {
						return strings.Contains(fmt.Sprint(e.Data[logrus.ErrorKey]), "handshake with "+local(port))
					})
				})
			}
			eventually(t, "the minions are here", func() bool {
				return b.pub.Stats().Minions == 2 && b.ret.Stats().Minions == 2 && b.pub.Stats().Subscriptions == 3
			})
			if s := b.pub.Stats(); s.Master.Connected || s.Master.Connections != 0 {
				t.Errorf("a master that speaks %s counts as connected: %+v", mechanism, s.Master)
			}

			secret.kill()
			master, _, _ := saltMaster(t, pub, ret)
			master.hears("pub", append(minions.topics("+"), "+broadcast")...)
			for _, name := range minions.names {
				settle(master, "pub", minions.process, "sub "+name, "SUB")
			}
			minions.work(master, "with the other master")
			ps, rs := b.pub.Stats(), b.ret.Stats()
			nobodyLeft(t, ps.Minions, 2, ps.Ends)
			nobodyLeft(t, rs.Minions, 2, rs.Ends)
		})
	}
}

// TestSecuredMasterIsNamed: the mechanism of a master that sends its greeting at once is in the log, with its address.
func TestSecuredMasterIsNamed(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{"PLAIN", "CURVE"} {
		t.Run(mechanism, func(t *testing.T) {
			ln, err := net.Listen("tcp", local(0))
			if err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			t.Cleanup(all.Wait)
			t.Cleanup(func() { _ = ln.Close() })
			all.Go(func() {
				for {
					nc, err := ln.Accept()
					if err != nil {
						return
					}
					all.Go(func() {
						defer nc.Close()
						_, _ = nc.Write(atOnce(mechanism))
						_, _ = io.Copy(io.Discard, nc)
					})
				}
			})
			for port, log := range map[string]*logtest.Hook{
				"publish": startPublish(t, ln.Addr().String()).log,
				"request": startRequest(t, ln.Addr().String()).log,
			} {
				eventually(t, "the "+port+" channel says why", func() bool {
					return logged(log, logrus.WarnLevel, func(e *logrus.Entry) bool {
						why := fmt.Sprint(e.Data[logrus.ErrorKey])
						return strings.Contains(why, mechanism) && strings.Contains(why, ln.Addr().String())
					})
				})
			}
		})
	}
}

// TestStrangers: what scanners and the misguided send ends their own connection, for the reason it is, and nothing of it
// reaches the master or disturbs a minion.
func TestStrangers(t *testing.T) {
	t.Parallel()
	master := newStandIn(t, "127.0.0.1:0", zmtp.ROUTER)
	broker := startRequest(t, master.address())
	minion := dial(t, broker.address(), zmtp.REQ, 1)
	hello := func(as zmtp.SocketType) []byte { return zmtp.AppendReady(zmtp.AppendGreeting(nil), as) }
	for _, tt := range []struct {
		name  string
		sends []byte
		ends  []string // one of them
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), []string{string(zmtp.ReasonNotZMTP)}},
		{"a subscriber at the wrong port", hello(zmtp.SUB), []string{string(zmtp.ReasonSocketType)}},
		{
			"a length of 2^62",
			append(hello(zmtp.REQ), 2, 0x40, 0, 0, 0, 0, 0, 0, 0),
			[]string{string(zmtp.ReasonMessageTooLarge)},
		},
		{
			"no delimiter",
			append(hello(zmtp.DEALER), onWire([][]byte{[]byte("a"), []byte("b")})...),
			[]string{string(zmtp.ReasonEnvelope)},
		},
		// A reset when our greeting had come to it by then.
		{"nothing", nil, []string{admission.EndLeft, admission.EndReset}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := ended(broker.Stats().Ends)
			nc := dialTCP(t, broker.address())
			if _, err := nc.Write(tt.sends); err != nil {
				t.Fatal(err)
			}
			if tt.sends == nil { // Salt's minions begin so
				_ = nc.Close()
			}
			eventually(t, "it ends", func() bool { return ended(broker.Stats().Ends) == before+1 })
			told := func() bool {
				return logged(broker.log, logrus.WarnLevel, func(e *logrus.Entry) bool {
					return strings.Contains(e.Message, nc.LocalAddr().String())
				})
			}
			if tt.sends != nil {
				eventually(t, "a warning with its address", told)
			} else if told() {
				t.Error("a warning was written about nothing")
			}
			if ends := broker.Stats().Ends; ended(ends, tt.ends...) != 1 {
				t.Errorf("ended: %v, want one of %v", ends, tt.ends)
			}
		})
	}
	minion.send(t, nil, []byte("hello"))
	h := master.next(t)
	if got := string(h.frames[len(h.frames)-1]); got != "hello" {
		t.Fatalf("the master got %q", h.frames)
	}
	h.link.send(t, h.frames...)
	if got := minion.recv(t); string(got[1]) != "hello" {
		t.Errorf("the minion got %q", got)
	}
	minion.leave(t)
}

// logged says whether a line of a level is in a log.
func logged(log *logtest.Hook, level logrus.Level, is func(e *logrus.Entry) bool) bool {
	for _, e := range log.AllEntries() {
		if e.Level == level && is(e) {
			return true
		}
	}
	return false
}

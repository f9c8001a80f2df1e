//go:build linux

package sim

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// peer is a connection that says what the test wants.
type peer struct {
	t      *testing.T
	conn   net.Conn
	stream zmtp.Stream
	got    []string // "READY PUB", "message <hex>", "PONG <data>"
}

func newPeer(t *testing.T, to netip.AddrPort, as zmtp.SocketType) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", to.String())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	p := &peer{t: t, conn: conn}
	p.send(hello(zmtp.Version{}, as, nil))
	return p
}

func (p *peer) send(b []byte) {
	p.t.Helper()
	_, err := p.conn.Write(b)
	must(p.t, err)
}

// next returns what comes next, "closed" at the end.
func (p *peer) next() string {
	p.t.Helper()
	lim := zmtp.Limits{MaxMessage: 1 << 20, MaxFrames: 10, MaxCommand: 1 << 10}
	b := make([]byte, 1<<10)
	for len(p.got) == 0 {
		n, err := p.conn.Read(b)
		if err != nil {
			return "closed"
		}
		must(p.t, p.stream.Feed(b[:n], &lim, p))
	}
	first := p.got[0]
	p.got = p.got[1:]
	return first
}

func (p *peer) expect(want string) {
	p.t.Helper()
	if got := p.next(); got != want {
		p.t.Fatalf("%s came, want %s", got, want)
	}
}

func (p *peer) Greeted(zmtp.Version) error { return nil }
func (p *peer) Ready(r zmtp.Ready) error {
	p.got = append(p.got, "READY "+r.SocketType.String())
	return nil
}

func (p *peer) Message(msg []byte) error {
	p.got = append(p.got, fmt.Sprintf("message %x", msg))
	return nil
}

func (p *peer) Command(name, data []byte) error {
	p.got = append(p.got, fmt.Sprintf("%s %s", name, data))
	return nil
}

// Both forms of subscription, repeated or not: a connection has a topic once and gets a publish once.
func TestMasterPublishes(t *testing.T) {
	master := startMaster(t, MasterOptions{})
	p := newPeer(t, master.PublishAddr(), zmtp.XSUB)
	p.expect("READY PUB")
	p.send(zmtp.AppendSubscribe(nil, []byte("ab")))
	p.send(zmtp.AppendSubscription(nil, []byte("ab"), false))
	p.send(zmtp.AppendSubscription(nil, []byte("a"), false))
	must(t, master.AwaitSubscribed(within(t), "a", 1))
	if n := master.Subscribed("ab"); n != 1 {
		t.Errorf("%d subscriptions to ab", n)
	}
	master.Publish([]byte("abc"), []byte("1"))
	master.Publish([]byte("b"), []byte("2"))
	master.Publish(nil, []byte("a3"))
	p.expect("message 0103616263000131")
	p.expect("message 00026133")
	p.send(zmtp.AppendCancel(nil, []byte("a")))
	must(t, master.AwaitSubscribed(within(t), "a", 0))
	master.Publish(nil, []byte("a4"))
	master.Publish(nil, []byte("ab"))
	p.expect("message 00026162")
	p.send(zmtp.AppendSubscription(nil, []byte("ab"), true))
	p.send(zmtp.AppendSubscription(nil, []byte("ab"), true))
	p.send(zmtp.AppendPing(nil, 0, []byte("tick")))
	p.expect("PONG tick")
	if s := master.Stats(); s.Subscribes != 3 || s.Cancels != 3 || s.Pings != 1 || master.Subscribed("ab") != 0 {
		t.Errorf("%+v", s)
	}
}

// An envelope of any depth comes back as it was; a message without one ends the connection.
func TestMasterKeepsEnvelopes(t *testing.T) {
	for _, service := range []time.Duration{0, time.Millisecond} {
		master := startMaster(t, MasterOptions{ServiceTime: service})
		p := newPeer(t, master.RequestAddr(), zmtp.DEALER)
		p.expect("READY ROUTER")
		for _, envelope := range [][]string{{}, {"one"}, {"one", "two", string(bytes.Repeat([]byte("x"), 255))}} {
			var head []byte
			for _, id := range envelope {
				head = zmtp.AppendFrame(head, true, []byte(id))
			}
			head = append(head, delimiter...)
			p.send(zmtp.AppendFrame(bytes.Clone(head), false, []byte("what")))
			p.expect(fmt.Sprintf("message %x", zmtp.AppendFrame(head, false, []byte("\xa8bad load"))))
		}
		p.send(zmtp.AppendFrame(nil, false, []byte("no delimiter")))
		p.expect("closed")
		if s := master.Stats(); s.Malformed != 1 || s.Foreign != 3 {
			t.Errorf("%+v", s)
		}
	}
}

func TestMasterRefuses(t *testing.T) {
	master := startMaster(t, MasterOptions{})
	for _, c := range []struct {
		to netip.AddrPort
		as zmtp.SocketType
	}{{master.PublishAddr(), zmtp.REQ}, {master.RequestAddr(), zmtp.SUB}} {
		p := newPeer(t, c.to, c.as)
		for got := ""; got != "closed"; got = p.next() {
			if got != "" && got[:5] != "READY" {
				t.Error(got)
			}
		}
	}
	must(t, master.Await(within(t), func(s MasterStats) bool { return s.Refused == 2 }))
}

// Neither side may be the bottleneck of a test: a message costs no memory.
func TestMinionsDoNotAllocate(t *testing.T) {
	g, err := reactor.New(reactor.Options{})
	must(t, err)
	t.Cleanup(g.Close)
	c := newCrew(&Minions{options: MinionsOptions{Count: 1, RequestBytes: 200, Timeout: time.Second}}, g.Loops()[0])
	one := newMinion(c, 0)
	one.sub.stream.SkipHandshake(zmtp.Version{Major: 3, Minor: 1})
	const runs = 100
	var jobs [][]byte
	for i := range uint64(runs + 10) {
		jobs = append(jobs, zmtp.AppendFrame(nil, false, AppendJob(nil, Job{Order: i + 1, Serial: i + 1, Sent: time.Now()}, 440)))
	}
	got := testing.AllocsPerRun(runs, func() {
		must(t, one.sub.Received(nil, jobs[0]))
		jobs = jobs[1:]
	})
	if got > 0 {
		t.Errorf("%v allocations for a job", got)
	}
	if n := c.count.jobs.Load(); n != runs+1 {
		t.Errorf("%d jobs", n)
	}
	var reply []byte
	got = testing.AllocsPerRun(runs, func() {
		c.body = AppendRequest(c.body[:0], Question{Nonce: 1, ReplyBytes: 99}, 234, []byte("minion-00000"), &c.load)
		reply, _ = Answer(reply[:0], c.body)
		if _, _, err := ParseAnswer(reply); err != nil {
			t.Fatal(err)
		}
	})
	if got > 0 {
		t.Errorf("%v allocations for a request and its reply", got)
	}
}

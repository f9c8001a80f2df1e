package retproxy

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"

	"salt-broker/internal/master"
	"salt-broker/internal/zmtp"
)

func TestEnvelopesOfAnyDepth(t *testing.T) {
	m := newMaster(t)
	r := start(t, m)
	p := dial(t, r, as{socket: "DEALER"})
	for depth := range 21 {
		for _, frames := range [][][]byte{{nil}, {[]byte("x")}, {[]byte("one"), nil, []byte("three")}, {make([]byte, 300)}} {
			msg := envelope(depth, frames...)
			p.send(msg)
			a := m.next()
			if !bytes.Equal(a.rest, msg) {
				t.Fatalf("depth %d: the master gets %.60q, want %.60q", depth, a.rest, msg)
			}
			a.answer([]byte("yes"))
			p.expect(envelope(depth, []byte("yes")))
		}
	}
	r.balanced()
}

func TestBothShapesOfSalt(t *testing.T) {
	m := newMaster(t)
	m.script = echo
	r := start(t, m)
	kept := dial(t, r, as{minor: 1})
	for i := range 50 {
		body := fmt.Sprintf("request %d", i)
		kept.asks(body)
		kept.hears(body)
		short := dial(t, r, as{minor: byte(i % 2)})
		short.asks("short " + body)
		short.hears("short " + body)
		short.close()
	}
	bare, err := raw(t, r) // a minion begins like this
	if err != nil {
		t.Fatal(err)
	}
	bare.close()
	until(t, "the others to leave", func() bool { s := r.Stats(); return s.Ends["left"]+s.Ends["reset"] == 51 })
	if s := r.Stats(); s.Requests != 100 || s.Replies != 100 || s.Minions != 1 {
		t.Errorf("%+v", s)
	}
	r.balanced()
}

func TestSizes(t *testing.T) {
	m := newMaster(t)
	m.script = echo
	r := start(t, m)
	p := dial(t, r, as{})
	for _, size := range []int{
		0, 1, 255, 256, 400, 16<<10 - 20, 16 << 10, 64 << 10, 70000, 1<<20 - 100, 1<<20 - 11, 1<<20 - 10, 1 << 20, 20 << 20,
	} {
		body := bytes.Repeat([]byte("0123456789\n"), size/11+1)[:size]
		go p.send(envelope(0, body)) // may be more than the sockets take while nobody reads
		p.expect(envelope(0, body))
	}
	r.balanced()
}

func TestManyUnderWayAnsweredOutOfOrder(t *testing.T) {
	m := newMaster(t)
	r := start(t, m)
	p := dial(t, r, as{socket: "DEALER", identity: "broker"})
	const n = 32 // the share of one connection
	for i := range n {
		p.send(envelope(i%5, fmt.Append(nil, i)))
	}
	var held []*ask
	for range n {
		held = append(held, m.next())
	}
	for i := n - 1; i >= 0; i-- {
		held[i].answer(append([]byte("re "), held[i].body()...))
		p.expect(envelope(i%5, fmt.Appendf(nil, "re %d", i)))
	}
	r.balanced()
}

func TestIdentityClaimedByMany(t *testing.T) {
	m := newMaster(t)
	r := start(t, m)
	one, two := dial(t, r, as{identity: "minion"}), dial(t, r, as{identity: "minion"})
	one.asks("one")
	first := m.next()
	two.asks("two")
	second := m.next()
	second.answer([]byte("two"))
	two.hears("two")
	first.answer([]byte("one"))
	one.hears("one")
}

// TestReplyToAConnectionThatHasClosed: another connection has its slot by then, and must not get the reply.
func TestReplyToAConnectionThatHasClosed(t *testing.T) {
	m := newMaster(t)
	r := start(t, m)
	r.connected() // links have slots too
	first := dial(t, r, as{})
	first.asks("first")
	late := m.next()
	first.leave()
	until(t, "the minion to leave", func() bool { return r.Stats().Minions == 0 })

	second := dial(t, r, as{})
	second.asks("second")
	a := m.next()
	if !bytes.Equal(late.route[:4], a.route[:4]) || bytes.Equal(late.route[:8], a.route[:8]) {
		t.Fatalf("the slot is not used again: %x, then %x", late.route, a.route)
	}
	late.answer([]byte("for the first"))
	until(t, "the reply to nobody", func() bool { return r.Stats().Unwanted == 1 })
	a.answer([]byte("for the second"))
	second.hears("for the second")
	r.balanced()
}

func TestRefused(t *testing.T) {
	ready := func(as string) []byte {
		body := "\x05READY\x0bSocket-Type\x00\x00\x00" + string(rune(len(as))) + as
		return append(zmtp.AppendGreeting(nil), append([]byte{4, byte(len(body))}, body...)...)
	}
	req := ready("REQ")
	after := func(b ...byte) []byte { return append(bytes.Clone(req), b...) }
	curve := zmtp.AppendGreeting(nil)
	copy(curve[12:], "CURVE")
	old := zmtp.AppendGreeting(nil)
	old[10] = 1
	for _, tt := range []struct {
		name   string
		sends  []byte
		reason zmtp.Reason
	}{
		{"SUB", ready("SUB"), zmtp.ReasonSocketType},
		{"PUB", ready("PUB"), zmtp.ReasonSocketType},
		{"PUSH", ready("PUSH"), zmtp.ReasonSocketType},
		{"REP", ready("REP"), zmtp.ReasonSocketType},
		{"XSUB", ready("XSUB"), zmtp.ReasonSocketType},
		{"no socket that is", ready("SOCK"), zmtp.ReasonSocketType},
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), zmtp.ReasonNotZMTP},
		{"TLS", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), zmtp.ReasonNotZMTP},
		{"noise", []byte("\x93\x12\x44\x01\xee"), zmtp.ReasonNotZMTP},
		{"CURVE", curve, zmtp.ReasonMechanism},
		{"ZMTP 2.0", old, zmtp.ReasonVersion},
		{"a message before READY", append(zmtp.AppendGreeting(nil), 0, 0), zmtp.ReasonReady},
		{"READY twice", append(ready("REQ"), ready("REQ")[64:]...), zmtp.ReasonReady},
		{"one frame", after(0, 1, 'x'), zmtp.ReasonEnvelope},
		{"one empty frame", after(0, 0), zmtp.ReasonEnvelope},
		{"frames without an empty one", after(1, 1, 'x', 1, 1, 'y', 0, 1, 'z'), zmtp.ReasonEnvelope},
		{"the empty one last", after(1, 1, 'x', 0, 0), zmtp.ReasonEnvelope},
		{"reserved flags", after(0x80, 0), zmtp.ReasonFrame},
		{"more than may be", after(2, 0, 0, 0, 1, 0, 0, 0, 0), zmtp.ReasonMessageTooLarge},
		{"frames without end", after(bytes.Repeat([]byte{1, 0}, maxFrames+1)...), zmtp.ReasonTooManyFrames},
		{"a long command", after(6, 0, 0, 0, 0, 0, 0, 0x20, 0), zmtp.ReasonCommandTooLarge},
		{"a PING too short", after(4, 5, 4, 'P', 'I', 'N', 'G'), zmtp.ReasonCommand},
		{"ERROR", after(4, 9, 5, 'E', 'R', 'R', 'O', 'R', 2, 'n', 'o'), zmtp.ReasonPeerError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMaster(t)
			m.script = echo
			r := start(t, m)
			healthy := dial(t, r, as{})
			bad, err := raw(t, r)
			if err != nil {
				t.Fatal(err)
			}
			defer bad.close()
			bad.send(tt.sends)
			healthy.asks("meanwhile")
			healthy.hears("meanwhile")
			bad.gone()
			until(t, string(tt.reason), func() bool { return r.Stats().Ends[string(tt.reason)] == 1 })
			healthy.asks("afterwards")
			healthy.hears("afterwards")
			if s := r.Stats(); s.Requests != 2 || s.Minions != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestFaultAfterRequests: what a peer had waiting is forgotten when it is found to talk nonsense.
func TestFaultAfterRequests(t *testing.T) {
	m := absentMaster(t)
	r := start(t, m)
	bad := dial(t, r, as{socket: "DEALER"})
	bad.send(append(bytes.Repeat(envelope(1, []byte("x")), 7), 0xff))
	bad.gone()
	until(t, "its end", func() bool { return r.Stats().Ends["bad_frame"] == 1 })
	if s := r.Stats(); s.Forgotten != 7 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
	r.balanced()
}

func TestHeartbeats(t *testing.T) {
	m := newMaster(t)
	r := start(t, m)
	p := dial(t, r, as{minor: 1})
	for _, context := range []string{"", "x", "sixteen bytes..."} {
		p.ping(context)
	}

	// In the middle of a message, as libzmq does it.
	msg := envelope(1, []byte("head"), []byte("tail"))
	p.send(msg[:3])
	p.ping("between frames")
	p.send(msg[3:])
	a := m.next()
	if !bytes.Equal(a.rest, msg) {
		t.Errorf("the master gets %q, want %q", a.rest, msg)
	}

	// In the middle of a backlog.
	busy := dial(t, r, as{socket: "DEALER", minor: 1})
	busy.send(bytes.Repeat(envelope(0, []byte("waits")), 500))
	busy.ping("busy")
	if s := r.Stats(); s.Waiting != 468 {
		t.Errorf("%d wait, want 468", s.Waiting)
	}

	// The master's.
	a.link.write(zmtp.AppendPing(nil, 0, []byte("alive?")))
	until(t, "a PONG", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.pongs) == 1 && string(m.pongs[0]) == "alive?"
	})
	a.answer([]byte("yes"))
	p.expect(envelope(1, []byte("yes")))
}

func TestPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	_, err = New(Options{Listen: ln.Addr().String(), Loops: 2, MaxInFlight: 2})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("New says %v", err)
	}
}

func TestMasterAddressThatIsNone(t *testing.T) {
	p, err := New(Options{Listen: "127.0.0.1:0", Master: master.Options{Address: "no port"}, Loops: 2, MaxInFlight: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err == nil {
		t.Error("Run has nothing to say")
	}
}

// TestManyMinions has everything happen at once.
func TestManyMinions(t *testing.T) {
	for _, loops := range []int{1, 2, 4} {
		t.Run(fmt.Sprintf("%d loops", loops), func(t *testing.T) {
			m := newMaster(t)
			m.script = func(a *ask) { go echo(a) }
			r := start(t, m, func(o *Options) { o.Loops, o.MaxInFlight = loops, 7 })
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					for round := range 5 {
						p, err := connect(t, r, as{minor: 1})
						if err != nil {
							t.Error(err)
							return
						}
						for n := range 4 {
							size := []int{1, 400, 5000, 40000}[(i+round+n)%4]
							msg := envelope(0, bytes.Repeat([]byte{byte(i)}, size))
							if _, err := p.nc.Write(msg); err != nil {
								t.Error(err)
								return
							}
							if i%10 == 0 && n == 2 {
								break // leaves without waiting
							}
							if got, err := p.message(); err != nil || !bytes.Equal(got, msg) {
								t.Errorf("minion %d got %d B, %v; want %d B", i, len(got), err, len(msg))
								return
							}
						}
						p.close()
					}
				})
			}
			wg.Wait()
			until(t, "all to leave", func() bool {
				s := r.Stats()
				return s.Minions == 0 && s.InFlight == 0 && s.Waiting == 0
			})
			r.balanced()
			if _, most, _ := m.counts(); most > 7 {
				t.Errorf("%d at the master at a time, want at most 7", most)
			}
			checkCredit(t, r)
		})
	}
}

// checkCredit sees that all credit is back when nothing is under way.
func checkCredit(t *testing.T, r *running) {
	t.Helper()
	for i, want := range partsOf(near(r.options.MaxInFlight), len(r.lanes)) {
		until(t, fmt.Sprintf("the credit of lane %d", i), func() bool { return r.members[0].credit.accounts[i].free.Load() == want })
	}
}

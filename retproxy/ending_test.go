package retproxy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

func TestHalfClosedPeers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		minor byte
		asks  bool
		close func(p *peer)
		check func(t *testing.T, r *running, m *saltMaster, p *peer)
	}{
		{
			"3.1 that waits is answered, then let go", 1, true,
			func(p *peer) { _ = p.nc.CloseWrite() },
			func(t *testing.T, r *running, m *saltMaster, p *peer) {
				t.Helper()
				m.open()
				m.next().answer([]byte("still here"))
				p.hears("still here")
				if p.pings != 1 {
					t.Errorf("%d PINGs, want 1", p.pings)
				}
				p.gone()
				if s := r.Stats(); s.Forgotten != 0 {
					t.Errorf("%+v", s)
				}
			},
		},
		{
			"3.0 that waits is taken to have closed", 0, true,
			func(p *peer) { _ = p.nc.CloseWrite() },
			func(t *testing.T, r *running, _ *saltMaster, p *peer) {
				t.Helper()
				p.gone()
				until(t, "it to be forgotten", func() bool { return r.Stats().Forgotten == 1 })
			},
		},
		{
			"3.1 that waits for nothing is let go", 1, false,
			func(p *peer) { _ = p.nc.CloseWrite() },
			func(t *testing.T, _ *running, _ *saltMaster, p *peer) {
				t.Helper()
				p.gone()
			},
		},
		{
			"3.1 that has closed altogether is found by the PING", 1, true,
			func(p *peer) { p.close() },
			func(t *testing.T, r *running, _ *saltMaster, _ *peer) {
				t.Helper()
				until(t, "it to be forgotten", func() bool { return r.Stats().Forgotten == 1 })
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := absentMaster(t)
			r := start(t, m)
			p := dial(t, r, as{minor: tt.minor})
			if tt.asks {
				p.asks("a question")
				r.waiting(1)
			}
			tt.close(p)
			tt.check(t, r, m, p)
			until(t, "its end", func() bool { s := r.Stats(); return s.Minions == 0 && s.Ends["left"]+s.Ends["reset"] == 1 })
			r.balanced()
		})
	}
}

// TestHalfClosedAtTheMaster: the deadline of its request ends the wait of who has half-closed.
func TestHalfClosedAtTheMaster(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, deadline(50*time.Millisecond))
	p := dial(t, r, as{minor: 1})
	p.asks("swallowed")
	_ = p.nc.CloseWrite()
	m.next()
	p.gone()
	until(t, "its end", func() bool { s := r.Stats(); return s.Minions == 0 && s.Overdue == 1 })
}

// TestHalfClosedWithRepliesUnread: what is kept for a peer that has not read yet is not thrown away.
func TestHalfClosedWithRepliesUnread(t *testing.T) {
	m := newMaster(t)
	r := start(t, m)
	p := dial(t, r, as{socket: "DEALER"})
	reply := make([]byte, 8<<20) // more than the sockets take
	p.asks("large")
	m.next().answer(reply)
	until(t, "the reply to be kept", func() bool { return r.Stats().Replies == 1 })
	_ = p.nc.CloseWrite()
	until(t, "the broker to see it", func() bool {
		seen := false
		r.onLoop(0, func(l *lane) {
			l.loop.Each(eachMinion(func(m *minion) { seen = m.conn.HasHalfClosed() }))
		})
		return seen || r.Stats().Minions == 0
	})
	p.hears(string(reply))
	p.gone()
}

func TestSilentPeers(t *testing.T) {
	m := newMaster(t)
	m.script = echo
	r := start(t, m, func(o *Options) { o.HandshakeTimeout = 100 * time.Millisecond })
	healthy := dial(t, r, as{})
	hello := zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.REQ)
	var silent []*peer
	for _, says := range [][]byte{nil, hello[:1], hello[:20], hello[:64], hello[:70], hello[:len(hello)-1]} {
		p, err := raw(t, r)
		if err != nil {
			t.Fatal(err)
		}
		defer p.close()
		p.send(says)
		silent = append(silent, p)
		healthy.asks("meanwhile")
		healthy.hears("meanwhile")
	}
	for _, p := range silent {
		p.gone()
	}
	until(t, "their ends", func() bool { return r.Stats().Ends["handshake_timeout"] == uint64(len(silent)) })
	healthy.asks("afterwards")
	healthy.hears("afterwards")
}

// TestPeerThatDoesNotRead asks for PONGs without end and reads none: it is not read from, and takes no memory.
func TestPeerThatDoesNotRead(t *testing.T) {
	m := newMaster(t)
	m.script = echo
	r := start(t, m)
	deaf := dial(t, r, as{minor: 1})
	pings := bytes.Repeat(zmtp.AppendPing(nil, 0, []byte("sixteen bytes...")), 4096)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			if _, err := deaf.nc.Write(pings); err != nil {
				return
			}
		}
	}()
	until(t, "reading to pause", func() bool {
		paused := false
		r.onLoop(0, func(l *lane) {
			l.loop.Each(eachMinion(func(m *minion) {
				paused = paused || m.paused
				if kept := m.conn.Kept(); kept > maxReplyBacklog+128<<10 {
					t.Errorf("%d bytes kept", kept)
				}
			}))
		})
		return paused
	})
	healthy := dial(t, r, as{})
	healthy.asks("meanwhile")
	healthy.hears("meanwhile")
	deaf.leave()
	<-stopped
	until(t, "it to leave", func() bool { return r.Stats().Minions == 1 })
}

// TestPeerThatDoesNotReadReplies has more replies than may be kept for it, and is let go of. Others are not.
func TestPeerThatDoesNotReadReplies(t *testing.T) {
	m := newMaster(t)
	r := start(t, m)
	deaf := dial(t, r, as{socket: "DEALER"})
	const size = 16 << 20
	const n = maxKept/size + 2 // and the sockets take some
	for range n {
		deaf.asks("more")
	}
	reply := make([]byte, size)
	for range n {
		m.next().answer(reply)
	}
	until(t, "its end", func() bool { return r.Stats().Ends["does_not_read"] == 1 })
	healthy := dial(t, r, as{})
	healthy.asks("meanwhile")
	m.next().answer(nil)
	healthy.hears("")
	r.balanced()
}

func TestMasterThatTalksNonsense(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, places(1), deadline(100*time.Millisecond))
	p := dial(t, r, as{})
	p.asks("first")
	a := m.next()
	frame := func(more bool, body []byte) []byte { return zmtp.AppendFrame(nil, more, body) }
	garbled := bytes.Clone(a.route)
	binary.BigEndian.PutUint64(garbled, uint64(1)<<40)
	for i, msg := range [][]byte{
		frame(false, nil),
		frame(false, a.route), // and nothing behind it
		append(frame(true, nil), frame(false, []byte("x"))...),
		append(frame(true, a.route[:15]), frame(false, []byte("x"))...),
		append(frame(true, append(a.route, 0)), frame(false, []byte("x"))...),
	} {
		a.link.write(msg)
		until(t, "nonsense to be counted", func() bool { return r.Stats().Unroutable == uint64(i)+1 })
	}
	a.link.write(append(frame(true, garbled), frame(false, []byte("for nobody"))...))
	until(t, "a reply for nobody", func() bool { s := r.Stats(); return s.Unwanted == 1 && s.Late == 1 })
	until(t, "the deadline", func() bool { return r.Stats().Overdue == 1 })

	// And what is no ZMTP ends the link, not the minion.
	p.asks("second")
	a = m.next()
	a.link.write([]byte("\xf0garbage"))
	until(t, "the link to be given up", func() bool { s := r.Stats(); return s.LostWithLink+s.Overdue == 2 })
	p.asks("third")
	a = m.next()
	a.answer([]byte("sense"))
	p.hears("sense")
	r.balanced()
	checkCredit(t, r)
}

// TestMasterThatAnswersTwice frees one place with it.
func TestMasterThatAnswersTwice(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, places(1))
	p := dial(t, r, as{socket: "DEALER"})
	p.asks("once")
	a := m.next()
	a.answer([]byte("yes"))
	a.link.write(a.reply([]byte("yes, yes")))
	p.hears("yes")
	p.hears("yes, yes")
	until(t, "the second to be late", func() bool { return r.Stats().Late == 1 })
	r.balanced()
	checkCredit(t, r)
}

// TestLinkLostWithinAReply: half a reply reaches nobody, and nothing is glued to it.
func TestLinkLostWithinAReply(t *testing.T) {
	for _, size := range []int{100, 100 << 10, 3 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			m := newMaster(t)
			r := start(t, m)
			p := dial(t, r, as{})
			p.asks("first")
			a := m.next()
			reply := a.reply(make([]byte, size))
			a.link.write(reply[:len(reply)-1])
			m.cut()
			until(t, "the loss", func() bool { return r.Stats().LostWithLink == 1 })
			p.asks("second")
			m.next().answer([]byte("whole"))
			p.hears("whole")
			r.balanced()
		})
	}
}

// TestLinkLostWithinARequest: it is not sent again, and the next one is whole.
func TestLinkLostWithinARequest(t *testing.T) {
	m := newMaster(t)
	m.stuck = make(chan struct{})
	r := start(t, m)
	p := dial(t, r, as{socket: "DEALER"})
	msg := envelope(0, make([]byte, 20<<20))
	go p.send(msg)
	r.inFlight(1)
	m.cut()
	close(m.stuck)
	until(t, "the loss", func() bool { return r.Stats().LostWithLink == 1 })
	again := envelope(0, make([]byte, 2<<20))
	go p.send(again)
	a := m.next()
	if !bytes.Equal(a.rest, again) {
		t.Fatalf("the master gets %d B, want %d", len(a.rest), len(again))
	}
	a.answer(nil)
	p.hears("")
	r.balanced()
	checkCredit(t, r)
}

func TestDrain(t *testing.T) {
	for _, n := range []int{1, 2, 4} {
		t.Run(fmt.Sprintf("%d loops", n), func(t *testing.T) {
			m := newMaster(t)
			r := start(t, m, loops(n), places(n)) // some wait, some are at the master
			var idle, busy []*peer
			for range 8 {
				idle = append(idle, dial(t, r, as{minor: 1}))
				p := dial(t, r, as{minor: 1})
				p.asks("under way")
				p.ping("read")
				busy = append(busy, p)
			}
			first := m.next()

			r.end()
			for _, p := range idle {
				p.gone() // at once: the busy ones are still there
			}
			until(t, "the port to close", func() bool {
				nc, err := net.Dial("tcp", r.Addr().String())
				if err == nil {
					_ = nc.Close()
				}
				return err != nil
			})
			busy[0].send(envelope(0, []byte("too late")))

			first.answer([]byte("done"))
			for range len(busy) - 1 {
				m.next().answer([]byte("done"))
			}
			for _, p := range busy {
				p.hears("done")
				p.gone()
			}
			r.wait()
			m.nothing()
			if s := r.Stats(); s.Requests != 8 || s.Replies != 8 || s.Minions != 0 || s.Waiting != 0 || s.InFlight != 0 {
				t.Errorf("%+v", s)
			}
			r.balanced()
		})
	}
}

// TestDrainHasAnEnd although the master answers nothing.
func TestDrainHasAnEnd(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, loops(2), places(2), func(o *Options) { o.DrainTimeout = 200 * time.Millisecond })
	var peers []*peer
	for range 6 {
		p := dial(t, r, as{minor: 1})
		p.asks("never answered")
		p.ping("read")
		peers = append(peers, p)
	}
	m.next()
	began := time.Now()
	r.end()
	r.wait()
	if took := time.Since(began); took < 200*time.Millisecond || took > patience/2 {
		t.Errorf("it took %v", took)
	}
	for _, p := range peers {
		p.gone()
	}
	r.balanced()
	if s := r.Stats(); s.Ends["broker_stops"] != 6 || s.Forgotten+s.LostWithLink != 6 {
		t.Errorf("%+v", s)
	}
}

// TestEndBeforeRun: a proxy that is told to end at once does so.
func TestEndBeforeRun(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, loops(2))
	r.end()
	r.wait()
}

// TestRequestOfAConnectionClosedInTheSameTurn: it is forgotten, not sent, although its connection's end is not told yet.
func TestRequestOfAConnectionClosedInTheSameTurn(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, places(1))
	holder, leaver := dial(t, r, as{}), dial(t, r, as{})
	holder.asks("first")
	a := m.next()
	leaver.asks("second")
	r.waiting(1)
	r.onLoop(0, func(l *lane) {
		l.loop.Each(eachMinion(func(m *minion) {
			if m.first != nil {
				m.conn.Close(reactor.ErrStopped)
			}
		}))
		l.ways[0].landed(l.ways[0].flights.remove(a.place()))
		l.overdue.Add(1)
		l.ways[0].dispatch()
		if n := l.forgotten.Load(); n != 1 {
			t.Errorf("%d forgotten, want 1", n)
		}
	})
	leaver.gone()
	if s := r.Stats(); s.InFlight != 0 || s.Waiting != 0 || s.Forgotten != 1 {
		t.Errorf("%+v", s)
	}
	m.nothing()
}

// place returns the index of the request's place.
func (a *ask) place() int32 {
	r, _ := parseRoute(a.route)
	return int32(r.ticket >> 32)
}

//go:build linux

package reactor

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

var errTest = errors.New("a reason of the test")

// What is many in number is small: 112 bytes is a size class of the allocator.
func TestConnIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Conn{}); size > 112 {
		t.Errorf("a Conn has %d bytes", size)
	}
}

// However the peer's bytes are cut, they arrive in order.
func TestReadsInEveryCut(t *testing.T) {
	r := start(t, Options{})
	h := r.probe()
	var got collector
	h.received = func(_ *Conn, p []byte) error { got.add(p); return nil }
	_, peer := r.connect(h)
	all := sequence(0, 40)
	want := 0
	for cut := range all {
		for _, part := range [][]byte{all[:cut], all[cut:]} {
			if len(part) == 0 {
				continue
			}
			give(t, peer, part)
			want += len(part)
			eventually(t, "the part to arrive", func() bool { return got.size() == want })
		}
	}
	for i := range all {
		give(t, peer, all[i:i+1])
	}
	want += len(all)
	eventually(t, "the bytes to arrive", func() bool { return got.size() == want })
	if got.String() != string(bytes.Repeat(all, len(all)+1)) {
		t.Error("what arrived is not what was sent")
	}
}

// One read a connection a turn, and a bounded one: a peer that floods keeps no other from its turn.
func TestReadsAreFair(t *testing.T) {
	const readBytes = 512
	r := start(t, Options{ReadBytes: readBytes})
	flooder, other := r.probe(), r.probe()
	flood, before := 0, -1
	all := make(chan struct{})
	flooder.received = func(_ *Conn, p []byte) error {
		if len(p) > readBytes {
			t.Errorf("one read of %d bytes", len(p))
		}
		if flood += len(p); flood == 20_000 {
			close(all)
		}
		return nil
	}
	other.received = func(*Conn, []byte) error { before = flood; return nil }
	c, peer := r.connect(flooder)
	_, peerOfOther := r.connect(other)
	r.on(c.Loop(), func() { // both are readable when the loop looks
		give(t, peer, make([]byte, 20_000))
		give(t, peerOfOther, []byte{1})
	})
	wait(t, "the flood to arrive", all)
	r.on(c.Loop(), func() {
		if before < 0 || before > readBytes {
			t.Errorf("the other peer was read after %d bytes of the flood", before)
		}
	})
}

func TestReceivedErrorCloses(t *testing.T) {
	r := start(t, Options{})
	h := r.probe()
	h.received = func(*Conn, []byte) error { return errTest }
	_, peer := r.connect(h)
	give(t, peer, []byte("x"))
	h.expect(errTest)
	if _, err := peer.Read(make([]byte, 1)); err == nil {
		t.Error("the peer's connection is still open")
	}
}

func TestHalfClose(t *testing.T) {
	r := start(t, Options{})
	h := r.probe()
	half := make(chan string, 10)
	var got collector
	h.received = func(_ *Conn, p []byte) error { got.add(p); return nil }
	h.halfClosed = func(*Conn) { half <- got.String() }
	c, peer := r.connect(h)
	give(t, peer, []byte("last words"))
	if err := peer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if seen := wait(t, "HalfClosed", half); seen != "last words" {
		t.Errorf("HalfClosed when %q had arrived", seen)
	}
	r.quiet(c.Loop()) // the end of a stream is there to be read for ever
	r.on(c.Loop(), func() {
		if !c.HasHalfClosed() || c.Closed() {
			t.Errorf("half-closed %v, closed %v", c.HasHalfClosed(), c.Closed())
		}
		if err := c.Write([]byte("reply")); err != nil {
			t.Error(err)
		}
		c.ResumeRead()
		c.PauseRead()
		c.ResumeRead()
	})
	if got := string(take(t, peer, 5)); got != "reply" {
		t.Errorf("got %q", got)
	}
	r.quiet(c.Loop())
	_ = peer.Close() // answers what is sent now with a reset
	r.on(c.Loop(), func() { _ = c.Write([]byte("to nobody")) })
	if err := h.reason(); !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("closed with %v", err)
	}
	if len(half) != 0 {
		t.Error("HalfClosed was called again")
	}
}

// A peer that ends its stream while nobody reads is noticed; what it sent before is read later, and ends there.
func TestHalfCloseWhilePaused(t *testing.T) {
	r := start(t, Options{ReadBytes: 16})
	h := r.probe()
	half := make(chan struct{}, 10)
	var got collector
	pauseAt := 48
	h.received = func(c *Conn, p []byte) error {
		if got.add(p); got.size() == pauseAt {
			c.PauseRead()
		}
		return nil
	}
	h.halfClosed = func(*Conn) { half <- struct{}{} }
	c, peer := r.connect(h)
	r.on(c.Loop(), func() { c.PauseRead(); c.PauseRead() })
	all := sequence(0, 100)
	give(t, peer, all)
	if err := peer.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	wait(t, "HalfClosed", half)
	r.quiet(c.Loop())
	if got.size() != 0 {
		t.Errorf("%d bytes were received while reading was paused", got.size())
	}
	r.on(c.Loop(), c.ResumeRead)
	eventually(t, "the first bytes", func() bool { return got.size() >= pauseAt })
	r.quiet(c.Loop())
	if got.size() != pauseAt {
		t.Errorf("%d bytes were received, reading was paused after %d", got.size(), pauseAt)
	}
	r.on(c.Loop(), c.ResumeRead)
	eventually(t, "the rest", func() bool { return got.size() == len(all) })
	r.quiet(c.Loop())
	if got.String() != string(all) {
		t.Error("what arrived is not what was sent")
	}
	r.on(c.Loop(), func() { c.Close(errTest) })
	h.expect(errTest)
	if len(half) != 0 {
		t.Error("HalfClosed was called again")
	}
}

// Reading is resumed in the very turn in which epoll tells of the peer's end.
func TestHalfCloseWhileResumed(t *testing.T) {
	r := start(t, Options{})
	first, h := r.probe(), r.probe()
	var got collector
	half := make(chan string, 10)
	a, peerOfA := r.connect(first)
	b, peerOfB := r.connect(h)
	first.received = func(*Conn, []byte) error { b.ResumeRead(); return nil }
	h.received = func(_ *Conn, p []byte) error { got.add(p); return nil }
	h.halfClosed = func(*Conn) { half <- got.String() }
	r.on(a.Loop(), func() {
		b.PauseRead()
		give(t, peerOfA, []byte("x"))
		give(t, peerOfB, []byte("before the end"))
		if err := peerOfB.CloseWrite(); err != nil {
			t.Error(err)
		}
	})
	if got := wait(t, "HalfClosed", half); got != "before the end" {
		t.Errorf("HalfClosed when %q had arrived", got)
	}
}

func TestPauseRead(t *testing.T) {
	r := start(t, Options{})
	h := r.probe()
	var got collector
	h.received = func(_ *Conn, p []byte) error { got.add(p); return nil }
	c, peer := r.connect(h)
	r.on(c.Loop(), c.PauseRead)
	give(t, peer, []byte("waits"))
	r.quiet(c.Loop())
	if got.size() != 0 {
		t.Errorf("received %q while paused", got.String())
	}
	r.on(c.Loop(), func() { // what is written still leaves
		if err := c.Write([]byte("meanwhile")); err != nil {
			t.Error(err)
		}
	})
	take(t, peer, 9)
	r.on(c.Loop(), func() { c.ResumeRead(); c.ResumeRead() })
	eventually(t, "what was sent", func() bool { return got.String() == "waits" })
}

func TestReset(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(c *Conn)
	}{
		{"while reading", func(*Conn) {}},
		{"while paused", (*Conn).PauseRead},
		{"while bytes are kept", func(c *Conn) { _ = c.Write(make([]byte, 1<<20)) }},
		{"while paused with bytes kept", func(c *Conn) { c.PauseRead(); _ = c.Write(make([]byte, 1<<20)) }},
		{"while a TryWrite is short", func(c *Conn) { c.TryWrite(make([]byte, 1<<20)) }},
		{"while closing", func(c *Conn) { _ = c.Write(make([]byte, 1<<20)); c.CloseFlushed(errTest) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, Options{})
			h := r.probe()
			h.writable = func(c *Conn) { c.TryWrite([]byte("more")) }
			c, peer := r.narrow(h)
			r.on(c.Loop(), func() { test.prepare(c) })
			reset(t, peer)
			h.expect(unix.ECONNRESET)
			r.quiet(c.Loop())
			if n := c.Loop().Connections(); n != 0 {
				t.Errorf("%d connections left", n)
			}
		})
	}
}

// Close may be called anywhere; Closed comes once, at the end of the turn, with the first reason. The probe sees to
// "once" and "from inside no other call".
func TestCloseInCallbacks(t *testing.T) {
	short := func(c *Conn) { c.TryWrite(make([]byte, 1<<20)) }
	drain := func(t *testing.T, peer *net.TCPConn) { t.Helper(); _, _ = io.Copy(io.Discard, peer) }
	for _, test := range []struct {
		name string
		set  func(h *probe)
		act  func(c *Conn)
		peer func(t *testing.T, peer *net.TCPConn)
	}{
		{
			name: "Received",
			set: func(h *probe) {
				h.received = func(c *Conn, _ []byte) error { c.Close(errTest); return io.ErrUnexpectedEOF }
			},
			peer: func(t *testing.T, peer *net.TCPConn) { t.Helper(); give(t, peer, []byte("x")) },
		},
		{
			name: "Received, after a write",
			set: func(h *probe) {
				h.received = func(c *Conn, _ []byte) error { _ = c.Write([]byte("y")); c.Close(errTest); return nil }
			},
			peer: func(t *testing.T, peer *net.TCPConn) { t.Helper(); give(t, peer, []byte("x")) },
		},
		{
			name: "Writable",
			set:  func(h *probe) { h.writable = func(c *Conn) { c.Close(errTest) } },
			act:  short, peer: drain,
		},
		{
			name: "Writable of kept bytes",
			set:  func(h *probe) { h.writable = func(c *Conn) { c.Close(errTest) } },
			act:  func(c *Conn) { _ = c.Write(make([]byte, 1<<20)) }, peer: drain,
		},
		{
			name: "Writable, with a write before",
			set:  func(h *probe) { h.writable = func(c *Conn) { _ = c.Write([]byte("y")); c.Close(errTest) } },
			act:  short, peer: drain,
		},
		{
			name: "Writable, flushed with a large write before",
			set: func(h *probe) {
				h.writable = func(c *Conn) { _ = c.Write(make([]byte, 1<<20)); c.CloseFlushed(errTest) }
			},
			act: short, peer: drain,
		},
		{
			name: "HalfClosed",
			set:  func(h *probe) { h.halfClosed = func(c *Conn) { c.Close(errTest) } },
			peer: func(_ *testing.T, peer *net.TCPConn) { _ = peer.CloseWrite() },
		},
		{
			name: "HalfClosed while paused",
			set:  func(h *probe) { h.halfClosed = func(c *Conn) { c.Close(errTest) } },
			act:  (*Conn).PauseRead,
			peer: func(_ *testing.T, peer *net.TCPConn) { _ = peer.CloseWrite() },
		},
		{
			name: "Closed",
			set: func(h *probe) {
				h.closed = func(c *Conn, _ error) {
					c.Close(io.EOF)
					c.CloseFlushed(io.EOF)
					c.PauseRead()
					c.ResumeRead()
				}
			},
			act: func(c *Conn) { c.Close(errTest) },
		},
		{
			name: "a posted function, twice",
			act:  func(c *Conn) { c.Close(errTest); c.Close(io.EOF) },
		},
		{
			name: "a posted function, flushed before",
			act:  func(c *Conn) { _ = c.Write(make([]byte, 1<<20)); c.CloseFlushed(io.EOF); c.Close(errTest) },
		},
		{
			name: "a timer",
			act:  func(c *Conn) { c.Loop().After(0, func() { c.Close(errTest) }) },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, Options{})
			h := r.probe()
			if test.set != nil {
				test.set(h)
			}
			c, peer := r.narrow(h)
			if test.act != nil {
				r.on(c.Loop(), func() { test.act(c) })
			}
			if test.peer != nil {
				test.peer(t, peer)
			}
			h.expect(errTest)
			r.turns(c.Loop(), 3)
			r.on(c.Loop(), func() {
				if h.closes != 1 {
					t.Errorf("Closed was called %d times", h.closes)
				}
				if len(c.Loop().dirty) != 0 || c.out != nil {
					t.Error("something is left of the connection")
				}
			})
			if n := c.Loop().Connections(); n != 0 {
				t.Errorf("%d connections left", n)
			}
		})
	}
}

// Any callback of one connection may close another one, whose own events of this turn are then void.
func TestCloseFromAnotherConnection(t *testing.T) {
	r := start(t, Options{})
	var conns [2]*Conn
	var probes [2]*probe
	var peers [2]*net.TCPConn
	calls := 0
	for i := range probes {
		probes[i] = r.probe()
		probes[i].received = func(*Conn, []byte) error {
			calls++
			conns[1-i].Close(errTest)
			return nil
		}
		conns[i], peers[i] = r.connect(probes[i])
	}
	r.on(conns[0].Loop(), func() { // both are readable when the loop looks
		give(t, peers[0], []byte("x"))
		give(t, peers[1], []byte("x"))
	})
	probes[1].expect(errTest)
	r.on(conns[0].Loop(), func() {
		if calls != 1 || conns[0].Closed() {
			t.Errorf("%d connections were told of their bytes", calls)
		}
	})
	// From Closed, too.
	probes[0].closed = func(*Conn, error) { conns[1].Close(nil) }
	g := r.probe()
	conns[1], _ = r.connect(g)
	r.on(conns[0].Loop(), func() { conns[0].Close(io.EOF) })
	probes[0].expect(io.EOF)
	g.expect(nil)
}

func TestCloseFlushed(t *testing.T) {
	r := start(t, Options{})
	all := sequence(0, 300_000)
	for _, test := range []struct {
		name  string
		write int
		close func(c *Conn)
		peer  func(peer *net.TCPConn)
		want  error
	}{
		{name: "nothing kept", close: func(c *Conn) { c.CloseFlushed(errTest) }, want: errTest},
		{name: "gathered", write: 100, close: func(c *Conn) { c.CloseFlushed(errTest) }, want: errTest},
		{name: "kept", write: len(all), close: func(c *Conn) { c.CloseFlushed(errTest) }, want: errTest},
		{name: "kept, no reason", write: len(all), close: func(c *Conn) { c.CloseFlushed(nil) }},
		{name: "twice", write: len(all), close: func(c *Conn) { c.CloseFlushed(errTest); c.CloseFlushed(io.EOF) }, want: errTest},
		{
			name: "resumed after", write: len(all), want: errTest,
			close: func(c *Conn) { c.PauseRead(); c.CloseFlushed(errTest); c.ResumeRead(); c.PauseRead() },
			peer:  func(peer *net.TCPConn) { _, _ = peer.Write([]byte("not read")) },
		},
		{
			name: "the peer ends its stream meanwhile", write: len(all), want: errTest,
			close: func(c *Conn) { c.CloseFlushed(errTest) },
			peer:  func(peer *net.TCPConn) { _ = peer.CloseWrite() },
		},
		{
			name: "the peer sends meanwhile", write: len(all), want: errTest,
			close: func(c *Conn) { c.CloseFlushed(errTest) },
			peer:  func(peer *net.TCPConn) { _, _ = peer.Write([]byte("not read")) },
		},
		{
			name: "more is written meanwhile", write: len(all) - 20_000, want: errTest,
			close: func(c *Conn) {
				c.CloseFlushed(errTest)
				if err := c.Write(all[len(all)-20_000:]); err != nil {
					t.Error(err)
				}
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := r.probe()
			h.received = func(*Conn, []byte) error { t.Error("Received after CloseFlushed"); return nil }
			// What most handlers do.
			h.halfClosed = func(c *Conn) { t.Error("HalfClosed after CloseFlushed"); c.Close(io.EOF) }
			c, peer := r.narrow(h)
			r.on(c.Loop(), func() {
				if err := c.Write(all[:test.write]); err != nil {
					t.Error(err)
				}
				test.close(c)
			})
			if test.peer != nil {
				test.peer(peer)
			}
			r.quiet(c.Loop())
			got, err := io.ReadAll(peer)
			if err != nil {
				t.Errorf("after %d bytes: %v", len(got), err)
			}
			if test.name == "more is written meanwhile" {
				test.write = len(all)
			}
			if !bytes.Equal(got, all[:test.write]) {
				t.Errorf("%d of %d bytes arrived", len(got), test.write)
			}
			h.expect(test.want)
		})
	}
}

func TestClosedConnectionsTakeNothing(t *testing.T) {
	r := start(t, Options{})
	h := r.probe()
	c, _ := r.connect(h)
	r.on(c.Loop(), func() {
		ref := c.Ref()
		if c.Loop().Lookup(ref) != c {
			t.Error("the Ref of an open connection finds something else")
		}
		c.Close(nil)
		if !c.Closed() || c.Loop().Lookup(ref) != nil {
			t.Error("closed, and found by its Ref")
		}
		if err := c.Write([]byte("x")); !errors.Is(err, ErrClosed) {
			t.Errorf("Write: %v", err)
		}
		if err := c.Write(make([]byte, 1<<20)); !errors.Is(err, ErrClosed) {
			t.Errorf("large Write: %v", err)
		}
		if err := c.WriteOwned(make([]byte, 1<<20)); !errors.Is(err, ErrClosed) {
			t.Errorf("WriteOwned: %v", err)
		}
		if err := c.WriteOwned([]byte("x"), []byte("y")); !errors.Is(err, ErrClosed) {
			t.Errorf("WriteOwned of two: %v", err)
		}
		if n := c.TryWrite([]byte("x")); n != 0 {
			t.Errorf("TryWrite took %d bytes", n)
		}
		c.PauseRead()
		c.ResumeRead()
		c.CloseFlushed(io.EOF)
		if c.Kept() != 0 || c.out != nil {
			t.Error("something is kept")
		}
	})
	h.expect(nil)
}

// A write that finds the peer gone keeps nothing for it.
func TestWriteToAGonePeer(t *testing.T) {
	for _, test := range []struct {
		name  string
		write func(c *Conn)
	}{
		{"gathered, then large", func(c *Conn) {
			_ = c.Write([]byte("x"))
			if err := c.Write(make([]byte, 1<<20)); !errors.Is(err, ErrClosed) {
				t.Errorf("Write: %v", err)
			}
		}},
		{"large", func(c *Conn) {
			if err := c.Write(make([]byte, 1<<20)); !errors.Is(err, ErrClosed) {
				t.Errorf("Write: %v", err)
			}
		}},
		{"owned", func(c *Conn) { _ = c.WriteOwned(make([]byte, 1<<20)) }},
		{"tried", func(c *Conn) {
			if n := c.TryWrite([]byte("x")); n != 0 {
				t.Errorf("TryWrite took %d bytes", n)
			}
		}},
		{"flushed", func(c *Conn) { _ = c.Write([]byte("x")); c.CloseFlushed(errTest) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, Options{})
			h := r.probe()
			c, peer := r.connect(h)
			r.on(c.Loop(), func() {
				reset(t, peer)
				test.write(c)
				if !c.Closed() || c.out != nil || c.Kept() != 0 {
					t.Errorf("closed %v, %d bytes kept", c.Closed(), c.Kept())
				}
			})
			h.expect(unix.ECONNRESET)
		})
	}
}

// An event that epoll reported for a connection which is closed before its turn comes must not reach the next
// connection that has its descriptor and its slot.
func TestStaleEvents(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(old *Conn)                            // before the event
		event  func(t *testing.T, peerOfOld *net.TCPConn) // what the old connection's peer does
		fresh  func(c *Conn)                              // makes the new connection sensitive to it
	}{
		{
			name:   "writable",
			before: func(old *Conn) { old.TryWrite(make([]byte, 1<<20)) },
			event: func(t *testing.T, peer *net.TCPConn) {
				t.Helper()
				_, _ = io.ReadFull(peer, make([]byte, 2048))
			},
		},
		{
			name:   "half-closed",
			before: (*Conn).PauseRead,
			event:  func(_ *testing.T, peer *net.TCPConn) { _ = peer.CloseWrite() },
			fresh:  (*Conn).PauseRead,
		},
		{
			name:   "reset",
			before: func(*Conn) {},
			event:  func(t *testing.T, peer *net.TCPConn) { t.Helper(); reset(t, peer) },
			fresh:  (*Conn).PauseRead,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, Options{})
			first, old, fresh := r.probe(), r.probe(), r.probe()
			fresh.writable = func(*Conn) { t.Error("the new connection was told that it is writable") }
			fresh.halfClosed = func(*Conn) { t.Error("the new connection was told that it is half closed") }
			a, peerOfFirst := r.connect(first)
			b, peerOfOld := r.narrow(old)
			near, far := tcpPair(t, 0)
			var c *Conn
			done := make(chan struct{})
			first.received = func(*Conn, []byte) error {
				defer close(done)
				fd, slot, ref := b.fd, b.slot, b.Ref()
				var filler []int // so that the old descriptor is the lowest free one
				for {
					n, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
					if err != nil {
						t.Error(err)
						break
					}
					if filler = append(filler, n); n > int(fd) {
						break
					}
				}
				b.Close(errTest)
				var err error
				if c, err = a.Loop().Adopt(far, fresh); err != nil {
					t.Error(err)
					return nil
				}
				for _, n := range filler {
					_ = unix.Close(n)
				}
				if c.fd != fd || c.slot != slot {
					t.Errorf("descriptor %d and slot %d, want %d and %d", c.fd, c.slot, fd, slot)
				}
				if c.Ref() == ref || a.Loop().Lookup(ref) != nil || a.Loop().Lookup(c.Ref()) != c {
					t.Error("the old name finds the new connection")
				}
				if test.fresh != nil {
					test.fresh(c)
				}
				return nil
			}
			r.on(a.Loop(), func() { test.before(b) })
			r.on(a.Loop(), func() { // both events are there when the loop looks, the first connection's first
				give(t, peerOfFirst, []byte("x"))
				test.event(t, peerOfOld)
			})
			wait(t, "the new connection", done)
			old.expect(errTest)
			r.turns(a.Loop(), 3)
			r.on(a.Loop(), func() {
				if c.Closed() {
					t.Error("the new connection was closed")
				}
				if err := c.Write([]byte("hello")); err != nil {
					t.Error(err)
				}
				fresh.halfClosed = nil // from here on its own peer's end is meant
			})
			if got := string(take(t, near, 5)); got != "hello" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// The handler can be replaced at any time; the next call goes to the new one.
func TestSetHandler(t *testing.T) {
	r := start(t, Options{})
	h, g := r.probe(), r.probe()
	h.received = func(c *Conn, _ []byte) error {
		c.SetHandler(g)
		if c.Handler() != Handler(g) {
			t.Error("Handler returns another one")
		}
		return nil
	}
	var got collector
	g.received = func(_ *Conn, p []byte) error { got.add(p); return nil }
	c, peer := r.connect(h)
	give(t, peer, []byte("x"))
	eventually(t, "the new handler", func() bool {
		var h Handler
		r.on(c.Loop(), func() { h = c.Handler() })
		return h == Handler(g)
	})
	give(t, peer, []byte("y"))
	eventually(t, "the second byte", func() bool { return got.String() == "y" })
	r.on(c.Loop(), func() { c.Close(nil) })
	g.expect(nil)
}

// shelf is a handler with a place of its own.
type shelf struct {
	*probe
	place  func() []byte
	placed func(c *Conn, n int) error
}

func (s *shelf) Place(*Conn) []byte { return s.place() }

func (s *shelf) Placed(c *Conn, n int) error {
	defer s.enter(c, "Placed")()
	return s.placed(c, n)
}

// What comes goes to the handler's own place while it has one and wants that, and nothing is lost or turned round at the
// borders.
func TestReadInPlace(t *testing.T) {
	const readBytes = 512
	r := start(t, Options{ReadBytes: readBytes})
	var got collector
	var own []byte // what is free of the place
	var on bool
	var places, reads int
	s := &shelf{probe: r.probe()}
	s.received = func(c *Conn, p []byte) error {
		if reads++; reads%2 == 0 { // every other time there is one
			own = make([]byte, 3*readBytes+reads%7)
			on = true
			c.ReadInPlace(true)
		}
		got.add(p)
		return nil
	}
	s.place = func() []byte {
		if !on {
			t.Error("asked for a place without being told to")
		}
		return own
	}
	s.placed = func(c *Conn, n int) error {
		if places++; n == 0 || n > len(own) || n > readBytes {
			t.Errorf("%d bytes came to a place for %d", n, len(own))
		}
		p := own[:n]
		if own = own[n:]; len(own) == 0 && places%2 == 0 {
			on = false
			c.ReadInPlace(false)
		}
		got.add(p)
		return nil
	}
	_, peer := r.connect(s)
	all := make([]byte, 0, 200_000)
	for i := 0; len(all) < cap(all); i++ {
		all = append(all, byte(i), byte(i>>8))
	}
	go func() { _, _ = peer.Write(all) }()
	eventually(t, "all of it", func() bool { return got.size() == len(all) })
	if got.String() != string(all) {
		t.Error("what arrived is not what was sent")
	}
	if places < 20 || reads < 20 {
		t.Errorf("%d reads in place, %d others", places, reads)
	}
}

// A large place is filled by bounded reads, and an error or the end of the stream is what it is elsewhere.
func TestReadInPlaceEnds(t *testing.T) {
	const readBytes = 512
	r := start(t, Options{ReadBytes: readBytes})
	refused := errors.New("refused")
	for name, want := range map[string]error{"the end": io.EOF, "refused": refused} {
		t.Run(name, func(t *testing.T) {
			s := &shelf{probe: r.probe(), place: func() []byte { return make([]byte, 1<<20) }}
			most := 0
			s.placed = func(_ *Conn, n int) error {
				if most = max(most, n); errors.Is(want, refused) {
					return refused
				}
				return nil
			}
			s.halfClosed = func(c *Conn) { c.Close(io.EOF) }
			c, peer := r.connect(s)
			r.on(c.Loop(), func() {
				c.ReadInPlace(true)
				give(t, peer, make([]byte, 10_000))
			})
			_ = peer.CloseWrite()
			s.expect(want)
			if most != readBytes {
				t.Errorf("at most %d bytes in one read", most)
			}
		})
	}
}

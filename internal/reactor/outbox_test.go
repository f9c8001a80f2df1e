//go:build linux

package reactor

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// waiting is what an outbox has still to send.
func (o *outbox) waiting() []byte {
	var all []byte
	for i, piece := range o.pieces[o.first:] {
		if i == 0 {
			piece = piece[o.sent:]
		}
		all = append(all, piece...)
	}
	return all
}

// Whatever is put in, however little goes at a time: what waits is what came in and has not gone.
func TestOutboxOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		var p pool
		var o outbox
		in, out := 0, 0
		for range 300 {
			n := 1 + rnd.IntN(3000)
			switch b := sequence(in, n); rnd.IntN(6) {
			case 0:
				o.copy(&p, b)
				in += n
			case 1:
				o.copy(&p, b[:1+n/100])
				in += 1 + n/100
			case 2:
				o.copyLarge(&p, b)
				in += n
			case 3:
				o.own(append(p.get(2*n), b...))
				in += n
			default:
				n = min(n, o.bytes)
				o.advance(&p, n)
				out += n
			}
			if o.bytes != in-out {
				t.Fatalf("%d bytes wait, want %d", o.bytes, in-out)
			}
		}
		if !bytes.Equal(o.waiting(), sequence(out, in-out)) {
			t.Fatal("what waits is not what was put in")
		}
		o.advance(&p, o.bytes)
		if len(o.pieces) != 0 || o.first != 0 || o.sent != 0 {
			t.Fatalf("empty outbox has %d pieces, first %d, sent %d", len(o.pieces), o.first, o.sent)
		}
	}
}

// A peer that reads all the time and never catches up costs what it lags behind, not what it has been sent.
func TestOutboxOfALaggard(t *testing.T) {
	var p pool
	var o outbox
	b := make([]byte, 1000)
	for range 100_000 {
		o.own(b)
		if o.bytes > 10_000 {
			o.advance(&p, 1000)
		}
	}
	if cap(o.pieces) > 100 {
		t.Errorf("%d places for %d pieces", cap(o.pieces), len(o.pieces)-o.first)
	}
}

// What lies behind a buffer that was handed over may be in use: nothing is written there.
func TestOwnedBuffersAreNotFilled(t *testing.T) {
	var p pool
	var o outbox
	whole := []byte("mine and yours")
	o.own(whole[:4])
	o.copy(&p, []byte(" or not"))
	if got := string(whole); got != "mine and yours" {
		t.Errorf("the buffer became %q", got)
	}
	if got := string(o.waiting()); got != "mine or not" {
		t.Errorf("%q waits", got)
	}
}

func TestOutboxReleaseReturnsBuffers(t *testing.T) {
	var p pool
	var o outbox
	for range 5 {
		o.copyLarge(&p, make([]byte, 1<<10))
	}
	o.advance(&p, 1500) // one has gone, one is half gone
	o.release(&p)
	if want := 5 << 10; p.bytes != want {
		t.Errorf("%d bytes came back, want %d", p.bytes, want)
	}
	if o.bytes != 0 || o.first != 0 || o.sent != 0 || len(o.pieces) != 0 {
		t.Errorf("left: %+v", o)
	}
}

// Everything written arrives, in order and once, whatever the way and however little the peer takes at a time.
func TestWrites(t *testing.T) {
	const total = 400_000
	write := func(c *Conn, p []byte) error { return c.Write(p) }
	owned := func(c *Conn, p []byte) error { return c.WriteOwned(append(c.Loop().Get(len(p)), p...)) }
	foreign := func(c *Conn, p []byte) error { return c.WriteOwned(bytes.Clone(p)) }
	now := func(c *Conn, p []byte) error { return c.WriteNow(p) }
	several := func(c *Conn, p []byte) error {
		pieces := slices.Collect(slices.Chunk(bytes.Clone(p), 1+len(p)/3))
		return c.WriteOwned(pieces[0], pieces[1:]...)
	}
	ways := []func(c *Conn, p []byte) error{write, owned, foreign, now, several}
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, test := range []struct {
		name string
		size func(i int) int
		way  func(i int) int
		read int // at most as many bytes at a time
		wide bool
	}{
		{name: "small", size: func(i int) int { return 1 + i%50 }, way: func(int) int { return 0 }, read: 777},
		{name: "small, into a wide pipe", size: func(i int) int { return 1 + i%50 }, way: func(int) int { return 0 }, read: 65536, wide: true},
		{name: "around the size that goes at once", size: func(i int) int { return directBytes - 1 + i%3 }, way: func(int) int { return 0 }, read: 3001},
		{name: "now, small", size: func(i int) int { return 1 + i%500 }, way: func(int) int { return 3 }, read: 1999},
		{name: "large", size: func(int) int { return 100_000 }, way: func(int) int { return 0 }, read: 3001},
		{name: "all at once", size: func(int) int { return total }, way: func(int) int { return 0 }, read: 3001},
		{name: "owned, small", size: func(i int) int { return 1 + i%500 }, way: func(int) int { return 1 }, read: 1999},
		{name: "owned, large", size: func(i int) int { return directBytes + i }, way: func(int) int { return 1 }, read: 1999},
		{name: "owned, several", size: func(i int) int { return 1 + 7*i }, way: func(int) int { return 4 }, read: 1999},
		{name: "mixed", size: func(int) int { return 1 + rnd.IntN(20_000) }, way: func(int) int { return rnd.IntN(5) }, read: 1501},
		{name: "mixed, into a wide pipe", size: func(int) int { return 1 + rnd.IntN(20_000) }, way: func(int) int { return rnd.IntN(5) }, read: 65536, wide: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, Options{})
			h := r.probe()
			buffers := 2048
			if test.wide {
				buffers = 0
			}
			c, peer := r.connectTo(r.Loops()[0], h, buffers)
			writable := make(chan struct{}, 1)
			h.writable = func(c *Conn) {
				if c.Kept() != 0 {
					t.Errorf("Writable while %d bytes are kept", c.Kept())
				}
				select {
				case writable <- struct{}{}:
				default:
				}
			}
			all := sequence(0, total)
			r.on(c.Loop(), func() {
				for i, rest := 0, all; len(rest) > 0; i++ {
					n := min(test.size(i), len(rest))
					if err := ways[test.way(i)](c, rest[:n]); err != nil {
						t.Error(err)
						return
					}
					rest = rest[n:]
				}
			})
			got := make([]byte, 0, total)
			for len(got) < total {
				n, err := peer.Read(got[len(got):min(total, len(got)+test.read)])
				if err != nil {
					t.Fatalf("after %d bytes: %v", len(got), err)
				}
				got = got[:len(got)+n]
			}
			if !bytes.Equal(got, all) {
				t.Fatal("what arrived is not what was written")
			}
			if !test.wide {
				wait(t, "Writable", writable)
			}
			r.on(c.Loop(), func() {
				if c.Kept() != 0 || c.out != nil || c.loop.Kept() != 0 {
					t.Errorf("%d bytes kept after all has arrived, %d by the loop", c.Kept(), c.loop.Kept())
				}
			})
			r.quiet(c.Loop())
		})
	}
}

func TestWriteNowTakesNoMemory(t *testing.T) {
	r := start(t, Options{})
	c, peer := r.connect(r.probe())
	r.on(c.Loop(), func() {
		if err := c.WriteNow([]byte("at once")); err != nil || c.out != nil {
			t.Errorf("%v; something is kept: %v", err, c.out != nil)
		}
	})
	if got := take(t, peer, 7); string(got) != "at once" {
		t.Errorf("%q", got)
	}
}

// More pieces wait than one system call takes.
func TestWriteOfManyPieces(t *testing.T) {
	r := start(t, Options{})
	h := r.probe()
	c, peer := r.connectTo(r.Loops()[0], h, 64<<10)
	const pieces = 5 * maxPieces
	all := sequence(0, pieces*directBytes)
	r.on(c.Loop(), func() {
		for i := range pieces {
			if err := c.WriteOwned(bytes.Clone(all[i*directBytes:][:directBytes])); err != nil {
				t.Error(err)
				return
			}
		}
		if n := len(c.out.pieces) - c.out.first; n <= maxPieces {
			t.Errorf("only %d pieces wait", n)
		}
	})
	if !bytes.Equal(take(t, peer, len(all)), all) {
		t.Fatal("what arrived is not what was written")
	}
	r.on(c.Loop(), func() {
		for _, v := range c.loop.iov[:maxPieces] {
			if v.Base != nil {
				t.Error("the loop holds on to a buffer that has gone")
				return
			}
		}
	})
}

// Pieces that are written in one turn leave together.
func TestWritesOfATurnLeaveTogether(t *testing.T) {
	r := start(t, Options{})
	c, peer := r.connect(r.probe())
	r.on(c.Loop(), func() {
		for range 100 {
			if err := c.Write([]byte("0123456789")); err != nil {
				t.Error(err)
			}
		}
		if c.Kept() != 1000 {
			t.Errorf("%d bytes kept within the turn, want 1000", c.Kept())
		}
	})
	p := make([]byte, 2000)
	if n, err := peer.Read(p); n != 1000 || err != nil {
		t.Errorf("the first read got %d bytes (%v), want all 1000", n, err)
	}
}

// TryWrite keeps nothing. When it comes up short, Writable says when to go on; in between nothing turns.
func TestTryWrite(t *testing.T) {
	const total = 300_000
	r := start(t, Options{})
	h := r.probe()
	c, peer := r.narrow(h)
	rest := sequence(0, total)
	short, calls := 0, 0
	goOn := func(c *Conn) {
		for len(rest) > 0 {
			piece := rest[:min(len(rest), 5000)]
			n := c.TryWrite(piece)
			if c.Kept() != 0 {
				t.Errorf("TryWrite kept %d bytes", c.Kept())
			}
			rest = rest[n:]
			if n < len(piece) {
				short++
				return
			}
		}
	}
	h.writable = func(c *Conn) { calls++; goOn(c) }
	r.on(c.Loop(), func() { goOn(c) })
	r.quiet(c.Loop()) // short, and the peer does not read
	if !bytes.Equal(take(t, peer, total), sequence(0, total)) {
		t.Fatal("what arrived is not what was written")
	}
	r.on(c.Loop(), func() {
		if short == 0 || calls != short {
			t.Errorf("TryWrite came up short %d times, Writable was called %d times", short, calls)
		}
	})
	r.quiet(c.Loop()) // nothing is left to write: epoll must not look for room any more
}

// What was kept goes before what is tried, and TryWrite takes nothing until then.
func TestTryWriteBehindKept(t *testing.T) {
	r := start(t, Options{})
	h := r.probe()
	c, peer := r.narrow(h)
	all := sequence(0, 200_000)
	cut := len(all) - 100
	writable := make(chan int, 100)
	h.writable = func(c *Conn) { writable <- c.TryWrite(all[cut:]) }
	r.on(c.Loop(), func() {
		if err := c.Write(all[:cut]); err != nil {
			t.Error(err)
		}
		if n := c.TryWrite(all[cut:]); n != 0 {
			t.Errorf("TryWrite took %d bytes before what is kept", n)
		}
	})
	if !bytes.Equal(take(t, peer, len(all)), all) {
		t.Fatal("what arrived is not what was written")
	}
	if n := wait(t, "Writable", writable); n != 100 {
		t.Errorf("TryWrite took %d bytes in Writable, want 100", n)
	}
	r.quiet(c.Loop())
	// What was gathered in this turn goes first, too.
	r.on(c.Loop(), func() {
		if err := c.Write([]byte("first ")); err != nil {
			t.Error(err)
		}
		if n := c.TryWrite([]byte("second")); n != 6 {
			t.Errorf("TryWrite took %d bytes", n)
		}
	})
	if got := string(take(t, peer, 12)); got != "first second" {
		t.Errorf("got %q", got)
	}
}

// A peer that does not read is told from others by what is kept for it, and that is bounded.
func TestKeptIsBounded(t *testing.T) {
	const maxKept = 100_000
	r := start(t, Options{MaxKept: maxKept})
	h, other := r.probe(), r.probe()
	writable := make(chan struct{}, 100)
	h.writable = func(*Conn) { writable <- struct{}{} }
	c, peer := r.narrow(h)
	d, peerOfOther := r.connect(other)
	written := 0
	r.on(c.Loop(), func() {
		for i := range 100_000 {
			p := sequence(written, 1+i%3000)
			err := c.Write(p)
			if c.Kept() > maxKept {
				t.Errorf("%d bytes kept", c.Kept())
			}
			if err != nil {
				if err != ErrKept { //nolint:errorlint // it is documented to be this very error
					t.Errorf("Write: %v", err)
				}
				break
			}
			written += len(p)
		}
		if c.Kept() < maxKept-3000 {
			t.Errorf("refused with only %d bytes kept", c.Kept())
		}
		if err := c.WriteOwned(make([]byte, maxKept)); err != ErrKept { //nolint:errorlint // see above
			t.Errorf("WriteOwned: %v", err)
		}
		kept := c.Kept()
		if err := c.WriteOwned([]byte("x"), make([]byte, maxKept)); err != ErrKept || c.Kept() > kept { //nolint:errorlint // see above
			t.Errorf("WriteOwned of two: %v, and %d bytes more are kept", err, c.Kept()-kept)
		}
		if c.Closed() {
			t.Error("closed because the peer does not read")
		}
		if err := d.Write([]byte("hello")); err != nil {
			t.Error(err)
		}
	})
	if got := string(take(t, peerOfOther, 5)); got != "hello" {
		t.Errorf("the other connection got %q", got)
	}
	r.quiet(c.Loop())
	if !bytes.Equal(take(t, peer, written), sequence(0, written)) {
		t.Fatal("what arrived is not what was taken")
	}
	wait(t, "Writable", writable)
	r.on(c.Loop(), func() {
		if err := c.Write([]byte("again")); err != nil {
			t.Error(err)
		}
	})
	if got := string(take(t, peer, 5)); got != "again" {
		t.Errorf("got %q", got)
	}
}

func TestOneLargePieceIsTaken(t *testing.T) {
	for _, test := range []struct {
		name  string
		write func(c *Conn, p []byte) error
	}{
		{"Write", (*Conn).Write},
		{"WriteOwned", func(c *Conn, p []byte) error { return c.WriteOwned(bytes.Clone(p)) }},
		{"WriteOwned of two", func(c *Conn, p []byte) error { return c.WriteOwned(bytes.Clone(p[:1]), bytes.Clone(p[1:])) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, Options{MaxKept: 1000})
			c, peer := r.narrow(r.probe())
			all := sequence(0, 100_000)
			r.on(c.Loop(), func() {
				if err := test.write(c, all); err != nil {
					t.Errorf("nothing was kept: %v", err)
				}
				if err := test.write(c, all[:1]); err != ErrKept { //nolint:errorlint // it is documented to be this very error
					t.Errorf("more than MaxKept was kept: %v", err)
				}
			})
			if !bytes.Equal(take(t, peer, len(all)), all) {
				t.Fatal("what arrived is not what was written")
			}
		})
	}
}

func TestUnboundKeepsAnything(t *testing.T) {
	r := start(t, Options{MaxKept: 1000})
	c, peer := r.narrow(r.probe())
	all := sequence(0, 100_000)
	r.on(c.Loop(), func() {
		c.Unbound()
		for i := 0; i < len(all); i += 1000 {
			if err := c.Write(all[i:][:1000]); err != nil {
				t.Error(err)
				return
			}
		}
	})
	if !bytes.Equal(take(t, peer, len(all)), all) {
		t.Fatal("what arrived is not what was written")
	}
}

// Bytes that room was made for are taken, also when not all of what was kept could go.
func TestRoomIsLookedForAgain(t *testing.T) {
	const maxKept = 1 << 20
	r := start(t, Options{MaxKept: maxKept})
	l := r.Loops()[0]
	near, far := tcpPair(t, 0)
	_ = far.SetWriteBuffer(32 << 10)
	_ = near.SetReadBuffer(32 << 10)
	r.on(l, func() {
		c, err := l.Adopt(far, r.probe())
		if err != nil {
			t.Error(err)
			return
		}
		for refused := 0; refused < 3; {
			if c.Write(make([]byte, 1000)) != nil {
				refused++
			}
		}
		// The peer reads while the loop is busy, so epoll has not told of it yet.
		p := make([]byte, 4<<10)
		for poll := []unix.PollFd{{Fd: c.fd, Events: unix.POLLOUT}}; poll[0].Revents == 0; {
			if _, err := near.Read(p); err != nil {
				t.Error(err)
				return
			}
			if _, err := unix.Poll(poll, 0); err != nil {
				t.Error(err)
				return
			}
		}
		if err := c.Write(make([]byte, 1000)); err != nil {
			t.Errorf("with %d of %d bytes kept: %v", c.Kept(), maxKept, err)
		}
	})
}

//go:build linux

package reactor

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must happen. It is long, because it is only ever used up by a failure.
const patience = 20 * time.Second

// rig is a running group, and what is checked of every connection in a test.
type rig struct {
	*Group
	t      testing.TB
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // Run's, once ended is closed
	inside []int // per loop: how many handler calls are under way
}

// start runs a group until the test ends, and fails the test when it did not end well.
func start(t testing.TB, o Options) *rig {
	t.Helper()
	r := launch(t, o)
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// launch runs a group that the test stops.
func launch(t testing.TB, o Options) *rig {
	t.Helper()
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &rig{Group: g, t: t, cancel: cancel, ended: make(chan struct{}), inside: make([]int, len(g.Loops()))}
	go func() {
		r.err = g.Run(ctx)
		close(r.ended)
	}()
	return r
}

func (r *rig) stop() error {
	r.t.Helper()
	r.cancel()
	wait(r.t, "the group to end", r.ended)
	return r.err
}

// on runs fn on a loop and waits for it.
func (r *rig) on(l *Loop, fn func()) {
	r.t.Helper()
	done := make(chan struct{})
	if !l.Post(func() { defer close(done); fn() }) {
		r.t.Fatal("Post: the loop has ended")
	}
	wait(r.t, "the loop to run a function", done)
}

// turns waits until the loop has turned at least n times more, so that what was under way has been seen.
func (r *rig) turns(l *Loop, n int) {
	r.t.Helper()
	for range n {
		r.on(l, func() {})
	}
}

// quiet fails when the loop turns by itself while nothing happens.
func (r *rig) quiet(l *Loop) {
	r.t.Helper()
	r.turns(l, 2)
	before := l.Turns()
	timer := time.NewTimer(60 * time.Millisecond)
	defer timer.Stop()
	<-timer.C // not for anything to happen: for nothing to
	if turns := l.Turns() - before; turns > 8 {
		r.t.Errorf("the loop turned %d times with nothing to do", turns)
	}
}

// probe is a handler made of functions. It checks that Closed comes once, last, and from inside no other call.
type probe struct {
	rig        *rig
	received   func(c *Conn, p []byte) error
	writable   func(c *Conn)
	halfClosed func(c *Conn)
	closed     func(c *Conn, reason error)

	closes int // on the loop
	done   chan error
}

func (r *rig) probe() *probe { return &probe{rig: r, done: make(chan error, 4)} }

func (h *probe) enter(c *Conn, name string) func() {
	if h.closes > 0 {
		h.rig.t.Errorf("%s after Closed", name)
	}
	i := c.Loop().Index()
	if h.rig.inside[i]++; h.rig.inside[i] != 1 {
		h.rig.t.Errorf("%s from inside another call", name)
	}
	return func() { h.rig.inside[i]-- }
}

func (h *probe) Received(c *Conn, p []byte) error {
	defer h.enter(c, "Received")()
	if len(p) == 0 {
		h.rig.t.Error("Received nothing")
	}
	if h.received != nil {
		return h.received(c, p)
	}
	return nil
}

func (h *probe) Writable(c *Conn) {
	defer h.enter(c, "Writable")()
	if h.writable != nil {
		h.writable(c)
	}
}

func (h *probe) HalfClosed(c *Conn) {
	defer h.enter(c, "HalfClosed")()
	if h.halfClosed != nil {
		h.halfClosed(c)
	}
}

func (h *probe) Closed(c *Conn, reason error) {
	defer h.enter(c, "Closed")()
	h.closes++
	if !c.Closed() {
		h.rig.t.Error("Closed of an open connection")
	}
	if c.Loop().Lookup(c.Ref()) != nil {
		h.rig.t.Error("the Ref of a closed connection still names one")
	}
	if h.closed != nil {
		h.closed(c, reason)
	}
	h.done <- reason
}

// reason waits for Closed.
func (h *probe) reason() error {
	h.rig.t.Helper()
	select {
	case err := <-h.done:
		return err
	case <-time.After(patience):
		h.rig.t.Fatal("Closed was not called")
		return nil
	}
}

// expect waits for Closed and compares its reason.
func (h *probe) expect(want error) {
	h.rig.t.Helper()
	if err := h.reason(); !errors.Is(err, want) {
		h.rig.t.Errorf("closed with %v, want %v", err, want)
	}
}

// tcpPair returns the two ends of a connection over loopback. Where rcvbuf > 0, near can receive about that much.
func tcpPair(t testing.TB, rcvbuf int) (near, far *net.TCPConn) {
	t.Helper()
	lc := net.ListenConfig{KeepAlive: -1}
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			c = nil
		}
		accepted <- c
	}()
	near = dial(t, ln.Addr().String(), rcvbuf)
	c := <-accepted
	if c == nil {
		t.Fatal("accept failed")
	}
	far = c.(*net.TCPConn)
	t.Cleanup(func() { _ = far.Close() })
	return near, far
}

// dial connects, with a receive buffer of about rcvbuf bytes where that is not 0.
func dial(t testing.TB, address string, rcvbuf int) *net.TCPConn {
	t.Helper()
	d := net.Dialer{KeepAlive: -1, Timeout: patience, Control: func(_, _ string, rc syscall.RawConn) error {
		if rcvbuf == 0 {
			return nil
		}
		return control(rc, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, rcvbuf) })
	}}
	c, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// connect gives the first loop a connection with this handler, and returns it and the peer.
func (r *rig) connect(h Handler) (*Conn, *net.TCPConn) {
	r.t.Helper()
	return r.connectTo(r.Loops()[0], h, 0)
}

// narrow is connect with small buffers in the kernel, so that little is under way.
func (r *rig) narrow(h Handler) (*Conn, *net.TCPConn) {
	r.t.Helper()
	return r.connectTo(r.Loops()[0], h, 2048)
}

func (r *rig) connectTo(l *Loop, h Handler, buffers int) (*Conn, *net.TCPConn) {
	r.t.Helper()
	near, far := tcpPair(r.t, buffers)
	if buffers > 0 {
		if err := far.SetWriteBuffer(buffers); err != nil {
			r.t.Fatal(err)
		}
	}
	var c *Conn
	var err error
	r.on(l, func() { c, err = l.Adopt(far, h) })
	if err != nil {
		r.t.Fatal(err)
	}
	return c, near
}

// listen opens a port on loopback.
func (r *rig) listen(accept func(c *Conn) Handler) *Listener {
	r.t.Helper()
	ln, err := r.Listen(r.t.Context(), ListenOptions{Address: "127.0.0.1:0", Accept: accept})
	if err != nil {
		r.t.Fatal(err)
	}
	return ln
}

// reset closes a connection so that the peer sees a reset.
func reset(t testing.TB, c *net.TCPConn) {
	t.Helper()
	if err := c.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

func wait[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// eventually waits until something is true that nobody tells of.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		<-tick.C
	}
}

// descriptors counts what the process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// send writes all of p to a connection of the standard library.
func give(t testing.TB, c net.Conn, p []byte) {
	t.Helper()
	if _, err := c.Write(p); err != nil {
		t.Fatalf("write: %v", err)
	}
}

// take reads n bytes from a connection of the standard library.
func take(t testing.TB, c net.Conn, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if m, err := io.ReadFull(c, p); err != nil {
		t.Fatalf("read %d of %d bytes: %v", m, n, err)
	}
	return p
}

// sequence returns n bytes of a stream from offset on, in which every byte has its place: what is lost, repeated or
// out of order is seen.
func sequence(offset, n int) []byte {
	skip := offset % 4
	p := make([]byte, 0, skip+n+4)
	for at := offset / 4; len(p) < skip+n; at++ {
		p = binary.LittleEndian.AppendUint32(p, uint32(at)*2654435761)
	}
	return p[skip : skip+n]
}

// collector gathers bytes that arrive on a loop for a test that waits elsewhere.
type collector struct {
	mu   sync.Mutex
	data []byte
}

func (b *collector) add(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.data = append(b.data, p...)
}

func (b *collector) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.data)
}

func (b *collector) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.data)
}

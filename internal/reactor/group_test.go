//go:build linux

package reactor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The end with work in flight: everybody is told, and nothing is left.
func TestShutdown(t *testing.T) {
	before := descriptors(t)
	r := launch(t, Options{Loops: 2})
	ln := r.listen(func(*Conn) Handler { return r.probe() })
	var probes []*probe
	for i := range 20 {
		h := r.probe()
		h.closed = func(c *Conn, _ error) {
			if err := c.Write([]byte("x")); !errors.Is(err, ErrClosed) {
				t.Errorf("Write: %v", err)
			}
			c.Loop().Post(func() {})
		}
		c, peer := r.connectTo(r.Loops()[i%2], h, 2048)
		probes = append(probes, h)
		r.on(c.Loop(), func() {
			switch i % 4 {
			case 0:
				_ = c.Write(make([]byte, 1<<20))
			case 1:
				c.TryWrite(make([]byte, 1<<20))
			case 2:
				_ = c.Write(make([]byte, 1<<20))
				c.CloseFlushed(errTest)
			case 3:
				c.PauseRead()
			}
		})
		defer func() { _ = peer.Close() }()
	}
	ran := make(chan struct{})
	r.Loops()[0].Post(func() { // what is posted before the end is run, however late
		r.cancel()
		r.Loops()[0].Post(func() { close(ran) })
	})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	wait(t, "the posted function", ran)
	for _, h := range probes {
		h.expect(ErrStopped)
	}
	for _, l := range r.Loops() {
		if n := l.Connections(); n != 0 {
			t.Errorf("%d connections left", n)
		}
	}
	if _, err := r.Listen(t.Context(), ListenOptions{Address: "127.0.0.1:0"}); !errors.Is(err, ErrStopped) {
		t.Errorf("Listen after the end: %v", err)
	}
	ln.Close()
	left := descriptors(t)
	for range probes { // the peers' are still open
		left--
	}
	if left != before {
		t.Errorf("%d descriptors, %d before", left, before)
	}
}

// A panic in any callback ends the whole group with an error, and leaves nothing open.
func TestPanic(t *testing.T) {
	for _, test := range []struct {
		name string
		act  func(t *testing.T, r *rig, l *Loop, h *probe)
	}{
		{"posted", func(_ *testing.T, _ *rig, l *Loop, _ *probe) { l.Post(func() { panic("oops") }) }},
		{"timer", func(_ *testing.T, _ *rig, l *Loop, _ *probe) {
			l.Post(func() { l.After(0, func() { panic("oops") }) })
		}},
		{"Received", func(t *testing.T, r *rig, l *Loop, h *probe) {
			t.Helper()
			h.received = func(*Conn, []byte) error { panic("oops") }
			_, peer := r.connectTo(l, h, 0)
			give(t, peer, []byte("x"))
		}},
		{"Closed", func(t *testing.T, r *rig, l *Loop, h *probe) {
			t.Helper()
			h.closed = func(*Conn, error) { panic("oops") }
			c, _ := r.connectTo(l, h, 0)
			l.Post(func() { c.Close(nil) })
		}},
		{"Closed at the end", func(t *testing.T, r *rig, l *Loop, h *probe) {
			t.Helper()
			h.closed = func(*Conn, error) { panic("oops") }
			r.connectTo(l, h, 0)
			r.cancel()
		}},
		{"Accept", func(t *testing.T, r *rig, _ *Loop, _ *probe) {
			t.Helper()
			ln := r.listen(func(*Conn) Handler { panic("oops") })
			dial(t, ln.Addr().String(), 0)
		}},
		{"before a listener is open", func(t *testing.T, r *rig, l *Loop, _ *probe) {
			t.Helper()
			entered, leave := make(chan struct{}), make(chan struct{})
			l.Post(func() { close(entered); <-leave; panic("oops") })
			wait(t, "the loop", entered)
			r.listen(func(*Conn) Handler { return nil })
			close(leave)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := descriptors(t)
			var others []*probe
			r := launch(t, Options{Loops: 2})
			// The others are on the first loop. When that one panics (Accept), they are not told.
			other := r.probe()
			r.connectTo(r.Loops()[0], other, 0)
			others = append(others, other)
			test.act(t, r, r.Loops()[1], r.probe())
			wait(t, "the end", r.ended)
			var p *PanicError
			if !errors.As(r.err, &p) {
				t.Fatalf("Run returned %v", r.err)
			}
			if p.Value != "oops" || len(p.Stack) == 0 || p.Error() != "panic: oops" {
				t.Errorf("%v with a stack of %d bytes", p, len(p.Stack))
			}
			if test.name != "Accept" {
				for _, h := range others {
					h.expect(ErrStopped)
				}
			}
			for _, l := range r.Loops() {
				if l.Post(func() {}) {
					t.Error("Post after the end returned true")
				}
				if n := l.Connections(); n != 0 {
					t.Errorf("%d connections left", n)
				}
			}
			r.cancel()
			// Near ends of the pairs are open until the test's end.
			near := 1
			switch test.name {
			case "Received", "Closed", "Closed at the end", "Accept":
				near = 2
			}
			if n := descriptors(t) - near; n != before {
				t.Errorf("%d descriptors, %d before", n, before)
			}
		})
	}
}

// A group that is never run leaves nothing, and neither does one that is not made.
func TestCloseOfAGroupThatNeverRan(t *testing.T) {
	before := descriptors(t)
	g, err := New(Options{Loops: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Listen(t.Context(), ListenOptions{Address: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	ran := 0
	g.Loops()[1].Post(func() { ran++ })
	g.Close()
	g.Close()
	if ran != 1 {
		t.Error("what was posted did not run")
	}
	if err := g.Run(t.Context()); err == nil {
		t.Error("a closed group ran")
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
}

// Thousands of short connections, opened and closed from either side: the counts are where they began.
func TestChurn(t *testing.T) {
	const goroutines, each = 5, 1000
	before, threads := descriptors(t), runtime.NumGoroutine()
	r := launch(t, Options{Loops: 2})
	var opened, closed atomic.Int64
	ln := r.listen(func(*Conn) Handler {
		opened.Add(1)
		h := r.probe()
		n := 0
		h.received = func(c *Conn, p []byte) error {
			if n++; n%2 == 0 {
				return errTest
			}
			return c.Write(p)
		}
		h.halfClosed = func(c *Conn) { c.Close(nil) }
		h.closed = func(*Conn, error) { closed.Add(1) }
		return h
	})
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := range each {
				if err := visit(ln.Addr().String(), i); err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	eventually(t, "all to be closed", func() bool {
		return opened.Load() == goroutines*each && closed.Load() == goroutines*each
	})
	for _, l := range r.Loops() {
		r.turns(l, 1)
		if n := l.Connections(); n != 0 {
			t.Errorf("%d connections left", n)
		}
		r.on(l, func() {
			if l.table.count != 0 || len(l.table.free) != len(l.table.slots) {
				t.Errorf("%d slots taken, %d of %d free", l.table.count, len(l.table.free), len(l.table.slots))
			}
		})
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
	eventually(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= threads })
}

// visit opens a connection, has a byte echoed and ends it in one of several ways.
func visit(address string, i int) error {
	nc, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err
	}
	defer nc.Close()
	c := nc.(*net.TCPConn)
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	p := []byte{byte(i)}
	if _, err := c.Write(p); err != nil {
		return err
	}
	if _, err := c.Read(p); err != nil {
		return err
	}
	if p[0] != byte(i) {
		return fmt.Errorf("got %d", p[0])
	}
	switch i % 3 {
	case 0:
		return c.SetLinger(0)
	case 1: // the other side closes
		if _, err := c.Write(p); err != nil {
			return err
		}
		_, _ = c.Read(p)
	}
	return nil
}

func TestOptionsHaveDefaults(t *testing.T) {
	g, err := New(Options{Loops: -1, ReadBytes: -1, MaxKept: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if len(g.Loops()) != 1 || len(g.loops[0].scratch) != 64<<10 || g.options.MaxKept != 16<<20 {
		t.Errorf("%d loops, %+v", len(g.Loops()), g.options)
	}
}

// A group for which descriptors do not suffice is not made, and leaves nothing.
func TestNewWithoutDescriptors(t *testing.T) {
	if !alone(t) {
		return
	}
	before := descriptors(t)
	limit := unix.Rlimit{Cur: uint64(before) + 4, Max: uint64(before) + 4}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	limit.Max = old.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for loops := 20; loops < 30; loops++ {
		if g, err := New(Options{Loops: loops}); err == nil {
			g.Close()
			t.Fatalf("%d loops were made", loops)
		} else if !errors.Is(err, unix.EMFILE) {
			t.Errorf("New: %v", err)
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
}

// The context that ends Run may have ended before.
func TestRunWithAnEndedContext(t *testing.T) {
	g, err := New(Options{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Run(ctx); err != nil {
		t.Error(err)
	}
}

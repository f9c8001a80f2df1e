//go:build linux

package reactor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestListen(t *testing.T) {
	for _, test := range []struct {
		name, address, host string
		needs6              bool
	}{
		{name: "IPv4", address: "127.0.0.1:0", host: "127.0.0.1"},
		{name: "IPv6", address: "[::1]:0", host: "::1", needs6: true},
		{name: "a name", address: "localhost:0", host: "localhost"},
		{name: "any, reached by IPv4", address: ":0", host: "127.0.0.1"},
		{name: "any, reached by IPv6", address: ":0", host: "::1", needs6: true},
		{name: "any IPv4", address: "0.0.0.0:0", host: "127.0.0.1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.needs6 && !hasIPv6() {
				t.Skip("no IPv6")
			}
			r := start(t, Options{Loops: 2})
			remotes := make(chan netip.AddrPort, 1)
			ln, err := r.Listen(t.Context(), ListenOptions{Address: test.address, Accept: func(c *Conn) Handler {
				if err := c.Write([]byte("welcome")); err != nil { // Accept may write already
					t.Error(err)
				}
				remotes <- c.RemoteAddr()
				return r.probe()
			}})
			if err != nil {
				t.Fatal(err)
			}
			if ln.Addr().Port() == 0 {
				t.Errorf("Addr is %v", ln.Addr())
			}
			peer := dial(t, net.JoinHostPort(test.host, fmt.Sprint(ln.Addr().Port())), 0)
			if got := string(take(t, peer, 7)); got != "welcome" {
				t.Errorf("got %q", got)
			}
			local := peer.LocalAddr().(*net.TCPAddr).AddrPort()
			if got := wait(t, "Accept", remotes); got != netip.AddrPortFrom(local.Addr().Unmap(), local.Port()) {
				t.Errorf("RemoteAddr %v, want %v", got, local)
			}
		})
	}
}

func TestIPv4AddressIsNotOpenToIPv6(t *testing.T) {
	if !hasIPv6() {
		t.Skip("no IPv6")
	}
	r := start(t, Options{Loops: 2})
	ln, err := r.Listen(t.Context(), ListenOptions{Address: "0.0.0.0:0", Accept: func(*Conn) Handler { return r.probe() }})
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("::1", fmt.Sprint(ln.Addr().Port()))
	if c, err := net.Dial("tcp6", address); err == nil { //nolint:noctx // says at once
		_ = c.Close()
		t.Errorf("listening on 0.0.0.0 accepts %s", address)
	}
}

func hasIPv6() bool {
	ln, err := net.Listen("tcp6", "[::1]:0") //nolint:noctx // says at once
	if err != nil {
		return false
	}
	_ = ln.Close()
	return true
}

func TestListenFaults(t *testing.T) {
	before := descriptors(t)
	r := launch(t, Options{Loops: 2})
	for _, address := range []string{"127.0.0.1", "127.0.0.1:99999", "192.0.2.1:0", "no such host:0"} {
		if _, err := r.Listen(t.Context(), ListenOptions{Address: address}); err == nil {
			t.Errorf("%q: no error", address)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Listen(ctx, ListenOptions{Address: "localhost:0"}); err == nil {
		t.Error("an ended context: no error")
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
}

// A port that anybody has is refused, and nobody can have ours.
func TestListenOnATakenPort(t *testing.T) {
	for _, test := range []struct {
		name string
		take func(t *testing.T) (address string)
	}{
		{"by a plain listener", func(t *testing.T) string {
			t.Helper()
			var lc net.ListenConfig
			ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = ln.Close() })
			return ln.Addr().String()
		}},
		{"by another group", func(t *testing.T) string {
			t.Helper()
			r := start(t, Options{Loops: 2})
			return r.listen(func(*Conn) Handler { return nil }).Addr().String()
		}},
		{"by a group of one loop", func(t *testing.T) string {
			t.Helper()
			r := start(t, Options{})
			return r.listen(func(*Conn) Handler { return nil }).Addr().String()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := test.take(t)
			before := descriptors(t)
			r := launch(t, Options{Loops: 2})
			if _, err := r.Listen(t.Context(), ListenOptions{Address: address}); !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("Listen on a taken port: %v", err)
			}
			var lc net.ListenConfig
			if ln, err := lc.Listen(t.Context(), "tcp", address); !errors.Is(err, unix.EADDRINUSE) {
				t.Errorf("a plain bind to the taken port: %v", err)
				if err == nil {
					_ = ln.Close()
				}
			}
			if err := r.stop(); err != nil {
				t.Error(err)
			}
			if n := descriptors(t); n != before {
				t.Errorf("%d descriptors, %d before", n, before)
			}
		})
	}
}

// The kernel spreads connections over the loops, and each stays on its own.
func TestConnectionsSpread(t *testing.T) {
	const loops, peers = 3, 90
	r := start(t, Options{Loops: loops})
	var accepted atomic.Int64
	ln := r.listen(func(c *Conn) Handler {
		accepted.Add(1)
		l := c.Loop()
		h := r.probe()
		h.received = func(c *Conn, p []byte) error {
			if c.Loop() != l {
				t.Error("on another loop")
			}
			return c.Write(p)
		}
		return h
	})
	for range peers {
		peer := dial(t, ln.Addr().String(), 0)
		give(t, peer, []byte("x"))
		take(t, peer, 1)
	}
	all := 0
	for _, l := range r.Loops() {
		n := l.Connections()
		if all += n; n == 0 {
			t.Errorf("loop %d has no connection", l.Index())
		}
	}
	if all != peers || accepted.Load() != peers {
		t.Errorf("%d connections, %d accepted, want %d", all, accepted.Load(), peers)
	}
}

// What peers send with their first packet is not lost, however busy accepting is.
func TestAcceptMany(t *testing.T) {
	const peers = 3 * acceptsPerTurn
	r := start(t, Options{})
	l := r.Loops()[0]
	ln := r.listen(func(*Conn) Handler {
		h := r.probe()
		h.received = func(c *Conn, p []byte) error { return c.Write(p) }
		return h
	})
	var conns []*net.TCPConn
	r.on(l, func() { // the loop is busy: all have to wait
		for range peers {
			c, err := net.DialTimeout("tcp", ln.Addr().String(), patience)
			if err != nil {
				t.Error(err)
				return
			}
			conns = append(conns, c.(*net.TCPConn))
			if _, err := c.Write([]byte("x")); err != nil {
				t.Error(err)
			}
		}
	})
	for _, c := range conns {
		_ = c.SetDeadline(time.Now().Add(patience))
		take(t, c, 1)
		_ = c.Close()
	}
}

func TestRefusedConnections(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	h := r.probe()
	var refuse atomic.Bool
	refuse.Store(true)
	ln := r.listen(func(c *Conn) Handler {
		if refuse.Load() {
			return nil
		}
		c.Close(errTest) // closed by whom it belongs to, who is told
		return h
	})
	peer := dial(t, ln.Addr().String(), 0)
	if _, err := peer.Read(make([]byte, 1)); err == nil {
		t.Error("not refused")
	}
	eventually(t, "the refused connection to be gone", func() bool { return l.Connections() == 0 })
	refuse.Store(false)
	dial(t, ln.Addr().String(), 0)
	h.expect(errTest)
}

// A closed listener accepts no more; its connections stay, and its port can be had again.
func TestListenerClose(t *testing.T) {
	r := start(t, Options{Loops: 2})
	var address string
	for i := range 3 {
		before := descriptors(t)
		ln, err := r.Listen(t.Context(), ListenOptions{
			Address: "127.0.0.1:0", Backlog: 16,
			Accept: func(*Conn) Handler {
				h := r.probe()
				h.received = func(c *Conn, p []byte) error { return c.Write(p) }
				return h
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		address = ln.Addr().String()
		peer := dial(t, address, 0)
		give(t, peer, []byte("x"))
		take(t, peer, 1)
		ln.Close()
		ln.Close()
		for _, l := range r.Loops() {
			r.turns(l, 1)
			r.on(l, func() {
				if len(l.listeners) != 1 {
					t.Errorf("%d places for listeners after %d were closed", len(l.listeners), i+1)
				}
			})
		}
		if c, err := net.DialTimeout("tcp", address, patience); err == nil {
			_ = c.Close()
			t.Error("the port is still open")
		}
		give(t, peer, []byte("y"))
		take(t, peer, 1)
		if n := descriptors(t); n != before+2 { // both ends of one connection
			t.Errorf("%d descriptors, want %d", n, before+2)
		}
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
}

func TestSocketOptions(t *testing.T) {
	for _, test := range []struct {
		name string
		ka   KeepAlive
		want map[int]int // of IPPROTO_TCP
		on   int
	}{
		{name: "none", want: map[int]int{unix.TCP_NODELAY: 1}},
		{name: "the system's", ka: KeepAlive{On: true}, on: 1},
		{
			name: "all", ka: KeepAlive{On: true, Idle: 42 * time.Second, Interval: 7 * time.Second, Count: 3}, on: 1,
			want: map[int]int{unix.TCP_NODELAY: 1, unix.TCP_KEEPIDLE: 42, unix.TCP_KEEPINTVL: 7, unix.TCP_KEEPCNT: 3},
		},
		{name: "off", ka: KeepAlive{Idle: 42 * time.Second}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, Options{})
			done := make(chan struct{})
			ln, err := r.Listen(t.Context(), ListenOptions{
				Address: "127.0.0.1:0", KeepAlive: test.ka,
				Accept: func(c *Conn) Handler {
					defer close(done)
					if n, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE); err != nil || n != test.on {
						t.Errorf("keepalive is %d (%v), want %d", n, err, test.on)
					}
					for option, want := range test.want {
						if n, err := unix.GetsockoptInt(int(c.fd), unix.IPPROTO_TCP, option); err != nil || n != want {
							t.Errorf("option %d is %d (%v), want %d", option, n, err, want)
						}
					}
					if flags, err := unix.FcntlInt(uintptr(c.fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
						t.Errorf("the descriptor passes on to children (%v)", err)
					}
					return r.probe()
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			dial(t, ln.Addr().String(), 0)
			wait(t, "Accept", done)
		})
	}
}

// Without descriptors accepting pauses, says so once, and does not spin; who waits is accepted in the end.
func TestOutOfDescriptors(t *testing.T) {
	if !alone(t) {
		return
	}
	r := start(t, Options{})
	l := r.Loops()[0]
	paused := make(chan error, 100)
	accepted := make(chan *Conn, 100)
	ln, err := r.Listen(t.Context(), ListenOptions{
		Address: "127.0.0.1:0",
		Accept: func(c *Conn) Handler {
			accepted <- c
			h := r.probe()
			h.halfClosed = func(c *Conn) { c.Close(nil) }
			return h
		},
		Paused: func(on *Loop, err error) {
			if on != l {
				t.Error("another loop")
			}
			paused <- err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	// The peers' sockets are made before descriptors run out, and connect after.
	const peers = 10
	var sockets []int
	for range peers {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, fd)
	}
	var first *Conn
	dial(t, ln.Addr().String(), 0)
	first = wait(t, "Accept", accepted)

	giveBack := exhaust(t)
	for _, fd := range sockets {
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(ln.Addr().Port()), Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := wait(t, "Paused", paused); !errors.Is(err, unix.EMFILE) {
		t.Errorf("Paused(%v)", err)
	}
	r.quiet(l)

	// One descriptor is freed on the loop: one is accepted, long before the pause ends by itself.
	r.on(l, func() { first.Close(nil) })
	before := time.Now()
	wait(t, "Accept", accepted)
	if waited := time.Since(before); waited > acceptPause/2 {
		t.Errorf("accepted %v after a descriptor was freed", waited)
	}
	r.quiet(l)
	if len(accepted) != 0 {
		t.Errorf("%d more were accepted without descriptors", len(accepted))
	}

	// Nobody frees one on this loop: the timer tries again. Then all are accepted, and the end is told.
	giveBack()
	for range peers - 1 {
		wait(t, "Accept", accepted)
	}
	if err := wait(t, "Paused(nil)", paused); err != nil {
		t.Errorf("Paused(%v), want nil", err)
	}
	r.quiet(l)
	if len(paused) != 0 {
		t.Errorf("Paused was told %d times more", len(paused))
	}

	for _, fd := range sockets {
		_ = unix.Close(fd)
	}
	eventually(t, "the connections to end", func() bool { return l.Connections() == 0 })
}

// The end of a pause is told also when nobody has to wait any more, and when the listener is closed.
func TestPauseEndsWithNobodyWaiting(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(r *rig, ln *Listener)
	}{
		{"a descriptor is freed", func(r *rig, _ *Listener) {
			h := r.probe()
			c, _ := r.connect(h)
			r.on(c.Loop(), func() { c.Close(nil) })
		}},
		{"time passes", func(*rig, *Listener) {}},
		{"the listener is closed", func(_ *rig, ln *Listener) { ln.Close() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, Options{})
			l := r.Loops()[0]
			paused := make(chan error, 10)
			ln, err := r.Listen(t.Context(), ListenOptions{
				Address: "127.0.0.1:0",
				Accept:  func(*Conn) Handler { return nil },
				Paused:  func(_ *Loop, err error) { paused <- err },
			})
			if err != nil {
				t.Fatal(err)
			}
			r.on(l, func() { ln.sockets[0].pause(unix.ENFILE) })
			if err := wait(t, "Paused", paused); !errors.Is(err, unix.ENFILE) {
				t.Errorf("Paused(%v)", err)
			}
			began := time.Now()
			test.end(r, ln)
			if err := wait(t, "Paused(nil)", paused); err != nil {
				t.Errorf("Paused(%v), want nil", err)
			}
			if waited := time.Since(began); test.name != "time passes" && waited > acceptPause/2 {
				t.Errorf("told after %v", waited)
			}
			r.on(l, func() {
				if l.pausedListeners != 0 {
					t.Errorf("%d listeners are counted as paused", l.pausedListeners)
				}
			})
			r.quiet(l)
			if len(paused) != 0 {
				t.Errorf("Paused was told %d times more", len(paused))
			}
		})
	}
}

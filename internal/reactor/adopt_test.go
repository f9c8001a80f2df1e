//go:build linux

package reactor

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A connection of the standard library passes to a loop with all that its peer has sent, and lives on there.
func TestAdopt(t *testing.T) {
	for _, test := range []struct {
		name, network, address string
		dialed                 bool // the end that dialed is adopted, not the one that accepted
	}{
		{"accepted, IPv4", "tcp4", "127.0.0.1:0", false},
		{"dialed, IPv4", "tcp4", "127.0.0.1:0", true},
		{"accepted, IPv6", "tcp6", "[::1]:0", false},
		{"dialed, IPv6", "tcp6", "[::1]:0", true},
		{"IPv4 on a socket for both", "tcp", "[::]:0", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			lc := net.ListenConfig{KeepAlive: -1}
			ln, err := lc.Listen(t.Context(), test.network, test.address)
			if err != nil {
				if strings.Contains(test.name, "IPv4 on") || test.network == "tcp6" {
					t.Skip("no IPv6: ", err)
				}
				t.Fatal(err)
			}
			defer ln.Close()
			target := ln.Addr().String()
			if test.network == "tcp" {
				target = strings.Replace(target, "[::]", "127.0.0.1", 1)
			}
			near := net.Conn(dial(t, target, 0))
			far, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
			if test.dialed {
				near, far = far, near
			}
			give(t, near, []byte("sent before"))

			r := start(t, Options{})
			l := r.Loops()[0]
			h := r.probe()
			var got collector
			h.received = func(c *Conn, p []byte) error { got.add(p); return c.Write([]byte("reply")) }
			before := descriptors(t)
			r.on(l, func() {
				c, err := l.Adopt(far, h)
				if err != nil {
					t.Error(err)
					return
				}
				want := netip.MustParseAddrPort(near.LocalAddr().String())
				if c.RemoteAddr() != want {
					t.Errorf("RemoteAddr %v, want %v", c.RemoteAddr(), want)
				}
				if c.Loop() != l || c.Handler() != Handler(h) {
					t.Error("another loop or handler")
				}
			})
			eventually(t, "what was sent before", func() bool { return got.String() == "sent before" })
			if got := string(take(t, near, 5)); got != "reply" {
				t.Errorf("got %q", got)
			}
			if n := descriptors(t); n != before {
				t.Errorf("%d descriptors, %d before", n, before)
			}
			if _, err := far.Write([]byte("x")); err == nil {
				t.Error("the adopted net.Conn is still open")
			}
		})
	}
}

type wrapped struct{ net.Conn }

// What is not a TCP connection is refused and closed, and leaves nothing.
func TestAdoptRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		fds  int // that the connection has
		make func(t *testing.T) net.Conn
	}{
		{"a pipe", 0, func(t *testing.T) net.Conn {
			t.Helper()
			a, b := net.Pipe()
			t.Cleanup(func() { _ = b.Close() })
			return a
		}},
		{"a wrapped connection", 1, func(t *testing.T) net.Conn {
			t.Helper()
			a, _ := tcpPair(t, 0)
			return wrapped{a}
		}},
		{"a unix socket", 1, func(t *testing.T) net.Conn {
			t.Helper()
			name := filepath.Join(t.TempDir(), "s")
			ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: name})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ln.Close() }()
			c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: name})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}},
		{"a UDP socket", 1, func(t *testing.T) net.Conn {
			t.Helper()
			c, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}},
		{"a closed connection", 0, func(t *testing.T) net.Conn {
			t.Helper()
			a, _ := tcpPair(t, 0)
			_ = a.Close()
			return a
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := start(t, Options{})
			l := r.Loops()[0]
			nc := test.make(t)
			before := descriptors(t)
			h := r.probe()
			r.on(l, func() {
				if c, err := l.Adopt(nc, h); err == nil || c != nil {
					t.Errorf("Adopt returned %v, %v", c, err)
				}
			})
			if _, err := nc.Write([]byte("x")); err == nil {
				t.Error("the refused net.Conn is still open")
			}
			if n := descriptors(t); n != before-test.fds {
				t.Errorf("%d descriptors, want %d", n, before-test.fds)
			}
			if n := l.Connections(); n != 0 || len(h.done) != 0 {
				t.Errorf("%d connections, %d were told", n, len(h.done))
			}
		})
	}
}

// A connection that is posted for adoption while the loop ends is adopted and told of the end, or never taken.
func TestAdoptAtTheEnd(t *testing.T) {
	before := descriptors(t)
	for range 30 {
		r := launch(t, Options{})
		l := r.Loops()[0]
		first := r.probe()
		near, far := tcpPair(t, 0)
		late, lateFar := tcpPair(t, 0)
		h, g := r.probe(), r.probe()
		first.closed = func(*Conn, error) { // the loop is ending already
			l.Post(func() {
				if _, err := l.Adopt(lateFar, g); err != nil {
					t.Error(err)
				}
			})
		}
		_, peer := r.connect(first)
		stopping := make(chan struct{})
		go func() { defer close(stopping); r.cancel() }()
		posted := l.Post(func() {
			if _, err := l.Adopt(far, h); err != nil {
				t.Error(err)
			}
		})
		<-stopping
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		first.expect(ErrStopped)
		g.expect(ErrStopped)
		if posted {
			h.expect(ErrStopped)
		} else {
			_ = far.Close()
		}
		for _, c := range []*net.TCPConn{near, late, peer} {
			_ = c.Close()
		}
		if t.Failed() {
			break
		}
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors, %d before", n, before)
	}
}

// Without descriptors a connection cannot be adopted; it is closed all the same.
func TestAdoptWithoutDescriptors(t *testing.T) {
	if !alone(t) {
		return
	}
	r := start(t, Options{})
	l := r.Loops()[0]
	_, far := tcpPair(t, 0)
	hold := exhaust(t)
	r.on(l, func() {
		if _, err := l.Adopt(far, r.probe()); err == nil {
			t.Error("adopted without a descriptor")
		}
	})
	hold()
	if _, err := far.Write([]byte("x")); err == nil {
		t.Error("the net.Conn is still open")
	}
}

// exhaust takes all descriptors that the process can have; what it returns gives them back.
func exhaust(t *testing.T) (giveBack func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 200, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	var fds []int
	for {
		fd, err := unix.FcntlInt(null.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			break
		}
		fds = append(fds, fd)
	}
	return func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		_ = null.Close()
	}
}

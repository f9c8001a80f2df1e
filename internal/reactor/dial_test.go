//go:build linux

package reactor

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// probed is how connections are kept alive that the tests dial.
var probed = KeepAlive{On: true, Idle: 7 * time.Second, Interval: 3 * time.Second, Count: 2}

// dialOn dials from the first loop, and returns the connection or the error.
func (r *rig) dialOn(addr netip.AddrPort, h Handler, then func(c *Conn)) error {
	r.t.Helper()
	var err error
	r.on(r.Loops()[0], func() {
		var c *Conn
		if c, err = r.Loops()[0].Dial(addr, probed, h); err == nil && then != nil {
			then(c)
		}
	})
	return err
}

func TestDial(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			r := start(t, Options{})
			ln, err := r.Listen(t.Context(), ListenOptions{Address: address, Accept: func(*Conn) Handler {
				h := r.probe()
				h.received = func(c *Conn, p []byte) error { return c.Write(p) }
				h.halfClosed = func(c *Conn) { c.Close(io.EOF) }
				return h
			}})
			if err != nil {
				t.Skip("no such address here: ", err)
			}
			h := r.probe()
			writable, echo := make(chan int, 1), make(chan []byte, 1)
			h.writable = func(c *Conn) {
				if h.received == nil {
					t.Error("Writable after Received")
				}
				writable <- c.TryWrite([]byte(" after"))
			}
			var got []byte
			h.received = func(c *Conn, p []byte) error {
				if got = append(got, p...); len(got) == len("before after") {
					echo <- got
					c.Close(io.EOF)
				}
				return nil
			}
			err = r.dialOn(ln.Addr(), h, func(c *Conn) {
				if c.RemoteAddr() != ln.Addr() {
					t.Errorf("the peer is %s, not %s", c.RemoteAddr(), ln.Addr())
				}
				for option, want := range map[int]int{unix.TCP_KEEPIDLE: 7, unix.TCP_KEEPINTVL: 3, unix.TCP_KEEPCNT: 2} {
					if got, err := unix.GetsockoptInt(int(c.fd), unix.IPPROTO_TCP, option); got != want || err != nil {
						t.Errorf("option %d is %d (%v), want %d", option, got, err, want)
					}
				}
				if on, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE); on != 1 || err != nil {
					t.Errorf("SO_KEEPALIVE is %d (%v)", on, err)
				}
				if err := c.Write([]byte("before")); err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if n := wait(t, "Writable", writable); n != len(" after") {
				t.Errorf("TryWrite took %d bytes", n)
			}
			if p := wait(t, "the echo", echo); !bytes.Equal(p, []byte("before after")) {
				t.Errorf("%q came back", p)
			}
			h.expect(io.EOF)
		})
	}
}

func TestDialNobodyListens(t *testing.T) {
	for _, early := range []string{"", "written before"} {
		r := start(t, Options{})
		ln := r.listen(func(*Conn) Handler { return nil })
		ln.Close()
		r.turns(r.Loops()[0], 2)
		before := descriptors(t)

		h := r.probe()
		h.writable = func(*Conn) { t.Error("Writable of a connection that never was") }
		err := r.dialOn(ln.Addr(), h, func(c *Conn) { _ = c.Write([]byte(early)) })
		if err == nil {
			err = h.reason()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v", err)
		}
		if n := descriptors(t); n != before {
			t.Errorf("%d descriptors, %d before", n, before)
		}
	}
}

// A connection that has not come about by the end of the group is closed with it.
func TestDialStopped(t *testing.T) {
	r := launch(t, Options{})
	h := r.probe()
	// The first address of TEST-NET-1 (RFC 5737): nobody answers, or there is no way there.
	err := r.dialOn(netip.MustParseAddrPort("192.0.2.1:9"), h, nil)
	if stopErr := r.stop(); stopErr != nil {
		t.Fatal(stopErr)
	}
	if err == nil && h.reason() == nil {
		t.Error("closed without a reason")
	}
}

func TestDialAddressThatIsNone(t *testing.T) {
	r := start(t, Options{})
	if err := r.dialOn(netip.AddrPort{}, r.probe(), nil); err == nil {
		t.Error("dialed the zero address")
	}
}

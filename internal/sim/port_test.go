//go:build linux

package sim

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

// TestPortIsKept: away, back, away and back again, and never somebody else's.
func TestPortIsKept(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			p, err := KeepPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0))
			if err != nil {
				if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
					t.Skip("no ", host)
				}
				t.Fatal(err)
			}
			defer p.Close()
			address := p.Addr().String()
			for range 2 {
				if c, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("connecting to who is away: %v, %v", c, err)
				}
				stranger := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(p.Addr())} // binds without SO_REUSEADDR, as a port 0 does
				if c, err := stranger.Dial("tcp", address); !errors.Is(err, syscall.EADDRINUSE) {
					t.Errorf("a stranger gets the port: %v, %v", c, err)
				}
				ln, err := net.Listen("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				c, err := net.Dial("tcp", address)
				must(t, err)
				must(t, c.Close())
				must(t, ln.Close())
			}
		})
	}
}

// TestPortOfAProcessThatIsBeingStarted: a copy of the listening socket is open for a moment after it was closed.
func TestPortOfAProcessThatIsBeingStarted(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	child, err := ln.(*net.TCPListener).File()
	must(t, err)
	addr := ln.Addr().(*net.TCPAddr).AddrPort()
	must(t, ln.Close())
	tries := 0
	p, err := whenFree(func() (*Port, error) {
		if tries++; tries == 3 {
			must(t, child.Close())
		}
		return KeepPort(addr)
	})
	must(t, err)
	defer p.Close()
	if tries != 3 {
		t.Errorf("the port was free after %d tries", tries)
	}
}

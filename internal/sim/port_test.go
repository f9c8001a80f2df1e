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

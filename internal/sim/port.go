//go:build linux

package sim

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Port keeps a TCP port for somebody who is away: nobody listens there, so connecting is refused, and the kernel gives the
// port to nobody who lets it choose one. Whoever listens on it by number, as the net package does with SO_REUSEADDR, gets
// it all the same, and leaves it to the Port when done. A port that is merely free may be anybody's in a moment.
type Port struct {
	fd   int
	addr netip.AddrPort
}

// KeepPort takes a port of an IP address, which nobody may have; port 0 lets the kernel choose.
func KeepPort(addr netip.AddrPort) (*Port, error) {
	domain, at := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()})
	if addr.Addr().Is4() {
		domain, at = unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("sim: keep port %s: %w", addr, err)
	}
	p := &Port{fd: fd}
	if err := p.bind(at); err != nil {
		p.Close()
		return nil, fmt.Errorf("sim: keep port %s: %w", addr, err)
	}
	return p, nil
}

func (p *Port) bind(at unix.Sockaddr) error {
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(p.fd, at); err != nil {
		return err
	}
	bound, err := unix.Getsockname(p.fd)
	if err != nil {
		return err
	}
	switch a := bound.(type) {
	case *unix.SockaddrInet4:
		p.addr = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		p.addr = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return nil
}

// Addr returns the address with the port.
func (p *Port) Addr() netip.AddrPort { return p.addr }

// Close gives the port up. It is called once; who listens there goes on.
func (p *Port) Close() { _ = unix.Close(p.fd) }

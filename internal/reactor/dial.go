//go:build linux

package reactor

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Dial opens a TCP connection to addr, probed as ka says, without waiting for it: the handler's Writable is called when it
// is there, Closed when it cannot be. What is written before is kept and leaves with it. An error says that not even the attempt could be
// made, for want of descriptors or local ports; then the handler is told nothing. It must be called on the loop.
func (l *Loop) Dial(addr netip.AddrPort, ka KeepAlive, h Handler) (*Conn, error) {
	if !addr.IsValid() || addr.Port() == 0 {
		return nil, fmt.Errorf("dial %s: not an address to connect to", addr)
	}
	fd, err := connect(addr, ka)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	c, err := l.add(int32(fd))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	c.address, c.port = addr.Addr().As16(), addr.Port()
	c.handler = &dialing{h}
	c.watch(c.interest | unix.EPOLLOUT)
	return c, nil
}

// connect begins to connect a new socket, whose descriptor is the caller's.
func connect(addr netip.AddrPort, ka KeepAlive) (fd int, err error) {
	ip := addr.Addr().Unmap()
	family := unix.AF_INET
	var sa unix.Sockaddr
	if ip.Is4() {
		sa = &unix.SockaddrInet4{Addr: ip.As4(), Port: int(addr.Port())}
	} else {
		family = unix.AF_INET6
		sa = &unix.SockaddrInet6{Addr: ip.As16(), Port: int(addr.Port())}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	err = errors.Join(setOption(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1), ka.set(fd))
	if err == nil {
		err = unix.Connect(fd, sa)
	}
	// EINTR: it goes on all the same, and connecting again would be an error.
	if err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.EINTR) {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// dialing stands before the handler until the connection is there: a failed one looks writable too.
type dialing struct{ handler Handler }

func (d *dialing) Writable(c *Conn) {
	n, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		c.Close(err)
	case n != 0:
		c.Close(unix.Errno(n))
	default:
		c.handler = d.handler
		d.handler.Writable(c)
	}
}

// The rest comes before Writable only when the connection is over.

func (d *dialing) Received(c *Conn, p []byte) error {
	c.handler = d.handler
	return d.handler.Received(c, p)
}

func (d *dialing) HalfClosed(c *Conn) {
	c.handler = d.handler
	d.handler.HalfClosed(c)
}

func (d *dialing) Closed(c *Conn, reason error) { d.handler.Closed(c, reason) }

//go:build linux

package reactor

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Adopt takes over an established TCP connection: the loop owns its descriptor from now on and nc is closed, whatever is
// returned. Nothing may have been read ahead on nc. It must be called on the loop.
func (l *Loop) Adopt(nc net.Conn, h Handler) (*Conn, error) {
	defer func() { _ = nc.Close() }()
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("adopt %T: not a socket", nc)
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("adopt: %w", err)
	}
	var own int
	err = control(rc, func(fd int) error {
		var err error
		if own, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err != nil {
			return err
		}
		err = errors.Join(unix.SetNonblock(own, true), unix.SetsockoptInt(own, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
		if err != nil {
			_ = unix.Close(own)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("adopt: %w", err)
	}
	c, err := l.add(int32(own))
	if err != nil {
		return nil, fmt.Errorf("adopt: %w", err)
	}
	if addr, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		ap := addr.AddrPort()
		c.address, c.port = ap.Addr().As16(), ap.Port()
	}
	c.handler = h
	return c, nil
}

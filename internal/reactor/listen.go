//go:build linux

package reactor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// acceptsPerTurn bounds how long accepting may keep a loop from its connections.
	acceptsPerTurn = 128
	// acceptPause is how long a loop without descriptors waits before it tries again, if none is closed before.
	acceptPause = time.Second
)

// KeepAlive says how the kernel probes a silent peer. Values of 0 and below leave the system's.
type KeepAlive struct {
	On             bool
	Idle, Interval time.Duration // whole seconds count
	Count          int
}

// ListenOptions say where and how to accept connections.
type ListenOptions struct {
	// Address is host:port as for net.Listen, IPv4 or IPv6; port 0 lets the kernel choose.
	Address string
	// Backlog is how many connections may wait to be accepted, on each loop's socket; 0 leaves the system's.
	Backlog int
	// KeepAlive is for the accepted connections.
	KeepAlive KeepAlive
	// Accept returns the handler of a new connection; nil refuses it. It is called on the connection's loop and may
	// write already.
	Accept func(c *Conn) Handler
	// Paused, when set, is told that accepting has paused because descriptors ran out (or memory for sockets), and
	// with nil when all that had to wait has been accepted. It is called on the loop.
	Paused func(l *Loop, err error)
}

// Listener accepts connections on all loops of a group: each has a listening socket of its own, and the kernel spreads
// the connections over them.
type Listener struct {
	addr    netip.AddrPort
	sockets []*socket
}

// socket is the listening socket of one loop.
type socket struct {
	loop    *Loop
	options *ListenOptions
	fd      int32 // -1: closed
	index   int
	paused  bool
	told    bool // Paused was told of the pause and not yet of its end
	timer   *Timer
}

// Listen opens the port. The first socket is bound without SO_REUSEPORT, so a port that anybody has, another broker
// included, is an error; only then is it opened for the group's other loops.
func (g *Group) Listen(ctx context.Context, o ListenOptions) (*Listener, error) {
	ln := &Listener{}
	address := o.Address
	for i, l := range g.loops {
		fd, addr, err := listen(ctx, address, o.Backlog, o.KeepAlive, i > 0)
		if err != nil {
			for _, s := range ln.sockets {
				closeFD(s.fd)
			}
			return nil, err
		}
		if i == 0 {
			ln.addr = addr
			host, _, _ := net.SplitHostPort(address)
			address = net.JoinHostPort(host, strconv.Itoa(int(addr.Port())))
		}
		ln.sockets = append(ln.sockets, &socket{loop: l, options: &o, fd: fd})
	}
	for i, s := range ln.sockets {
		if !s.loop.open(s) {
			for _, s := range ln.sockets[i:] {
				closeFD(s.fd)
			}
			ln.sockets = ln.sockets[:i]
			ln.Close()
			return nil, fmt.Errorf("listen on %s: %w", o.Address, ErrStopped)
		}
	}
	return ln, nil
}

// open hands a listening socket over to the loop, from any goroutine. It returns false when the loop has ended.
func (l *Loop) open(s *socket) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.post(s.open) {
		return false
	}
	l.opening = append(l.opening, s)
	return true
}

// Addr returns the address that the listener has, with the port that the kernel chose.
func (ln *Listener) Addr() netip.AddrPort { return ln.addr }

// Close stops accepting. It may be called from anywhere and does not wait; connections that were accepted stay.
func (ln *Listener) Close() {
	for _, s := range ln.sockets {
		s.loop.Post(s.close)
	}
}

func listen(ctx context.Context, address string, backlog int, ka KeepAlive, shared bool) (int32, netip.AddrPort, error) {
	config := net.ListenConfig{
		KeepAlive: -1, // set on the listening socket below: accepted ones inherit it and cost no system call
		Control: func(_, _ string, rc syscall.RawConn) error {
			return control(rc, func(fd int) error {
				if !shared {
					return nil
				}
				return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			})
		},
	}
	nl, err := config.Listen(ctx, network(address), address)
	if err != nil {
		return -1, netip.AddrPort{}, err
	}
	defer func() { _ = nl.Close() }()
	tl, ok := nl.(*net.TCPListener)
	if !ok {
		return -1, netip.AddrPort{}, fmt.Errorf("listen on %s: not a TCP address", address)
	}
	rc, err := tl.SyscallConn()
	if err != nil {
		return -1, netip.AddrPort{}, err
	}
	var own int
	err = control(rc, func(fd int) error {
		var err error
		own, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, netip.AddrPort{}, fmt.Errorf("listen on %s: %w", address, err)
	}
	if err := prepare(own, backlog, ka); err != nil {
		_ = unix.Close(own)
		return -1, netip.AddrPort{}, fmt.Errorf("listen on %s: %w", address, err)
	}
	return int32(own), tl.Addr().(*net.TCPAddr).AddrPort(), nil
}

// network is the network to listen on. An IPv4 address means IPv4 alone: for "tcp", 0.0.0.0 would be [::] as well.
func network(address string) string {
	host, _, _ := net.SplitHostPort(address)
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		return "tcp4"
	}
	return "tcp"
}

// prepare sets what accepted sockets inherit, and opens the address to the group's other sockets.
func prepare(fd, backlog int, ka KeepAlive) error {
	errs := []error{
		setOption(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		setOption(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		ka.set(fd),
	}
	if backlog > 0 {
		errs = append(errs, unix.Listen(fd, backlog))
	}
	return errors.Join(errs...)
}

// set gives a socket these probes.
func (ka KeepAlive) set(fd int) error {
	if !ka.On {
		return nil
	}
	errs := []error{setOption(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)}
	if s := int(ka.Idle / time.Second); s > 0 {
		errs = append(errs, setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, s))
	}
	if s := int(ka.Interval / time.Second); s > 0 {
		errs = append(errs, setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, s))
	}
	if ka.Count > 0 {
		errs = append(errs, setOption(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, ka.Count))
	}
	return errors.Join(errs...)
}

func setOption(fd, level, option, value int) error {
	if err := unix.SetsockoptInt(fd, level, option, value); err != nil {
		return fmt.Errorf("socket option %d: %w", option, err)
	}
	return nil
}

// control calls fn with a socket's descriptor, which stays open meanwhile.
func control(rc syscall.RawConn, fn func(fd int) error) error {
	var inner error
	if err := rc.Control(func(fd uintptr) { inner = fn(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// open starts accepting, on the loop.
func (s *socket) open() {
	l := s.loop
	l.mu.Lock()
	l.opening = slices.DeleteFunc(l.opening, func(o *socket) bool { return o == s })
	l.mu.Unlock()
	s.index = slices.IndexFunc(l.listeners, func(o *socket) bool { return o.fd < 0 }) // the place of a closed one
	if s.index >= 0 {
		l.listeners[s.index] = s
	} else {
		s.index = len(l.listeners)
		l.listeners = append(l.listeners, s)
	}
	s.watch()
}

func (s *socket) watch() {
	event := s.loop.event(makeRef(slotListener, uint32(s.index)), unix.EPOLLIN)
	if errno := epollCtl(s.loop.epfd, unix.EPOLL_CTL_ADD, s.fd, event); errno != 0 {
		s.pause(errno) // no memory, or too many watches of this user: tried again
	}
}

// close stops accepting, on the loop.
func (s *socket) close() {
	s.shut()
	s.tell(nil) // what this socket had waiting waits no more
}

// shut is close without a word.
func (s *socket) shut() {
	if s.fd < 0 {
		return
	}
	closeFD(s.fd)
	s.fd = -1
	if s.paused {
		s.paused = false
		s.timer.Stop()
		s.loop.pausedListeners--
	}
}

// ready accepts what waits.
func (s *socket) ready() {
	l := s.loop
	for range acceptsPerTurn {
		if s.fd < 0 || s.paused {
			return
		}
		fd, errno := accept(s.fd, &l.raw)
		switch errno {
		case 0:
			s.accepted(fd)
		case unix.EAGAIN:
			s.tell(nil)
			return
		case unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM:
			s.pause(errno)
			return
		default:
			// The connection that was waiting has failed meanwhile (ECONNABORTED and its like): on to the next.
		}
	}
}

func (s *socket) accepted(fd int32) {
	ip, port := address(&s.loop.raw)
	c, err := s.loop.add(fd)
	if err != nil {
		return
	}
	c.address, c.port = ip, port
	c.handler = refused{} // until Accept has said who handles it
	if h := s.options.Accept(c); h != nil {
		c.handler = h
	} else {
		c.Close(errRefused)
	}
}

// pause leaves connections in the kernel's queue: watching on would wake the loop for ever without a result.
func (s *socket) pause(errno unix.Errno) {
	s.paused = true
	_ = epollCtl(s.loop.epfd, unix.EPOLL_CTL_DEL, s.fd, s.loop.event(0, 0))
	s.loop.pausedListeners++
	if s.timer == nil {
		s.timer = s.loop.After(acceptPause, s.retry)
	} else {
		s.timer.Reset(acceptPause)
	}
	s.tell(errno)
}

// retry ends a pause. It accepts without being told that somebody waits: perhaps nobody does any more, and then the end
// of the pause is told here.
func (s *socket) retry() {
	s.paused = false
	s.loop.pausedListeners--
	s.watch()
	s.ready()
}

// tell reports a pause once, and its end once.
func (s *socket) tell(err error) {
	if s.told == (err != nil) {
		return
	}
	s.told = err != nil
	if s.options.Paused != nil {
		s.options.Paused(s.loop, err)
	}
}

// resumeListeners lets paused listeners try again at once, because a descriptor was freed. It is called while a handler
// may be at work, so the timers do it.
func (l *Loop) resumeListeners() {
	if l.pausedListeners == 0 {
		return
	}
	for _, s := range l.listeners {
		if s.paused {
			s.timer.Reset(0)
		}
	}
}

var errRefused = errors.New("refused")

// refused handles a connection that nobody took.
type refused struct{}

func (refused) Received(*Conn, []byte) error { return errRefused }
func (refused) Writable(*Conn)               {}
func (refused) HalfClosed(c *Conn)           { c.Close(errRefused) }
func (refused) Closed(*Conn, error)          {}

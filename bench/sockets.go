//go:build linux

package main

import (
	"errors"
	"io"
	"net/netip"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockets is an event loop for minions, a thread with epoll and nothing else: what they use of the machine's cores is lost
// to the relay. It asks for what package reactor does not: when the kernel got what it reads, so that minions may read later
// than it came and still know.
//
// All belongs to the loop but what do needs.
type sockets struct {
	epfd    int
	all     []*socket     // by index
	spares  []int32       // indexes of those that are closed
	timed   bool          // the kernel notes when bytes come
	pause   time.Duration // before the next turn
	leave   bool          // no other turn
	yields  bool          // whoever else waits for the core has it after each turn
	events  [512]unix.EpollEvent
	buffer  []byte
	control [64]byte

	wakefd int
	mu     sync.Mutex
	posted []func() // under mu
}

// socket is one connection.
type socket struct {
	loop    *sockets
	fd      int // -1: closed
	index   int32
	hello   []byte // what is sent first; nil: it has been
	handler socketHandler
}

// socketHandler is who has a socket.
type socketHandler interface {
	// received hands over bytes, valid during the call. The last of them came at that time.
	received(p []byte, at time.Time) error
	// closed is the last call. The reason is nil when close was called.
	closed(reason error)
}

func newSockets(timed bool) (*sockets, error) {
	l := &sockets{timed: timed, buffer: make([]byte, 256<<10)}
	var err error
	if l.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if l.wakefd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, err
	}
	return l, unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, l.wakefd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeIndex})
}

// wakeIndex is in the place of a socket's index.
const wakeIndex = -1

// do runs fn on the loop and waits for it.
func (l *sockets) do(fn func()) {
	done := make(chan struct{})
	l.mu.Lock()
	l.posted = append(l.posted, func() { fn(); close(done) })
	l.mu.Unlock()
	one := [8]byte{7: 1}
	_, _ = unix.Write(l.wakefd, one[:]) // fails only when it is full, and then it wakes as well
	<-done
}

// run turns until leave is set.
func (l *sockets) run() {
	runtime.LockOSThread()
	defer func() { _, _ = unix.Close(l.epfd), unix.Close(l.wakefd) }()
	for !l.leave {
		n, err := unix.EpollWait(l.epfd, l.events[:], -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			panic(err)
		}
		for _, e := range l.events[:max(n, 0)] {
			if e.Fd == wakeIndex {
				l.runPosted()
			} else {
				l.all[e.Fd].ready(e.Events)
			}
		}
		if l.yields {
			_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		}
		if l.pause > 0 {
			left := unix.NsecToTimespec(int64(l.pause))
			_ = unix.Nanosleep(&left, nil)
			l.pause = 0
		}
	}
}

func (l *sockets) runPosted() {
	var count [8]byte
	_, _ = unix.Read(l.wakefd, count[:])
	l.mu.Lock()
	posted := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, fn := range posted {
		fn()
	}
}

// dial begins to connect to an address of IPv4. What is to be sent first is sent as soon as the connection is there: it must
// stay as it is until then, and must not be empty. An error is one that will not get better: descriptors or ports have run
// out, or nobody listens.
func (l *sockets) dial(to netip.AddrPort, hello []byte, h socketHandler) (*socket, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, err
	}
	s := &socket{loop: l, fd: fd, hello: hello, handler: h}
	if err := s.connect(to); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	l.all[s.index] = s
	return s, nil
}

func (s *socket) connect(to netip.AddrPort) error {
	l := s.loop
	err := unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err == nil && l.timed {
		err = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}
	if err == nil {
		err = unix.Connect(s.fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.EINTR) {
		return err
	}
	// By edges: each socket is asked once for what has come, and not once more whether that was all.
	interest := uint32(unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET)
	switch err := s.write(s.hello); {
	case err == nil: // on loopback the other side has agreed by now, unless too many wait there
		s.hello = nil
	case errors.Is(err, unix.EAGAIN):
		interest |= unix.EPOLLOUT
	default:
		return err
	}
	s.index = l.place()
	return unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: interest, Fd: s.index})
}

// place returns an index that nobody has. That of a socket which has closed is given away at once: no event of it is left,
// since epoll tells of each once in a turn.
func (l *sockets) place() int32 {
	if n := len(l.spares); n > 0 {
		i := l.spares[n-1]
		l.spares = l.spares[:n-1]
		return i
	}
	l.all = append(l.all, nil)
	return int32(len(l.all) - 1)
}

func (s *socket) ready(events uint32) {
	if s.fd >= 0 && s.hello != nil && events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		s.connected()
	}
	if s.fd >= 0 && s.hello == nil && events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		s.read(events&^(unix.EPOLLIN|unix.EPOLLOUT) != 0)
	}
}

func (s *socket) connected() {
	n, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && n != 0 {
		err = unix.Errno(n)
	}
	if err == nil {
		err = s.write(s.hello)
	}
	if err != nil {
		s.end(err)
		return
	}
	s.hello = nil
}

// read takes all that has come: a short read has emptied the socket, and more is another edge; but not the end, which may be
// part of this one.
func (s *socket) read(ends bool) {
	for s.fd >= 0 {
		n, at, errno := s.receive()
		switch {
		case errno == unix.EAGAIN:
			return
		case errno != 0:
			s.end(errno)
			return
		case n == 0:
			s.end(io.EOF)
			return
		}
		if err := s.handler.received(s.loop.buffer[:n], at); err != nil {
			s.end(err)
			return
		}
		if n < len(s.loop.buffer) && !ends {
			return
		}
	}
}

// receive is recvmsg(2), which says when the kernel got the last of the bytes (socket(7), SO_TIMESTAMPNS). The time is zero
// where nobody wants to know.
func (s *socket) receive() (n int, at time.Time, errno unix.Errno) {
	l := s.loop
	piece := unix.Iovec{Base: &l.buffer[0], Len: uint64(len(l.buffer))}
	header := unix.Msghdr{Iov: &piece, Iovlen: 1}
	if l.timed {
		header.Control, header.Controllen = &l.control[0], uint64(len(l.control))
	}
	got, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&header)), unix.MSG_DONTWAIT)
	if errno != 0 {
		return 0, at, errno
	}
	if !l.timed {
		return int(got), at, 0
	}
	note := (*unix.Cmsghdr)(unsafe.Pointer(&l.control[0]))
	if header.Controllen >= uint64(unix.CmsgSpace(16)) && note.Level == unix.SOL_SOCKET && note.Type == unix.SO_TIMESTAMPNS {
		stamp := (*unix.Timespec)(unsafe.Pointer(&l.control[unix.CmsgLen(0)]))
		return int(got), time.Unix(stamp.Unix()), 0
	}
	return int(got), time.Now(), 0 // the end, or what came before anybody on the machine wanted to know
}

// write sends what must fit: minions say little.
func (s *socket) write(p []byte) error {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	switch {
	case errno != 0:
		return errno
	case int(n) < len(p):
		return io.ErrShortWrite
	}
	return nil
}

// close ends the connection. The handler is told at once.
func (s *socket) close() { s.end(nil) }

func (s *socket) end(reason error) {
	if s.fd < 0 {
		return
	}
	_ = unix.Close(s.fd)
	s.fd = -1
	s.loop.spares = append(s.loop.spares, s.index)
	s.handler.closed(reason)
}

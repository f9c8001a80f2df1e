//go:build linux

package reactor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the hot path. They are raw: each is made on a socket that does not block, so the scheduler need
// not be told that a thread may be gone for long. That saves two bookkeeping calls into the runtime each time.

// recv reads what is there, at most len(p) bytes; 0 and no error is the end of the peer's stream.
func recv(fd int32, p []byte) (int, unix.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
			unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// discard throws away what a TCP peer has sent and nobody will read, without copying it; not more than a few MiB, since
// the peer may send on.
func discard(fd int32) {
	const most = 1 << 20
	for range 8 {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, most, unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		if errno != 0 || n == 0 {
			return
		}
	}
}

// send writes what fits and says how much that was. MSG_NOSIGNAL: a peer that is gone is an error, not a signal.
func send(fd int32, p []byte) (int, unix.Errno) {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// sendv is send for several pieces; msg is a header that the caller lends, so that none escapes to the heap.
func sendv(fd int32, msg *unix.Msghdr, iov []unix.Iovec) (int, unix.Errno) {
	msg.Iov = &iov[0]
	msg.SetIovlen(len(iov))
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(msg)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// accept takes one connection off a listening socket and writes the peer's address to addr.
func accept(fd int32, addr *unix.RawSockaddrAny) (int32, unix.Errno) {
	size := uint32(unix.SizeofSockaddrAny)
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(addr)),
		uintptr(unsafe.Pointer(&size)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int32(n), 0
}

// pollNow asks for events without waiting, the scheduler untouched.
func pollNow(epfd int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

func epollCtl(epfd, op int, fd int32, event *unix.EpollEvent) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epfd), uintptr(op), uintptr(fd),
		uintptr(unsafe.Pointer(event)), 0, 0)
	return errno
}

// raise makes an eventfd readable. It fails only when the counter is full, and then it is readable already.
func raise(eventfd int) {
	one := uint64(1)
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(eventfd), uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
}

// lower takes an eventfd's count.
func lower(eventfd int) {
	var count uint64
	_, _, _ = unix.RawSyscall(unix.SYS_READ, uintptr(eventfd), uintptr(unsafe.Pointer(&count)), unsafe.Sizeof(count))
}

// yield lets other threads have the core, if any want it (sched_yield(2)).
func yield() {
	_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
}

func closeFD(fd int32) {
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0)
}

// address turns the kernel's form of a peer's address into 16 bytes (IPv4 mapped into IPv6) and a port.
func address(raw *unix.RawSockaddrAny) (ip [16]byte, port uint16) {
	switch raw.Addr.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(raw))
		ip[10], ip[11] = 0xff, 0xff
		copy(ip[12:], in.Addr[:])
		return ip, networkOrder(in.Port)
	case unix.AF_INET6:
		in := (*unix.RawSockaddrInet6)(unsafe.Pointer(raw))
		return in.Addr, networkOrder(in.Port)
	}
	return ip, 0
}

func networkOrder(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}

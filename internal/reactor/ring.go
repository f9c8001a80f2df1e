//go:build linux

package reactor

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is an io_uring (Linux 5.6 and later), by plain system calls: many sends are made with one. It belongs to one loop,
// and is empty whenever the loop does anything else: every send is one that does not block, so it is over when the call that
// submits it returns. See docs/decisions/0016-one-system-call-for-many-minions.rst.
type ring struct {
	fd      int
	memory  []byte // the two rings
	entries []byte // the submissions
	next    uint32 // where the next submission goes
	results [batchSize]int32

	// In memory that the kernel shares.
	submitted   *uint32 // up to which submissions are made
	done, seen  *uint32 // up to which completions are made, and have been looked at
	submissions *[batchSize]submission
	completions *[2 * batchSize]completion
}

// untold is the result of a send that was not made.
const untold = math.MinInt32

const (
	// MaxBatch is how many connections Loop.TryWriteAll takes. More in one system call would save little.
	MaxBatch = 64
	// leastBatch is the number of sends from which one system call costs less than as many.
	leastBatch = 4
	batchSize  = MaxBatch
)

// submission is struct io_uring_sqe as far as a send needs it (include/uapi/linux/io_uring.h).
type submission struct {
	opcode       uint8
	_            uint8  // flags
	_            uint16 // priority
	fd           int32
	_            uint64 // offset
	address      uint64
	length       uint32
	messageFlags uint32
	userData     uint64
	_            [24]byte
}

// completion is struct io_uring_cqe.
type completion struct {
	userData uint64
	result   int32
	_        uint32 // flags
}

// setup is struct io_uring_params.
type setup struct {
	submissions, completions, flags, cpu, idle, features, workers uint32
	_                                                             [3]uint32
	submissionRing                                                struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	completionRing struct {
		head, tail, mask, entries, overflow, completions, flags, _ uint32
		_                                                          uint64
	}
}

const (
	opSend             = 26      // IORING_OP_SEND
	singleIssuer       = 1 << 12 // IORING_SETUP_SINGLE_ISSUER, Linux 6.0
	deferTaskRun       = 1 << 13 // IORING_SETUP_DEFER_TASKRUN, Linux 6.1
	singleMap          = 1 << 0  // IORING_FEAT_SINGLE_MMAP, Linux 5.4
	enterGetEvents     = 1 << 0  // IORING_ENTER_GETEVENTS
	offsetRings        = 0
	offsetSubmissions  = 0x10000000
	sizeofSubmission   = int(unsafe.Sizeof(submission{}))
	sizeofCompletion   = int(unsafe.Sizeof(completion{}))
	protection, shared = unix.PROT_READ | unix.PROT_WRITE, unix.MAP_SHARED | unix.MAP_POPULATE
)

// newRing makes a ring for the calling thread. It fails where the kernel is too old, or does not let us: by
// kernel.io_uring_disabled, or by a filter of system calls.
func newRing() (*ring, error) {
	var s setup
	fd := -1
	for _, flags := range []uint32{singleIssuer | deferTaskRun, 0} {
		s = setup{flags: flags}
		n, _, errno := unix.RawSyscall(unix.SYS_IO_URING_SETUP, batchSize, uintptr(unsafe.Pointer(&s)), 0)
		if errno == 0 {
			fd = int(n)
			break
		}
		if errno != unix.EINVAL {
			return nil, fmt.Errorf("io_uring_setup: %w", errno)
		}
	}
	if fd < 0 {
		return nil, errors.New("io_uring_setup: not with this kernel")
	}
	r := &ring{fd: fd}
	if s.features&singleMap == 0 || s.submissions != batchSize || s.completions != 2*batchSize {
		r.close()
		return nil, errors.New("io_uring_setup: not with this kernel")
	}
	unix.CloseOnExec(fd)
	var err error
	size := max(int(s.submissionRing.array)+4*batchSize, int(s.completionRing.completions)+2*batchSize*sizeofCompletion)
	if r.memory, err = unix.Mmap(fd, offsetRings, size, protection, shared); err != nil {
		r.close()
		return nil, fmt.Errorf("io_uring: mmap: %w", err)
	}
	if r.entries, err = unix.Mmap(fd, offsetSubmissions, batchSize*sizeofSubmission, protection, shared); err != nil {
		r.close()
		return nil, fmt.Errorf("io_uring: mmap: %w", err)
	}
	at := func(offset uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.memory[offset])) }
	for i := range uint32(batchSize) { // the submission at a place of the ring is the one at the same place of the array
		*at(s.submissionRing.array + 4*i) = i
	}
	r.submitted = at(s.submissionRing.tail)
	r.done, r.seen = at(s.completionRing.tail), at(s.completionRing.head)
	r.submissions = (*[batchSize]submission)(unsafe.Pointer(&r.entries[0]))
	r.completions = (*[2 * batchSize]completion)(unsafe.Pointer(&r.memory[s.completionRing.completions]))
	return r, nil
}

func (r *ring) close() {
	if r.memory != nil {
		_ = unix.Munmap(r.memory)
	}
	if r.entries != nil {
		_ = unix.Munmap(r.entries)
	}
	_ = unix.Close(r.fd)
}

// add puts a send of p into the next submission. Its result will be results[i]; i is below batchSize, and each is used once
// before run. The caller keeps p alive, and in the heap, until then.
func (r *ring) add(i int, fd int32, p []byte) {
	r.results[i] = untold
	r.submissions[r.next%batchSize] = submission{
		opcode: opSend, fd: fd, address: uint64(uintptr(unsafe.Pointer(&p[0]))), length: uint32(len(p)),
		messageFlags: unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL, userData: uint64(i),
	}
	r.next++
}

// run makes the n sends that were added. Their results are how many bytes were taken, or the negative of an errno. After an
// error the ring is of no use any more, and the sends whose result is still untold were not made.
func (r *ring) run(n int) unix.Errno {
	atomic.StoreUint32(r.submitted, r.next)
	for left := n; left > 0; {
		_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(left), uintptr(left), enterGetEvents, 0, 0)
		seen := *r.seen
		for ; seen != atomic.LoadUint32(r.done); seen++ {
			c := r.completions[seen%(2*batchSize)]
			r.results[c.userData] = c.result
			left--
		}
		atomic.StoreUint32(r.seen, seen)
		if errno != 0 && errno != unix.EINTR {
			return errno
		}
	}
	return 0
}

// TryWriteAll is [Conn.TryWrite] of ps[i] to conns[i], at most MaxBatch connections, each of which is there once: took[i] is
// how much it has taken. It costs a system call for all of them, where the kernel lets it, in place of one for each. Behind
// it whoever else waits for the core has it first: there may be many batches to come.
func (l *Loop) TryWriteAll(conns []*Conn, ps [][]byte, took []int) {
	defer yield()
	r := l.batches()
	if r == nil || len(conns) < leastBatch {
		for i, c := range conns {
			took[i] = c.TryWrite(ps[i])
		}
		return
	}
	l.sending = ps // the kernel is given addresses: all must be in the heap, and stay
	n := 0
	for i, c := range conns {
		took[i] = 0
		r.results[i] = 0
		switch {
		case c.closed() || len(ps[i]) == 0:
		case c.drained():
			r.add(i, c.fd, ps[i])
			n++
		case !c.closed():
			c.state |= stateShort
		}
	}
	broken := r.run(n)
	l.sending = nil
	for i, c := range conns {
		switch result := r.results[i]; {
		case result == untold, result == -int32(unix.EINTR):
			took[i] = c.TryWrite(ps[i])
		case result == 0: // it was not asked to
		default:
			took[i] = c.tried(ps[i], int(max(result, 0)), unix.Errno(-min(result, 0)))
		}
	}
	if broken != 0 {
		l.ring.close()
		l.ring = nil
	}
}

// batches returns the loop's ring, nil when it has none. It is made when it is needed first.
func (l *Loop) batches() *ring {
	if !l.ringed {
		l.ringed = true
		l.ring, _ = newRing() // without it all is done as before
	}
	return l.ring
}

//go:build linux

package reactor

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// eventsPerTurn bounds a turn, so that what was posted and timers are never far away.
	eventsPerTurn = 512
	// sparesKept is how many empty outboxes wait for use.
	sparesKept = 256

	// Slots that are no connection's. Real slots stay below: a process has fewer descriptors.
	slotWake     = 1<<32 - 1
	slotListener = 1<<32 - 2
)

// timeOfLoop is monotonic time since the group was made.
type timeOfLoop = time.Duration

// Loop is one event loop: a thread and everything that lives on it.
type Loop struct {
	group *Group
	index int

	// Owned by the loop.
	epfd      int
	now       timeOfLoop
	slept     timeOfLoop // when the last wait began that was one
	table     table
	pool      pool
	ring      *ring // nil: not yet, or not at all
	ringed    bool  // it has been tried to make one
	sending   [][]byte
	timers    timers
	listeners []*socket
	scratch   []byte
	events    []unix.EpollEvent
	iov       []unix.Iovec
	msghdr    unix.Msghdr
	raw       unix.RawSockaddrAny
	ctl       unix.EpollEvent
	dirty     []*Conn
	ended     []ending
	spares    []*outbox
	running   []func()
	kept      int64  // bytes that wait for peers to read, over all connections
	turned    func() // called at the end of each turn; nil: nobody wants it
	stopping  bool

	pausedListeners int

	// Shared, under mu.
	mu       sync.Mutex
	posted   []func()
	opening  []*socket // listening sockets whose open is posted
	sleeping bool
	gone     bool
	released bool
	wakefd   int

	turns atomic.Uint64
	busy  atomic.Int64 // nanoseconds
	conns atomic.Int64
}

type ending struct {
	conn   *Conn
	reason error
}

func newLoop(g *Group, index int) (*Loop, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	wakefd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = unix.Close(epfd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	l := &Loop{
		group: g, index: index, epfd: epfd, wakefd: wakefd,
		scratch: make([]byte, g.options.ReadBytes),
		events:  make([]unix.EpollEvent, eventsPerTurn),
		iov:     make([]unix.Iovec, 0, maxPieces),
	}
	event := l.event(makeRef(slotWake, 0), unix.EPOLLIN)
	if errno := epollCtl(epfd, unix.EPOLL_CTL_ADD, int32(wakefd), event); errno != 0 {
		l.release()
		return nil, fmt.Errorf("epoll: %w", errno)
	}
	return l, nil
}

// Index returns the loop's number in its group, from 0.
func (l *Loop) Index() int { return l.index }

// Now returns the monotonic time since the group was made, as it was when this turn began.
func (l *Loop) Now() time.Duration { return l.now }

// Clock returns the monotonic time since the group was made, as it is now. It costs more than Now: once in a turn is enough.
func (l *Loop) Clock() time.Duration { return time.Since(l.group.start) }

// Turns returns how often the loop has turned. It stands still while the loop waits for something to do: who wants to
// know whether a loop lives posts a function. Safe from any goroutine.
func (l *Loop) Turns() uint64 { return l.turns.Load() }

// Connections returns how many connections the loop has. Safe from any goroutine.
func (l *Loop) Connections() int { return int(l.conns.Load()) }

// Kept returns how many bytes wait for peers to read, over all connections of the loop. It is for the loop only.
func (l *Loop) Kept() int64 { return l.kept }

// EachTurn has fn called at the end of every turn, when what the turn has written is on its way and the handlers of what
// it has closed know. fn must be cheap and must not close anything; it may Post. There is one: the last that was given. It
// must be given before the group runs.
func (l *Loop) EachTurn(fn func()) { l.turned = fn }

// Lookup returns the connection that r names, nil when it has been closed.
func (l *Loop) Lookup(r Ref) *Conn { return l.table.lookup(r) }

// Each calls fn for every connection of the loop. fn may close connections, and must not make any.
func (l *Loop) Each(fn func(c *Conn)) {
	for _, c := range l.table.slots {
		if c != nil {
			fn(c)
		}
	}
}

// Untold calls fn for every connection that this turn has closed and whose handler does not know yet. fn must not close
// anything.
func (l *Loop) Untold(fn func(c *Conn)) {
	for _, e := range l.ended {
		fn(e.conn)
	}
}

// Get lends a buffer of length 0 with room for at least n bytes; Put gives it back. Both are for the loop only.
func (l *Loop) Get(n int) []byte { return l.pool.get(n) }

// Put takes a buffer back that Get has lent, or any other. Nobody may use it any more.
func (l *Loop) Put(b []byte) { l.pool.put(b) }

// Post has fn called on the loop, in its next turn, after everything posted before. It is safe from any goroutine, the
// loop's own included, and never blocks; many posts cost one wake-up. It returns false when the loop has ended and fn will
// not be called.
func (l *Loop) Post(fn func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.post(fn)
}

// post is Post for a caller that holds mu.
func (l *Loop) post(fn func()) bool {
	if l.gone {
		return false
	}
	l.posted = append(l.posted, fn)
	if l.sleeping {
		l.sleeping = false
		l.wake()
	}
	return true
}

// wake ends the loop's wait. The caller holds mu, so the descriptor is open.
func (l *Loop) wake() {
	raise(l.wakefd)
}

// run turns until stop is posted or something panics.
func (l *Loop) run() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer l.release()
	err := guard(func() {
		l.now = time.Since(l.group.start)
		l.After(trimInterval, l.trim)
		for !l.stopping {
			l.turn()
		}
	})
	if err != nil {
		return err
	}
	return guard(l.end)
}

// guard turns a panic into an error.
func guard(fn func()) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
	}()
	fn()
	return nil
}

func (l *Loop) trim() {
	l.pool.trim()
	if cap(l.dirty) > 4096 && len(l.dirty) == 0 { // timers run before the turn is settled
		l.dirty = nil
	}
	if cap(l.ended) > 4096 && len(l.ended) == 0 {
		l.ended = nil
	}
	l.After(trimInterval, l.trim)
}

func (l *Loop) turn() {
	began := l.now
	l.slept = 0
	n := l.wait()
	l.turns.Add(1)
	l.now = time.Since(l.group.start)
	until := l.now
	if l.slept > 0 {
		until = l.slept
	}
	l.busy.Add(int64(until - began))
	for i := range n {
		event := &l.events[i]
		ref := makeRef(uint32(event.Fd), uint32(event.Pad))
		switch ref.slot() {
		case slotWake:
			lower(l.wakefd)
		case slotListener:
			l.listeners[ref.generation()].ready()
		default:
			if c := l.table.lookup(ref); c != nil { // closed earlier in this turn otherwise
				c.ready(event.Events)
			}
		}
	}
	l.runPosted()
	l.timers.run(l.now)
	l.settle()
	if l.turned != nil {
		l.turned()
	}
}

// wait returns the number of events that are there, and waits for the first when there is nothing else to do.
func (l *Loop) wait() int {
	if n := pollNow(l.epfd, l.events); n > 0 {
		return n
	}
	timeout := -1
	now := time.Since(l.group.start)
	if len(l.timers) > 0 {
		left := l.timers[0].at - now
		timeout = int(max(0, (left+time.Millisecond-1)/time.Millisecond))
	}
	l.mu.Lock()
	if len(l.posted) > 0 {
		timeout = 0
	}
	l.sleeping = timeout != 0
	l.mu.Unlock()
	if timeout == 0 {
		return 0
	}
	l.slept = now
	n, err := unix.EpollWait(l.epfd, l.events, timeout)
	l.mu.Lock()
	l.sleeping = false
	l.mu.Unlock()
	switch {
	case err == nil:
		return n
	case errors.Is(err, unix.EINTR): // the runtime signals its threads
		return 0
	}
	panic(fmt.Sprintf("epoll_wait: %v", err)) // going on would be to spin
}

func (l *Loop) runPosted() {
	l.mu.Lock()
	l.running, l.posted = l.posted, l.running[:0]
	l.mu.Unlock()
	for i, fn := range l.running {
		l.running[i] = nil
		fn()
	}
	if cap(l.running) > 4096 {
		l.running = nil
	}
}

// settle sends what this turn has written and tells the handlers of connections that it has closed. Either can cause
// more of the other.
func (l *Loop) settle() {
	for len(l.dirty) > 0 || len(l.ended) > 0 {
		for i := 0; i < len(l.dirty); i++ {
			c := l.dirty[i]
			l.dirty[i] = nil
			c.state &^= stateDirty
			if c.out != nil && !c.closed() {
				c.flush()
			}
		}
		l.dirty = l.dirty[:0]
		for i := 0; i < len(l.ended); i++ {
			e := l.ended[i]
			l.ended[i] = ending{}
			l.conns.Add(-1)
			e.conn.handler.Closed(e.conn, e.reason)
		}
		l.ended = l.ended[:0]
	}
}

// add makes a connection of a descriptor, which the loop owns from now on.
func (l *Loop) add(fd int32) (*Conn, error) {
	c := &Conn{loop: l, fd: fd, interest: unix.EPOLLIN}
	l.table.add(c)
	if errno := epollCtl(l.epfd, unix.EPOLL_CTL_ADD, fd, l.event(c.Ref(), c.interest)); errno != 0 {
		l.table.remove(c)
		closeFD(fd)
		return nil, fmt.Errorf("epoll: %w", errno)
	}
	l.conns.Add(1)
	return c, nil
}

// event is the form in which epoll takes and returns a Ref. It lives in the loop, so nothing is allocated.
func (l *Loop) event(r Ref, interest uint32) *unix.EpollEvent {
	l.ctl = unix.EpollEvent{Events: interest, Fd: int32(r.slot()), Pad: int32(r.generation())}
	return &l.ctl
}

func (l *Loop) getBox() *outbox {
	if n := len(l.spares); n > 0 {
		o := l.spares[n-1]
		l.spares = l.spares[:n-1]
		return o
	}
	return &outbox{}
}

func (l *Loop) putBox(o *outbox) {
	if len(l.spares) < sparesKept && cap(o.pieces) <= maxPieces {
		*o = outbox{pieces: o.pieces[:0]}
		l.spares = append(l.spares, o)
	}
}

// end runs what was posted, closes everything the loop has and tells the handlers.
func (l *Loop) end() {
	l.runPosted()
	l.closeAll()
	l.settle()
	l.mu.Lock()
	l.gone = true
	l.mu.Unlock()
	l.runPosted() // what was posted while the handlers were told: a connection to adopt must not be forgotten
	l.closeAll()
	l.settle()
}

func (l *Loop) closeAll() {
	for _, c := range l.table.slots {
		if c != nil {
			c.Close(ErrStopped)
		}
	}
}

// release frees everything the loop still has, once. After a panic that is much, and nobody is told: the handlers
// cannot be trusted any more.
func (l *Loop) release() {
	l.mu.Lock()
	l.gone = true
	l.posted = nil
	opening := l.opening
	l.opening = nil
	released := l.released
	l.released = true
	l.mu.Unlock()
	if released {
		return
	}
	l.closeAll()
	for _, s := range append(l.listeners, opening...) {
		s.shut()
	}
	l.conns.Store(0)
	if l.ring != nil {
		l.ring.close()
		l.ring = nil
	}
	l.mu.Lock() // nobody is waking the loop
	defer l.mu.Unlock()
	_ = unix.Close(l.epfd)
	_ = unix.Close(l.wakefd)
}

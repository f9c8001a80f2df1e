//go:build linux

package reactor

import (
	"errors"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Reasons with which connections end that nobody else names.
var (
	// ErrStopped is the reason given to connections that were open when their loop ended.
	ErrStopped = errors.New("the broker stops")
	// ErrClosed is what writing to a closed connection returns.
	ErrClosed = errors.New("connection is closed")
	// ErrKept is what Write returns when the peer does not read: more than Options.MaxKept bytes wait already.
	ErrKept = errors.New("the peer does not read what is sent to it")
)

// Handler is told what happens to one connection. All calls come from the connection's loop, one after the other, and
// must not block: no file, no name lookup, no channel that may be full.
type Handler interface {
	// Received hands over bytes from the peer. p belongs to the loop and is valid during the call. An error closes
	// the connection and is the reason that Closed is told.
	Received(c *Conn, p []byte) error
	// Writable says that everything kept has gone, after it had not fitted at once, or that a TryWrite which came up
	// short can go on.
	Writable(c *Conn)
	// HalfClosed says that the peer will send nothing more; it may still read. (A peer that closed altogether looks
	// the same until something is written to it.) Nothing is closed by itself: usually the handler closes.
	HalfClosed(c *Conn)
	// Closed is the last call, exactly one, at the end of a turn and never from inside another call. The Ref of the
	// connection is void by then.
	Closed(c *Conn, reason error)
}

// Placer is a Handler that may have a place of its own for what comes, so that what is large need not be copied there. It is
// asked while [Conn.ReadInPlace] says so.
type Placer interface {
	Handler
	// Place returns where bytes from the peer are to be read to, at most so many. Nil stands
	// for the loop's own buffer, of which Received tells.
	Place(c *Conn) []byte
	// Placed is Received for the n bytes that have been read to Place.
	Placed(c *Conn, n int) error
}

// Conn is one connection. It belongs to its loop: every method must be called there.
type Conn struct {
	// What writing needs stands together: of ten thousand connections none is in the processor's cache.
	out        *outbox // what could not be written yet; nil while there is nothing
	fd         int32
	interest   uint32 // what epoll watches for
	state      state
	port       uint16
	slot       uint32
	generation uint32

	loop    *Loop
	handler Handler

	// Place in an Activity.
	activity     *Activity
	older, newer *Conn
	activeAt     timeOfLoop

	address [16]byte
}

type state uint8

const (
	stateClosed     state = 1 << iota // the descriptor is gone
	stateDirty                        // in the loop's list of connections to flush at the end of this turn
	stateShort                        // a TryWrite came up short: Writable is owed
	stateHalfClosed                   // the peer has ended its stream
	statePaused                       // reading is paused
	stateUnbounded                    // MaxKept does not apply
	stateClosing                      // closes when what is kept has gone
	stateInPlace                      // the handler is a Placer and may have a place
)

// directBytes is the size from which Write does not gather: a large message is worth a system call of its own, and
// copying it is not.
const directBytes = 16 << 10

// Loop returns the loop that the connection belongs to.
func (c *Conn) Loop() *Loop { return c.loop }

// Ref returns the connection's name for later: see [Loop.Lookup].
func (c *Conn) Ref() Ref { return makeRef(c.slot, c.generation) }

// SetHandler replaces the handler from the next call on.
func (c *Conn) SetHandler(h Handler) { c.handler = h }

// Handler returns the connection's handler.
func (c *Conn) Handler() Handler { return c.handler }

// Unbound lifts Options.MaxKept for this connection: whoever writes to it looks at Kept and stops by itself.
func (c *Conn) Unbound() { c.state |= stateUnbounded }

// RemoteAddr returns the peer's address; IPv4 as IPv4 whatever the listening socket was.
func (c *Conn) RemoteAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(c.address).Unmap(), c.port)
}

// Kept returns how many bytes wait for the peer to read.
func (c *Conn) Kept() int {
	if c.out == nil {
		return 0
	}
	return c.out.bytes
}

func (c *Conn) closed() bool { return c.state&stateClosed != 0 }

// Closed says whether Close has been called; the handler's Closed may still be to come.
func (c *Conn) Closed() bool { return c.closed() }

// HasHalfClosed says whether the peer has ended its stream.
func (c *Conn) HasHalfClosed() bool { return c.state&stateHalfClosed != 0 }

// Write sends p, which stays the caller's. Small pieces are copied and leave together at the end of the turn; large
// ones go to the kernel at once. What the kernel does not take is kept and sent when it does. While more than
// Options.MaxKept bytes would be kept, nothing of p is taken and ErrKept returned; when nothing is kept, one piece of any
// size is taken.
func (c *Conn) Write(p []byte) error {
	if c.closed() {
		return ErrClosed
	}
	if len(p) == 0 {
		return nil
	}
	if len(p) >= directBytes && c.drained() {
		return c.writeNow(p)
	}
	if c.closed() { // sending what was kept found the peer gone
		return ErrClosed
	}
	if err := c.room(len(p)); err != nil {
		return err
	}
	c.box().copy(&c.loop.pool, p)
	c.loop.kept += int64(len(p))
	c.markDirty()
	return nil
}

// WriteNow is Write for what nothing follows in this turn: it is not gathered, and takes no memory when the kernel has room
// for it. What is kept goes first.
func (c *Conn) WriteNow(p []byte) error {
	if c.closed() {
		return ErrClosed
	}
	if c.out != nil || len(p) == 0 {
		return c.Write(p)
	}
	return c.writeNow(p)
}

// writeNow sends p where nothing is kept, and keeps what does not fit.
func (c *Conn) writeNow(p []byte) error {
	n, errno := send(c.fd, p)
	if errno != 0 && errno != unix.EAGAIN {
		c.Close(errno)
		return ErrClosed
	}
	if n == len(p) {
		return nil
	}
	c.box().copyLarge(&c.loop.pool, p[n:])
	c.loop.kept += int64(len(p) - n)
	c.watch(c.interest | unix.EPOLLOUT)
	return nil
}

// WriteOwned is Write for a buffer that the connection takes over, from Loop.Get or made, without copying, and for others
// that follow it, none of them empty: all of them leave together, or none is taken. The caller must not touch them again,
// whatever is returned; the list stays its own.
func (c *Conn) WriteOwned(b []byte, rest ...[]byte) error {
	if len(b) < directBytes && len(rest) == 0 {
		err := c.Write(b)
		c.loop.pool.put(b)
		return err
	}
	if c.closed() {
		return ErrClosed
	}
	size := len(b)
	for _, piece := range rest {
		size += len(piece)
	}
	if err := c.room(size); err != nil {
		c.loop.pool.put(b)
		for _, piece := range rest {
			c.loop.pool.put(piece)
		}
		return err
	}
	box := c.box()
	box.own(b)
	for _, piece := range rest {
		box.own(piece)
	}
	c.loop.kept += int64(size)
	c.flush()
	return nil
}

// TryWrite gives p to the kernel now and keeps nothing: it returns how much was taken. When that is less than all,
// Writable will be called once more fits. Bytes that Write kept go first. 0 is returned for a closed connection too.
func (c *Conn) TryWrite(p []byte) int {
	if c.closed() || len(p) == 0 {
		return 0
	}
	if !c.drained() {
		c.state |= stateShort
		return 0
	}
	n, errno := send(c.fd, p)
	return c.tried(p, n, errno)
}

// tried says how much of p was taken, and does what follows from it.
func (c *Conn) tried(p []byte, n int, errno unix.Errno) int {
	if errno != 0 && errno != unix.EAGAIN {
		c.Close(errno)
		return 0
	}
	if n < len(p) {
		c.state |= stateShort
		c.watch(c.interest | unix.EPOLLOUT)
	}
	return n
}

// ReadInPlace says whether the handler, a [Placer], is asked for a place before the next reads.
func (c *Conn) ReadInPlace(on bool) {
	if on {
		c.state |= stateInPlace
	} else {
		c.state &^= stateInPlace
	}
}

// PauseRead stops reading until ResumeRead: what the peer sends stays in the kernel, and then with the peer. A peer that
// ends its stream meanwhile is still noticed.
func (c *Conn) PauseRead() {
	if c.closed() || c.state&(statePaused|stateClosing) != 0 {
		return
	}
	c.state |= statePaused
	interest := c.interest &^ unix.EPOLLIN
	if c.state&stateHalfClosed == 0 { // else it would be true for ever
		interest |= unix.EPOLLRDHUP
	}
	c.watch(interest)
}

// ResumeRead ends a PauseRead.
func (c *Conn) ResumeRead() {
	if c.closed() || c.state&stateClosing != 0 || c.state&statePaused == 0 {
		return
	}
	c.state &^= statePaused
	c.watch(c.interest&^unix.EPOLLRDHUP | unix.EPOLLIN)
}

// Close ends the connection now; what is kept is lost. The handler's Closed follows at the end of the turn with this
// reason. Closing twice keeps the first reason.
func (c *Conn) Close(reason error) {
	if c.closed() {
		return
	}
	c.state |= stateClosed
	l := c.loop
	l.table.remove(c)
	if c.activity != nil {
		c.activity.Remove(c)
	}
	if c.out != nil {
		l.kept -= int64(c.out.bytes)
		c.out.release(&l.pool)
		l.putBox(c.out)
		c.out = nil
	}
	closeFD(c.fd) // takes it out of epoll as well
	c.fd = -1
	l.ended = append(l.ended, ending{c, reason})
	l.resumeListeners()
}

// CloseFlushed closes the connection once everything kept has gone. Nothing is received any more, and the peer's end of
// its stream is not told. Neither is there a limit to how long it takes: a peer that reads nothing keeps the connection
// until somebody calls Close, or the kernel gives up. Of several reasons the first stays.
func (c *Conn) CloseFlushed(reason error) {
	if c.closed() || c.state&stateClosing != 0 {
		return
	}
	if c.out != nil {
		c.flush()
	}
	switch {
	case c.closed(): // the peer was gone
	case c.out == nil:
		c.finish(reason)
	default:
		c.state |= stateClosing
		c.out.then = reason
		c.watch(c.interest &^ (unix.EPOLLIN | unix.EPOLLRDHUP))
	}
}

// finish closes a connection whose last bytes are with the kernel. Were something from the peer left unread, the kernel
// would send a reset instead of them (RFC 2525, 2.17).
func (c *Conn) finish(reason error) {
	discard(c.fd)
	c.Close(reason)
}

// room says whether n more bytes may be kept.
func (c *Conn) room(n int) error {
	maxKept := c.loop.group.options.MaxKept
	fits := func() bool { return c.out == nil || c.out.bytes+n <= maxKept }
	if c.state&stateUnbounded != 0 || fits() {
		return nil
	}
	c.flush() // what was gathered in this turn, or what there is room for meanwhile
	switch {
	case c.closed():
		return ErrClosed
	case fits():
		return nil
	}
	return ErrKept
}

// drained sends what is kept and says whether all of it has gone.
func (c *Conn) drained() bool {
	if c.out == nil {
		return true
	}
	c.flush()
	return c.out == nil && !c.closed()
}

func (c *Conn) box() *outbox {
	if c.out == nil {
		c.out = c.loop.getBox()
	}
	return c.out
}

func (c *Conn) markDirty() {
	if c.state&stateDirty == 0 && c.interest&unix.EPOLLOUT == 0 {
		c.state |= stateDirty
		c.loop.dirty = append(c.loop.dirty, c)
	}
}

// flush sends what is kept as far as it goes.
func (c *Conn) flush() {
	l := c.loop
	kept := c.out.bytes
	errno := c.out.send(c.fd, l)
	l.kept -= int64(kept - c.out.bytes)
	if errno != 0 && errno != unix.EAGAIN {
		c.Close(errno)
		return
	}
	if a := c.activity; a != nil && a.sending && c.interest&unix.EPOLLOUT != 0 && c.out.bytes < kept {
		a.Touch(c)
	}
	if c.out.bytes > 0 {
		c.watch(c.interest | unix.EPOLLOUT)
		return
	}
	then := c.out.then
	l.putBox(c.out)
	c.out = nil
	if c.state&stateClosing != 0 {
		c.finish(then)
	}
}

// watch tells epoll what to look for.
func (c *Conn) watch(interest uint32) {
	if interest == c.interest {
		return
	}
	c.interest = interest
	event := c.loop.event(c.Ref(), interest)
	if errno := epollCtl(c.loop.epfd, unix.EPOLL_CTL_MOD, c.fd, event); errno != 0 {
		c.Close(errno)
	}
}

// ready handles one event of epoll.
func (c *Conn) ready(events uint32) {
	if events&unix.EPOLLOUT != 0 {
		c.writable()
	}
	if c.closed() {
		return
	}
	const gone = unix.EPOLLERR | unix.EPOLLHUP
	switch {
	case c.interest&unix.EPOLLIN != 0 && events&(unix.EPOLLIN|gone) != 0:
		c.readable()
	case events&gone != 0:
		c.Close(c.socketError())
	case events&c.interest&unix.EPOLLRDHUP != 0: // else reading was resumed in this turn, and finds the end by itself
		c.halfClosed()
	}
}

func (c *Conn) readable() {
	into, placed := c.place()
	n, errno := recv(c.fd, into)
	switch {
	case errno == unix.EAGAIN:
	case errno != 0:
		c.Close(errno)
	case n == 0 && c.state&stateHalfClosed != 0: // noticed while reading was paused; now all is read
		c.watch(c.interest &^ (unix.EPOLLIN | unix.EPOLLRDHUP))
	case n == 0:
		c.halfClosed()
	default:
		if err := c.received(n, placed); err != nil {
			c.Close(err)
		}
	}
}

// place returns where what comes is read to, and whether that is the handler's own place. It is never larger than the loop's:
// what all connections bring in one turn must be small beside what there may be of it.
func (c *Conn) place() (p []byte, own bool) {
	scratch := c.loop.scratch
	if c.state&stateInPlace != 0 {
		if p := c.handler.(Placer).Place(c); len(p) > 0 {
			return p[:min(len(p), len(scratch))], true
		}
	}
	return scratch, false
}

func (c *Conn) received(n int, placed bool) error {
	if placed {
		return c.handler.(Placer).Placed(c, n)
	}
	return c.handler.Received(c, c.loop.scratch[:n])
}

func (c *Conn) halfClosed() {
	c.state |= stateHalfClosed
	paused := c.state&statePaused != 0
	c.watch(c.interest &^ (unix.EPOLLIN | unix.EPOLLRDHUP)) // both would be true for ever now
	if !paused {
		// Everything has been read: reading again would find the end again.
		c.state |= statePaused
	}
	if !c.closed() {
		c.handler.HalfClosed(c)
	}
}

func (c *Conn) writable() {
	if c.out != nil {
		c.flush()
		if c.closed() || c.out != nil {
			return
		}
	}
	c.state &^= stateShort
	c.handler.Writable(c)
	if !c.closed() && c.out == nil && c.state&stateShort == 0 {
		c.watch(c.interest &^ unix.EPOLLOUT)
	}
}

// socketError is why the kernel says that the connection is gone.
func (c *Conn) socketError() error {
	n, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if n == 0 {
		return io.EOF
	}
	return unix.Errno(n)
}

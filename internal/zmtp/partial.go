package zmtp

import "sync"

// leastBuffer is the smallest buffer that is asked for, in bytes: most requests and replies of Salt are not much larger,
// and a peer that sends byte by byte should not make one grow from nothing.
const leastBuffer = 256

// partial is what a stream holds of a greeting, message or command that is half read.
//
// A greeting lies in buf alone. Otherwise buf has the whole frames of the message so far and, behind them, as much as has
// come of the next frame. That may be a command's: it is cut off again when it is whole.
type partial struct {
	buf    []byte // from Limits.Buffers
	walked int    // bytes of buf that are whole frames of the message
	frames int    // how many these are
	whole  bool   // the sink is being told of the message in buf, and may take it
}

// Nearly every read of a busy connection ends within a message, so partials are used again.
var partials = sync.Pool{New: func() any { return new(partial) }}

// hold keeps p, of which the first bytes are whole frames of a message.
func (s *Stream) hold(p []byte, walked, frames int, lim *Limits) {
	m, _ := partials.Get().(*partial)
	buf := append(lim.get(max(len(p), leastBuffer)), p...)
	*m = partial{buf: buf, walked: walked, frames: frames}
	s.held = m
}

// append adds p to what is held, of what will be so many bytes in all. When the buffer is full it is exchanged for one of
// twice the size, or of those bytes if they are fewer: what has come is copied once or twice on average, and no length that
// was only declared takes memory.
func (m *partial) append(p []byte, all uint64, lim *Limits) {
	if n := len(m.buf) + len(p); n > cap(m.buf) {
		size := max(n, 2*cap(m.buf))
		if uint64(n) <= all && all < uint64(size) {
			size = int(all)
		}
		m.grow(size, lim)
	}
	m.buf = append(m.buf, p...)
}

// grow exchanges the buffer for a larger one.
func (m *partial) grow(size int, lim *Limits) {
	larger := append(lim.get(size), m.buf...)
	lim.put(m.buf)
	m.buf = larger
}

// drop gives back what is held.
func (s *Stream) drop(lim *Limits) {
	if s.held == nil {
		return
	}
	lim.put(s.held.buf)
	s.held.buf = nil // or the pool keeps it alive
	partials.Put(s.held)
	s.held = nil
}

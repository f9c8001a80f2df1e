package zmtp

import "sync"

// leastBuffer is the smallest buffer that is asked for, in bytes: most requests and replies of Salt are not much larger,
// and a peer that sends byte by byte should not make one grow from nothing.
const leastBuffer = 256

// partial is what a stream holds of a greeting, message or command that is half read.
//
// A greeting lies in buf alone. Otherwise buf has the whole frames of the message so far and, behind them, as much as has
// come of the next frame. That may be a command's: it is cut off again when it is whole. What comes of a large last frame
// goes into pieces, if the limits say so.
type partial struct {
	buf    []byte   // from Limits.Buffers
	rest   [][]byte // pieces of what follows it, likewise
	beyond int      // bytes of rest
	room   int      // capacity of rest
	walked int      // bytes of buf that are whole frames of the message
	frames int      // how many these are
	whole  bool     // the sink is being told of the message, and may take it
}

const (
	// leastLarge is how many bytes have come, and how many of the last frame are missing, when a message becomes one in
	// pieces.
	leastLarge = 32 << 10
	pieceBytes = 64 << 10 // of a piece, at most: what one read brings
)

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
		larger := append(lim.get(size), m.buf...)
		lim.put(m.buf)
		m.buf = larger
	}
	m.buf = append(m.buf, p...)
}

// size is how many bytes of the peer are held.
func (m *partial) size() int { return len(m.buf) + m.beyond }

// large says whether the rest of the frame that is half read goes into pieces: missing bytes of it are still to come.
func (m *partial) large(h Header, missing uint64, lim *Limits) bool {
	return m.beyond > 0 || lim.Pieces && m.frames > 0 && h.Flags&(FlagMore|FlagCommand) == 0 &&
		len(m.buf) >= leastLarge && missing >= leastLarge
}

// extend adds p to the pieces. Of the last frame so many bytes are missing before that, p among them.
func (m *partial) extend(p []byte, missing uint64, lim *Limits) {
	for len(p) > 0 {
		n := copy(m.place(missing, lim), p)
		m.placed(n)
		p, missing = p[n:], missing-uint64(n)
	}
}

// place returns where the next of the missing bytes go, in a new piece if three quarters of the last one are full: a read
// is made for what is left of it. There is never more memory than twice what has come, whatever was declared.
func (m *partial) place(missing uint64, lim *Limits) []byte {
	last := m.buf
	if n := len(m.rest); n > 0 {
		last = m.rest[n-1]
	}
	if room := cap(last) - len(last); room <= cap(last)/4 && uint64(room) < missing {
		last = lim.get(int(min(missing, pieceBytes, uint64(2*m.size()-cap(m.buf)-m.room))))
		m.rest = append(m.rest, last)
		m.room += cap(last)
	}
	return last[len(last):min(uint64(cap(last)), uint64(len(last))+missing)]
}

// placed takes in n bytes that have been put into place.
func (m *partial) placed(n int) {
	if last := len(m.rest) - 1; last >= 0 {
		m.rest[last] = m.rest[last][:len(m.rest[last])+n]
		m.beyond += n
	} else {
		m.buf = m.buf[:len(m.buf)+n]
	}
}

// drop gives back what is held.
func (s *Stream) drop(lim *Limits) {
	m := s.held
	if m == nil {
		return
	}
	lim.put(m.buf)
	for _, piece := range m.rest {
		lim.put(piece)
	}
	*m = partial{} // or the pool keeps them alive
	partials.Put(m)
	s.held = nil
}

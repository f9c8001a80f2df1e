package zmtp

import "errors"

// Sink is told what a peer sends, in the order in which it came. What it is given is valid during the call, unless it
// takes it over with [Stream.Take]. An error of a method ends the stream and comes out of [Stream.Feed] as it is.
//
// The methods are called from within Feed, and must not call Feed or Release of the same stream.
type Sink interface {
	// Greeted says that the greeting is in and acceptable, and which version the connection speaks.
	Greeted(v Version) error
	// Ready says that the handshake is complete. Which socket types may talk to each other is for the sink to know.
	Ready(r Ready) error
	// Message is one whole message: its frames with their headers as they came, and nothing between them. Where
	// Limits.Pieces is set, [Stream.Rest] has what follows.
	Message(msg []byte) error
	// Command is any command after the handshake, known or not, READY excepted. It may come while a message is half read,
	// and is told at once: libzmq sends PING between the frames of a message.
	Command(name, data []byte) error
}

// Stream follows what one peer sends: greeting, READY, then messages and commands. The zero value waits for the first
// byte of the greeting.
//
// It is made for being many. A stream of which nothing is half read has 16 bytes and no buffer; messages and commands
// that arrive whole are handed on as they lie in the input. What is half read is copied into one buffer, which grows with
// the bytes that come, to at most twice their number (but 256), and never to a length that was only declared; or into
// pieces, to which the same applies. What has been walked is not walked again, however small the reads.
//
// A stream is not safe for concurrent use.
type Stream struct {
	held    *partial // nil while nothing is half read
	version Version
	phase   phase
}

// phase is what a stream is waiting for.
type phase uint8

const (
	awaitGreeting phase = iota
	awaitReady
	traffic
	ended // by an error, or by Release
)

var errEnded = errors.New("zmtp: bytes for a stream that has ended")

// SkipHandshake is for a connection on which somebody else has done the handshake: the stream begins after READY. It must
// be called before Feed.
func (s *Stream) SkipHandshake(v Version) {
	s.version = v
	s.phase = traffic
}

// Version returns what the connection speaks. It is 0.0 before [Sink.Greeted].
func (s *Stream) Version() Version { return s.version }

// Buffered returns how many bytes of memory hold what is half read.
func (s *Stream) Buffered() int {
	if s.held == nil {
		return 0
	}
	return cap(s.held.buf) + s.held.room
}

// HalfRead returns how many bytes of the peer are held because something is half read. Their memory may be twice that.
func (s *Stream) HalfRead() int {
	if s.held == nil {
		return 0
	}
	return s.held.size()
}

// Release gives the memory of what is half read back. The connection is over; the stream takes nothing more.
func (s *Stream) Release(lim *Limits) {
	s.phase = ended
	s.drop(lim)
}

// Rest returns the pieces that follow what Message was given, which has all frames but the last, one at least, and as much
// as there is of that one. It is nil for all but large messages, without Limits.Pieces, and anywhere but within Message. It
// is valid as long as the message.
func (s *Stream) Rest() [][]byte {
	if s.held == nil || !s.held.whole {
		return nil
	}
	return s.held.rest
}

// Take hands the buffers in which the message lies over to the sink, which puts them back into its Buffers, or not, when it
// has done with them: so a large message travels on without being copied. Take returns the very bytes that Message was
// given, or nil if those lie in the input of Feed, and Rest; and nil anywhere but within Message, and the second time.
func (s *Stream) Take() (msg []byte, rest [][]byte) {
	if s.held == nil || !s.held.whole {
		return nil, nil
	}
	m := s.held
	msg, rest = m.buf, m.rest
	*m = partial{whole: true}
	return msg, rest
}

// Feed takes the next bytes of the peer, as many as there are, and tells sink of everything that is whole with them. It
// keeps no part of p.
//
// An error is a [*Fault] of the peer, or the sink's own. It ends the stream: what was half read is given back, and Feed
// takes nothing more. What was told before holds.
func (s *Stream) Feed(p []byte, lim *Limits, sink Sink) error {
	for len(p) > 0 {
		var err error
		switch {
		case s.phase == ended:
			return errEnded
		case s.phase == awaitGreeting:
			p, err = s.greeting(p, lim, sink)
		case s.held == nil:
			p, err = s.walk(p, lim, sink)
		default:
			p, err = s.resume(p, lim, sink)
		}
		if err != nil {
			s.Release(lim)
			return err
		}
	}
	return nil
}

// greeting returns what follows the greeting in p.
func (s *Stream) greeting(p []byte, lim *Limits, sink Sink) (rest []byte, err error) {
	seen := p
	if s.held != nil {
		n := min(GreetingSize-len(s.held.buf), len(p))
		s.held.append(p[:n], GreetingSize, lim)
		seen, p = s.held.buf, p[n:]
	}
	g, done, err := ParseGreeting(seen)
	if err != nil {
		return nil, err
	}
	if !done {
		if s.held == nil {
			s.hold(p, 0, 0, lim)
		}
		return nil, nil
	}
	if s.held == nil {
		p = p[GreetingSize:]
	} else {
		s.drop(lim)
	}
	s.version = g.Version
	s.phase = awaitReady
	return p, sink.Greeted(g.Version)
}

// walk goes through p, which begins with a message or a command, and hands on what is whole. What is not, it holds; then
// it returns what is left for resume.
func (s *Stream) walk(p []byte, lim *Limits, sink Sink) (rest []byte, err error) {
	at := 0     // bytes of p that belong to whole frames of a message
	frames := 0 // how many these are
	for len(p) > at {
		h, ok, err := ParseHeader(p[at:])
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		if err := s.admit(h, at, frames, lim); err != nil {
			return nil, err
		}
		if h.Size > uint64(len(p)-at-h.Len) {
			break
		}
		end := at + h.Len + int(h.Size)
		switch {
		case h.Command() && at > 0:
			// The message has to be closed up around the command, so it needs a buffer.
			s.hold(p[:at], at, frames, lim)
			return p[at:], nil
		case h.Command():
			if err := s.command(p[h.Len:end], sink); err != nil {
				return nil, err
			}
			p = p[end:]
		case h.More():
			at = end
			frames++
		default:
			if err := sink.Message(p[:end]); err != nil {
				return nil, err
			}
			p, at, frames = p[end:], 0, 0
		}
	}
	if len(p) > 0 {
		s.hold(p, at, frames, lim)
	}
	return nil, nil
}

// resume goes on with what is held, to the end of the frame or command that is half read, and returns what of p is left.
func (s *Stream) resume(p []byte, lim *Limits, sink Sink) (rest []byte, err error) {
	m := s.held
	h, ok, err := ParseHeader(m.buf[m.walked:])
	for !ok && err == nil && len(p) > 0 { // at most nine times: how long a header is stands in it
		m.append(p[:1], 0, lim)
		p = p[1:]
		h, ok, err = ParseHeader(m.buf[m.walked:])
	}
	if err != nil || !ok {
		return nil, err
	}
	if err := s.admit(h, m.walked, m.frames, lim); err != nil {
		return nil, err
	}

	body := m.walked + h.Len
	all := uint64(body) + h.Size
	missing := all - uint64(m.size())
	now := p[:min(missing, uint64(len(p)))]
	if m.large(h, missing, lim) {
		m.extend(now, missing, lim)
	} else {
		m.append(now, all, lim)
	}
	if uint64(len(now)) < missing {
		return nil, nil
	}
	return p[missing:], s.complete(h, body, lim, sink)
}

// complete hands on what is held, whose last frame is whole with its body from there on, or goes on to the next frame.
func (s *Stream) complete(h Header, body int, lim *Limits, sink Sink) (err error) {
	m := s.held
	switch {
	case h.Command():
		err = s.command(m.buf[body:], sink)
		m.buf = m.buf[:m.walked]
		if m.walked == 0 {
			s.drop(lim)
		}
	case h.More():
		m.walked = len(m.buf)
		m.frames++
	default:
		m.whole = true
		err = sink.Message(m.buf)
		s.drop(lim)
	}
	return err
}

// leastRoom is how much must be missing for there to be Room: a read brings the beginning of the next message as well.
const leastRoom = 16 << 10

// Room returns where the next bytes of the peer may be put, for [Stream.Filled], instead of elsewhere, for [Stream.Feed],
// which copies them there: the piece of a large message that is filled now, to the end of the message at most. It is nil
// unless much of one is missing. It is valid until the next call of another method.
func (s *Stream) Room(lim *Limits) []byte {
	m := s.held
	if s.phase != traffic || m == nil {
		return nil
	}
	h, ok, err := ParseHeader(m.buf[m.walked:])
	if !ok || err != nil {
		return nil
	}
	missing := uint64(m.walked+h.Len) + h.Size - uint64(m.size())
	if missing < leastRoom || !m.large(h, missing, lim) {
		return nil
	}
	return m.place(missing, lim)
}

// Filled is Feed of n bytes that have been put into Room; no other method may have been called in between.
func (s *Stream) Filled(n int, lim *Limits, sink Sink) error {
	m := s.held
	m.placed(n)
	h, _, err := ParseHeader(m.buf[m.walked:])
	body := m.walked + h.Len
	if err == nil && uint64(m.size()) == uint64(body)+h.Size {
		err = s.complete(h, body, lim, sink)
	}
	if err != nil {
		s.Release(lim)
	}
	return err
}

// admit compares what a header declares with the limits. Walked and frames are what there is of the message so far, in
// bytes and frames.
func (s *Stream) admit(h Header, walked, frames int, lim *Limits) error {
	if h.Command() {
		if h.Size > uint64(max(lim.MaxCommand, 0)) {
			return faultf(ReasonCommandTooLarge, "a command of %d bytes; the limit is %d", h.Size, lim.MaxCommand)
		}
		return nil
	}
	if s.phase == awaitReady {
		return faultf(ReasonReady, "the peer sends a message where READY is due")
	}
	if frames >= lim.MaxFrames {
		return faultf(ReasonTooManyFrames, "a message of more than %d frames, the limit", lim.MaxFrames)
	}
	limit, used := uint64(max(lim.MaxMessage, 0)), uint64(walked+h.Len)
	if used > limit || h.Size > limit-used {
		return faultf(ReasonMessageTooLarge, "a frame of %d bytes after %d bytes of a message; the limit is %d together", h.Size, walked, lim.MaxMessage)
	}
	return nil
}

// command hands on the body of a command, or, before traffic, takes it for the peer's side of the handshake.
func (s *Stream) command(body []byte, sink Sink) error {
	name, data, err := ParseCommand(body)
	if err != nil {
		return err
	}
	if s.phase == awaitReady {
		return s.handshake(name, data, sink)
	}
	if string(name) == CommandReady {
		return faultf(ReasonReady, "a second one, after the handshake")
	}
	return sink.Command(name, data)
}

// handshake is the peer's side of the NULL mechanism: READY or ERROR (RFC 23, The NULL Security Mechanism).
func (s *Stream) handshake(name, data []byte, sink Sink) error {
	switch string(name) {
	case CommandReady:
		r, err := ParseReady(data)
		if err != nil {
			return err
		}
		s.phase = traffic
		return sink.Ready(r)
	case CommandError:
		reason, err := ParseError(data)
		if err != nil {
			return err
		}
		return faultf(ReasonPeerError, "it refuses the connection: %q", reason)
	default:
		return faultf(ReasonReady, "the peer sends the command %s where READY is due", clip(name))
	}
}

package retproxy

import (
	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// message is a whole request or reply as it is on the wire. A large one lies in pieces: head has all frames but the last,
// and of that the beginning; rest what follows. So it goes through as it came, and is nowhere put together.
type message struct {
	head []byte
	rest [][]byte
}

// messageOf is the message that a stream hands out, which is the stream's until it is taken.
func messageOf(s *zmtp.Stream, msg []byte) message { return message{msg, s.Rest()} }

// size is how many bytes it has.
func (m message) size() int {
	n := len(m.head)
	for _, piece := range m.rest {
		n += len(piece)
	}
	return n
}

// write gives the message to a connection, which takes over its buffers where owned says so. One in pieces must be owned.
func (m message) write(c *reactor.Conn, owned bool) error {
	if owned {
		return c.WriteOwned(m.head, m.rest...)
	}
	return c.Write(m.head)
}

// drop gives the buffers back.
func (m message) drop(l *reactor.Loop) {
	l.Put(m.head)
	for _, piece := range m.rest {
		l.Put(piece)
	}
}

package master

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"salt-broker/internal/zmtp"
)

// maxReady is the largest body of a peer's first command, in bytes. A libzmq READY has some 50.
const maxReady = 8 << 10

// guard is the connection that zmq4 sees during the handshake. It reads the peer's greeting and then one command, each
// to its last byte and none further, and checks them. Only then does it hand on the greeting as it came, and a READY of
// its own making that says the peer's socket type and nothing else; what else we want of the peer's stays here. Past the first fault every read fails.
//
// It holds at most the greeting or maxReady bytes, and is of no use after the handshake.
type guard struct {
	net.Conn // writes, deadlines and addresses pass as they are
	own      zmtp.SocketType
	limit    time.Duration // of the handshake, for the words of an error

	phase   phase
	vetted  []byte // checked, not read by zmq4 yet
	version zmtp.Version
	broker  int   // zmtp.Ready.Broker
	err     error // the first fault
}

type phase uint8

const (
	awaitGreeting phase = iota
	awaitReady
	complete
)

// Read gives out what is checked. It reads from the network when that has run out, so an error of it is about the
// peer.
func (g *guard) Read(p []byte) (int, error) {
	if len(g.vetted) == 0 && g.err == nil {
		g.vetted, g.err = g.next()
	}
	if g.err != nil {
		return 0, g.err
	}
	n := copy(p, g.vetted)
	g.vetted = g.vetted[n:]
	return n, nil
}

// Write passes to the network.
func (g *guard) Write(p []byte) (int, error) {
	n, err := g.Conn.Write(p)
	if err != nil && g.err == nil {
		g.err = g.broken(err, "half of our own handshake")
	}
	return n, err
}

// next reads and checks what the peer has to send next.
func (g *guard) next() ([]byte, error) {
	switch g.phase {
	case awaitGreeting:
		g.phase = awaitReady
		return g.greeting()
	case awaitReady:
		g.phase = complete
		return g.ready()
	default:
		return nil, errors.New("zmq4 reads beyond the handshake")
	}
}

// greeting reads the peer's 64 bytes. It judges them as they arrive: an HTTP server that waits for more is found out
// by its first byte.
func (g *guard) greeting() ([]byte, error) {
	buf := make([]byte, zmtp.GreetingSize)
	for n := 0; ; {
		m, err := g.Conn.Read(buf[n:])
		n += m
		if m > 0 {
			greeting, done, fault := zmtp.ParseGreeting(buf[:n])
			if fault != nil {
				return nil, fault
			}
			if done {
				g.version = greeting.Version
				return buf[:n], nil
			}
		}
		if err != nil {
			got := fmt.Sprintf("%d of %d bytes of the greeting", n, len(buf))
			if n > 0 { // libzmq reads our mechanism before it says its own
				got += ", as a libzmq socket does that wants CURVE or PLAIN"
			}
			return nil, g.broken(err, got)
		}
	}
}

// ready reads the frame after the greeting, which must be a READY that suits our socket type. It returns the one for
// the library.
func (g *guard) ready() ([]byte, error) {
	h, err := g.header()
	if err != nil {
		return nil, err
	}
	if h.Flags&zmtp.FlagCommand == 0 {
		return nil, fault(zmtp.ReasonReady, "a message of %d bytes where READY was due", h.Size)
	}
	if h.Size > maxReady {
		return nil, fault(zmtp.ReasonReady, "a command of %d bytes where READY was due; the limit is %d", h.Size, maxReady)
	}
	body := make([]byte, h.Size)
	if n, err := io.ReadFull(g.Conn, body); err != nil {
		return nil, g.broken(err, fmt.Sprintf("%d of %d bytes of READY", n, h.Size))
	}
	name, data, err := zmtp.ParseCommand(body)
	if err != nil {
		return nil, err
	}
	switch string(name) {
	case "READY":
	case "ERROR":
		reason, err := zmtp.ParseError(data)
		if err != nil {
			return nil, err
		}
		return nil, fault(zmtp.ReasonPeerError, "the peer refuses the connection: %q", reason)
	default:
		return nil, fault(zmtp.ReasonReady, "command %q where READY was due", name)
	}
	ready, err := zmtp.ParseReady(data)
	if err != nil {
		return nil, err
	}
	if !compatible(ready.SocketType, g.own) {
		return nil, fault(zmtp.ReasonSocketType, "the peer is a %s, which is nothing for our %s: is this the right port?", ready.SocketType, g.own)
	}
	g.broker = ready.Broker
	// Written anew: names of properties have no case (RFC 23), but the library knows one spelling and panics over others.
	return zmtp.AppendReady(nil, ready.SocketType), nil
}

// header reads the header of a frame and not a byte of its body.
func (g *guard) header() (zmtp.Header, error) {
	var buf [9]byte // the long form; the short one has 2
	for n := 0; n < len(buf); {
		need := 2
		if n == need {
			need = len(buf)
		}
		m, err := io.ReadFull(g.Conn, buf[n:need])
		n += m
		if err != nil {
			return zmtp.Header{}, g.broken(err, fmt.Sprintf("the greeting and %d bytes of READY", n))
		}
		if h, ok, err := zmtp.ParseHeader(buf[:n]); ok || err != nil {
			return h, err
		}
	}
	return zmtp.Header{}, errors.New("nine bytes are no header")
}

// broken puts into words how the connection failed the handshake; got is what had come by then.
func (g *guard) broken(err error, got string) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("no handshake within %s, only %s: %w", g.limit, got, os.ErrDeadlineExceeded)
	}
	return fmt.Errorf("the peer hung up after %s: %w", got, err)
}

// fault is what a peer did wrong that internal/zmtp has no eye for.
func fault(reason zmtp.Reason, format string, args ...any) error {
	return &zmtp.Fault{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

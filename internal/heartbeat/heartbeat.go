// Package heartbeat finds peers that have died in silence: a cable was pulled, a firewall forgot the connection, a
// machine hangs. TCP would tell after hours, if at all.
//
// It follows RFC 37/ZMTP 3.1, Connection Heartbeating, with the two times of libzmq and Salt (zmq_heartbeat_ivl,
// zmq_heartbeat_timeout): a peer from which nothing came for the interval gets a PING, and one from which nothing came
// for the time-out after that is closed. Anything received is life, not only PONG. Only peers that speak ZMTP 3.1 know
// PING; for others TCP keepalive has to do.
package heartbeat

import (
	"math"
	"sync/atomic"
	"time"

	"salt-broker/internal/reactor"
)

// Peer is the handler of a watched connection.
type Peer interface {
	reactor.Handler
	// Ping sends a PING, at once or when the message that is being sent is whole. An error closes the connection.
	Ping() error
}

// silence is the reason for which a peer is closed.
type silence struct{}

func (silence) Error() string { return "no sign of life for the heartbeat time-out" }

// Timeout makes it a time-out for errors.As and net.Error's readers.
func (silence) Timeout() bool { return true }

// ErrSilent is the reason with which a peer that did not answer is closed.
var ErrSilent error = silence{}

// never is the interval of a watch that has none.
const never = math.MaxInt64

// Counts are what a watch has seen of its peers.
type Counts struct {
	PingsSent     uint64
	PongsReceived uint64
	PingsReceived uint64 // and answered: a peer watches us as well
	Silent        uint64 // peers that were given up since nothing came after a PING
}

// Plus are both together.
func (c Counts) Plus(other Counts) Counts {
	return Counts{
		PingsSent: c.PingsSent + other.PingsSent, PongsReceived: c.PongsReceived + other.PongsReceived,
		PingsReceived: c.PingsReceived + other.PingsReceived, Silent: c.Silent + other.Silent,
	}
}

// Watch watches connections of one loop; its methods belong to that loop, but for Counts. A nil Watch watches nothing.
type Watch struct {
	loop  *reactor.Loop
	quiet *reactor.Activity // waiting for the interval to pass
	asked *reactor.Activity // got a PING; nil: nobody is given up

	sent, pongs, pings, silent atomic.Uint64 // see Counts
}

// Counts says what was sent and has come so far. It is safe from any goroutine.
func (w *Watch) Counts() Counts {
	if w == nil {
		return Counts{}
	}
	return Counts{PingsSent: w.sent.Load(), PongsReceived: w.pongs.Load(), PingsReceived: w.pings.Load(), Silent: w.silent.Load()}
}

// Ponged counts a PONG that came.
func (w *Watch) Ponged() { w.pongs.Add(1) }

// Pinged counts a PING that came.
func (w *Watch) Pinged() { w.pings.Add(1) }

// Ping asks a peer, watched or not, and counts that.
func (w *Watch) Ping(p Peer) error {
	w.sent.Add(1)
	return p.Ping()
}

// New makes a Watch. With an interval of 0 nobody is asked anything; with a timeout of 0 silent peers get a PING every
// interval and are kept. The handlers of what is added must be Peers.
func New(l *reactor.Loop, interval, timeout time.Duration) *Watch {
	w := &Watch{loop: l}
	w.quiet = l.NewActivity(orNever(interval), w.ask)
	w.quiet.CountSending() // who takes a large message piece by piece lives
	w.setTimeout(interval, timeout)
	return w
}

// Set changes both times, for those who are watched already too: they stay, and are asked when the new interval has
// passed. Who has been asked and does not answer has the new timeout.
func (w *Watch) Set(interval, timeout time.Duration) {
	w.setTimeout(interval, timeout)
	w.quiet.SetTimeout(orNever(interval))
}

func (w *Watch) setTimeout(interval, timeout time.Duration) {
	switch {
	case interval <= 0 || timeout <= 0:
		if w.asked == nil {
			return
		}
		for c := w.asked.First(); c != nil; c = w.asked.First() {
			w.quiet.Add(c)
		}
		w.asked = nil
	case w.asked == nil:
		w.asked = w.loop.NewActivity(timeout, func(c *reactor.Conn) {
			w.silent.Add(1)
			c.Close(ErrSilent)
		})
		w.asked.CountSending()
	default:
		w.asked.SetTimeout(timeout)
	}
}

func orNever(interval time.Duration) time.Duration {
	if interval <= 0 {
		return never
	}
	return interval
}

// Add begins to watch a connection, alive now.
func (w *Watch) Add(c *reactor.Conn) {
	if w != nil {
		w.quiet.Add(c)
	}
}

// Remove ends watching.
func (w *Watch) Remove(c *reactor.Conn) {
	if w != nil {
		w.quiet.Remove(c)
		if w.asked != nil {
			w.asked.Remove(c)
		}
	}
}

// Alive says that something came from the peer, or that it took something that its handler had waiting for it. For
// connections that are not watched it does nothing.
func (w *Watch) Alive(c *reactor.Conn) {
	if w == nil {
		return
	}
	if w.asked != nil && w.asked.Has(c) {
		w.quiet.Add(c)
		return
	}
	w.quiet.Touch(c)
}

func (w *Watch) ask(c *reactor.Conn) {
	if w.asked != nil {
		w.asked.Add(c)
	} else {
		w.quiet.Add(c)
	}
	if err := w.Ping(c.Handler().(Peer)); err != nil {
		c.Close(err)
	}
}

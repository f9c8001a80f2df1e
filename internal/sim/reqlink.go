//go:build linux

package sim

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// reqLink is a minion's REQ: one request at a time, over a connection of its own or over one that is kept.
type reqLink struct {
	minion *minion
	conn   *reactor.Conn // nil: none
	stream zmtp.Stream
	ready  bool // the handshake is done
	short  bool // a connection for each request

	waiting  bool // for the reply to
	nonce    uint64
	askedAt  time.Time
	open     atomic.Uint64 // the nonce while waiting, else 0; read anywhere
	answered bool          // the reply has come; what follows from it waits until the stream is done with its input
}

// ask makes a request, unless one is under way.
func (r *reqLink) ask() {
	if r.waiting {
		return
	}
	c := r.minion.crew
	r.waiting = true
	r.nonce++
	r.open.Store(r.nonce)
	r.askedAt = time.Now()
	c.count.requests.Add(1)
	c.count.waiting.Add(1)
	if r.conn == nil {
		r.connect()
		return
	}
	c.patience.Add(r.conn)
	r.send()
}

func (r *reqLink) connect() {
	c := r.minion.crew
	conn, err := c.loop.Dial(c.all.options.Request, c.all.options.KeepAlive, r)
	if err != nil {
		c.count.failed.Add(1)
		c.count.broken.Add(1)
		c.count.unsent.Add(1)
		r.over()
		r.next(false)
		return
	}
	r.conn, r.stream, r.ready = conn, zmtp.Stream{}, false
	c.patience.Add(conn)
	greeting := c.reqHello
	if id := r.minion.identity(); id != nil {
		greeting = hello(c.all.options.Version, zmtp.REQ, id)
	}
	_ = conn.Write(greeting) // a failure closes, and Closed follows
}

// send writes the request. A failure closes, and Closed follows.
func (r *reqLink) send() {
	c, o := r.minion.crew, &r.minion.crew.all.options
	q := Question{Minion: uint32(r.minion.number), Nonce: r.nonce, ReplyBytes: uint32(o.ReplyBytes)}
	c.body = AppendRequest(c.body[:0], q, o.RequestBytes, []byte(r.minion.id), &c.load)
	c.scratch = zmtp.AppendFrame(append(c.scratch[:0], delimiter...), false, c.body)
	_ = r.conn.Write(c.scratch)
}

// over ends the wait for a reply, which came or did not.
func (r *reqLink) over() {
	r.waiting = false
	r.open.Store(0)
	r.minion.crew.count.waiting.Add(-1)
}

// giveUp ends the wait and keeps the connection.
func (r *reqLink) giveUp() {
	r.minion.crew.count.timedOut.Add(1)
	r.over()
	r.next(false)
}

// next makes the next request of a busy minion, at once after a reply, else after a pause; that of one that insists only
// when there was no reply.
func (r *reqLink) next(answered bool) {
	c, o := r.minion.crew, &r.minion.crew.all.options
	switch {
	case c.resting || !o.Busy && (answered || !o.Insist):
	case answered:
		r.minion.ask()
	default:
		c.loop.After(c.pause(), func() {
			if !c.resting {
				r.minion.ask()
			}
		})
	}
}

// Received, Writable, HalfClosed and Closed are what the reactor tells.
func (r *reqLink) Received(conn *reactor.Conn, p []byte) error {
	if conn != r.conn {
		return nil // closed
	}
	c := r.minion.crew
	if err := r.stream.Feed(p, &c.limits, r); err != nil || !r.answered {
		return err
	}
	r.answered = false
	if r.short {
		r.stream.Release(&c.limits)
		r.conn = nil
		conn.Close(errDone)
	} else {
		c.patience.Remove(conn)
	}
	r.next(true)
	return nil
}

func (r *reqLink) Writable(*reactor.Conn)     {}
func (r *reqLink) HalfClosed(c *reactor.Conn) { c.Close(io.EOF) }

func (r *reqLink) Closed(conn *reactor.Conn, reason error) {
	c := r.minion.crew
	c.ended(r.minion, reason)
	if conn != r.conn {
		return // a short one, after its reply
	}
	r.stream.Release(&c.limits)
	if r.conn = nil; !r.ready {
		c.count.failed.Add(1)
	}
	if r.waiting {
		if errors.Is(reason, errTimeout) {
			c.count.timedOut.Add(1)
		} else {
			c.count.broken.Add(1)
		}
		if !r.ready {
			c.count.unsent.Add(1)
		}
		r.over()
		r.next(false)
	} else if r.answered { // and then something was wrong
		r.answered = false
		r.next(true)
	}
}

// Greeted, Ready, Message and Command are what the stream tells.
func (r *reqLink) Greeted(zmtp.Version) error { return nil }

func (r *reqLink) Ready(p zmtp.Ready) error {
	if p.SocketType != zmtp.ROUTER && p.SocketType != zmtp.REP {
		return wrongType(p.SocketType)
	}
	r.ready = true
	r.minion.crew.count.handshakes.Add(1)
	if r.waiting {
		r.send()
	}
	return nil
}

func (r *reqLink) Command(name, data []byte) error {
	if string(name) == zmtp.CommandPing {
		return r.minion.crew.pong(r.conn, data)
	}
	return nil
}

// Message checks a reply.
func (r *reqLink) Message(msg []byte) error {
	c, one := r.minion.crew, r.minion
	if !r.waiting && !c.all.options.KeepOnTimeout {
		c.fault(one, &c.count.wrongReplies, 1, "a reply that nobody asked for")
		return nil
	}
	latency := time.Since(r.askedAt)
	body, err := ReplyBody(msg)
	if err != nil {
		c.fault(one, &c.count.wrongReplies, 1, "a reply of %d bytes: %w", len(msg), err)
		return nil
	}
	switch minion, nonce, err := ParseAnswer(body); {
	case err != nil:
		c.fault(one, &c.count.wrongReplies, 1, "a reply of %d bytes: %w", len(msg), err)
		return nil
	case minion != uint32(one.number):
		c.fault(one, &c.count.wrongReplies, 1, "the reply of %s", MinionID(int(minion)))
		return nil
	case c.all.options.KeepOnTimeout && (nonce < r.nonce || nonce == r.nonce && !r.waiting):
		c.count.late.Add(1)
		return nil
	case nonce != r.nonce:
		c.fault(one, &c.count.wrongReplies, 1, "the reply to request %d, and %d is open", nonce, r.nonce)
		return nil
	}
	c.count.replies.Add(1)
	c.latency.observe(latency)
	r.answered = true
	r.over()
	if c.all.options.OnReply != nil {
		c.all.options.OnReply(one.number, latency)
	}
	return nil
}

var errFrames = errors.New("not an empty frame and one more")

// ReplyBody returns what a REQ hands to its user.
func ReplyBody(msg []byte) ([]byte, error) {
	empty, rest, err := zmtp.CutFrame(msg)
	if err != nil {
		return nil, err
	}
	body, rest, err := zmtp.CutFrame(rest)
	if err != nil || len(empty) > 0 || len(rest) > 0 {
		return nil, errFrames
	}
	return body, nil
}

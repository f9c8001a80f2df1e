//go:build linux

package sim

import (
	"io"
	"sync/atomic"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// answerer is the master's ROUTER and its workers on one loop. Everything belongs to the loop.
type answerer struct {
	master *Master
	loop   *reactor.Loop
	limits zmtp.Limits
	hello  []byte
	body   []byte // scratch

	busy    int       // workers that serve
	waiting []pending // for a worker, from next on
	next    int
}

// pending is a request that is answered later. It keeps no part of the connection's memory.
type pending struct {
	from     reactor.Ref
	envelope []byte // as it came, the delimiter included
	body     []byte
}

// requester is a connection of a REQ, or of a broker's DEALER.
type requester struct {
	answerer *answerer
	conn     *reactor.Conn
	stream   zmtp.Stream
	ready    bool
}

func newAnswerer(m *Master, l *reactor.Loop) *answerer {
	return &answerer{master: m, loop: l, limits: limits(l), hello: hello(m.options.Version, zmtp.ROUTER, nil)}
}

func (a *answerer) accept(c *reactor.Conn) reactor.Handler {
	a.master.count.accepted.Add(1)
	_ = c.Write(a.hello) // a failure closes, and Closed follows
	return &requester{answerer: a, conn: c}
}

// request takes a message apart and answers it, at once or later.
func (a *answerer) request(c *reactor.Conn, msg []byte) error {
	m := a.master
	depth, err := zmtp.Envelope(msg)
	if err != nil {
		m.count.malformed.Add(1)
		return err
	}
	request := msg
	for range depth + 1 {
		if _, request, err = zmtp.CutFrame(request); err != nil {
			return err
		}
	}
	envelope := msg[:len(msg)-len(request)]
	n := m.count.requests.Add(1)
	if m.options.OnRequest != nil {
		if body, _, err := zmtp.CutFrame(request); err == nil {
			if q, err := parseRequest(body); err == nil {
				m.options.OnRequest(int(q.Minion), q.Nonce)
			}
		}
	}
	if m.muted.Load() || m.options.Lose != nil && m.options.Lose(n) {
		m.count.lost.Add(1)
		return nil
	}
	m.began()
	if m.options.Answer != nil {
		m.options.Answer(request, a.later(c.Ref(), envelope))
		return nil
	}
	body, _, err := zmtp.CutFrame(request)
	if err != nil {
		return err
	}
	if m.options.ServiceTime > 0 {
		p := pending{c.Ref(), append([]byte(nil), envelope...), append([]byte(nil), body...)}
		if a.busy < m.options.Workers {
			a.serve(p)
		} else {
			a.waiting = append(a.waiting, p)
		}
		return nil
	}
	a.answer(c, envelope, body)
	return nil
}

// later makes the function that replies to a request from anywhere.
func (a *answerer) later(from reactor.Ref, envelope []byte) func(body []byte) {
	envelope = append([]byte(nil), envelope...)
	var done atomic.Bool
	return func(body []byte) {
		if done.Swap(true) {
			return
		}
		body = append([]byte(nil), body...)
		a.loop.Post(func() { a.send(a.loop.Lookup(from), envelope, body) })
	}
}

// serve keeps a worker busy with a request for as long as that takes, and then with the next.
func (a *answerer) serve(p pending) {
	a.busy++
	a.loop.After(a.master.options.ServiceTime, func() {
		a.busy--
		a.answer(a.loop.Lookup(p.from), p.envelope, p.body)
		if a.next < len(a.waiting) {
			p := a.waiting[a.next]
			a.waiting[a.next] = pending{}
			if a.next++; a.next == len(a.waiting) {
				a.waiting, a.next = a.waiting[:0], 0
			}
			a.serve(p)
		}
	})
}

// answer replies to a request as the stand-in does by itself. The connection is nil when it has gone.
func (a *answerer) answer(c *reactor.Conn, envelope, body []byte) {
	var good bool
	if a.body, good = Answer(a.body[:0], body); !good {
		a.master.count.foreign.Add(1)
	}
	a.send(c, envelope, a.body)
}

func (a *answerer) send(c *reactor.Conn, envelope, body []byte) {
	a.master.count.underWay.Add(-1)
	switch {
	case a.master.muted.Load():
		a.master.count.lost.Add(1)
		return
	case c == nil:
		a.master.count.stray.Add(1)
		return
	}
	const header = 9
	msg := append(a.loop.Get(len(envelope)+header+len(body)), envelope...)
	if c.WriteOwned(zmtp.AppendFrame(msg, false, body)) != nil {
		a.master.count.stray.Add(1)
		return
	}
	a.master.count.replies.Add(1)
}

// Received, Writable, HalfClosed and Closed are what the reactor tells.
func (r *requester) Received(_ *reactor.Conn, p []byte) error {
	return r.stream.Feed(p, &r.answerer.limits, r)
}

func (r *requester) Writable(*reactor.Conn)     {}
func (r *requester) HalfClosed(c *reactor.Conn) { c.Close(io.EOF) }

func (r *requester) Closed(_ *reactor.Conn, reason error) {
	r.stream.Release(&r.answerer.limits)
	if r.ready {
		r.answerer.master.count.requesters.Add(-1)
	}
	r.answerer.master.ended(reason)
}

// Greeted, Ready, Message and Command are what the stream tells.
func (r *requester) Greeted(zmtp.Version) error { return nil }

func (r *requester) Ready(p zmtp.Ready) error {
	if p.SocketType != zmtp.REQ && p.SocketType != zmtp.DEALER {
		return wrongType(p.SocketType)
	}
	r.ready = true
	r.answerer.master.count.requesters.Add(1)
	return nil
}

func (r *requester) Message(msg []byte) error { return r.answerer.request(r.conn, msg) }

func (r *requester) Command(name, data []byte) error {
	if string(name) == zmtp.CommandPing {
		return r.answerer.master.pong(r.conn, data)
	}
	return nil
}

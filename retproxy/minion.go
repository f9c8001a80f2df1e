package retproxy

import (
	"errors"
	"io"
	"math"
	"syscall"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// What one connection may have waiting here before it is not read from any more. A REQ has one request; a broker behind
// this one has many, and queues them itself when it is not read.
const (
	maxHeldRequests = 1024
	maxHeldBytes    = 64 << 20
	maxReplyBacklog = 1 << 20
)

// minion is a peer on the request port: a Salt minion, or a broker that has minions of its own. It belongs to its loop.
type minion struct {
	lane   *lane
	conn   *reactor.Conn
	stream zmtp.Stream

	first, last *request // its requests that wait here, in order
	own         claim    // at the master to which they go; at others, see lane.claims
	heldBytes   int64    // in memory for them
	held        int32    // how many of them
	forgettable int32    // requests that came and that it has not had forgotten, if it is a broker

	speaks31 bool // knows PING
	many     bool // not a REQ: has the requests of many minions, perhaps
	traces   bool // has sent TRACE, and may get zmtp.CommandHop
	broker   bool // it is one, and understands zmtp.CommandForgot
	paused   bool // not read from
	excused  bool // not watched, because its PONGs are not read
}

func newMinion(l *lane, c *reactor.Conn) *minion {
	l.minions.Add(1)
	return &minion{lane: l, conn: c, own: claim{way: l.only}}
}

// Received implements reactor.Handler.
func (m *minion) Received(_ *reactor.Conn, p []byte) error {
	before := m.heard()
	return m.fed(before, m.stream.Feed(p, &m.lane.limits, m))
}

// Place implements reactor.Placer: a large request is read to where it stays.
func (m *minion) Place(*reactor.Conn) []byte { return m.stream.Room(&m.lane.limits) }

// Placed implements reactor.Placer.
func (m *minion) Placed(_ *reactor.Conn, n int) error {
	before := m.heard()
	return m.fed(before, m.stream.Filled(n, &m.lane.limits, m))
}

// heard says that the peer lives, and returns how many bytes of it are half read.
func (m *minion) heard() int {
	m.lane.minionWatch.Alive(m.conn)
	return m.stream.HalfRead()
}

// fed is called when the stream has got something, and had so many bytes half read before.
func (m *minion) fed(before int, err error) error {
	m.lane.fed(m.conn, &m.stream, before)
	if m.lane.account.Pressed() {
		m.flow()
	}
	return err
}

// Writable implements reactor.Handler.
func (m *minion) Writable(*reactor.Conn) { m.flow() }

// HalfClosed implements reactor.Handler. A peer that has closed looks like one that only sends no more, and those may
// still wait for a reply. A PING finds out: who has closed answers with a reset. Who does not know PING is taken to
// have closed, as libzmq takes it.
func (m *minion) HalfClosed(c *reactor.Conn) {
	if !m.waits() {
		c.CloseFlushed(io.EOF) // replies may be on their way still
		return
	}
	if !m.speaks31 {
		c.Close(io.EOF)
		return
	}
	m.lane.minionWatch.Remove(c) // it cannot answer any more
	if err := m.lane.minionWatch.Ping(m); err != nil {
		c.Close(err)
	}
}

// Ping implements heartbeat.Peer.
func (m *minion) Ping() error {
	var space [16]byte
	return m.conn.WriteNow(zmtp.AppendPing(space[:0], 0, nil))
}

// Closed implements reactor.Handler: what the minion had waiting here is waited for by nobody.
func (m *minion) Closed(c *reactor.Conn, reason error) {
	m.lane.held -= int64(m.stream.HalfRead())
	m.stream.Release(&m.lane.limits)
	m.lane.leave(m, errors.Is(reason, io.EOF) || errors.Is(reason, syscall.ECONNRESET) || errors.Is(reason, syscall.EPIPE))
	m.lane.proxy.door.Ended(c, reason)
}

// Greeted implements zmtp.Sink.
func (m *minion) Greeted(v zmtp.Version) error {
	m.speaks31 = v.AtLeast(3, 1)
	return nil
}

// Ready implements zmtp.Sink. The identity that the peer claims is not looked at.
func (m *minion) Ready(r zmtp.Ready) error {
	m.many = r.SocketType != zmtp.REQ
	return m.lane.proxy.door.Admit(m.conn, m.stream.Version(), r)
}

// Message implements zmtp.Sink: a request.
func (m *minion) Message(head []byte) error {
	msg := messageOf(&m.stream, head)
	depth, err := zmtp.Envelope(head)
	if err != nil {
		return err // a REP socket would discard it and never answer, and a place at the master be held for nothing
	}
	if m.broker && m.forgettable < math.MaxInt32 {
		m.forgettable++
	}
	if err := m.lane.size.check(msg, depth); err != nil {
		if !m.many {
			return err
		}
		m.lane.tooLarge.Add(1) // one request of many minions: the others are not to suffer for it
		m.forgot(m.nameOf(msg), whyForgotten)
		return nil
	}
	m.lane.request(m, msg)
	return nil
}

// Command implements zmtp.Sink.
func (m *minion) Command(name, data []byte) error {
	switch string(name) {
	case zmtp.CommandPing:
		var space [64]byte
		answer, err := zmtp.AppendAnswer(space[:0], data)
		if err != nil {
			return err
		}
		m.lane.minionWatch.Pinged()
		if err := m.conn.Write(answer); err != nil {
			return err
		}
		m.flow() // who only asks and never reads
	case zmtp.CommandError:
		return zmtp.Complaint(data)
	case zmtp.CommandBroker:
		m.broker = m.many
	case zmtp.CommandForget:
		return m.forget(data)
	case zmtp.CommandTrace:
		return m.trace(data)
	case zmtp.CommandPong:
		m.lane.minionWatch.Ponged()
	}
	return nil // what later versions may add too
}

// waits says whether the minion waits for something.
func (m *minion) waits() bool { return m.first != nil || m.flying() > 0 }

// reply gives the minion its reply, the frames from its own envelope on. Where owned, it lies in buffers that pass on.
func (m *minion) reply(msg message, owned bool) {
	if err := msg.write(m.conn, owned); err != nil {
		m.conn.Close(err)
		return
	}
	m.settle()
}

// settle looks at what is to be done when something of the minion has ended.
func (m *minion) settle() {
	if !m.waits() && (m.lane.draining || m.conn.HasHalfClosed()) {
		reason := error(io.EOF)
		if m.lane.draining {
			reason = reactor.ErrStopped
		}
		m.conn.CloseFlushed(reason)
		return
	}
	m.flow()
}

// Buffered implements buffers.Holder.
func (m *minion) Buffered() (all, halfRead int64) {
	halfRead = int64(m.stream.HalfRead())
	return halfRead + m.heldBytes + int64(m.conn.Kept()), halfRead
}

// Flow implements buffers.Holder.
func (m *minion) Flow() { m.flow() }

// flow stops reading from a minion that has too much here, and goes on when it has less.
func (m *minion) flow() {
	l := m.lane
	enough := l.draining || m.held >= maxHeldRequests || m.heldBytes >= maxHeldBytes || l.account.Stops(m.conn, m)
	full := enough || m.conn.Kept() > maxReplyBacklog
	if full != m.paused {
		if m.paused = full; full {
			m.conn.PauseRead()
		} else {
			m.conn.ResumeRead()
		}
	}
	if enough == m.excused {
		return
	}
	if m.excused = enough; enough {
		m.lane.minionWatch.Remove(m.conn)
	} else if m.speaks31 && !m.conn.HasHalfClosed() { // who does not take its replies is watched, read from or not
		m.lane.minionWatch.Add(m.conn)
	}
}

// hold adds a request to the minion's list.
func (m *minion) hold(r *request) {
	r.before = m.last
	if m.last != nil {
		m.last.after = r
	} else {
		m.first = r
	}
	m.last = r
	m.held++
	m.heldBytes += r.bytes()
	m.lane.held += r.bytes()
	m.lane.heldWhole += r.bytes()
}

// release takes a request out of the minion's list.
func (m *minion) release(r *request) {
	if c := m.claim(r.link.way); c.beyond == r {
		c.beyond = r.nextBeyond()
	}
	if r.before != nil {
		r.before.after = r.after
	} else {
		m.first = r.after
	}
	if r.after != nil {
		r.after.before = r.before
	} else {
		m.last = r.before
	}
	r.before, r.after = nil, nil
	m.held--
	m.heldBytes -= r.bytes()
	m.lane.held -= r.bytes()
	m.lane.heldWhole -= r.bytes()
}

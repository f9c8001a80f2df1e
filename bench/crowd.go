//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"salt-broker/internal/zmtp"
)

// crowd is many minions that listen to publishes, on one loop: connections of SUB. Everything belongs to the loop but what
// is set before it runs.
type crowd struct {
	loop *sockets

	// Set before run.
	address  netip.AddrPort
	filtered bool // each listens to a topic of its own
	// rest is how long everybody leaves a publish in the kernel after the first one has read it. Minions have machines of
	// their own; here what reads takes the relay's cores away while it writes to the others. When a publish came is what
	// the kernel says.
	rest   time.Duration
	atOnce int // handshakes under way
	report int // descriptor that is told how far the run has got; -1: none

	limits     zmtp.Limits
	hello      []byte
	members    []*member
	next       int // the first that has not begun to connect
	connecting int
	subscribed int
	everyone   chan struct{} // closed when all have subscribed
	leaving    bool

	// The run that is under way.
	run      uint32
	complete uint64            // publishes that have reached everyone they were for
	told     uint64            // of them, in the last report
	newest   uint64            // the last that anybody has got
	arrived  [arrivalRing]int  // by order, for those that have not reached everyone
	latest   time.Time         // when anybody got anything
	spans    []span            // from sending to the last arrival
	fault    error             // the first thing that should not have happened
	faults   int               // and how many there were
	scratch  [reportBytes]byte // of a report
}

// span is the time that one publish took to reach everyone: of publishes that were under way alone.
type span struct{ from, to time.Time }

const (
	// arrivalRing is how many publishes can be under way; the master's window is smaller.
	arrivalRing = 1024
	// reportBytes is the size of a report: run and complete.
	reportBytes = 16
)

// member is one minion of the crowd.
type member struct {
	crowd  *crowd
	conn   *socket
	stream zmtp.Stream
	number int
	topic  []byte // nil: everything
	run    uint32
	order  uint64 // of the last publish in the run
	ready  bool
}

func newCrowd(o Listeners, report int) (*crowd, error) {
	loop, err := newSockets(o.Rest > 0)
	if err != nil {
		return nil, err
	}
	c := &crowd{
		loop: loop, address: onLoopback(o.Port), filtered: o.Filtered, atOnce: o.AtOnce, rest: o.Rest,
		report: report, everyone: make(chan struct{}),
	}
	c.limits = zmtp.Limits{MaxMessage: 1 << 30, MaxFrames: 1 << 10, MaxCommand: 1 << 10}
	c.hello = zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.SUB)
	for i := range o.Count {
		m := &member{crowd: c, number: i}
		if o.Filtered {
			m.topic = topicOf(i)
		}
		c.members = append(c.members, m)
	}
	go c.loop.run() // for as long as the process lives
	c.do(c.connect)
	return c, nil
}

// do runs fn on the loop and waits for it.
func (c *crowd) do(fn func()) { c.loop.do(fn) }

// leave closes all connections, and is done when they are.
func (c *crowd) leave() {
	c.do(func() {
		c.leaving = true
		for _, m := range c.members {
			if m.conn != nil {
				m.conn.close()
			}
		}
	})
}

func (c *crowd) connect() {
	for ; c.next < len(c.members) && c.connecting < c.atOnce && !c.leaving; c.next++ {
		m := c.members[c.next]
		conn, err := c.loop.dial(c.address, c.hello, m)
		if err != nil {
			c.wrong(m, "%w", err)
			c.next = len(c.members) // descriptors or ports have run out: it does not get better
			return
		}
		m.conn = conn
		c.connecting++
	}
}

// wrong notes what should not have happened.
func (c *crowd) wrong(m *member, format string, args ...any) {
	if c.faults++; c.fault == nil {
		c.fault = fmt.Errorf("minion %d: %w", m.number, fmt.Errorf(format, args...))
	}
}

// received and closed are what the sockets tell.
func (m *member) received(p []byte, at time.Time) error {
	c := m.crowd
	if at.After(c.latest) {
		c.latest = at
	}
	err := m.stream.Feed(p, &c.limits, m)
	c.tell()
	return err
}

func (m *member) closed(reason error) {
	c := m.crowd
	m.stream.Release(&c.limits)
	m.conn = nil
	if m.ready {
		c.subscribed--
	} else {
		c.connecting--
	}
	if !c.leaving {
		c.wrong(m, "connection ended: %w", reason)
	}
}

// Greeted, Ready, Command and Message are what the stream tells.
func (m *member) Greeted(zmtp.Version) error { return nil }

func (m *member) Ready(r zmtp.Ready) error {
	if r.SocketType != zmtp.PUB && r.SocketType != zmtp.XPUB {
		return fmt.Errorf("subscribed to a %s", r.SocketType)
	}
	c := m.crowd
	if err := m.conn.write(m.subscription()); err != nil {
		return err
	}
	m.ready = true
	c.connecting--
	if c.subscribed++; c.subscribed == len(c.members) {
		close(c.everyone)
	}
	c.connect()
	return nil
}

// subscription is in the form of the version that is spoken (RFC 37).
func (m *member) subscription() []byte {
	if m.stream.Version().AtLeast(3, 1) {
		return zmtp.AppendSubscribe(nil, m.topic)
	}
	return zmtp.AppendSubscription(nil, m.topic, false)
}

func (m *member) Command(name, data []byte) error { return pong(m.conn, name, data) }

// pong answers a PING.
func pong(c *socket, name, data []byte) error {
	if string(name) != zmtp.CommandPing {
		return nil
	}
	answer, err := zmtp.AppendAnswer(nil, data)
	if err != nil {
		return err
	}
	return c.write(answer)
}

// Message checks a publish: every byte, its order, and whether it is for this minion.
func (m *member) Message(msg []byte) error {
	topic, payload, err := cutPublish(msg)
	if err != nil {
		return err
	}
	p, err := parsePublication(payload)
	if err != nil {
		return err
	}
	if string(topic) != string(m.topic) {
		return fmt.Errorf("a publish for %q came to %q", topic, m.topic)
	}
	if p.run != m.run {
		m.run, m.order = p.run, 0
	}
	// What goes to single minions leaves gaps; there a loss shows as a publish that reaches nobody.
	if p.order <= m.order || topic == nil && p.order != m.order+1 {
		return fmt.Errorf("publish %d of run %d came after %d", p.order, p.run, m.order)
	}
	m.order = p.order
	m.crowd.got(p)
	return nil
}

// got counts one arrival.
func (c *crowd) got(p publication) {
	if p.run != c.run {
		if p.run < c.run {
			return // of a run that was given up, before everybody could hear it
		}
		c.run, c.complete, c.told, c.newest, c.spans = p.run, 0, 0, 0, nil
		clear(c.arrived[:])
	}
	if p.order > c.newest {
		c.newest = p.order
		c.loop.pause = c.rest
	}
	at := &c.arrived[p.order%arrivalRing]
	if *at++; *at == len(c.members) || c.filtered {
		*at = 0
		c.complete++
		if c.rest > 0 {
			c.spans = append(c.spans, span{p.sent, c.latest})
		}
	}
}

// tell reports how far the run is, when it has got further.
func (c *crowd) tell() {
	if c.told == c.complete || c.report < 0 {
		return
	}
	c.told = c.complete
	binary.BigEndian.PutUint64(c.scratch[:], uint64(c.run))
	binary.BigEndian.PutUint64(c.scratch[8:], c.complete)
	if _, err := unix.Write(c.report, c.scratch[:]); err != nil {
		c.fault = fmt.Errorf("report to the master: %w", err)
	}
}

//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// crowd is many minions that listen to publishes, on one loop: connections of SUB. Everything belongs to the loop but what
// is set before it runs.
type crowd struct {
	loop *reactor.Loop

	// Set before run.
	address  netip.AddrPort
	filtered bool // each listens to a topic of its own
	atOnce   int  // handshakes under way
	report   int  // descriptor that is told how far the run has got; -1: none

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
	arrived  [arrivalRing]int  // by order, for those that have not
	spans    []span            // from sending to the last arrival
	fault    error             // the first thing that should not have happened
	faults   int               // and how many there were
	scratch  [reportBytes]byte // of a report
}

// span is the time that one publish took to reach everyone.
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
	conn   *reactor.Conn
	stream zmtp.Stream
	number int
	topic  []byte // nil: everything
	run    uint32
	order  uint64 // of the last publish in the run
	ready  bool
}

func newCrowd(address netip.AddrPort, count, atOnce int, filtered bool, report int) (*crowd, error) {
	g, err := reactor.New(reactor.Options{})
	if err != nil {
		return nil, err
	}
	c := &crowd{
		loop: g.Loops()[0], address: address, filtered: filtered, atOnce: atOnce,
		report: report, everyone: make(chan struct{}),
	}
	c.limits = zmtp.Limits{MaxMessage: 1 << 30, MaxFrames: 1 << 10, MaxCommand: 1 << 10, Buffers: c.loop}
	c.hello = zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.SUB)
	for i := range count {
		m := &member{crowd: c, number: i}
		if filtered {
			m.topic = topicOf(i)
		}
		c.members = append(c.members, m)
	}
	c.loop.Post(c.connect)
	go func() { _ = g.Run(context.Background()) }() // for as long as the process lives
	return c, nil
}

// do runs fn on the loop and waits for it.
func (c *crowd) do(fn func()) {
	done := make(chan struct{})
	if c.loop.Post(func() { fn(); close(done) }) {
		<-done
	}
}

// leave closes all connections, and is done when they are.
func (c *crowd) leave() {
	c.do(func() {
		c.leaving = true
		for _, m := range c.members {
			if m.conn != nil {
				m.conn.Close(io.EOF)
			}
		}
	})
}

func (c *crowd) connect() {
	for ; c.next < len(c.members) && c.connecting < c.atOnce && !c.leaving; c.next++ {
		m := c.members[c.next]
		conn, err := c.loop.Dial(c.address, m)
		if err != nil {
			c.wrong(m, "%w", err)
			c.next = len(c.members) // descriptors or ports have run out: it does not get better
			return
		}
		m.conn = conn
		c.connecting++
		_ = conn.Write(c.hello) // a failure closes, and Closed follows
	}
}

// wrong notes what should not have happened.
func (c *crowd) wrong(m *member, format string, args ...any) {
	if c.faults++; c.fault == nil {
		c.fault = fmt.Errorf("minion %d: %w", m.number, fmt.Errorf(format, args...))
	}
}

// Received, Writable, HalfClosed and Closed are what the reactor tells.
func (m *member) Received(_ *reactor.Conn, p []byte) error {
	err := m.stream.Feed(p, &m.crowd.limits, m)
	m.crowd.tell()
	return err
}

func (m *member) Writable(*reactor.Conn)     {}
func (m *member) HalfClosed(c *reactor.Conn) { c.Close(io.EOF) }

func (m *member) Closed(_ *reactor.Conn, reason error) {
	c := m.crowd
	m.stream.Release(&c.limits)
	m.conn = nil
	if m.ready {
		c.subscribed--
	} else {
		c.connecting--
	}
	if !c.leaving && reason != reactor.ErrStopped { //nolint:errorlint // handed on as it is
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
	if err := m.conn.Write(m.subscription()); err != nil {
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

func (m *member) Command(name, data []byte) error {
	if string(name) != zmtp.CommandPing {
		return nil
	}
	pong, err := zmtp.AppendAnswer(nil, data)
	if err != nil {
		return err
	}
	return m.conn.Write(pong)
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
		c.run, c.complete, c.told, c.spans = p.run, 0, 0, nil
		clear(c.arrived[:])
	}
	at := &c.arrived[p.order%arrivalRing]
	if *at++; *at == len(c.members) || c.filtered {
		*at = 0
		c.complete++
		c.spans = append(c.spans, span{p.sent, time.Now()})
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

//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"salt-broker/internal/sim"
	"salt-broker/internal/zmtp"
)

// callers is many minions that make requests, on one loop: each over a connection of REQ that it keeps, or over one for each
// request: connect, handshake, request, reply, close. It does what package sim's minions do with less processor time: where
// the stand-ins use most of the machine, all relays look alike. And it makes room after each turn: minions have machines of
// their own, and here a loop that always has something to do would keep the relay from a core for as long as the kernel
// lets it, some milliseconds. Everything belongs to the loop but what is set before it runs, and the count of replies.
//
// It writes what fits into an empty socket: 64 KiB at most.
type callers struct {
	loop *sockets

	// Set before run.
	address netip.AddrPort
	bytes   int  // of a request, and of the reply
	short   bool // a connection for each request
	limits  zmtp.Limits
	hello   []byte
	all     []*caller

	resting   bool // no other request
	waiting   int  // for a reply
	exchanges []exchange
	fault     error // the first thing that should not have happened
	faults    int   // and how many there were
	body      []byte
	load      []byte
	message   []byte

	replies atomic.Int64
}

// caller is one of these minions.
type caller struct {
	callers *callers
	id      []byte
	number  uint32
	nonce   uint64 // of its last request
	askedAt time.Time
	conn    *socket
	stream  zmtp.Stream
	waits   bool // for the reply
}

// startCallers has minions call until they are told to rest.
func startCallers(o Askers) (asking, error) {
	loop, err := newSockets(false)
	if err != nil {
		return nil, err
	}
	c := &callers{
		loop: loop, address: onLoopback(o.Port), bytes: o.Bytes, short: o.Short,
		limits: zmtp.Limits{MaxMessage: 1 << 30, MaxFrames: 1 << 10, MaxCommand: 1 << 10},
		hello:  zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.REQ),
	}
	for i := range o.Count {
		c.all = append(c.all, &caller{callers: c, number: uint32(i), id: []byte(sim.MinionID(i))})
	}
	loop.yields = true
	go loop.run() // for as long as the process lives
	loop.do(func() {
		for _, one := range c.all {
			_ = one.call() // there is no connection yet
		}
	})
	return c, nil
}

func (c *callers) answered() uint64 { return uint64(c.replies.Load()) }

func (c *callers) rest() { c.loop.do(func() { c.resting = true }) }

func (c *callers) waits() (n int) {
	c.loop.do(func() { n = c.waiting })
	return n
}

func (c *callers) replied() (all []exchange) {
	c.loop.do(func() { all = slices.Clone(c.exchanges) })
	return all
}

func (c *callers) verdict() (err error) {
	c.loop.do(func() {
		switch {
		case c.fault != nil:
			err = fmt.Errorf("requests: %d faults, the first: %w", c.faults, c.fault)
		case c.resting && c.waiting > 0:
			err = fmt.Errorf("requests: %d without a reply", c.waiting)
		}
	})
	return err
}

// wrong notes what should not have happened.
func (c *callers) wrong(one *caller, err error) {
	if c.faults++; c.fault == nil {
		c.fault = fmt.Errorf("minion %d: %w", one.number, err)
	}
}

// call makes a request, over a new connection if there is none, unless all rest. An error is of the connection that there
// was.
func (one *caller) call() error {
	c := one.callers
	if c.resting {
		return nil
	}
	one.nonce++
	one.askedAt = time.Now()
	one.waits = true
	c.waiting++
	if one.conn != nil {
		return one.ask()
	}
	one.stream = zmtp.Stream{}
	var err error
	if one.conn, err = c.loop.dial(c.address, c.hello, one); err != nil {
		one.over()
		c.wrong(one, err)
	}
	return nil
}

// over ends the wait for a reply.
func (one *caller) over() {
	one.waits = false
	one.callers.waiting--
}

// ask sends a request.
func (one *caller) ask() error {
	c := one.callers
	q := sim.Question{Minion: one.number, Nonce: one.nonce, ReplyBytes: uint32(c.bytes)}
	c.body = sim.AppendRequest(c.body[:0], q, c.bytes, one.id, &c.load)
	c.message = zmtp.AppendFrame(append(c.message[:0], zmtp.FlagMore, 0), false, c.body) // behind the delimiter
	return one.conn.write(c.message)
}

// received and closed are what the sockets tell.
func (one *caller) received(p []byte, _ time.Time) error {
	if err := one.stream.Feed(p, &one.callers.limits, one); err != nil || one.waits {
		return err
	}
	if one.callers.short {
		one.conn.close()
	}
	return one.call()
}

func (one *caller) closed(reason error) {
	c := one.callers
	one.stream.Release(&c.limits)
	one.conn = nil
	if one.waits {
		one.over()
	}
	if reason != nil {
		c.wrong(one, fmt.Errorf("connection ended: %w", reason))
	}
}

// Greeted, Ready, Command and Message are what the stream tells.
func (one *caller) Greeted(zmtp.Version) error { return nil }

func (one *caller) Ready(r zmtp.Ready) error {
	if r.SocketType != zmtp.ROUTER && r.SocketType != zmtp.REP {
		return fmt.Errorf("connected to a %s", r.SocketType)
	}
	return one.ask()
}

func (one *caller) Command(name, data []byte) error { return pong(one.conn, name, data) }

var errUnasked = errors.New("a reply that nobody waits for")

// Message checks a reply: every byte, and whether it is to this request.
func (one *caller) Message(msg []byte) error {
	c := one.callers
	if !one.waits {
		return errUnasked
	}
	body, err := sim.ReplyBody(msg)
	if err != nil {
		return err
	}
	minion, nonce, err := sim.ParseAnswer(body)
	if err != nil {
		return err
	}
	if minion != one.number || nonce != one.nonce {
		return fmt.Errorf("the reply to request %d of %s, and %d is open", nonce, sim.MinionID(int(minion)), one.nonce)
	}
	one.over()
	now := time.Now()
	c.exchanges = append(c.exchanges, exchange{now, now.Sub(one.askedAt)})
	c.replies.Add(1)
	return nil
}

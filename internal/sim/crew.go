//go:build linux

package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// pace is how often those minions make their requests whose time has come.
const pace = 5 * time.Millisecond

// crew is the minions of one loop. Everything but the counters belongs to the loop.
type crew struct {
	all      *Minions
	loop     *reactor.Loop
	limits   zmtp.Limits
	minions  []*minion
	subHello []byte // without identities
	reqHello []byte

	handshakes *reactor.Activity // of subscriptions
	patience   *reactor.Activity // for replies
	queue      []*minion         // have to connect their subscription
	connecting int               // handshakes of them that are under way
	scratch    []byte            // a message
	body       []byte            // of it
	load       []byte            // of that

	stopped bool // the loop ends: nobody connects any more
	resting bool // nobody makes requests by itself
	next    int  // whose turn it is with Interval
	due     float64
	tickAt  time.Duration
	tick    *reactor.Timer

	// Written on the loop, read anywhere.
	count    crewCounters
	arrivals arrivals
	delivery histogram
	latency  histogram
}

type crewCounters struct {
	subscribed, reached, waiting        atomic.Int64
	handshakes, failed, cut, peerFaults atomic.Uint64
	jobs, missed, missedAway, doubled   atomic.Uint64
	damaged, strayed                    atomic.Uint64
	requests, replies, timedOut, broken atomic.Uint64
	unsent, leftOut, late               atomic.Uint64
	wrongReplies, pings                 atomic.Uint64
}

func newCrew(m *Minions, l *reactor.Loop) *crew {
	c := &crew{
		all: m, loop: l, limits: limits(l),
		subHello: hello(m.options.Version, zmtp.SUB, nil),
		reqHello: hello(m.options.Version, zmtp.REQ, nil),
	}
	c.handshakes = l.NewActivity(m.options.Timeout, func(conn *reactor.Conn) { conn.Close(errTimeout) })
	c.patience = l.NewActivity(m.options.Timeout, func(conn *reactor.Conn) {
		if r, ok := conn.Handler().(*reqLink); ok && r.ready && m.options.KeepOnTimeout {
			r.giveUp()
			return
		}
		conn.Close(errTimeout)
	})
	return c
}

// begin starts everybody.
func (c *crew) begin() {
	if c.all.options.Publish.IsValid() {
		c.queue = append(c.queue, c.minions...)
		c.connect()
	}
	if c.resting = c.all.options.Resting; !c.resting {
		c.work()
	}
}

// work has minions make requests by themselves.
func (c *crew) work() {
	c.resting = false
	if c.all.options.Interval <= 0 || len(c.minions) == 0 {
		return
	}
	c.tickAt = c.loop.Now()
	if c.tick == nil {
		c.tick = c.loop.After(pace, c.ask)
	} else {
		c.tick.Reset(pace)
	}
}

// connect has as many of those who wait connect their subscription as may do it at once.
func (c *crew) connect() {
	for !c.stopped && len(c.queue) > 0 && c.connecting < c.all.options.ConnectAtOnce {
		one := c.queue[0]
		if c.queue = c.queue[1:]; len(c.queue) == 0 {
			c.queue = nil
		}
		one.sub.connect()
	}
}

// again has a minion connect its subscription after a while.
func (c *crew) again(one *minion) {
	c.loop.After(c.pause(), func() {
		c.queue = append(c.queue, one)
		c.connect()
	})
}

// pause is a random time, so that not all who lost the same peer come back at once.
func (c *crew) pause() time.Duration {
	d := c.all.options.Reconnect
	return d + rand.N(d)
}

// ask has those make a request whose time has come.
func (c *crew) ask() {
	if c.resting {
		return
	}
	c.due += float64(c.loop.Now()-c.tickAt) / float64(c.all.options.Interval) * float64(len(c.minions))
	c.due = min(c.due, float64(len(c.minions))) // after a pause of the whole process: nobody twice
	c.tickAt = c.loop.Now()
	for ; c.due >= 1; c.due-- {
		one := c.minions[c.next]
		c.next = (c.next + 1) % len(c.minions)
		if one.req.waiting {
			c.count.leftOut.Add(1)
		}
		one.ask()
	}
	c.tick.Reset(pace)
}

// fault tells of something that never should happen.
func (c *crew) fault(one *minion, count *atomic.Uint64, n uint64, format string, args ...any) {
	count.Add(n)
	if c.all.options.OnFault == nil && c.all.fault.Load() != nil {
		return // a broken broker makes very many
	}
	err := fmt.Errorf("%s: %w", one.id, fmt.Errorf(format, args...))
	c.all.fault.CompareAndSwap(nil, &err)
	if c.all.options.OnFault != nil {
		c.all.options.OnFault(one.number, err)
	}
}

// ended looks at why a connection ended.
func (c *crew) ended(one *minion, reason error) {
	if errors.Is(reason, reactor.ErrStopped) {
		c.stopped = true
	}
	var fault *zmtp.Fault
	if errors.As(reason, &fault) {
		c.fault(one, &c.count.peerFaults, 1, "connection ended: %w", fault)
	}
}

// pong answers a PING.
func (c *crew) pong(conn *reactor.Conn, data []byte) error {
	c.count.pings.Add(1)
	_, echo, err := zmtp.ParsePing(data)
	if err != nil {
		return err
	}
	return conn.Write(zmtp.AppendPong(nil, echo))
}

// arrivals says for the last jobs how many minions have had them. The loop writes, anybody reads.
type arrivals [1024]arrival

type arrival struct {
	order   atomic.Uint64
	minions atomic.Int64
	last    atomic.Int64 // nanoseconds after publishing
}

func (a *arrivals) add(order uint64, latency time.Duration) {
	at := &a[order%uint64(len(a))]
	switch known := at.order.Load(); {
	case known > order:
		return
	case known < order:
		at.order.Store(0) // a reader sees nobody until both are zero
		at.minions.Store(0)
		at.last.Store(0)
		at.order.Store(order)
	}
	at.last.Store(max(at.last.Load(), int64(latency)))
	at.minions.Add(1)
}

func (a *arrivals) of(order uint64) (minions int, last time.Duration) {
	at := &a[order%uint64(len(a))]
	if at.order.Load() != order {
		return 0, 0
	}
	return int(at.minions.Load()), time.Duration(at.last.Load())
}

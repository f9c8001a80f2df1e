//go:build linux

package reactor

import (
	"math"
	"time"
)

// slack is the share of its timeout by which an [Activity] may be late: within it, touching costs one comparison.
const slack = 32

// Activity watches connections of a loop for a time without activity: handshakes that do not end, peers that have
// fallen silent. It is a list ordered by last activity, so adding, touching and removing are O(1), and one timer serves
// all its connections. A connection is in at most one Activity at a time.
type Activity struct {
	loop       *Loop
	timeout    time.Duration
	expired    func(c *Conn)
	sending    bool  // see CountSending
	head, tail *Conn // longest inactive first
	timer      *Timer
}

// NewActivity makes a list whose expired function is called, on the loop, for each connection that was not touched for
// timeout (and up to 1/32 of it longer). The connection has been taken off the list by then; expired usually closes it.
func (l *Loop) NewActivity(timeout time.Duration, expired func(c *Conn)) *Activity {
	return &Activity{
		loop: l, expired: expired,
		timeout: min(max(timeout, 1), math.MaxInt64/4), // 1: a connection that expired adds again is not due at once
	}
}

// SetTimeout changes the timeout. Who would be due at once by the new one is not: these become due one after the other
// within the new timeout, or thousands would be asked at the same moment, and again at the same moment ever after.
func (a *Activity) SetTimeout(timeout time.Duration) {
	if timeout = min(max(timeout, 1), math.MaxInt64/4); timeout == a.timeout {
		return
	}
	a.timeout = timeout
	n := 0
	for c := a.head; c != nil; c = c.newer {
		n++
	}
	if n == 0 {
		return
	}
	step, least := timeout/time.Duration(n), a.loop.now-timeout
	for c := a.head; c != nil; c = c.newer { // they stay in order
		least += step
		c.activeAt = max(c.activeAt, least)
	}
	a.timer.Reset(a.deadline(a.head) - a.loop.now)
}

// First returns the connection that has been inactive for longest, nil when the list is empty.
func (a *Activity) First() *Conn { return a.head }

// CountSending makes it activity as well when the peer takes bytes that had to be kept.
func (a *Activity) CountSending() { a.sending = true }

// Add puts a connection on the list, active now, and takes it off the one it was on.
func (a *Activity) Add(c *Conn) {
	if c.closed() {
		return
	}
	if c.activity != nil {
		c.activity.Remove(c)
	}
	c.activity = a
	c.activeAt = a.loop.now
	a.append(c)
	a.arm()
}

// Has says whether the connection is on the list.
func (a *Activity) Has(c *Conn) bool { return c.activity == a }

// Touch says that the connection, which is on the list, is active.
func (a *Activity) Touch(c *Conn) {
	if c.activity != a || a.loop.now-c.activeAt <= a.timeout/slack {
		return
	}
	c.activeAt = a.loop.now
	if a.tail == c {
		return
	}
	a.unlink(c)
	a.append(c)
}

// Remove takes a connection off the list. Closing it does so too.
func (a *Activity) Remove(c *Conn) {
	if c.activity != a {
		return
	}
	a.unlink(c)
	c.activity = nil
}

func (a *Activity) append(c *Conn) {
	c.older, c.newer = a.tail, nil
	if a.tail != nil {
		a.tail.newer = c
	} else {
		a.head = c
	}
	a.tail = c
}

func (a *Activity) unlink(c *Conn) {
	if c.older != nil {
		c.older.newer = c.newer
	} else {
		a.head = c.newer
	}
	if c.newer != nil {
		c.newer.older = c.older
	} else {
		a.tail = c.older
	}
	c.older, c.newer = nil, nil
}

func (a *Activity) deadline(c *Conn) time.Duration { return c.activeAt + a.timeout + a.timeout/slack }

// arm sets the timer for the head. A timer that is set for an earlier time stays: it finds nothing to do and sets
// itself anew, which is cheaper than moving it with every connection that leaves.
func (a *Activity) arm() {
	if a.head == nil {
		return
	}
	if a.timer == nil {
		a.timer = a.loop.After(a.deadline(a.head)-a.loop.now, a.check)
	} else if a.timer.index < 0 {
		a.timer.Reset(a.deadline(a.head) - a.loop.now)
	}
}

func (a *Activity) check() {
	for a.head != nil && a.deadline(a.head) <= a.loop.now {
		c := a.head
		a.Remove(c)
		a.expired(c)
	}
	a.arm()
}

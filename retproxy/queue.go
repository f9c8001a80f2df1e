package retproxy

import (
	"time"
	"unsafe"
)

// freshFor is how long the oldest waiting request may have waited for the queue to be first come, first served. Beyond
// it the newest goes first: when the master cannot keep up, the oldest requests are those that their minions are about
// to give up, and serving them in order serves nobody. It must be less than the patience of any minion:
// docs/decisions/0009-max-in-flight-and-order.rst has the measurements.
const freshFor = 2 * time.Second

// request waits for its turn. It is in its minion's list, and in the queue unless its minion has its share already.
type request struct {
	minion  *minion
	link    *link   // that it is for
	msg     message // as it came; owned
	size    int     // of msg
	came    time.Duration
	since   time.Duration // in the queue
	several bool          // its minion had others here or at the master when it came

	queued        bool
	prev, next    *request // in the queue
	before, after *request // in the minion's list
}

// bytes is what the request takes of the budget.
func (r *request) bytes() int64 { return int64(unsafe.Sizeof(*r)) + int64(r.size) }

// queue holds the requests of a link that may be sent.
//
// Who asks for several things at a time, as a broker with minions of its own, puts one in whenever another is answered.
// Newest first, such a request would take the place that has just become free every time, and those who ask once would
// wait for ever. Or they would be the newest, time and again, and all that a broker has sent be the oldest, for as long as
// the master has too much to do: then nobody behind it is served. So these stand in a line of their own, and newest first
// the two have turns.
type queue struct {
	direct      line
	several     line
	length      int
	lastSeveral bool // the last turn was that of one of several
}

// push adds a request, the newest of its line.
func (q *queue) push(r *request) {
	q.lineOf(r).push(r)
	q.length++
}

// remove takes a request out that is in.
func (q *queue) remove(r *request) {
	q.lineOf(r).remove(r)
	q.length--
}

// pick returns the request whose turn it is, nil when there is none. It stays in.
func (q *queue) pick(now time.Duration) *request {
	direct, several := q.direct.pick(now), q.several.pick(now)
	switch {
	case several == nil:
		return direct
	case direct == nil:
		return several
	case q.fresh(now):
		if several.since < direct.since {
			return several
		}
		return direct
	case q.lastSeveral:
		return direct
	}
	return several
}

// fresh says whether it is first come, first served in both lines.
func (q *queue) fresh(now time.Duration) bool { return q.direct.fresh(now) && q.several.fresh(now) }

// served notes who has had the last turn.
func (q *queue) served(r *request) { q.lastSeveral = r.several }

func (q *queue) lineOf(r *request) *line {
	if r.several {
		return &q.several
	}
	return &q.direct
}

// line is a list of requests in the order in which they came into it.
type line struct {
	oldest, newest *request
}

func (l *line) push(r *request) {
	r.queued = true
	r.prev, r.next = l.newest, nil
	if l.newest != nil {
		l.newest.next = r
	} else {
		l.oldest = r
	}
	l.newest = r
}

func (l *line) remove(r *request) {
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		l.oldest = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	} else {
		l.newest = r.prev
	}
	r.prev, r.next, r.queued = nil, nil, false
}

func (l *line) fresh(now time.Duration) bool {
	return l.oldest == nil || now-l.oldest.since <= freshFor
}

func (l *line) pick(now time.Duration) *request {
	if l.fresh(now) {
		return l.oldest
	}
	return l.newest
}

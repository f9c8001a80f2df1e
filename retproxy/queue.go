package retproxy

import "time"

// freshFor is how long the oldest waiting request may have waited for the queue to be first come, first served. Beyond
// it the newest goes first: when the master cannot keep up, the oldest requests are those that their minions are about
// to give up, and serving them in order serves nobody.
const freshFor = 2 * time.Second

// request waits for its turn. It is in its minion's list, and in the queue unless its minion has its share already.
type request struct {
	minion  *minion
	msg     []byte // the whole message as it came; owned
	arrived time.Duration

	queued     bool
	prev, next *request // in the queue, or free
	mine       *request // the minion's next
}

// queue holds the requests of a link that may be sent, oldest first.
type queue struct {
	oldest, newest *request
	length         int
}

func (q *queue) push(r *request) {
	r.queued = true
	r.prev, r.next = q.newest, nil
	if q.newest != nil {
		q.newest.next = r
	} else {
		q.oldest = r
	}
	q.newest = r
	q.length++
}

func (q *queue) remove(r *request) {
	if !r.queued {
		return
	}
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		q.oldest = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	} else {
		q.newest = r.prev
	}
	r.prev, r.next, r.queued = nil, nil, false
	q.length--
}

// pick returns the request whose turn it is.
func (q *queue) pick(now time.Duration) *request {
	if q.oldest == nil || now-q.oldest.arrived <= freshFor {
		return q.oldest
	}
	return q.newest
}

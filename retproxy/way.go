package retproxy

import (
	"sync/atomic"

	"salt-broker/internal/master"
	"salt-broker/internal/reactor"
)

// way is a lane's way to one master: two links, the requests that wait for them, those that are at the master, and how many
// may be.
type way struct {
	lane   *lane
	member *member
	credit *credit // the member's

	// Owned by the loop.
	share    int32 // of the places at the master that one minion may hold
	near     int   // of these places, those that are taken without a look at the way there
	flights  flights
	givenUp  impatience
	ordinary *link
	bulk     *link
	last     *link // that had a turn
	hungry   bool  // something waits for credit
	healthy  bool  // so it is said (SetHealthy)
	absent   bool  // there has been no link for too long
	absence  *reactor.Timer
	leaving  bool // nothing new goes there
	left     bool // and nothing is there any more

	// Shared.
	woken    atomic.Bool
	wake     func()      // w.dispatch, bound once
	serves   atomic.Bool // healthy and not absent
	waiting  atomic.Int64
	inFlight atomic.Int64
	replies  atomic.Uint64
}

func newWay(l *lane, m *member, to master.Options, o Options) *way {
	w := &way{lane: l, member: m, credit: m.credit, flights: flights{free: -1}, healthy: true}
	w.serves.Store(true)
	w.ordinary = newLink(w, "requests", to)
	w.bulk = newLink(w, "large requests", to)
	w.keep(o)
	w.wake = func() {
		w.woken.Store(false)
		w.dispatch()
	}
	m.credit.accounts[l.index].wake = w.notify
	return w
}

// notify has the way look at its queues. It is safe from any goroutine, and many calls cost one wake-up.
func (w *way) notify() {
	if !w.woken.Swap(true) {
		w.lane.loop.Post(w.wake)
	}
}

// linkFor is the link that a request of such a size goes over.
func (w *way) linkFor(size int) *link {
	if size >= bulkBytes {
		return w.bulk
	}
	return w.ordinary
}

func (w *way) links() [2]*link { return [...]*link{w.ordinary, w.bulk} }

// enqueue puts a request into its queue; its minion's share allows it.
func (w *way) enqueue(r *request) {
	r.since = w.lane.loop.Now()
	r.minion.claim(w).queued++
	r.link.queue.push(r)
}

// dispatch sends what waits, as far as there are places.
func (w *way) dispatch() {
	l := w.lane
	w.hungry = false
	for k, r := w.turn(); r != nil; k, r = w.turn() {
		if r.minion.conn.Closed() { // in this very turn
			l.forget(r)
			continue
		}
		owner, ok := w.credit.take(l.index)
		if !ok {
			w.credit.wait(l.index)
			if owner, ok = w.credit.take(l.index); !ok {
				w.hungry = true
				break
			}
		}
		m, msg, size, waited := r.minion, r.msg, r.size, l.loop.Now()-r.came
		k.queue.served(r)
		l.drop(r)
		k.send(m, msg, size, true, owner, waited)
		m.flow()
	}
	if !w.hungry {
		w.credit.content(l.index)
	}
	l.checkDrained()
	if w.leaving {
		w.checkLeft()
	}
}

// turn returns the link whose turn it is to be sent something, and what, nil when nothing is to be sent. They take turns
// when both have something: in overload one of them would get nothing otherwise.
func (w *way) turn() (*link, *request) {
	first, second := w.ordinary, w.bulk
	if w.last == first {
		first, second = second, first
	}
	if r := first.next(); r != nil {
		return first, r
	}
	return second, second.next()
}

// landed is called when a place at the master has become free, for whatever reason.
func (w *way) landed(was flight) *minion {
	l := w.lane
	w.inFlight.Add(-1)
	w.credit.give(l.index, int(was.owner))
	m := l.minion(was.minion)
	if m == nil {
		return nil
	}
	m.claim(w).flying--
	w.promote(m)
	return m
}

// promote puts as many requests of a minion into the queue as its share allows now.
func (w *way) promote(m *minion) {
	c := m.claim(w)
	for r := c.beyond; r != nil && c.queued+c.flying < w.share; r = c.beyond {
		c.beyond = r.nextBeyond()
		r.several = true
		w.enqueue(r)
	}
}

// expire gives up places whose reply is overdue. The reply is still passed on if it comes.
func (w *way) expire(k *link) {
	if k.broker > 0 { // which says itself when it gives one up
		return
	}
	now := w.lane.loop.Now()
	for i := k.order.first; i >= 0; i = k.order.first {
		left := w.flights.table[i].sent + w.lane.deadline - now
		if left > 0 {
			k.overdue.Reset(left)
			break
		}
		w.landUnanswered(w.flights.remove(i), whyOverdue)
	}
	w.dispatch()
}

// keep takes over what the way itself looks at.
func (w *way) keep(o Options) {
	w.near = near(o.MaxInFlight)
	w.share = int32(max(1, w.near/2)) // until the next reply says how many more there are
}

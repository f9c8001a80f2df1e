package retproxy

import (
	"bytes"
	"sync/atomic"
	"time"

	"salt-broker/internal/admission"
	"salt-broker/internal/buffers"
	"salt-broker/internal/heartbeat"
	"salt-broker/internal/latency"
	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// tinyBytes is the size below which a request that waits gets no buffer of the pool, of which the smallest has 512 bytes:
// none of Salt's is so small, and who sends thousands of them should not get a hundred times their size.
const tinyBytes = 128

// lane is what one event loop does: its minions, its links to the master, and the requests between them.
type lane struct {
	proxy *Proxy
	loop  *reactor.Loop
	index int

	// Owned by the loop.
	share                    int32         // of the places at the master that one minion may hold
	near                     int           // of these places, those that are taken without a look at the way there
	deadline                 time.Duration // request_deadline
	limits                   zmtp.Limits
	held                     int64 // bytes in memory for messages that wait here or are half read
	heldWhole                int64 // of them: for requests that wait here
	account                  *buffers.Account
	minionWatch, masterWatch *heartbeat.Watch
	size                     size
	flights                  flights
	givenUp                  impatience
	ordinary                 *link
	bulk                     *link
	last                     *link // that had a turn
	hungry                   bool  // something waits for credit
	spares                   []*request
	draining                 bool
	drained                  chan<- struct{}

	// Shared.
	woken   atomic.Bool
	wake    func() // l.dispatch, bound once
	minions atomic.Int64
	counters
}

// counters of a lane; see Stats.
type counters struct {
	requests, requestBytes atomic.Uint64
	sentBytes              atomic.Uint64
	replies, replyBytes    atomic.Uint64
	answers, answerBytes   atomic.Uint64
	queueTime, masterTime  latency.Recorder
	tooLarge               atomic.Uint64
	forgotten              atomic.Uint64
	unwanted               atomic.Uint64
	unroutable             atomic.Uint64
	late                   atomic.Uint64
	overdue                atomic.Uint64
	lostWithLink           atomic.Uint64
	waiting                atomic.Int64
	inFlight               atomic.Int64
}

func newLane(p *Proxy, loop *reactor.Loop) *lane {
	l := &lane{
		proxy: p, loop: loop, index: loop.Index(),
		flights: flights{free: -1},
	}
	l.limits = zmtp.Limits{MaxFrames: maxFrames, MaxCommand: maxCommandBytes, Buffers: loop}
	l.keep(p.options)
	l.account = p.options.Buffers.Open(loop, &l.held, l.drains, admission.ErrBuffers)
	l.masterWatch = heartbeat.New(loop, p.options.HeartbeatInterval, p.options.HeartbeatTimeout)
	l.ordinary = newLink(l, "requests")
	l.bulk = newLink(l, "large requests")
	l.wake = func() {
		l.woken.Store(false)
		l.dispatch()
	}
	return l
}

// drains says whether a large request that is read to its end now will soon be at the master: that is there, and what waits
// for it is not most of what is in memory.
func (l *lane) drains() bool { return l.bulk.conn != nil && 2*l.heldWhole < l.held }

// notify has the lane look at its queues. It is safe from any goroutine, and many calls cost one wake-up.
func (l *lane) notify() {
	if !l.woken.Swap(true) {
		l.loop.Post(l.wake)
	}
}

// request takes a minion's request: to the master when there is a place, else it waits. msg is the stream's.
func (l *lane) request(m *minion, msg []byte) {
	l.requests.Add(1)
	l.requestBytes.Add(uint64(len(msg)))
	for !m.many && m.first != nil { // a REQ that asks again has given up what it asked before: ZMQ_REQ_RELAXED
		l.forget(m.first)
	}
	if !m.many && m.flying > 0 {
		l.giveUp(m)
	}
	k := l.ordinary
	if len(msg) >= bulkBytes {
		k = l.bulk
	}
	// Nobody is overtaken on the short way.
	if k.queue.length == 0 && !l.hungry && m.first == nil && m.flying < l.share && k.ready() {
		if owner, ok := l.proxy.credit.take(l.index); ok {
			if len(msg) >= ownBytes {
				if own := m.stream.Take(); own != nil {
					k.send(m, own, true, owner, 0)
					return
				}
			}
			k.send(m, msg, false, owner, 0)
			return
		}
	}
	r := l.newRequest()
	r.minion, r.came = m, l.loop.Now()
	if len(msg) < tinyBytes {
		r.msg = bytes.Clone(msg)
	} else if r.msg = m.stream.Take(); r.msg == nil {
		r.msg = append(l.loop.Get(len(msg)), msg...)
	}
	m.hold(r)
	l.waiting.Add(1)
	if m.beyond != nil || m.queued+m.flying >= l.share {
		if m.beyond == nil {
			m.beyond = r
		}
		m.flow()
		return
	}
	l.enqueue(r)
	m.flow()
	if k.ready() {
		l.dispatch()
	}
}

// enqueue puts a request into its queue; its minion's share allows it.
func (l *lane) enqueue(r *request) {
	r.since = l.loop.Now()
	r.minion.queued++
	l.linkOf(r).queue.push(r)
}

func (l *lane) linkOf(r *request) *link {
	if len(r.msg) >= bulkBytes {
		return l.bulk
	}
	return l.ordinary
}

// dispatch sends what waits, as far as there are places.
func (l *lane) dispatch() {
	l.hungry = false
	for k, r := l.turn(); r != nil; k, r = l.turn() {
		if r.minion.conn.Closed() { // in this very turn
			l.forget(r)
			continue
		}
		owner, ok := l.proxy.credit.take(l.index)
		if !ok {
			l.proxy.credit.wait(l.index)
			if owner, ok = l.proxy.credit.take(l.index); !ok {
				l.hungry = true
				break
			}
		}
		m, msg, waited := r.minion, r.msg, l.loop.Now()-r.came
		k.queue.served(r)
		l.drop(r)
		k.send(m, msg, true, owner, waited)
		m.flow()
	}
	if !l.hungry {
		l.proxy.credit.content(l.index)
	}
	l.checkDrained()
}

// turn returns the link whose turn it is to be sent something, and what, nil when nothing is to be sent. They take turns
// when both have something: in overload one of them would get nothing otherwise.
func (l *lane) turn() (*link, *request) {
	first, second := l.ordinary, l.bulk
	if l.last == first {
		first, second = second, first
	}
	if r := first.next(); r != nil {
		return first, r
	}
	return second, second.next()
}

// drop takes a request out of its lists. Its message is the caller's.
func (l *lane) drop(r *request) {
	if r.queued {
		l.linkOf(r).queue.remove(r)
		r.minion.queued--
	}
	r.minion.release(r)
	l.waiting.Add(-1)
	*r = request{}
	if len(l.spares) < 1024 {
		l.spares = append(l.spares, r)
	}
}

// forget drops a request that nobody waits for any more.
func (l *lane) forget(r *request) {
	l.givenUp.at(l.loop.Now() - r.came)
	msg := r.msg
	l.drop(r)
	l.loop.Put(msg)
	l.forgotten.Add(1)
}

func (l *lane) newRequest() *request {
	if n := len(l.spares); n > 0 {
		r := l.spares[n-1]
		l.spares = l.spares[:n-1]
		return r
	}
	return new(request)
}

// landed is called when a place at the master has become free, for whatever reason.
func (l *lane) landed(was flight) *minion {
	l.inFlight.Add(-1)
	l.proxy.credit.give(l.index, int(was.owner))
	m := l.minion(was.minion)
	if m == nil {
		return nil
	}
	m.flying--
	l.promote(m)
	return m
}

// promote puts as many requests of a minion into the queue as its share allows now.
func (l *lane) promote(m *minion) {
	for r := m.beyond; r != nil && m.queued+m.flying < l.share; r = m.beyond {
		m.beyond = r.after
		r.promoted = true
		l.enqueue(r)
	}
}

// minion returns who has a connection, nil when it is gone.
func (l *lane) minion(ref reactor.Ref) *minion {
	c := l.loop.Lookup(ref)
	if c == nil {
		return nil
	}
	m, _ := c.Handler().(*minion)
	return m
}

// leave forgets a minion and what it had waiting. Its places at the master are not free before their replies: the
// master works for it all the same. At a broker they are free when that has forgotten the requests, too.
func (l *lane) leave(m *minion) {
	if m.flying > 0 {
		l.giveUp(m)
	}
	for m.first != nil {
		l.forget(m.first)
	}
	l.minions.Add(-1)
	l.checkDrained()
}

// drain begins the end: who waits for nothing is let go, the others are answered, and nothing new is read. done is
// closed when nobody is left who waits.
func (l *lane) drain(done chan<- struct{}) {
	l.draining, l.drained = true, done
	l.loop.Each(func(c *reactor.Conn) {
		if m, ok := c.Handler().(*minion); ok {
			m.settle()
		}
	})
	l.checkDrained()
}

func (l *lane) checkDrained() {
	if l.drained == nil || l.minions.Load() > 0 {
		return
	}
	close(l.drained)
	l.drained = nil
}

// expire gives up places whose reply is overdue. The reply is still passed on if it comes.
func (l *lane) expire(k *link) {
	if k.broker > 0 { // which says itself when it gives one up
		return
	}
	now := l.loop.Now()
	for i := k.order.first; i >= 0; i = k.order.first {
		left := l.flights.table[i].sent + l.deadline - now
		if left > 0 {
			k.overdue.Reset(left)
			break
		}
		l.landUnanswered(l.flights.remove(i), whyOverdue)
	}
	l.dispatch()
}

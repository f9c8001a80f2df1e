package retproxy

import (
	"bytes"
	"slices"
	"sync/atomic"
	"time"

	"salt-broker/internal/admission"
	"salt-broker/internal/buffers"
	"salt-broker/internal/heartbeat"
	"salt-broker/internal/latency"
	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// tinyBytes is the size below which a request that waits gets no buffer of the pool, of which the smallest has 512
// bytes: none of Salt's is so small, and who sends thousands of them should not get a hundred times their size.
const tinyBytes = 128

// lane is what one event loop does: its minions, its ways to masters, and the requests between them.
type lane struct {
	proxy *Proxy
	loop  *reactor.Loop
	index int

	// Owned by the loop.
	ways                     []*way               // replaced, never changed
	only                     *way                 // the one for all that is new; nil: there are several
	claims                   map[*minion][]*claim // beside the minions' own
	moveAfter                time.Duration
	deadline                 time.Duration // request_deadline
	limits                   zmtp.Limits
	held                     int64 // bytes in memory for messages that wait here or are half read
	heldWhole                int64 // of them: for requests that wait here
	account                  *buffers.Account
	minionWatch, masterWatch *heartbeat.Watch
	size                     size
	traces                   traces
	spares                   []*request
	draining                 bool
	drained                  chan<- struct{}

	// Shared.
	minions atomic.Int64
	counters
}

// fed counts what is half read of a connection, minion's or link, of which so many bytes were so before.
func (l *lane) fed(c *reactor.Conn, s *zmtp.Stream, before int) {
	halfRead := s.HalfRead()
	c.ReadInPlace(halfRead > 0)
	l.held += int64(halfRead - before)
}

// counters of a lane; see Stats.
type counters struct {
	requests, requestBytes atomic.Uint64
	sentBytes              atomic.Uint64
	replyBytes             atomic.Uint64 // replies are counted by way
	answers, answerBytes   atomic.Uint64
	queueTime, masterTime  latency.Recorder
	tooLarge               atomic.Uint64
	forgotten              atomic.Uint64
	unwanted               atomic.Uint64
	unroutable             atomic.Uint64
	late                   atomic.Uint64
	overdue                atomic.Uint64
	lostWithLink           atomic.Uint64
	tracesIgnored          atomic.Uint64
	moved                  atomic.Uint64
}

func newLane(p *Proxy, loop *reactor.Loop) *lane {
	l := &lane{proxy: p, loop: loop, index: loop.Index(), claims: map[*minion][]*claim{}}
	l.limits = zmtp.Limits{MaxFrames: maxFrames, MaxCommand: maxCommandBytes, Buffers: loop, Pieces: true}
	l.account = p.options.Buffers.Open(loop, &l.held, l.drains, admission.ErrBuffers)
	l.masterWatch = heartbeat.New(loop, p.options.HeartbeatInterval, p.options.HeartbeatTimeout)
	l.keep(p.options)
	return l
}

// drains says whether a large request that is read to its end now will soon be at the master: that is there, and what
// waits for it is not most of what is in memory.
func (l *lane) drains() bool {
	return 2*l.heldWhole < l.held && slices.ContainsFunc(l.ways, func(w *way) bool { return w.bulk.conn != nil })
}

// request takes a minion's request: to the master when there is a place, else it waits. msg is the stream's.
func (l *lane) request(m *minion, msg message) {
	size := msg.size()
	l.requests.Add(1)
	l.requestBytes.Add(uint64(size))
	for !m.many && m.first != nil { // a REQ that asks again has given up what it asked before: ZMQ_REQ_RELAXED
		l.abandon(m.first)
	}
	if !m.many && m.flying() > 0 {
		l.giveUp(m)
	}
	w := l.wayFor(m, msg)
	k, c := w.linkFor(size), m.claim(w)
	// Nobody is overtaken on the short way.
	if k.queue.length == 0 && !w.hungry && m.first == nil && c.flying < w.share && k.ready() {
		if owner, ok := w.credit.take(l.index); ok {
			owned := false
			if size >= ownBytes {
				own, _ := m.stream.Take()
				owned = own != nil
			}
			k.send(m, msg, size, owned, owner, 0)
			return
		}
	}
	r := l.newRequest()
	r.minion, r.link, r.came, r.size = m, k, l.loop.Now(), size
	if size < tinyBytes {
		r.msg.head = bytes.Clone(msg.head)
	} else if r.msg.head, r.msg.rest = m.stream.Take(); r.msg.head == nil {
		r.msg.head = append(l.loop.Get(size), msg.head...)
	}
	m.hold(r)
	w.waiting.Add(1)
	r.several = c.queued+c.flying > 0
	if !c.allows(w.share) {
		if c.beyond == nil {
			c.beyond = r
		}
		m.flow()
		return
	}
	w.enqueue(r)
	m.flow()
	if k.ready() {
		w.dispatch()
	}
}

// drop takes a request out of its lists. Its message is the caller's.
func (l *lane) drop(r *request) {
	if r.queued {
		r.link.queue.remove(r)
		r.minion.claim(r.link.way).queued--
	}
	r.minion.release(r)
	r.link.way.waiting.Add(-1)
	*r = request{}
	if len(l.spares) < 1024 {
		l.spares = append(l.spares, r)
	}
}

// abandon forgets a request that its minion has given up.
func (l *lane) abandon(r *request) {
	r.link.way.givenUp.at(l.loop.Now() - r.came)
	l.forget(r)
}

// forget drops a request that nobody waits for any more.
func (l *lane) forget(r *request) {
	msg := r.msg
	l.drop(r)
	msg.drop(l.loop)
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

// minion returns who has a connection, nil when it is gone.
func (l *lane) minion(ref reactor.Ref) *minion {
	c := l.loop.Lookup(ref)
	if c == nil {
		return nil
	}
	m, _ := c.Handler().(*minion)
	return m
}

// leave forgets a minion and what it had waiting, which it has given up if it was the one that ended the connection.
// Its places at the master are not free before their replies: the master works for it all the same. At a broker they
// are free when that has forgotten the requests, too.
func (l *lane) leave(m *minion, gaveUp bool) {
	if m.flying() > 0 {
		l.giveUp(m)
	}
	for m.first != nil {
		if gaveUp {
			l.abandon(m.first)
		} else {
			l.forget(m.first)
		}
	}
	delete(l.claims, m)
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

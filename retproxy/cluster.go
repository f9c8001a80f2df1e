package retproxy

import (
	"encoding/binary"
	"iter"
	"slices"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"salt-broker/internal/master"
	"salt-broker/internal/reactor"
	"salt-broker/internal/salt"
	"salt-broker/internal/zmtp"
)

// The peers of a master cluster share minions' keys and jobs, but not the keys of their sessions. So a minion stays
// with its peer: the one that scores highest for it of those that serve (rendezvous hashing). When a peer goes, its own
// minions are spread over the others, and nobody else moves; when it is back, which is not said of one that comes and
// goes (SetHealthy), they go back. Nothing is remembered, so two brokers for one address, and a broker that has been
// started anew, send a minion to the same peer. docs/decisions/0021-peers-of-a-cluster.rst has why.

// Peer is a master of a cluster.
type Peer struct {
	// Name tells it from the others, in the log and for SetHealthy. Minions are spread by it, so all brokers should
	// have the same names; in which order does not matter. No two have the same.
	Name string
	// Master is where and how to reach it. SocketType is set here.
	Master master.Options
}

// peers are the masters to which requests go.
func (o Options) peers() []Peer {
	if len(o.Masters) == 0 {
		return []Peer{{Master: o.Master}}
	}
	return o.Masters
}

// member is a master, as all lanes have it.
type member struct {
	name   string
	hash   uint64
	credit *credit
	ways   []*way        // by lane
	lanes  atomic.Int32  // that use it
	over   chan struct{} // closed when none does any more

	leaving bool // no lane is to begin anything new with it; guarded by Proxy.mu
}

func newMember(p *Proxy, peer Peer, o Options) *member {
	m := &member{
		name: peer.Name, hash: xxhash.Sum64String(peer.Name),
		credit: newCredit(o.MaxInFlight, len(p.lanes)), over: make(chan struct{}),
	}
	for _, l := range p.lanes {
		m.ways = append(m.ways, newWay(l, m, peer.Master, o))
	}
	m.lanes.Store(int32(len(p.lanes)))
	return m
}

// SetHealthy says whether the peer of this name answers. Requests that wait for one that does not are moved to others;
// those that it has already are not sent again. A peer is healthy until this says otherwise. It is safe from any
// goroutine.
func (p *Proxy) SetHealthy(name string, healthy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		if m.name != name || m.leaving {
			continue
		}
		for _, w := range m.ways {
			w.lane.loop.Post(func() {
				w.healthy = healthy
				w.judge()
			})
		}
	}
}

// begin has the lane use these masters from the start, before its loop runs.
func (l *lane) begin(members []*member) {
	for _, m := range members {
		w := m.ways[l.index]
		l.ways = append(l.ways, w)
		l.loop.Post(w.expect)
	}
	if len(l.ways) == 1 {
		l.only = l.ways[0]
	}
}

// follow has the lane use these masters for what is new. What waits for another one is moved.
func (l *lane) follow(members []*member) {
	for _, m := range members {
		if w := m.ways[l.index]; !slices.Contains(l.ways, w) {
			l.ways = append(slices.Clone(l.ways), w)
			w.expect()
		}
	}
	l.only = nil
	if len(members) == 1 {
		l.only = members[0].ways[l.index]
	}
	for _, w := range l.ways {
		if w.leaving = !slices.Contains(members, w.member); w.leaving {
			w.abandon()
		}
	}
}

// wayFor is the way that a request goes.
func (l *lane) wayFor(m *minion, msg message) *way {
	if l.only != nil {
		return l.only
	}
	return l.bestFor(m.keyOf(msg))
}

// bestFor is the way to the master that scores highest for the key: of those that serve, or of all where none does.
func (l *lane) bestFor(key uint64) (best *way) {
	var most uint64
	for _, w := range l.ways {
		if w.leaving {
			continue
		}
		score := combined(key, w.member.hash)
		switch {
		case best == nil, w.serves.Load() && !best.serves.Load():
		case best.serves.Load() && !w.serves.Load(), score <= most:
			continue
		}
		best, most = w, score
	}
	return best
}

func combined(a, b uint64) uint64 {
	var both [16]byte
	binary.BigEndian.PutUint64(both[:], a)
	binary.BigEndian.PutUint64(both[8:], b)
	return xxhash.Sum64(both[:])
}

// keyOf is what the requests of one minion have in common: its id where a request has that in the clear. Else it is the
// address of the connection and, if a broker below has sent the request, the identity that was given to the minion's
// own connection, the last one of the envelope. The bottom broker's routing frame has the place in it too, which
// changes.
func (m *minion) keyOf(msg message) uint64 {
	var identity []byte
	rest := msg.head
	for {
		frame, after, err := zmtp.CutFrame(rest)
		if rest = after; err != nil || len(frame) == 0 {
			break
		}
		identity = frame
	}
	if h, ok, err := zmtp.ParseHeader(rest); ok && err == nil && !h.More() {
		if id := salt.MinionID(rest[h.Len:], msg.rest...); id != nil {
			return xxhash.Sum64(id)
		}
	}
	address := m.conn.RemoteAddr().Addr().As16()
	key := xxhash.Sum64(address[:])
	if len(identity) == routeBody {
		identity = identity[:routeBody/2]
	}
	if len(identity) > 0 {
		key = combined(key, xxhash.Sum64(identity))
	}
	return key
}

// expect gives the master as long to be there as one has whose link is lost.
func (w *way) expect() {
	if w.absence != nil {
		w.absence.Reset(w.lane.moveAfter)
		return
	}
	w.absence = w.lane.loop.After(w.lane.moveAfter, func() {
		w.absent = w.ordinary.conn == nil
		w.judge()
	})
}

// arrived is called when there is a link.
func (w *way) arrived() {
	w.absent = false
	w.judge()
}

// judge says anew whether the master serves, and moves what waits where it is not served.
func (w *way) judge() {
	serves := w.healthy && !w.absent
	if serves == w.serves.Load() {
		return
	}
	w.serves.Store(serves)
	if !serves {
		w.abandon()
		return
	}
	for _, other := range w.lane.ways {
		if !other.serves.Load() {
			other.abandon()
		}
	}
}

// links are all of the lane's.
func (l *lane) links() iter.Seq[*link] {
	return func(yield func(*link) bool) {
		for _, w := range l.ways {
			if !yield(w.ordinary) || !yield(w.bulk) {
				return
			}
		}
	}
}

// abandon moves what waits for the master to others, if any serves. Those in the queue go first, in their order; then
// what is beyond its minion's share.
func (w *way) abandon() {
	l := w.lane
	if l.only == w || w.waiting.Load() == 0 {
		return
	}
	for _, k := range w.links() {
		for _, q := range [...]*line{&k.queue.direct, &k.queue.several} {
			for r := q.oldest; r != nil; {
				next := r.next
				if to := l.move(r); to != w && r.minion.claim(to).allows(to.share) {
					to.enqueue(r)
				}
				r = next
			}
		}
	}
	l.loop.Each(func(c *reactor.Conn) {
		if m, ok := c.Handler().(*minion); ok && m.first != nil {
			m.abandon(w)
		}
	})
	for _, to := range l.ways {
		to.dispatch()
	}
}

// move gives a request another way, if it has one. It is in no queue then.
func (l *lane) move(r *request) (to *way) {
	from := r.link.way
	if to = l.wayFor(r.minion, r.msg); to == from {
		return from
	}
	if r.queued {
		r.link.queue.remove(r)
		r.minion.claim(from).queued--
	}
	from.waiting.Add(-1)
	to.waiting.Add(1)
	l.moved.Add(1)
	r.link = to.linkFor(r.size)
	return to
}

// abandon moves those of the minion's requests that still wait for a way, and puts what is in no queue into one, as far
// as the minion's shares allow.
func (m *minion) abandon(w *way) {
	for r := m.first; r != nil; r = r.after {
		if r.link.way == w && !r.queued {
			m.lane.move(r)
		}
	}
	m.own.beyond = nil
	for _, c := range m.lane.claims[m] {
		c.beyond = nil
	}
	for r := m.first; r != nil; r = r.after {
		if r.queued {
			continue
		}
		if c := m.claim(r.link.way); c.beyond == nil {
			c.beyond = r
		}
	}
	for _, to := range m.lane.ways {
		to.promote(m)
	}
}

// checkLeft ends the way when the master is left and nothing is there any more.
func (w *way) checkLeft() {
	l := w.lane
	if w.left || w.ordinary.order.length+w.bulk.order.length > 0 {
		return
	}
	w.left = true
	w.absence.Stop()
	l.ways = slices.DeleteFunc(slices.Clone(l.ways), func(other *way) bool { return other == w }) // somebody may range over it
	if w.member.lanes.Add(-1) == 0 {
		close(w.member.over)
	}
}

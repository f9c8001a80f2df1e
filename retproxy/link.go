package retproxy

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"time"

	"salt-broker/internal/master"
	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

const (
	// bulkBytes is the size from which a request goes over the bulk link: a master that heartbeats counts whole frames
	// as life only, and cuts a link on which a large one takes long.
	bulkBytes = 1 << 20
	// maxUnsent is how much may wait on a link for the master to read. More waits in the queue, where it is seen when
	// minions leave.
	maxUnsent = 256 << 10

	maxCommandBytes = 4096
)

// link is a DEALER connection of a lane to the master, and the requests that wait for it. It outlives its connections.
type link struct {
	way  *way
	lane *lane // the way's
	road *master.Link

	// Owned by the loop.
	queue   queue
	order   order // its requests at the master
	overdue *reactor.Timer
	again   *reactor.Timer // for a request that next has kept
	conn    *reactor.Conn  // nil: not connected
	broker  int            // of conn: the level of the broker that the master is; 0: it is none
	stream  zmtp.Stream
	ended   chan<- error    // of the connection's life
	full    uint64          // the turn of the loop in which it took no more; 0: it does
	master  string          // whom the connection leads to: Options.Master.Address
	leaving bool            // for another address: nothing more is sent
	then    *master.Options // to follow when the replies have come
	spared  *reactor.Timer  // for them
	key     []byte          // the last public key that it has shown
	keyAt   int             // where that lay in the reply
}

func newLink(w *way, name string, o master.Options) *link {
	l := w.lane
	o.SocketType = zmtp.DEALER
	if o.Log != nil {
		o.Log = o.Log.WithField("link", name)
	}
	if l.index > 0 || name != "requests" {
		o.Log = nil // they go the same way: one of them speaks for all
	}
	return &link{way: w, lane: l, road: master.NewLink(o), order: order{first: -1, last: -1}}
}

// run keeps the link connected until ctx ends.
func (k *link) run(ctx context.Context) error {
	return k.road.Run(ctx, func(ctx context.Context, nc net.Conn, v zmtp.Version) error {
		ended, at := make(chan error, 1), k.road.State()
		if !k.lane.loop.Post(func() { k.adopt(nc, v, at, ended) }) {
			_ = nc.Close()
			return reactor.ErrStopped
		}
		defer context.AfterFunc(ctx, func() { // the proxy ends, or has another master
			k.lane.loop.Post(func() { k.leave(ended) })
		})()
		select {
		case err := <-ended:
			return err
		case <-k.lane.proxy.ended:
			return reactor.ErrStopped
		}
	})
}

// leave ends a connection, if it has not ended.
func (k *link) leave(ended chan<- error) {
	if k.conn != nil && k.ended == ended {
		k.conn.Close(io.EOF)
	}
}

func (k *link) adopt(nc net.Conn, v zmtp.Version, at master.State, ended chan<- error) {
	c, err := k.lane.loop.Adopt(nc, k)
	if err != nil {
		ended <- err
		return
	}
	c.Unbound() // ready looks at what is kept
	k.conn, k.ended, k.broker = c, ended, at.Broker
	k.stream = zmtp.Stream{}
	k.stream.SkipHandshake(v)
	k.full, k.leaving = 0, k.leaving && at.Master == k.master // it was dialed before the other address was known
	if k.master != at.Master {
		k.master, k.key = at.Master, nil
	}
	if k == k.way.ordinary {
		k.way.far().forget(k.lane.loop.Now())
	}
	if v.AtLeast(3, 1) {
		k.lane.masterWatch.Add(c)
		_ = k.lane.masterWatch.Ping(k) // it goes before all else, and so measures the way; a failure closes, and Closed follows
	}
	if at.Broker > 0 {
		_ = c.Write(zmtp.AppendCommand(nil, zmtp.CommandBroker, nil)) // likewise
	}
	if k == k.way.ordinary {
		k.way.arrived()
	}
	k.way.dispatch()
}

// ready says whether a request may be sent now. While it says no, something calls dispatch when it may say yes.
func (k *link) ready() bool {
	if k.conn == nil || k.conn.Closed() || k.leaving || k.broker > 0 && k.order.length >= maxAtBroker {
		return false
	}
	if k.lane.only == nil && k.way.ordinary.conn == nil { // the first of two that end: what waits can go elsewhere
		return false
	}
	if k.conn.Kept() <= maxUnsent {
		k.full = 0
		return true
	}
	// What was written in this turn is kept to its end and may go at once then. Only if it does not, Writable is
	// called: so the way has to look once more in the next turn.
	if now := k.lane.loop.Turns(); k.full == 0 || k.full == now {
		k.full = now
		k.way.notify()
	}
	return false
}

// next returns the request to send now, nil when there is none. It stays in the queue. While there is none but of those
// whose turn it would be, something calls dispatch when there may be one.
func (k *link) next() *request {
	if k.queue.length == 0 || !k.ready() {
		return nil
	}
	now := k.lane.loop.Now()
	r := k.queue.pick(now)
	if k.queue.fresh(now) {
		return r
	}
	left := k.way.givenUp.left(now-r.came, k.way.far().trip)
	if left == 0 {
		return r
	}
	if k.again == nil {
		k.again = k.lane.loop.After(left, k.way.dispatch)
	} else {
		k.again.Reset(left)
	}
	return nil
}

// send gives a request of so many bytes to the master, which waited here. The caller has got credit for it. Where owned,
// msg lies in buffers that pass on.
func (k *link) send(m *minion, msg message, size int, owned bool, owner int, waited time.Duration) {
	l := k.lane
	l.queueTime.Observe(waited, 1)
	l.sentBytes.Add(uint64(size))
	t := k.way.flights.add(k, m.conn.Ref(), l.loop.Now(), owner, m.nameOf(msg))
	m.claim(k.way).flying++
	k.way.last = k
	k.way.inFlight.Add(1)
	if k.order.length == 1 {
		k.watch()
	}
	head := route{m.conn.Ref(), t}.frame()
	err := k.conn.Write(head[:])
	if err == nil {
		err = msg.write(k.conn, owned)
	}
	if err != nil { // the connection is gone; Closed gives the place back
		k.conn.Close(err)
	}
}

// watch sets the timer for the oldest request at the master.
func (k *link) watch() {
	if k.overdue == nil {
		k.overdue = k.lane.loop.After(k.lane.deadline, func() { k.way.expire(k) })
		return
	}
	k.overdue.Reset(k.lane.deadline)
}

// Received implements reactor.Handler.
func (k *link) Received(_ *reactor.Conn, p []byte) error {
	before := k.heard()
	return k.fed(before, k.stream.Feed(p, &k.lane.limits, k))
}

// Place implements reactor.Placer: a large reply is read to where it stays.
func (k *link) Place(*reactor.Conn) []byte { return k.stream.Room(&k.lane.limits) }

// Placed implements reactor.Placer.
func (k *link) Placed(_ *reactor.Conn, n int) error {
	before := k.heard()
	return k.fed(before, k.stream.Filled(n, &k.lane.limits, k))
}

// heard says that the peer lives, and returns how many bytes of it are half read.
func (k *link) heard() int {
	k.lane.masterWatch.Alive(k.conn)
	return k.stream.HalfRead()
}

// fed is called when the stream has got something, and had so many bytes half read before.
func (k *link) fed(before int, err error) error {
	k.lane.fed(k.conn, &k.stream, before)
	if err != nil {
		return err // nothing more goes out this way; Closed has the lane look again
	}
	k.way.dispatch() // once for all places that became free
	if k == k.way.ordinary && k.way.far().due(k.lane.loop.Now()) {
		return k.lane.masterWatch.Ping(k)
	}
	return nil
}

// Writable implements reactor.Handler.
func (k *link) Writable(*reactor.Conn) { k.way.dispatch() }

// HalfClosed implements reactor.Handler: a master that answers no more is gone.
func (k *link) HalfClosed(c *reactor.Conn) { c.Close(io.EOF) }

// Closed implements reactor.Handler. What was at the master on this link will not be answered. It is not sent again:
// the master may have done it, and Salt's minions ask again themselves.
func (k *link) Closed(_ *reactor.Conn, reason error) {
	l, w := k.lane, k.way
	l.held -= int64(k.stream.HalfRead())
	k.stream.Release(&l.limits)
	k.conn, k.broker = nil, 0
	for i := k.order.first; i >= 0; i = k.order.first {
		w.landUnanswered(w.flights.remove(i), whyLost)
	}
	if k.overdue != nil {
		k.overdue.Stop()
	}
	k.leaveNow()
	if k == w.ordinary {
		w.expect()
	}
	k.ended <- reason
	w.dispatch()
}

// Ping implements heartbeat.Peer. The PONG brings back when it was sent.
func (k *link) Ping() error {
	var sent [8]byte
	binary.BigEndian.PutUint64(sent[:], uint64(k.lane.loop.Now()))
	var space [32]byte
	return k.conn.Write(zmtp.AppendPing(space[:0], 0, sent[:]))
}

// Greeted implements zmtp.Sink; the handshake is over by the time a link is adopted.
func (k *link) Greeted(zmtp.Version) error { return nil }

// Ready implements zmtp.Sink, likewise.
func (k *link) Ready(zmtp.Ready) error { return nil }

// Message implements zmtp.Sink: a reply.
func (k *link) Message(head []byte) error {
	l := k.lane
	msg := messageOf(&k.stream, head)
	body, head, err := zmtp.CutFrame(head)
	if err != nil {
		return err
	}
	r, ok := parseRoute(body)
	if !ok || len(head) == 0 {
		l.unroutable.Add(1)
		return nil
	}
	msg.head = head // without the routing frame
	size := uint64(msg.size())
	k.way.replies.Add(1)
	l.replyBytes.Add(size)
	if l.proxy.options.MasterKey != nil && msg.rest == nil {
		k.lookForKey(head)
	}
	w := k.way
	if i := w.flights.find(k, r); i >= 0 {
		was := w.flights.remove(i)
		l.masterTime.Observe(l.loop.Now()-was.sent, 1)
		w.answered(was)
		w.landed(was)
		if k.order.length == 0 {
			k.leaveNow()
		}
	} else {
		l.late.Add(1)
	}
	m := l.minion(r.minion)
	if m == nil {
		l.unwanted.Add(1)
		return nil
	}
	l.answers.Add(1)
	l.answerBytes.Add(size)
	if msg.rest == nil {
		m.reply(msg, false)
		return nil
	}
	first, _ := k.stream.Take()
	msg.head = first[:copy(first, head)] // to where the routing frame stood
	m.reply(msg, true)
	return nil
}

// ownBytes is the size from which a request that lies in a buffer of its own is passed on with it.
const ownBytes = 16 << 10

// Command implements zmtp.Sink.
func (k *link) Command(name, data []byte) error {
	switch string(name) {
	case zmtp.CommandPing:
		var space [64]byte
		answer, err := zmtp.AppendAnswer(space[:0], data)
		if err != nil {
			return err
		}
		k.lane.masterWatch.Pinged()
		return k.conn.Write(answer)
	case zmtp.CommandPong:
		k.lane.masterWatch.Ponged()
		if len(data) == 8 && k == k.way.ordinary { // the other one's may have waited behind a large request
			k.way.far().measured(k.lane.loop.Now() - time.Duration(binary.BigEndian.Uint64(data)))
		}
	case zmtp.CommandForgot:
		k.forgot(data)
	case zmtp.CommandHop:
		k.passHop(data)
	}
	return nil
}

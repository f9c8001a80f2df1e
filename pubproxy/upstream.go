package pubproxy

import (
	"context"
	"io"
	"net"
	"sync/atomic"

	"salt-broker/internal/heartbeat"
	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// tellBytes is how much the master is told of in a turn, in bytes, beside what a new link hears at once.
const tellBytes = 32 << 10

// upstream is the SUB side: the link to the master, which fills the log, and the union of what the loops' minions have
// subscribed to. It lives on one loop.
type upstream struct {
	proxy *Proxy
	loop  *reactor.Loop

	// Owned by the loop.
	limits  zmtp.Limits
	watch   *heartbeat.Watch
	union   map[string]int      // prefixes, and how many loops have minions with them
	untold  map[string]struct{} // prefixes of which the master does not know yet that they came or went
	conn    *reactor.Conn       // nil: no link
	order   []string            // they, in the order of their last change; may have some that are told already
	telling bool                // tell has been posted, or the link will be writable
	stream  zmtp.Stream
	ended   chan<- error // of the link's life
	grown   bool         // the log has, since the loops were told

	// Shared.
	topics   atomic.Int64
	messages atomic.Uint64
	bytes    atomic.Uint64
}

func newUpstream(p *Proxy, l *reactor.Loop) *upstream {
	return &upstream{
		proxy: p, loop: l, union: make(map[string]int), untold: make(map[string]struct{}),
		watch: heartbeat.New(l, p.options.HeartbeatInterval, p.options.HeartbeatTimeout),
		limits: zmtp.Limits{
			MaxMessage: p.options.MaxMessage, MaxFrames: maxFrames, MaxCommand: maxTopicBytes + 64, Buffers: l,
		},
	}
}

// maxFrames of one publish. Salt sends one or two.
const maxFrames = 1024

// serve hands a live link to the loop and waits for its end.
func (u *upstream) serve(ctx context.Context, nc net.Conn, v zmtp.Version) error {
	ended := make(chan error, 1)
	if !u.loop.Post(func() { u.adopt(nc, v, ended) }) {
		_ = nc.Close()
		return reactor.ErrStopped
	}
	defer context.AfterFunc(ctx, func() { // the proxy ends, or has another master
		u.loop.Post(func() { u.leave(ended) })
	})()
	select {
	case err := <-ended:
		return err
	case <-u.proxy.ended:
		return reactor.ErrStopped
	}
}

// leave ends the life of a link, if it has not ended.
func (u *upstream) leave(ended chan<- error) {
	if u.conn != nil && u.ended == ended {
		u.conn.Close(io.EOF)
	}
}

// adopt begins the life of a link: the master hears the whole union, and the log grows again.
func (u *upstream) adopt(nc net.Conn, v zmtp.Version, ended chan<- error) {
	if u.conn != nil { // cannot be: a link is served until it has ended
		u.conn.Close(io.EOF)
	}
	c, err := u.loop.Adopt(nc, u)
	if err != nil {
		ended <- err
		return
	}
	c.Unbound() // tell waits for it to be writable
	u.conn, u.ended = c, ended
	clear(u.untold)
	u.order, u.telling = nil, false
	u.stream = zmtp.Stream{}
	u.stream.SkipHandshake(v)
	if v.AtLeast(3, 1) {
		u.watch.Add(c)
	}
	var all []byte
	for topic := range u.union {
		all = zmtp.AppendSubscription(all, []byte(topic), false)
	}
	if len(all) > 0 {
		u.send(all)
	}
}

// change counts a loop that has got its first minion with a prefix (+1), or lost its last (-1). The master is told when
// the first loop comes and when the last goes.
func (u *upstream) change(from *reactor.Loop, topic string, by int) {
	if from == u.loop {
		u.count(topic, by)
		return
	}
	u.loop.Post(func() { u.count(topic, by) })
}

func (u *upstream) count(topic string, by int) {
	before := u.union[topic]
	after := before + by
	if after == 0 {
		delete(u.union, topic)
	} else {
		u.union[topic] = after
	}
	u.topics.Store(int64(len(u.union)))
	if (before == 0) == (after == 0) || u.conn == nil {
		return
	}
	if _, ok := u.untold[topic]; ok { // there and back again: the master knows it as it is
		delete(u.untold, topic)
		return
	}
	if len(u.order) > 2*len(u.untold)+64 {
		u.tidy()
	}
	u.untold[topic] = struct{}{}
	u.order = append(u.order, topic)
	if !u.telling {
		u.telling = true
		u.loop.Post(u.tell)
	}
}

// tidy takes out of the order what need not be told any more.
func (u *upstream) tidy() {
	var order []string
	for _, topic := range u.order {
		if _, ok := u.untold[topic]; ok {
			order = append(order, topic)
			delete(u.untold, topic)
		}
	}
	for _, topic := range order {
		u.untold[topic] = struct{}{}
	}
	u.order = order
}

// news appends what the master has to know of a prefix. It is a message, which is the form of ZMTP 3.0 that every master
// takes: the handshake said 3.0 for us.
func (u *upstream) news(dst []byte, topic string) []byte {
	return zmtp.AppendSubscription(dst, []byte(topic), u.union[topic] == 0)
}

// tell sends the master what it does not know yet, once a turn, as much of it as does not keep others waiting. What comes
// and goes in a turn, or while the master does not read, it does not hear of, and the link does not end for it.
func (u *upstream) tell() {
	u.telling = false
	if u.conn == nil || u.conn.Closed() || len(u.untold) == 0 {
		return
	}
	p := u.loop.Get(tellBytes)
	var told []string
	looked := 0
	for _, topic := range u.order {
		if len(p) >= tellBytes {
			break
		}
		looked++
		if _, ok := u.untold[topic]; ok {
			p = u.news(p, topic)
			delete(u.untold, topic)
			told = append(told, topic)
		}
	}
	n := u.conn.TryWrite(p)
	switch {
	case n == len(p):
		if len(u.untold) > 0 {
			u.telling = u.loop.Post(u.tell)
		}
	case n > 0:
		u.telling = true // Writable follows
		u.send(p[n:])
	default:
		u.telling = true
		for _, topic := range told {
			u.untold[topic] = struct{}{}
		}
		looked = 0
	}
	if u.order = u.order[looked:]; len(u.untold) == 0 {
		u.order = nil
	}
	u.loop.Put(p)
}

func (u *upstream) send(p []byte) {
	if err := u.conn.Write(p); err != nil {
		u.conn.Close(err)
	}
}

// Received implements reactor.Handler.
func (u *upstream) Received(c *reactor.Conn, p []byte) error {
	u.watch.Alive(c)
	err := u.stream.Feed(p, &u.limits, u)
	if u.grown {
		u.grown = false
		for _, f := range u.proxy.fanouts {
			f.notify(u.loop.Now())
		}
	}
	return err
}

// Writable implements reactor.Handler.
func (u *upstream) Writable(*reactor.Conn) { u.tell() }

// HalfClosed implements reactor.Handler: a master that publishes no more is gone.
func (u *upstream) HalfClosed(c *reactor.Conn) { c.Close(io.EOF) }

// Closed implements reactor.Handler.
func (u *upstream) Closed(_ *reactor.Conn, reason error) {
	u.stream.Release(&u.limits)
	u.conn = nil
	u.ended <- reason
}

// Ping implements heartbeat.Peer.
func (u *upstream) Ping() error {
	var space [16]byte
	return u.conn.Write(zmtp.AppendPing(space[:0], 0, nil))
}

// Greeted implements zmtp.Sink; the handshake is over by the time a link is adopted.
func (u *upstream) Greeted(zmtp.Version) error { return nil }

// Ready implements zmtp.Sink, likewise.
func (u *upstream) Ready(zmtp.Ready) error { return nil }

// Message implements zmtp.Sink: a publish.
func (u *upstream) Message(msg []byte) error {
	u.proxy.log.append(msg)
	u.grown = true
	u.messages.Add(1)
	u.bytes.Add(uint64(len(msg)))
	return nil
}

// Command implements zmtp.Sink.
func (u *upstream) Command(name, data []byte) error {
	switch string(name) {
	case zmtp.CommandPing:
		var space [64]byte
		answer, err := zmtp.AppendAnswer(space[:0], data)
		if err != nil {
			return err
		}
		u.watch.Pinged()
		return u.conn.Write(answer)
	case zmtp.CommandPong:
		u.watch.Ponged()
	}
	return nil
}

package pubproxy

import (
	"context"
	"io"
	"net"

	"salt-broker/internal/master"
	"salt-broker/internal/merge"
	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// tellBytes is how much the master is told of in a turn, in bytes, beside what a new link hears at once.
const tellBytes = 32 << 10

// road is a SUB link to the master by one of its addresses. It outlives its connections.
type road struct {
	feed  *feed
	index int // in merge
	link  *master.Link

	// Owned by the loop.
	untold  map[string]struct{} // prefixes of which the master does not know yet that they came or went
	conn    *reactor.Conn       // nil: no link
	order   []string            // they, in the order of their last change; may have some that are told already
	telling bool                // tell has been posted, or the link will be writable
	full    bool                // not read from: too much is held
	stream  zmtp.Stream
	ended   chan<- error // of the link's life
}

// serve hands a live link to the loop and waits for its end.
func (r *road) serve(ctx context.Context, nc net.Conn, v zmtp.Version) error {
	ended, loop := make(chan error, 1), r.feed.upstream.loop
	if !loop.Post(func() { r.adopt(nc, v, ended) }) {
		_ = nc.Close()
		return reactor.ErrStopped
	}
	defer context.AfterFunc(ctx, func() { // the proxy ends, or has another master
		loop.Post(func() { r.leave(ended) })
	})()
	select {
	case err := <-ended:
		return err
	case <-r.feed.upstream.proxy.ended:
		return reactor.ErrStopped
	}
}

// leave ends the life of a link, if it has not ended.
func (r *road) leave(ended chan<- error) {
	if r.conn != nil && r.ended == ended {
		r.conn.Close(io.EOF)
	}
}

// adopt begins the life of a link: the master hears the whole union, and the log grows again.
func (r *road) adopt(nc net.Conn, v zmtp.Version, ended chan<- error) {
	if r.conn != nil { // cannot be: a link is served until it has ended
		r.conn.Close(io.EOF)
	}
	f := r.feed
	u := f.upstream
	c, err := u.loop.Adopt(nc, r)
	if err != nil {
		ended <- err
		return
	}
	c.Unbound() // tell waits for it to be writable
	r.conn, r.ended = c, ended
	clear(r.untold)
	r.order, r.telling, r.full = nil, false, false
	r.stream = zmtp.Stream{}
	r.stream.SkipHandshake(v)
	if v.AtLeast(3, 1) {
		u.watch.Add(c)
	}
	if f.merge != nil {
		f.merge.Begin(r.index, u.loop.Now())
	}
	var all []byte
	for topic := range u.union {
		all = zmtp.AppendSubscription(all, []byte(topic), false)
	}
	if len(all) > 0 {
		r.send(all)
	}
	f.linked(+1)
}

// changed notes that a prefix has come into the union, or gone.
func (r *road) changed(topic string) {
	if r.conn == nil {
		return
	}
	if _, ok := r.untold[topic]; ok { // there and back again: the master knows it as it is
		delete(r.untold, topic)
		return
	}
	if len(r.order) > 2*len(r.untold)+64 {
		r.tidy()
	}
	r.untold[topic] = struct{}{}
	r.order = append(r.order, topic)
	if !r.telling {
		r.telling = true
		r.feed.upstream.loop.Post(r.tell)
	}
}

// tidy takes out of the order what need not be told any more.
func (r *road) tidy() {
	var order []string
	for _, topic := range r.order {
		if _, ok := r.untold[topic]; ok {
			order = append(order, topic)
			delete(r.untold, topic)
		}
	}
	for _, topic := range order {
		r.untold[topic] = struct{}{}
	}
	r.order = order
}

// news appends what the master has to know of a prefix. It is a message, which is the form of ZMTP 3.0 that every
// master takes: the handshake said 3.0 for us.
func (r *road) news(dst []byte, topic string) []byte {
	return zmtp.AppendSubscription(dst, []byte(topic), r.feed.upstream.union[topic] == 0)
}

// pause stops reading from a road of which too much is held, or ends that. It is not watched meanwhile.
func (r *road) pause(full bool) {
	r.full = full
	watch := r.feed.upstream.watch
	if full {
		watch.Remove(r.conn)
		r.conn.PauseRead()
		return
	}
	r.conn.ResumeRead()
	if r.stream.Version().AtLeast(3, 1) {
		watch.Add(r.conn)
	}
}

// tell sends the master what it does not know yet, once a turn, as much of it as does not keep others waiting. What
// comes and goes in a turn, or while the master does not read, it does not hear of, and the link does not end for it.
func (r *road) tell() {
	r.telling = false
	if r.conn == nil || r.conn.Closed() || len(r.untold) == 0 {
		return
	}
	loop := r.feed.upstream.loop
	p := loop.Get(tellBytes)
	var told []string
	looked := 0
	for _, topic := range r.order {
		if len(p) >= tellBytes {
			break
		}
		looked++
		if _, ok := r.untold[topic]; ok {
			p = r.news(p, topic)
			delete(r.untold, topic)
			told = append(told, topic)
		}
	}
	n := r.conn.TryWrite(p)
	switch {
	case n == len(p):
		if len(r.untold) > 0 {
			r.telling = loop.Post(r.tell)
		}
	case n > 0:
		r.telling = true // Writable follows
		r.send(p[n:])
	default:
		r.telling = true
		for _, topic := range told {
			r.untold[topic] = struct{}{}
		}
		looked = 0
	}
	if r.order = r.order[looked:]; len(r.untold) == 0 {
		r.order = nil
	}
	loop.Put(p)
}

func (r *road) send(p []byte) {
	if err := r.conn.Write(p); err != nil {
		r.conn.Close(err)
	}
}

// Received implements reactor.Handler.
func (r *road) Received(c *reactor.Conn, p []byte) error {
	u := r.feed.upstream
	u.watch.Alive(c)
	err := r.stream.Feed(p, &u.limits, r)
	if r.feed.merge != nil {
		r.feed.settled()
	}
	if u.grown {
		u.lives()
	}
	u.tell()
	return err
}

// Writable implements reactor.Handler.
func (r *road) Writable(*reactor.Conn) { r.tell() }

// HalfClosed implements reactor.Handler: a master that publishes no more is gone.
func (r *road) HalfClosed(c *reactor.Conn) { c.Close(io.EOF) }

// Closed implements reactor.Handler.
func (r *road) Closed(_ *reactor.Conn, reason error) {
	f := r.feed
	u := f.upstream
	r.stream.Release(&u.limits)
	r.conn = nil
	if f.merge != nil {
		f.merge.End(r.index, u.loop.Now())
		f.settled()
		u.tell()
	}
	f.linked(-1)
	r.ended <- reason
}

// Ping implements heartbeat.Peer.
func (r *road) Ping() error {
	var space [16]byte
	return r.conn.Write(zmtp.AppendPing(space[:0], 0, nil))
}

// Greeted implements zmtp.Sink; the handshake is over by the time a link is adopted.
func (r *road) Greeted(zmtp.Version) error { return nil }

// Ready implements zmtp.Sink, likewise.
func (r *road) Ready(zmtp.Ready) error { return nil }

// Message implements zmtp.Sink: a publish.
func (r *road) Message(msg []byte) error {
	f := r.feed
	if f.merge == nil {
		f.publish(msg)
		return nil
	}
	f.merge.Deliver(r.index, msg, f.upstream.loop.Now())
	return nil
}

// Command implements zmtp.Sink.
func (r *road) Command(name, data []byte) error {
	switch string(name) {
	case zmtp.CommandPing:
		var space [64]byte
		answer, err := zmtp.AppendAnswer(space[:0], data)
		if err != nil {
			return err
		}
		r.feed.upstream.watch.Pinged()
		return r.conn.Write(answer)
	case zmtp.CommandPong:
		r.feed.upstream.watch.Ponged()
	}
	return nil
}

// RoadStats is a snapshot of one road to a master.
type RoadStats struct {
	Peer      string // Peer.Name of the master
	Link      master.State
	Publishes merge.Counts // what became of those that it brought; with one road nothing is counted here
}

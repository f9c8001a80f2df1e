//go:build linux

package sim

import (
	"errors"
	"io"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// publisher is the master's PUB on one loop. Everything belongs to the loop.
type publisher struct {
	master  *Master
	loop    *reactor.Loop
	limits  zmtp.Limits
	hello   []byte
	topics  map[string]*audience
	longest int    // topic that anybody has asked for
	turn    uint64 // the publish at hand
}

// audience is who has subscribed to a topic.
type audience struct{ members []*subscriber }

// subscriber is a connection of a SUB or XSUB.
type subscriber struct {
	publisher *publisher
	conn      *reactor.Conn
	stream    zmtp.Stream
	places    map[string]int // of topics: where the subscriber stands in the audience
	served    uint64         // the last publish that it has
	ready     bool
}

func newPublisher(m *Master, l *reactor.Loop) *publisher {
	return &publisher{
		master: m, loop: l, limits: limits(l), hello: hello(m.options.Version, zmtp.PUB, nil), topics: map[string]*audience{},
	}
}

func (p *publisher) accept(c *reactor.Conn) reactor.Handler {
	p.master.count.accepted.Add(1)
	_ = c.Write(p.hello) // a failure closes, and Closed follows
	return &subscriber{publisher: p, conn: c, places: map[string]int{}}
}

// publish gives msg to everyone who has subscribed to a prefix of key, once.
func (p *publisher) publish(key, msg []byte) {
	if p.master.muted.Load() {
		return
	}
	p.turn++
	for n := range min(len(key), p.longest) + 1 {
		a := p.topics[string(key[:n])]
		if a == nil {
			continue
		}
		for _, s := range a.members {
			if s.served == p.turn {
				continue
			}
			s.served = p.turn
			switch err := s.conn.Write(msg); {
			case err == nil:
				p.master.count.deliveries.Add(1)
			case errors.Is(err, reactor.ErrKept):
				p.master.count.dropped.Add(1)
			}
		}
	}
}

func (s *subscriber) subscribe(topic string) {
	p := s.publisher
	p.master.count.subscribes.Add(1)
	if _, known := s.places[topic]; known {
		return
	}
	a := p.topics[topic]
	if a == nil {
		a = &audience{}
		p.topics[topic] = a
		p.longest = max(p.longest, len(topic))
	}
	s.places[topic] = len(a.members)
	a.members = append(a.members, s)
	p.master.subscribed.add(topic, 1)
}

func (s *subscriber) cancel(topic string) {
	p := s.publisher
	place, known := s.places[topic]
	if !known {
		return
	}
	a := p.topics[topic]
	last := a.members[len(a.members)-1]
	a.members[place] = last
	last.places[topic] = place
	a.members[len(a.members)-1] = nil
	a.members = a.members[:len(a.members)-1]
	delete(s.places, topic)
	if len(a.members) == 0 {
		delete(p.topics, topic)
	}
	p.master.subscribed.add(topic, -1)
}

// Received, Writable, HalfClosed and Closed are what the reactor tells.
func (s *subscriber) Received(_ *reactor.Conn, p []byte) error {
	return s.stream.Feed(p, &s.publisher.limits, s)
}

func (s *subscriber) Writable(*reactor.Conn)     {}
func (s *subscriber) HalfClosed(c *reactor.Conn) { c.Close(io.EOF) }

func (s *subscriber) Closed(_ *reactor.Conn, reason error) {
	s.stream.Release(&s.publisher.limits)
	for topic := range s.places {
		s.cancel(topic)
	}
	if s.ready {
		s.publisher.master.count.subscribers.Add(-1)
	}
	s.publisher.master.ended(reason)
}

// Greeted, Ready, Message and Command are what the stream tells.
func (s *subscriber) Greeted(zmtp.Version) error { return nil }

func (s *subscriber) Ready(r zmtp.Ready) error {
	if r.SocketType != zmtp.SUB && r.SocketType != zmtp.XSUB {
		return wrongType(r.SocketType)
	}
	s.ready = true
	s.publisher.master.count.subscribers.Add(1)
	return nil
}

func (s *subscriber) Message(msg []byte) error {
	sub, err := zmtp.ParseSubscription(msg)
	if err != nil {
		return err
	}
	s.change(sub.Topic, sub.Cancel)
	return nil
}

func (s *subscriber) Command(name, data []byte) error {
	switch string(name) {
	case zmtp.CommandSubscribe:
		s.change(data, false)
	case zmtp.CommandCancel:
		s.change(data, true)
	case zmtp.CommandPing:
		return s.publisher.master.pong(s.conn, data)
	}
	return nil
}

func (s *subscriber) change(topic []byte, cancel bool) {
	if !cancel {
		s.subscribe(string(topic))
		return
	}
	s.publisher.master.count.cancels.Add(1)
	s.cancel(string(topic))
}

// pong answers a PING.
func (m *Master) pong(c *reactor.Conn, data []byte) error {
	m.count.pings.Add(1)
	_, echo, err := zmtp.ParsePing(data)
	if err != nil || m.muted.Load() {
		return err
	}
	return c.Write(zmtp.AppendPong(nil, echo))
}

func wrongType(t zmtp.SocketType) error {
	return &zmtp.Fault{Reason: zmtp.ReasonSocketType, Detail: t.String() + " came to the wrong port"}
}

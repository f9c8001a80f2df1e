package retproxy

import (
	"fmt"

	"salt-broker/internal/zmtp"
)

// A request that its minion has given up is of no use to anybody, wherever it waits. Here that is seen when the minion's
// connection ends; a broker above sees the connection of this one, which stays. So it is told: FORGET names a request
// that was sent there. If it still waits it is dropped; FORGOT comes back, and the place that it held here is free. If the
// broker above has it at a broker further up it passes FORGET on. If it is at the master it stays, as it would have here.
//
// A broker above knows best when a place is to be given up, so on the way there request_deadline does not count: FORGOT
// comes also for a request whose reply is overdue at the master, and for one whose link has ended there.

// maxAtBroker is how many requests of one link may be at a broker above. Who has more waiting is not read from
// (maxHeldRequests), and FORGET would not be either.
const maxAtBroker = maxHeldRequests - 24

// name is what a broker below calls its request: the body of the first frame, which is that broker's routing frame.
type name struct {
	body  [routeBody]byte
	known bool
}

func parseName(body []byte) (n name) {
	if len(body) == routeBody {
		n.known = true
		copy(n.body[:], body)
	}
	return n
}

// nameOf is what the minion calls the request: nothing, if it is no broker.
func (m *minion) nameOf(msg message) name {
	if !m.broker {
		return name{}
	}
	body, _, err := zmtp.CutFrame(msg.head)
	if err != nil {
		return name{}
	}
	return parseName(body)
}

// why is the reason for which a broker gives up a place: the first byte of FORGOT's data.
type why byte

const (
	whyForgotten why = 'f' // nobody waits for it, or it was refused (size.go), or never came
	whyOverdue   why = 'o' // there was no reply within the deadline; one that comes is passed on
	whyLost      why = 'l' // the link that it had been sent over has ended
)

// landUnanswered is called when a place has become free without a reply.
func (w *way) landUnanswered(was flight, reason why) {
	l := w.lane
	switch reason {
	case whyOverdue:
		l.overdue.Add(1)
	case whyLost:
		l.lostWithLink.Add(1)
	default:
		l.forgotten.Add(1)
	}
	if m := w.landed(was); m != nil && m.forgot(was.below, reason) {
		m.settle()
	}
}

// forgot tells a broker below that its request is not to be waited for, and says whether its connection is good.
func (m *minion) forgot(n name, reason why) bool {
	if !n.known { // then it is no broker
		return true
	}
	var data [1 + routeBody]byte
	data[0] = byte(reason)
	copy(data[1:], n.body[:])
	var space [64]byte
	if err := m.conn.Write(zmtp.AppendCommand(space[:0], zmtp.CommandForgot, data[:])); err != nil {
		m.conn.Close(err)
		return false
	}
	return true
}

// forget drops the request that the broker below calls so, wherever it is: FORGET. There is at most one for each request
// that came, so that nobody can have this lane do nothing but search.
func (m *minion) forget(data []byte) error {
	n, l := parseName(data), m.lane
	if !m.broker || !n.known || m.forgettable == 0 {
		return &zmtp.Fault{
			Reason: zmtp.ReasonCommand,
			Detail: fmt.Sprintf("a FORGET with %d bytes of data for one of %d requests", len(data), m.forgettable),
		}
	}
	m.forgettable--
	for r := m.last; r != nil; r = r.before {
		if m.nameOf(r.msg) == n {
			w := r.link.way
			l.abandon(r)
			if m.forgot(n, whyForgotten) {
				w.promote(m)
				m.flow()
				w.dispatch()
			}
			return nil
		}
	}
	ref := m.conn.Ref()
	for k := range l.links() {
		table := k.way.flights.table
		for i := k.order.first; i >= 0; i = table[i].next {
			if p := &table[i]; p.minion != ref || p.below != n {
				continue
			}
			if err := k.forget(i); err != nil {
				k.conn.Close(err)
			}
			return nil
		}
	}
	m.forgot(n, whyForgotten) // its reply is on the way, or it never was here
	return nil
}

// giveUp tells brokers above that nobody waits for what the minion has there.
func (l *lane) giveUp(m *minion) {
	ref := m.conn.Ref()
	for k := range l.links() {
		if k.broker == 0 {
			continue
		}
		table := k.way.flights.table
		for i := k.order.first; i >= 0; i = table[i].next {
			if table[i].minion != ref {
				continue
			}
			if err := k.forget(i); err != nil {
				k.conn.Close(err)
				break
			}
		}
	}
}

// forget tells the broker above, if it is one, that nobody waits for the reply to a request there; once.
func (k *link) forget(i int32) error {
	p := &k.way.flights.table[i]
	if k.broker == 0 || p.forgot {
		return nil
	}
	p.forgot = true
	head := route{p.minion, k.way.flights.ticket(i)}.frame()
	var space [64]byte
	return k.conn.Write(zmtp.AppendCommand(space[:0], zmtp.CommandForget, head[routeSize-routeBody:]))
}

// forgot takes in that the broker above waits for a reply no more: FORGOT.
func (k *link) forgot(data []byte) {
	if k.broker == 0 || len(data) != 1+routeBody {
		return
	}
	r, _ := parseRoute(data[1:])
	if i := k.way.flights.find(k, r); i >= 0 { // else its reply was there before
		k.way.landUnanswered(k.way.flights.remove(i), why(data[0]))
		if k.order.length == 0 {
			k.leaveNow()
		}
	}
}

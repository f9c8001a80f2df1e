package pubproxy

import (
	"bytes"
	"fmt"
	"io"

	"salt-broker/internal/admission"
	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// maxKept is how much may wait for a minion beside publishes, which wait in the log: answers to its PINGs.
const maxKept = 64 << 10

var (
	errSubscriptions = &admission.Refusal{
		End: admission.EndSubscriptions, Text: "subscribes to more prefixes, or longer ones, than max_subscriptions allows",
	}
	errBehind = &admission.Refusal{
		End: admission.EndBehind, Text: "does not read: has lost more publishes than max_lost_publishes allows",
	}
)

// minion is a peer on the publish port: a Salt minion, or a broker that has minions of its own. It belongs to its loop
// and is kept small, because there are thousands that do nothing but wait.
type minion struct {
	// What a publish needs stands together: of ten thousand minions with topics of their own none is in the processor's cache.
	conn       *reactor.Conn
	cursor     *cursor // its place in the log while it lags; nil: where the loop is
	run        int32   // in the fan-out's list of runs, -1: not there
	seen       uint32  // stamp of the last message that matched
	everything bool    // subscribed to ''

	place      int32  // in the fan-out's list: behind when it has a cursor, else current
	lost       uint32 // publishes
	topicBytes uint32 // of its entries
	fanout     *fanout
	stream     zmtp.Stream
	entries    []entry // its subscriptions but ''
}

func newMinion(f *fanout, c *reactor.Conn) *minion {
	f.minions.Add(1)
	return &minion{fanout: f, conn: c, place: -1, run: -1}
}

// Received implements reactor.Handler.
func (m *minion) Received(c *reactor.Conn, p []byte) error {
	f := m.fanout
	f.watch.Alive(c)
	before := m.stream.HalfRead()
	err := m.stream.Feed(p, &f.limits, m)
	f.held += int64(m.stream.HalfRead() - before)
	return err
}

// Writable implements reactor.Handler.
func (m *minion) Writable(*reactor.Conn) {
	if m.cursor != nil {
		m.fanout.serve(m)
	}
}

// HalfClosed implements reactor.Handler: who sends no PONG and no subscription any more is leaving.
func (m *minion) HalfClosed(c *reactor.Conn) { c.Close(io.EOF) }

// Closed implements reactor.Handler.
func (m *minion) Closed(c *reactor.Conn, reason error) {
	m.fanout.held -= int64(m.stream.HalfRead())
	m.stream.Release(&m.fanout.limits)
	m.fanout.leave(m)
	m.fanout.proxy.door.Ended(c, reason)
}

// Buffered implements buffers.Holder. Publishes wait in the log, which is not this connection's.
func (m *minion) Buffered() (all, halfRead int64) {
	halfRead = int64(m.stream.HalfRead())
	all = halfRead + int64(m.conn.Kept())
	if m.cursor != nil {
		all += m.cursor.copied
	}
	return all, halfRead
}

// Flow implements buffers.Holder. Reading goes on: what a minion sends here is small and changes what it is sent.
func (m *minion) Flow() {}

// Greeted implements zmtp.Sink.
func (m *minion) Greeted(zmtp.Version) error { return nil }

// Ready implements zmtp.Sink.
func (m *minion) Ready(r zmtp.Ready) error {
	return m.fanout.proxy.door.Admit(m.conn, m.stream.Version(), r)
}

// Message implements zmtp.Sink: a subscription in the form that XSUB and ZMTP 3.0 use. Nothing else comes this way.
func (m *minion) Message(msg []byte) error {
	s, err := zmtp.ParseSubscription(msg)
	if err != nil {
		return err
	}
	if s.Cancel {
		m.fanout.cancel(m, s.Topic)
		return nil
	}
	return m.subscribe(s.Topic)
}

// Command implements zmtp.Sink.
func (m *minion) Command(name, data []byte) error {
	switch string(name) {
	case zmtp.CommandSubscribe:
		return m.subscribe(data)
	case zmtp.CommandCancel:
		m.fanout.cancel(m, data)
	case zmtp.CommandPing:
		return m.pong(data)
	case zmtp.CommandError:
		return zmtp.Complaint(data)
	case zmtp.CommandPong:
		m.fanout.watch.Ponged()
	}
	return nil // what later versions may add too
}

func (m *minion) subscribe(topic []byte) error {
	if len(topic) > maxTopicBytes {
		return &zmtp.Fault{
			Reason: zmtp.ReasonSubscription,
			Detail: fmt.Sprintf("subscribes to a prefix of %d bytes (limit %d)", len(topic), maxTopicBytes),
		}
	}
	most := m.fanout.maxSubscriptions
	full := len(m.entries) >= most || int(m.topicBytes)+len(topic) > topicRoom+most*usualTopicBytes
	if full && !m.fanout.has(m, topic) {
		return errSubscriptions
	}
	m.fanout.subscribe(m, topic)
	return nil
}

// pong answers a PING, between two messages: a command never stands inside one here.
func (m *minion) pong(ping []byte) error {
	var space [64]byte
	answer, err := zmtp.AppendAnswer(space[:0], ping)
	if err != nil {
		return err
	}
	m.fanout.watch.Pinged()
	if m.cursor != nil && m.cursor.inside() {
		m.cursor.pong = bytes.Clone(answer) // the newest tells as much as all of them
		return nil
	}
	return m.conn.Write(answer)
}

// Ping implements heartbeat.Peer.
func (m *minion) Ping() error {
	if m.cursor != nil && m.cursor.inside() {
		m.cursor.ping = true
		return nil
	}
	var space [16]byte
	return m.conn.WriteNow(zmtp.AppendPing(space[:0], 0, nil))
}

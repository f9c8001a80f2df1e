package retproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/internal/master"
	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// FuzzMinion feeds a minion of a running loop: any bytes, cut anywhere, with a link to the master and without. What is
// held is bounded by what has come; the requests at the master and those that wait are what a simple model has taken, in
// order, every one with a delimiter; what the minion is told is PONGs; it ends once, and nothing of it stays.
func FuzzMinion(f *testing.F) {
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	p, err := New(Options{
		Listen: "127.0.0.1:0", HandshakeTimeout: time.Minute, HeartbeatInterval: time.Minute, HeartbeatTimeout: time.Minute,
		Master: master.Options{ // nobody is there
			Address: "127.0.0.1:1", Backoff: master.Backoff{Default: time.Hour, Max: time.Hour},
		},
		Loops: 1, MaxInFlight: 6, RequestDeadline: time.Minute, MaxMessage: 2048, Log: silent,
	})
	if err != nil {
		f.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- p.Run(ctx) }()
	f.Cleanup(func() {
		end()
		_ = ln.Close()
		if err := <-over; err != nil {
			f.Error(err)
		}
	})

	f.Fuzz(func(t *testing.T, says, cuts []byte, linked bool) {
		ours, theirs := pair(t, ln)
		defer func() { _ = ours.Close() }()
		l := &life{lane: p.lanes[0], says: says, cuts: cuts, minionEnded: make(chan error, 2), linkEnded: make(chan error, 2)}
		var salt net.Conn
		if linked {
			salt, l.link = pair(t, ln)
			defer func() { _ = salt.Close() }()
		}
		on := func(fn func()) {
			done := make(chan struct{})
			l.lane.loop.Post(func() { fn(); close(done) })
			<-done
		}
		on(func() { l.live(theirs) })
		if reason := <-l.minionEnded; reason == nil { // it comes, or this hangs
			t.Error("it ended for no reason")
		}
		if linked {
			if reason := <-l.linkEnded; reason == nil {
				t.Error("the link ended for no reason")
			}
		}
		on(l.gone)
		for _, wrong := range l.wrong {
			t.Error(wrong)
		}
		hears(t, ours, &model{})
		if linked {
			m := &model{master: true}
			hears(t, salt, m)
			l.arrived(t, m.requests)
		}
	})
}

// life is of one minion.
type life struct {
	lane       *lane
	link       net.Conn // of the broker to the master, nil: none
	says, cuts []byte

	*minion
	times                  int // that it ended
	model                  model
	sent                   int // requests at the master
	wrong                  []string
	minionEnded, linkEnded chan error
}

func (l *life) Closed(conn *reactor.Conn, reason error) {
	l.minion.Closed(conn, reason)
	l.times++
	l.minionEnded <- reason
}

func (l *life) fails(format string, values ...any) {
	l.wrong = append(l.wrong, fmt.Sprintf(format, values...))
}

// live is all of it, on the loop.
func (l *life) live(nc net.Conn) {
	if l.link != nil {
		l.lane.ways[0].ordinary.adopt(l.link, zmtp.Version{Major: 3, Minor: 1}, master.State{}, l.linkEnded)
	}
	conn, err := l.lane.loop.Adopt(nc, l)
	if err != nil {
		l.fails("%v", err)
		l.minionEnded <- err
		return
	}
	l.minion = newMinion(l.lane, conn)
	asked := l.lane.requests.Load()
	l.model = model{size: l.lane.size, limited: true}
	var stream zmtp.Stream // the model reads the same, and does the simplest with it
	for fed := 0; fed < len(l.says) && !conn.Closed(); {
		n := 1
		if len(l.cuts) > 0 {
			n += int(l.cuts[fed%len(l.cuts)])
		}
		n = min(n, len(l.says)-fed)
		piece := bytes.Clone(l.says[fed : fed+n])
		expected := stream.Feed(bytes.Clone(piece), &l.lane.limits, &l.model)
		err := l.Received(conn, piece)
		for i := range piece {
			piece[i] = 0xdb // it was valid during the call
		}
		fed += n
		if (expected != nil) != (err != nil) && !conn.Closed() {
			l.fails("the model says %v, the minion %v", expected, err)
		}
		if got := l.lane.requests.Load() - asked; got != uint64(len(l.model.requests)) {
			l.fails("%d requests, the model has %d", got, len(l.model.requests))
		}
		l.holds(fed)
		if err != nil {
			conn.Close(err)
		}
	}
	stream.Release(&l.lane.limits)
	if !conn.Closed() {
		_ = conn.TryWrite(zmtp.AppendPong(nil, []byte("the end"))) // and what was kept before it
		conn.Close(io.EOF)
	}
	if k := l.lane.ways[0].ordinary; k.conn != nil {
		_ = k.conn.TryWrite(zmtp.AppendPong(nil, []byte("the end")))
		k.conn.Close(io.EOF)
	}
}

// holds checks what waits here after so many bytes.
func (l *life) holds(fed int) {
	l.sent = int(l.own.flying)
	waiting := l.model.requests[l.sent:]
	memory, bytesHeld, n := l.stream.Buffered(), int64(0), 0
	for r := l.first; r != nil; r = r.after {
		msg := r.msg.joined()
		if n >= len(waiting) || !bytes.Equal(msg, waiting[n]) {
			l.fails("request %d that waits is %q", n, msg)
			return
		}
		if _, err := zmtp.Envelope(msg); err != nil {
			l.fails("%q waits: %v", msg, err)
		}
		n++
		bytesHeld += r.bytes()
		memory += cap(r.msg.head)
		for _, piece := range r.msg.rest {
			memory += cap(piece)
		}
	}
	if n != len(waiting) || int(l.held) != n || l.heldBytes != bytesHeld {
		l.fails("%d requests of %d bytes wait, counted as %d of %d; the model has %d", n, bytesHeld, l.held, l.heldBytes, len(waiting))
	}
	if want := bytesHeld + int64(l.stream.HalfRead()); !l.conn.Closed() && l.lane.held != want {
		l.fails("the lane counts %d bytes, there are %d", l.lane.held, want)
	}
	if l.link == nil && l.sent > 0 || l.own.flying > l.lane.ways[0].share || l.own.queued+l.own.flying > l.lane.ways[0].share {
		l.fails("%d are at the master and %d in the queue", l.own.flying, l.own.queued)
	}
	if most := 1024 + 10*fed; memory > most { // what is tiny has what it needs, else 512 bytes and more
		l.fails("%d bytes are held after %d", memory, fed)
	}
}

// gone checks that nothing stays.
func (l *life) gone() {
	if l.times != 1 {
		l.fails("it ended %d times", l.times)
	}
	s := l.lane
	if s.held != 0 || s.heldWhole != 0 || s.loop.Kept() != 0 || s.ways[0].waiting.Load() != 0 || s.ways[0].inFlight.Load() != 0 || s.minions.Load() != 0 || s.loop.Connections() != 0 ||
		s.ways[0].ordinary.queue.length != 0 || s.ways[0].bulk.queue.length != 0 || s.ways[0].ordinary.order.length != 0 {
		l.fails("something of it stays")
	}
}

// arrived checks what the master has got: the first requests, each behind a routing frame.
func (l *life) arrived(t *testing.T, got [][]byte) {
	t.Helper()
	for i, msg := range got {
		route, rest, err := zmtp.CutFrame(msg)
		if _, ok := parseRoute(route); err != nil || !ok || i >= len(l.model.requests) || !bytes.Equal(rest, l.model.requests[i]) {
			t.Errorf("request %d is %q: %v", i, msg, err)
		}
	}
	if l.sent != len(got) {
		t.Errorf("%d requests came, %d were sent", len(got), l.sent)
	}
}

// model is what a minion is to do with what comes, told simply. Not limited, it takes what the broker sends: PONG, and to
// its master PING.
type model struct {
	size     size
	limited  bool
	master   bool
	many     bool
	requests [][]byte
}

var errModel = errors.New("not for this port")

func (*model) Greeted(zmtp.Version) error { return nil }

func (m *model) Ready(r zmtp.Ready) error {
	m.many = r.SocketType != zmtp.REQ
	if !slices.Contains([]zmtp.SocketType{zmtp.REQ, zmtp.DEALER, zmtp.ROUTER}, r.SocketType) {
		return errModel
	}
	return nil
}

func (m *model) Message(msg []byte) error {
	depth, err := zmtp.Envelope(msg)
	if err != nil {
		return err
	}
	if m.limited {
		if err := m.size.check(message{head: msg}, depth); err != nil {
			if m.many {
				return nil
			}
			return err
		}
	}
	m.requests = append(m.requests, bytes.Clone(msg))
	return nil
}

func (m *model) Command(name, data []byte) error {
	switch {
	case !m.limited && string(name) != zmtp.CommandPong && (!m.master || string(name) != zmtp.CommandPing):
		return errModel
	case string(name) == zmtp.CommandPing:
		_, _, err := zmtp.ParsePing(data)
		return err
	case string(name) == zmtp.CommandError:
		return errModel
	}
	return nil
}

// pair makes two ends of a connection. Closing theirs resets it: thousands of ended connections would take all ports.
func pair(t *testing.T, ln net.Listener) (ours, theirs net.Conn) {
	t.Helper()
	ours, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if tcp, ok := theirs.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	return ours, theirs
}

// hears tells m of what the broker has sent, up to the end of the connection.
func hears(t *testing.T, nc net.Conn, m *model) {
	t.Helper()
	got, err := io.ReadAll(nc)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	var stream zmtp.Stream
	stream.SkipHandshake(zmtp.Version{Major: 3, Minor: 1})
	if err := stream.Feed(got, &testLimits, m); err != nil || stream.Buffered() > 0 {
		t.Errorf("the broker sent %q: %v", got, err)
	}
}

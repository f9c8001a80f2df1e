package pubproxy

import (
	"bytes"
	"context"
	"errors"
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

// FuzzMinion feeds a minion of a running loop: any bytes, cut anywhere. What it holds is bounded by what has come, what it
// answers is ZMTP, its subscriptions are those that a simple model has and no more than allowed, it ends once, and nothing
// of it stays.
func FuzzMinion(f *testing.F) {
	const maxSubscriptions = 8
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	p, err := New(Options{
		Listen: "127.0.0.1:0", HandshakeTimeout: time.Minute, HeartbeatInterval: time.Minute, HeartbeatTimeout: time.Minute,
		Master: master.Options{ // nobody is there
			Address: "127.0.0.1:1", Backoff: master.Backoff{Default: time.Hour, Max: time.Hour},
		},
		Loops: 1, HWM: 10, LogBytes: 1 << 20, MaxMessage: 1 << 20, MaxSubscriptions: maxSubscriptions, Log: silent,
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

	f.Fuzz(func(t *testing.T, says, cuts []byte) {
		ours, theirs := pair(t, ln)
		defer func() { _ = ours.Close() }()
		told := make(chan []error, 1)
		once := &counted{ended: make(chan error, 2)}
		p.fanouts[0].loop.Post(func() { told <- live(p, once, theirs, says, cuts) })
		for _, err := range <-told {
			t.Error(err)
		}
		if reason := <-once.ended; reason == nil { // it comes, or this hangs
			t.Error("it ended for no reason")
		}
		left := make(chan []error, 1)
		p.fanouts[0].loop.Post(func() { left <- gone(p, once) })
		for _, err := range <-left {
			t.Error(err)
		}
		answers(t, ours)
	})
}

// counted is a minion whose end is counted.
type counted struct {
	*minion
	ended chan error
	times int
}

func (c *counted) Closed(conn *reactor.Conn, reason error) {
	c.minion.Closed(conn, reason)
	c.times++
	c.ended <- reason
}

// live is a minion's life, on the loop. It returns what is wrong.
func live(p *Proxy, once *counted, nc net.Conn, says, cuts []byte) (wrong []error) {
	f := p.fanouts[0]
	conn, err := f.loop.Adopt(nc, once)
	if err != nil {
		once.ended <- err
		return []error{err}
	}
	m := newMinion(f, conn)
	once.minion = m
	want := topics{}
	var stream zmtp.Stream // the model reads the same, and does the simplest with it
	model := func(piece []byte) error { return stream.Feed(piece, &f.limits, want) }
	for fed := 0; fed < len(says) && !conn.Closed(); {
		n := 1
		if len(cuts) > 0 {
			n += int(cuts[fed%len(cuts)])
		}
		n = min(n, len(says)-fed)
		piece := bytes.Clone(says[fed : fed+n])
		expected := model(bytes.Clone(piece))
		err := m.Received(conn, piece)
		for i := range piece {
			piece[i] = 0xdb // it was valid during the call
		}
		fed += n
		if held := m.stream.Buffered(); held > max(512, 4*fed) || held > 4*maxTopicBytes {
			wrong = append(wrong, errors.New("too much is held"))
		} else if !conn.Closed() && f.held != int64(m.stream.HalfRead()) {
			wrong = append(wrong, errors.New("what is held is not what is counted"))
		}
		if len(m.entries) > p.options.MaxSubscriptions || f.tree.count != len(m.entries) {
			wrong = append(wrong, errors.New("subscriptions that are too many, or nobody's"))
		}
		if expected != nil && err == nil && !conn.Closed() {
			wrong = append(wrong, errors.New("the model ends and the minion does not: "+expected.Error()))
		}
		if err != nil {
			conn.Close(err)
			break
		}
		if got := subscribed(m); !slices.Equal(got, want.sorted()) && !conn.Closed() {
			wrong = append(wrong, errors.New("other subscriptions than the model"))
		}
	}
	if !conn.Closed() {
		_ = conn.TryWrite(zmtp.AppendPong(nil, []byte("the end"))) // and what was kept before it
		m.HalfClosed(conn)
	}
	stream.Release(&f.limits)
	return wrong
}

// gone says what a minion that has ended has left behind.
func gone(p *Proxy, once *counted) (wrong []error) {
	f := p.fanouts[0]
	if once.times != 1 {
		wrong = append(wrong, errors.New("it did not end once"))
	}
	if f.tree.count != 0 || len(f.tree.root.children) != 0 || f.everything != 0 || len(f.current) != 0 || len(f.behind) != 0 ||
		len(p.upstream.union) != 0 || f.held != 0 || f.loop.Kept() != 0 || f.minions.Load() != 0 || f.loop.Connections() != 0 {
		wrong = append(wrong, errors.New("something of it stays"))
	}
	return wrong
}

// subscribed returns a minion's prefixes, sorted.
func subscribed(m *minion) []string {
	all := []string{}
	if m.everything {
		all = append(all, "")
	}
	for i := range m.entries {
		all = append(all, m.entries[i].node.prefix())
	}
	slices.Sort(all)
	return all
}

// topics is the model: a set.
type topics map[string]bool

func (topics) Greeted(zmtp.Version) error { return nil }

func (topics) Ready(r zmtp.Ready) error {
	if r.SocketType != zmtp.SUB && r.SocketType != zmtp.XSUB {
		return errors.New("not a subscriber")
	}
	return nil
}

func (s topics) Message(msg []byte) error {
	sub, err := zmtp.ParseSubscription(msg)
	if err != nil {
		return err
	}
	return s.change(sub.Topic, sub.Cancel)
}

func (s topics) Command(name, data []byte) error {
	switch string(name) {
	case zmtp.CommandSubscribe:
		return s.change(data, false)
	case zmtp.CommandCancel:
		return s.change(data, true)
	case zmtp.CommandPing:
		_, _, err := zmtp.ParsePing(data)
		return err
	case zmtp.CommandError:
		return errors.New("an ERROR")
	}
	return nil
}

func (s topics) change(topic []byte, cancel bool) error {
	if cancel {
		delete(s, string(topic))
		return nil
	}
	if len(topic) > maxTopicBytes {
		return errors.New("a long topic")
	}
	s[string(topic)] = true
	return nil
}

func (s topics) sorted() []string {
	all := []string{}
	for topic := range s {
		all = append(all, topic)
	}
	slices.Sort(all)
	return all
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

// answers checks that what a minion was told is PONGs, up to the end of the connection.
func answers(t *testing.T, nc net.Conn) {
	t.Helper()
	got, err := io.ReadAll(nc)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	var stream zmtp.Stream
	stream.SkipHandshake(zmtp.Version{Major: 3, Minor: 1})
	if err := stream.Feed(got, testLimits(), onlyPongs{}); err != nil || stream.Buffered() > 0 {
		t.Errorf("it was told %q: %v", got, err)
	}
}

type onlyPongs struct{ topics }

func (onlyPongs) Message([]byte) error { return errors.New("a message") }

func (onlyPongs) Command(name, _ []byte) error {
	if string(name) != zmtp.CommandPong {
		return errors.New(string(name))
	}
	return nil
}

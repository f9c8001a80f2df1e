package pubproxy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"salt-broker/internal/master"
	"salt-broker/internal/zmtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// publisher is a scripted master's publish port: it accepts links one after the other, reads their subscriptions and
// sends what it is told.
type publisher struct {
	t        *testing.T
	listener net.Listener

	mu     sync.Mutex
	link   net.Conn
	held   bool        // it shakes no hands: see hold
	events chan string // "+topic", "-topic" as they come; "link" for a new one
}

func newPublisher(t *testing.T) *publisher {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &publisher{t: t, listener: ln, events: make(chan string, 1<<16)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			p.serve(nc)
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		p.drop()
		<-done
	})
	return p
}

func (p *publisher) serve(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	p.mu.Lock()
	held := p.held
	p.mu.Unlock()
	if held || shake(nc, zmtp.PUB, 1) != nil {
		return
	}
	p.mu.Lock()
	p.link = nc
	p.mu.Unlock()
	p.events <- "link"
	var s zmtp.Stream
	s.SkipHandshake(zmtp.Version{Major: 3})
	limits := testLimits()
	buf := make([]byte, 4096)
	for {
		n, err := nc.Read(buf)
		if err != nil {
			return
		}
		if err := s.Feed(buf[:n], limits, sink{message: func(msg []byte) error {
			sub, err := zmtp.ParseSubscription(msg)
			if err != nil {
				return err
			}
			sign := "+"
			if sub.Cancel {
				sign = "-"
			}
			p.events <- sign + string(sub.Topic)
			return nil
		}}); err != nil {
			p.t.Errorf("the master got: %v", err)
			return
		}
	}
}

// drop ends the link as a dying master does.
func (p *publisher) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != nil {
		_ = p.link.Close()
		p.link = nil
	}
}

// send publishes bytes that are whole messages, or for once are not.
func (p *publisher) send(b []byte) {
	p.t.Helper()
	p.mu.Lock()
	link := p.link
	p.mu.Unlock()
	if _, err := link.Write(b); err != nil {
		p.t.Errorf("publish: %v", err)
	}
}

// expect waits for events in this order.
func (p *publisher) expect(want ...string) {
	p.t.Helper()
	for _, w := range want {
		select {
		case got := <-p.events:
			if got != w {
				p.t.Fatalf("the master hears %q, want %q", got, w)
			}
		case <-time.After(patience):
			p.t.Fatalf("the master did not hear %q", w)
		}
	}
}

// nothing checks that no event has come, as far as the other events of the broker are through: it makes one.
func (p *publisher) nothing(proxy *Proxy) {
	p.t.Helper()
	probe := connect(p.t, proxy, 1, "probe-for-nothing")
	p.expect("+probe-for-nothing")
	_ = probe.nc.Close()
	p.expect("-probe-for-nothing")
}

// subscriber is a scripted minion.
type subscriber struct {
	t  *testing.T
	nc net.Conn
}

// connect makes a minion that speaks ZMTP 3.minor and subscribes to topics, as a command from 3.1 on.
func connect(t *testing.T, p *Proxy, minor byte, topics ...string) *subscriber {
	t.Helper()
	nc, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	if err := shake(nc, zmtp.SUB, minor); err != nil {
		t.Fatal(err)
	}
	s := &subscriber{t, nc}
	for _, topic := range topics {
		s.subscribe(minor > 0, topic)
	}
	return s
}

func (s *subscriber) write(b []byte) {
	s.t.Helper()
	if _, err := s.nc.Write(b); err != nil {
		s.t.Fatal(err)
	}
}

func (s *subscriber) subscribe(command bool, topic string) {
	s.t.Helper()
	if command {
		s.write(zmtp.AppendSubscribe(nil, []byte(topic)))
	} else {
		s.write(zmtp.AppendSubscription(nil, []byte(topic), false))
	}
}

// settle makes sure that all that the minion has sent has been handled: the PONG comes behind it.
func (s *subscriber) settle() {
	s.t.Helper()
	s.write(zmtp.AppendPing(nil, 0, []byte("settle")))
	want := zmtp.AppendPong(nil, []byte("settle"))
	if got := s.read(len(want)); !bytes.Equal(got, want) {
		s.t.Fatalf("PONG: got %x, want %x", got, want)
	}
}

func (s *subscriber) read(n int) []byte {
	s.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(s.nc, b); err != nil {
		s.t.Fatalf("minion reads: %v", err)
	}
	return b
}

// expect checks that exactly these bytes come next.
func (s *subscriber) expect(want []byte) {
	s.t.Helper()
	if got := s.read(len(want)); !bytes.Equal(got, want) {
		i := 0
		for got[i] == want[i] {
			i++
		}
		s.t.Fatalf("%s: byte %d of %d differs: got %x, want %x", s.nc.LocalAddr(), i, len(want),
			got[i:min(i+40, len(got))], want[i:min(i+40, len(want))])
	}
}

// closed waits until the broker has closed the connection.
func (s *subscriber) closed() {
	s.t.Helper()
	_, err := io.Copy(io.Discard, s.nc)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		s.t.Fatal("the broker did not close the connection")
	}
}

// shake does one side of the NULL handshake as a stranger would, byte for byte by the book.
func shake(nc net.Conn, as zmtp.SocketType, minor byte) error {
	hello := zmtp.AppendReady(zmtp.AppendGreeting(nil), as)
	hello[11] = minor
	if _, err := nc.Write(hello); err != nil {
		return err
	}
	greeting := make([]byte, zmtp.GreetingSize+2)
	if _, err := io.ReadFull(nc, greeting); err != nil {
		return err
	}
	ready := make([]byte, greeting[zmtp.GreetingSize+1])
	_, err := io.ReadFull(nc, ready)
	return err
}

type sink struct {
	message func(msg []byte) error
}

func (sink) Greeted(zmtp.Version) error { return nil }
func (sink) Ready(zmtp.Ready) error     { return nil }
func (s sink) Message(msg []byte) error { return s.message(msg) }
func (sink) Command(_, _ []byte) error  { return nil }

type heap struct{}

func (heap) Get(n int) []byte { return make([]byte, 0, n) }
func (heap) Put([]byte)       {}

func testLimits() *zmtp.Limits {
	return &zmtp.Limits{MaxMessage: 1 << 30, MaxFrames: 1 << 20, MaxCommand: 1 << 20, Buffers: heap{}}
}

// stripes is 0, 1, 2 and so on: to copy it costs the race detector less than to count, byte by byte.
var stripes = func() (all [64 << 10]byte) {
	for i := range all {
		all[i] = byte(i)
	}
	return all
}()

// message makes a whole publish: a topic frame if there is one, and a body of size bytes that tells its number.
func message(topic string, number, size int) []byte {
	body := make([]byte, max(size, 8))
	binary.BigEndian.PutUint64(body, uint64(number))
	for i := 8; i < len(body); {
		i += copy(body[i:], stripes[byte(number+i):])
	}
	var msg []byte
	if topic != "" {
		msg = zmtp.AppendFrame(msg, true, []byte(topic))
	}
	return zmtp.AppendFrame(msg, false, body)
}

// numbers splits what a minion got into messages, checks that each is whole and as it was made, and returns their
// numbers.
func numbers(t *testing.T, topic string, size int, got []byte) []int {
	t.Helper()
	var all []int
	for len(got) > 0 {
		n := int(messageSize(got))
		msg := got[:n]
		got = got[n:]
		number := int(binary.BigEndian.Uint64(msg[n-max(size, 8):]))
		if !bytes.Equal(msg, message(topic, number, size)) {
			t.Fatalf("message %d is not whole", number)
		}
		all = append(all, number)
	}
	return all
}

// start runs a proxy in front of a publisher until the test ends.
func start(t testing.TB, address string, change func(o *Options)) *Proxy {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	o := Options{
		Listen: "127.0.0.1:0", HandshakeTimeout: patience, Loops: 2, HWM: 1 << 20, LogBytes: 1 << 30,
		MaxMessage: 64 << 20, MaxSubscriptions: 1000, Log: log,
		Master: master.Options{
			Address: address, DialTimeout: patience, HandshakeTimeout: patience,
			Backoff: master.Backoff{Default: time.Millisecond, Max: 10 * time.Millisecond}, Log: log,
		},
	}
	if change != nil {
		change(&o)
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p
}

func (p *publisher) address() string { return p.listener.Addr().String() }

// eventually waits for a condition on what a proxy counts.
func eventually(t testing.TB, p *Proxy, what string, ok func(s Stats) bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok(p.Stats()) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s; %+v", what, p.Stats())
		}
		yield()
	}
}

// yield lets the loops have the processor; nobody depends on how long it takes.
func yield() {
	timer := time.NewTimer(time.Millisecond)
	<-timer.C
}

package interop_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"salt-broker/internal/zmtp"
)

// wire is one side of a ZMTP connection whose every byte a test decides on. One goroutine at a time may read.
type wire struct {
	nc       *net.TCPConn
	as       zmtp.SocketType
	stream   zmtp.Stream
	peer     zmtp.SocketType // after shake
	messages [][][]byte      // read, not taken yet
	commands []string        // names, READY excepted
	buf      []byte
}

var wireLimits = zmtp.Limits{MaxMessage: 1 << 30, MaxFrames: 1 << 20, MaxCommand: 1 << 20}

func newWire(nc net.Conn, as zmtp.SocketType) *wire {
	return &wire{nc: nc.(*net.TCPConn), as: as, buf: make([]byte, 64<<10)} // only TCP here
}

// dial connects as a peer that greets ZMTP 3.minor.
func dial(t testing.TB, address string, as zmtp.SocketType, minor byte) *wire {
	t.Helper()
	nc, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	w := newWire(nc, as)
	if err := w.shake(minor); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *wire) shake(minor byte) error {
	hello := zmtp.AppendReady(zmtp.AppendGreeting(nil), w.as)
	hello[11] = minor
	if _, err := w.nc.Write(hello); err != nil {
		return err
	}
	for w.peer == 0 {
		if err := w.fill(); err != nil {
			return fmt.Errorf("handshake: %w", err)
		}
	}
	return nil
}

// fill reads once.
func (w *wire) fill() error {
	_ = w.nc.SetReadDeadline(time.Now().Add(patience))
	n, err := w.nc.Read(w.buf)
	if n > 0 {
		if err := w.stream.Feed(w.buf[:n], &wireLimits, (*wireSink)(w)); err != nil {
			return err
		}
	}
	return err
}

// next returns the next message.
func (w *wire) next() ([][]byte, error) {
	for len(w.messages) == 0 {
		if err := w.fill(); err != nil {
			return nil, err
		}
	}
	m := w.messages[0]
	w.messages = w.messages[1:]
	return m, nil
}

// has says whether a message has come, and gives it a moment to.
func (w *wire) has(t testing.TB) bool {
	t.Helper()
	if len(w.messages) > 0 {
		return true
	}
	_ = w.nc.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	n, err := w.nc.Read(w.buf)
	if err == nil {
		err = w.stream.Feed(w.buf[:n], &wireLimits, (*wireSink)(w))
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return len(w.messages) > 0
}

func (w *wire) recv(t testing.TB) [][]byte {
	t.Helper()
	m, err := w.next()
	if err != nil {
		t.Fatalf("no message at %s: %v", w.nc.LocalAddr(), err)
	}
	return m
}

// recvDigests returns the digests of the next messages.
func (w *wire) recvDigests(t testing.TB, count int) []string {
	t.Helper()
	var all []string
	for range count {
		all = append(all, digest(w.recv(t)...))
	}
	return all
}

func (w *wire) write(t testing.TB, b []byte) {
	t.Helper()
	if _, err := w.nc.Write(b); err != nil {
		t.Fatalf("write: %v", err)
	}
}

func (w *wire) send(t testing.TB, frames ...[]byte) {
	t.Helper()
	w.write(t, onWire(frames))
}

// subscribe asks for topics, as commands from ZMTP 3.1 on or as messages.
func (w *wire) subscribe(t testing.TB, commands bool, topics ...string) {
	t.Helper()
	for _, topic := range topics {
		if commands {
			w.write(t, zmtp.AppendSubscribe(nil, []byte(topic)))
		} else {
			w.write(t, zmtp.AppendSubscription(nil, []byte(topic), false))
		}
	}
}

// settle returns when the broker has handled all that w has sent: the PONG comes behind it.
func (w *wire) settle(t testing.TB) {
	t.Helper()
	w.write(t, zmtp.AppendPing(nil, 0, nil))
	for seen := w.pongs(); w.pongs() == seen; {
		if err := w.fill(); err != nil {
			t.Fatalf("no PONG: %v", err)
		}
	}
}

func (w *wire) pongs() (n int) {
	for _, name := range w.commands {
		if name == zmtp.CommandPong {
			n++
		}
	}
	return n
}

// leave ends the connection in order and checks that nothing more had come on it.
func (w *wire) leave(t testing.TB) {
	t.Helper()
	_ = w.nc.CloseWrite()
	err := w.fill()
	for err == nil {
		err = w.fill()
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("%s: leaving: %v", w.nc.LocalAddr(), err)
	}
	if len(w.messages) > 0 {
		t.Errorf("%s got %d messages that are not its own, the first with %d frames", w.nc.LocalAddr(),
			len(w.messages), len(w.messages[0]))
	}
	_ = w.nc.Close()
}

// onWire is a message as bytes.
func onWire(frames [][]byte) []byte {
	var b []byte
	for i, f := range frames {
		b = zmtp.AppendFrame(b, i < len(frames)-1, f)
	}
	return b
}

// wireSink is a wire as its stream sees it.
type wireSink wire

func (w *wireSink) Greeted(zmtp.Version) error { return nil }

func (w *wireSink) Ready(r zmtp.Ready) error {
	w.peer = r.SocketType
	return nil
}

func (w *wireSink) Message(msg []byte) error {
	var frames [][]byte
	for rest := msg; len(rest) > 0; {
		var body []byte
		var err error
		if body, rest, err = zmtp.CutFrame(rest); err != nil {
			return err
		}
		frames = append(frames, bytes.Clone(body))
	}
	w.messages = append(w.messages, frames)
	return nil
}

func (w *wireSink) Command(name, _ []byte) error {
	w.commands = append(w.commands, string(name))
	return nil
}

// standIn is a scripted master's port: it takes every link and hands on every message that comes on one.
type standIn struct {
	ln     net.Listener
	as     zmtp.SocketType
	links  chan *wire // new ones
	heard  chan heard // messages of all links
	mu     sync.Mutex // protects live
	live   []*wire    // links
	wg     sync.WaitGroup
	closed chan struct{}
}

// heard is a message and the link on which it came.
type heard struct {
	link   *wire
	frames [][]byte
}

// newStandIn listens on an address; port 0 lets the kernel choose.
func newStandIn(t testing.TB, address string, as zmtp.SocketType) *standIn {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &standIn{ln: ln, as: as, links: make(chan *wire, 1024), heard: make(chan heard, 1<<16), closed: make(chan struct{})}
	s.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(nc) })
		}
	})
	t.Cleanup(s.close)
	return s
}

func (s *standIn) serve(nc net.Conn) {
	defer nc.Close()
	w := newWire(nc, s.as)
	s.mu.Lock()
	select {
	case <-s.closed:
		s.mu.Unlock()
		return
	default:
	}
	s.live = append(s.live, w)
	s.mu.Unlock()
	if w.shake(1) != nil {
		return
	}
	s.links <- w
	for {
		m, err := w.next()
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			continue
		}
		if err != nil {
			return
		}
		s.heard <- heard{w, m}
	}
}

// close takes the master away: the port and all links.
func (s *standIn) close() {
	_ = s.ln.Close()
	s.mu.Lock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	s.mu.Unlock()
	s.drop()
	s.wg.Wait()
}

// drop ends the links that there are.
func (s *standIn) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.live {
		_ = w.nc.Close()
	}
	s.live = nil
}

func (s *standIn) address() string { return s.ln.Addr().String() }

// link waits for the next link.
func (s *standIn) link(t testing.TB) *wire {
	t.Helper()
	select {
	case w := <-s.links:
		return w
	case <-time.After(patience):
		t.Fatal("the broker does not come to its master")
		return nil
	}
}

// next waits for the next message on any link.
func (s *standIn) next(t testing.TB) heard {
	t.Helper()
	select {
	case h := <-s.heard:
		return h
	case <-time.After(patience):
		t.Fatal("nothing comes to the master")
		return heard{}
	}
}

// hears waits for subscriptions, "+topic" or "-topic", in any order.
func (s *standIn) hears(t testing.TB, want ...string) {
	t.Helper()
	counts := make(map[string]int)
	for _, w := range want {
		counts[w]++
	}
	for range want {
		m := s.next(t).frames
		if len(m) != 1 || len(m[0]) == 0 || m[0][0] > 1 {
			t.Fatalf("the master got %q for a subscription", m)
		}
		got := string("-+"[m[0][0]]) + string(m[0][1:])
		if counts[got]--; counts[got] < 0 {
			t.Fatalf("the master heard %q, want %q", got, want)
		}
	}
}

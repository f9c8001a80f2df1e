//go:build linux

package main

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listener is a handler that passes on what it is told.
type listener struct {
	got  chan string
	at   chan time.Time
	ends chan error
}

func (h *listener) received(p []byte, at time.Time) error {
	h.got <- string(p)
	h.at <- at
	return nil
}

func (h *listener) closed(reason error) { h.ends <- reason }

// dialed is a socket of a loop, and its peer. The loop ends with the test.
func dialed(t *testing.T) (*sockets, *socket, *listener, net.Conn) {
	t.Helper()
	l, err := newSockets(true)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); l.run() }()
	t.Cleanup(func() { l.do(func() { l.leave = true }); <-ended })
	port, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = port.Close() }()
	h := &listener{make(chan string, 8), make(chan time.Time, 8), make(chan error, 1)}
	var s *socket
	l.do(func() { s, err = l.dial(port.Addr().(*net.TCPAddr).AddrPort(), []byte("hello"), h) })
	if err != nil {
		t.Fatal(err)
	}
	peer, err := port.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	hello := make([]byte, 5)
	if _, err := io.ReadFull(peer, hello); err != nil || string(hello) != "hello" {
		t.Fatalf("the first bytes are %q; %v", hello, err)
	}
	return l, s, h, peer
}

// What is read late came when the kernel got it.
func TestArrivalIsTheKernels(t *testing.T) {
	l, s, h, peer := dialed(t)
	if _, err := io.WriteString(peer, "early"); err != nil {
		t.Fatal(err)
	}
	<-h.got
	<-h.at
	before := time.Now()
	var there time.Time
	l.do(func() { // nothing is read before this ends
		if _, err := io.WriteString(peer, "late"); err != nil {
			t.Error(err)
		}
		for n := 0; n == 0; {
			n, _ = unix.IoctlGetInt(s.fd, unix.TIOCINQ)
		}
		there = time.Now()
	})
	if got := <-h.got; got != "late" {
		t.Errorf("received %q", got)
	}
	if at := <-h.at; at.Before(before) || at.After(there) {
		t.Errorf("came at %s, not between %s and %s", at, before, there)
	}
}

// Where the connection is not there at once, what is to be sent first is sent when it is.
func TestHelloIsSentLater(t *testing.T) {
	t.Parallel() // a SYN is repeated after a second
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	loopback := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := errors.Join(unix.Bind(fd, loopback), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := onLoopback(uint16(name.(*unix.SockaddrInet4).Port))
	first, err := net.Dial("tcp4", at.String()) // it has the only place to wait in
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()

	l, err := newSockets(false)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); l.run() }()
	defer func() { l.do(func() { l.leave = true }); <-ended }()
	h := &listener{make(chan string, 8), make(chan time.Time, 8), make(chan error, 1)}
	l.do(func() {
		s, errDial := l.dial(at, []byte("hello"), h)
		if err = errDial; err == nil && s.hello == nil {
			err = errors.New("hello has been sent at once: the test shows nothing")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 6)
	for _, want := range []string{"", "hello"} {
		c, _, err := unix.Accept(fd)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(c) }()
		if want == "" {
			continue
		}
		if n, err := unix.Read(c, p); string(p[:max(n, 0)]) != want {
			t.Errorf("received %q, %v", p[:max(n, 0)], err)
		}
	}
}

// By edges, all that has come must be read, and the end seen behind it.
func TestAllIsReadToTheEnd(t *testing.T) {
	l, _, h, peer := dialed(t)
	big := make([]byte, 3*len(l.buffer))
	go func() {
		_, _ = peer.Write(big)
		_ = peer.Close()
	}()
	for n := 0; n < len(big); {
		n += len(<-h.got)
		<-h.at
	}
	if err := <-h.ends; err != io.EOF { //nolint:errorlint // as it is
		t.Errorf("ended with %v", err)
	}
}

// The first who gets a publish has everybody rest, and nobody else does.
func TestFirstOfAPublishRests(t *testing.T) {
	c := &crowd{loop: &sockets{}, rest: time.Hour, members: make([]*member, 3)}
	for i, step := range []struct {
		order uint64
		rests bool
	}{{1, true}, {1, false}, {1, false}, {2, true}, {2, false}} {
		c.loop.pause = 0
		c.got(publication{run: 1, order: step.order, sent: time.Now()})
		if rests := c.loop.pause == c.rest; rests != step.rests {
			t.Errorf("step %d: rests: %v", i, rests)
		}
	}
}

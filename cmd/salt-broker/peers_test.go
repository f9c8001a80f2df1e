package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"salt-broker/internal/zmtp"
)

// scripted is one end of a ZMTP connection that does what a test says. Its methods belong to the goroutine of follow, but
// for write.
type scripted struct {
	net.Conn
	message func(msg []byte) error
	ready   chan struct{} // closed when the other side has said READY
	pinged  func()        // called with each PING; nil: nobody wants to know. None is answered
}

func (s *scripted) Greeted(zmtp.Version) error { return nil }
func (s *scripted) Ready(zmtp.Ready) error     { close(s.ready); return nil }
func (s *scripted) Command(name, _ []byte) error {
	if s.pinged != nil && string(name) == "PING" {
		s.pinged()
	}
	return nil
}
func (s *scripted) Message(msg []byte) error { return s.message(bytes.Clone(msg)) }
func (s *scripted) Get(n int) []byte         { return make([]byte, 0, n) }
func (s *scripted) Put([]byte)               {}
func (s *scripted) greet(as zmtp.SocketType) error {
	_, err := s.Write(zmtp.AppendReady(zmtp.AppendGreeting(nil), as))
	return err
}

// follow reads until the connection ends.
func (s *scripted) follow() {
	defer s.Close()
	limits := zmtp.Limits{MaxMessage: 1 << 20, MaxFrames: 16, MaxCommand: 4096, Buffers: s}
	var stream zmtp.Stream
	buf := make([]byte, 4096)
	for {
		n, err := s.Read(buf)
		if err != nil || stream.Feed(buf[:n], &limits, s) != nil {
			return
		}
	}
}

// scriptedMaster takes requests at one port and does not answer before it is told to. Its publish port publishes
// nothing.
type scriptedMaster struct {
	requests chan func(reply string) // calling it answers
	pings    [2]chan struct{}        // to the publish port and the other one; further ones than there is room for are lost
}

// newScriptedMaster listens where l says that the master is.
func newScriptedMaster(t *testing.T, l *place) *scriptedMaster {
	t.Helper()
	m := &scriptedMaster{requests: make(chan func(string), 16), pings: [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}}
	l.masterPub = m.listen(t, l.masterPub, zmtp.PUB)
	l.masterReq = m.listen(t, l.masterReq, zmtp.ROUTER)
	return m
}

// listen opens a port, 0 for whichever is free, and returns it. Somebody's connection may have a port that was free before,
// for as long as it lasts.
func (m *scriptedMaster) listen(t *testing.T, port int, as zmtp.SocketType) int {
	t.Helper()
	address := fmt.Sprint("127.0.0.1:", port)
	ln, err := net.Listen("tcp", address)
	for deadline := time.Now().Add(patience); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(deadline); {
		<-time.After(10 * time.Millisecond)
		ln, err = net.Listen("tcp", address)
	}
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			s := &scripted{Conn: c, ready: make(chan struct{})}
			pings := m.pings[0]
			if as == zmtp.ROUTER {
				pings = m.pings[1]
			}
			s.pinged = func() {
				select {
				case pings <- struct{}{}:
				default:
				}
			}
			s.message = func(msg []byte) error {
				if as == zmtp.ROUTER {
					m.requests <- func(reply string) { _, _ = c.Write(answer(msg, reply)) }
				}
				return nil
			}
			all.Go(func() {
				if s.greet(as) == nil {
					s.follow()
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return ln.Addr().(*net.TCPAddr).Port
}

// answer is a request with its last frame replaced.
func answer(msg []byte, reply string) []byte {
	var out []byte
	for {
		body, rest, err := zmtp.CutFrame(msg)
		if err != nil || len(rest) == 0 {
			return zmtp.AppendFrame(out, false, []byte(reply))
		}
		out = zmtp.AppendFrame(out, true, body)
		msg = rest
	}
}

// next returns the function that answers the next request.
func (m *scriptedMaster) next(t *testing.T) func(reply string) {
	t.Helper()
	select {
	case answer := <-m.requests:
		return answer
	case <-time.After(patience):
		t.Fatal("no request reaches the master")
		return nil
	}
}

// scriptedMinion asks, and gets replies.
type scriptedMinion struct {
	conn    *scripted
	pings   chan struct{} // with room for one
	replies chan string
	ended   chan struct{}
}

func newScriptedMinion(t *testing.T, port int) *scriptedMinion {
	t.Helper()
	return newScriptedMinionAs(t, port, "127.0.0.1", zmtp.REQ)
}

// newScriptedMinionAs connects from a local address, as a type of socket.
func newScriptedMinionAs(t *testing.T, port int, from string, as zmtp.SocketType) *scriptedMinion {
	t.Helper()
	c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		t.Fatal(err)
	}
	pings := make(chan struct{}, 1)
	pinged := func() {
		select {
		case pings <- struct{}{}:
		default:
		}
	}
	m := &scriptedMinion{conn: &scripted{Conn: c, ready: make(chan struct{}), pinged: pinged}, pings: pings, replies: make(chan string, 16), ended: make(chan struct{})}
	m.conn.message = func(msg []byte) error {
		delimiter, rest, err := zmtp.CutFrame(msg)
		body, _, err2 := zmtp.CutFrame(rest)
		if len(delimiter) > 0 {
			return errors.New("a reply without its delimiter")
		}
		m.replies <- string(body)
		return errors.Join(err, err2)
	}
	if err := m.conn.greet(as); err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) { // refused
		t.Fatal(err)
	}
	go func() {
		defer close(m.ended)
		m.conn.follow()
	}()
	t.Cleanup(func() {
		c.Close()
		<-m.ended
	})
	return m
}

// welcome waits until the broker has said READY.
func (m *scriptedMinion) welcome(t *testing.T) {
	t.Helper()
	select {
	case <-m.conn.ready:
	case <-m.ended:
		t.Fatal("the broker has hung up")
	case <-time.After(patience):
		t.Fatal("the broker does not shake hands")
	}
}

func (m *scriptedMinion) ask(t *testing.T, request string) {
	t.Helper()
	msg := zmtp.AppendFrame(zmtp.AppendFrame(nil, true, nil), false, []byte(request))
	if _, err := m.conn.Write(msg); err != nil {
		t.Fatal(err)
	}
}

func (m *scriptedMinion) expect(t *testing.T, reply string) {
	t.Helper()
	got := ""
	select {
	case got = <-m.replies:
	case <-m.ended:
		select {
		case got = <-m.replies: // and then it ended
		default:
			t.Fatal("the connection ended without a reply")
		}
	case <-time.After(patience):
		t.Fatal("no reply")
	}
	if got != reply {
		t.Errorf("reply %q, want %q", got, reply)
	}
}

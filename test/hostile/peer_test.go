package hostile

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"salt-broker/internal/zmtp"
)

// soon is how long the broker may take to close a connection for what it has read.
const soon = 2 * time.Second

// request is the smallest there is: the delimiter and a frame of one byte.
var request = zmtp.AppendFrame(zmtp.AppendFrame(nil, true, nil), false, []byte("x"))

// router is what the request port greets with.
var router = zmtp.AppendBrokerReady(zmtp.AppendGreeting(nil), zmtp.ROUTER)

// hello is greeting and READY.
func hello(as zmtp.SocketType) []byte { return zmtp.AppendReady(zmtp.AppendGreeting(nil), as) }

// ports are both ports, with what a peer says there first.
func (s *siege) ports() map[netip.AddrPort][]byte {
	return map[netip.AddrPort][]byte{s.broker.publish: hello(zmtp.SUB), s.broker.request: hello(zmtp.DEALER)}
}

// connect makes a connection of an attacker, nil when it fails.
func (s *siege) connect(to netip.AddrPort) *net.TCPConn {
	s.Helper()
	nc, err := net.DialTimeout("tcp", to.String(), patience)
	if err != nil {
		s.Errorf("an attacker cannot connect: %v", err)
		return nil
	}
	tcp, _ := nc.(*net.TCPConn)
	s.mu.Lock()
	s.ours[nc.LocalAddr().String()] = struct{}{}
	s.mu.Unlock()
	return tcp
}

// stays leaves a connection open until the broker has ended.
func (s *siege) stays(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stay = append(s.stay, nc)
}

// all does something many times at once and waits for it.
func all(n int, do func(i int)) {
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { do(i) })
	}
	wait.Wait()
}

// ends connects, says something, and wants the broker to close the connection within a time. It returns the address that
// the log has to name.
func (s *siege) ends(what string, to netip.AddrPort, within time.Duration, says ...[]byte) (address string) {
	s.Helper()
	nc := s.connect(to)
	if nc == nil {
		return "none"
	}
	address = nc.LocalAddr().String()
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(within))
	for _, part := range says {
		if _, err := nc.Write(part); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				s.Errorf("%s: neither read nor closed within %v", what, within)
				return address
			}
			break // closed
		}
	}
	if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
		s.Errorf("%s: not closed within %v", what, within)
	}
	return address
}

// lives checks that a connection is open and served: its PING is answered.
func (s *siege) lives(what string, nc net.Conn) {
	s.Helper()
	_ = nc.SetDeadline(time.Now().Add(patience))
	var stream zmtp.Stream
	stream.SkipHandshake(zmtp.Version{Major: 3, Minor: 1})
	if _, err := nc.Write(zmtp.AppendPing(nil, 0, []byte("lives"))); err != nil {
		s.Errorf("%s: %v", what, err)
		return
	}
	buf := make([]byte, 4096)
	lim := zmtp.Limits{MaxMessage: 1 << 20, MaxFrames: 10, MaxCommand: 1024}
	answered := pongs{}
	for !answered["lives"] {
		n, err := nc.Read(buf)
		if err == nil {
			err = stream.Feed(buf[:n], &lim, answered)
		}
		if err != nil {
			s.Errorf("%s: no PONG: %v", what, err)
			return
		}
	}
}

// shake does the handshake and returns when the broker's side of it is read, nil when that fails.
func (s *siege) shake(to netip.AddrPort, says []byte) *net.TCPConn {
	s.Helper()
	nc := s.connect(to)
	if nc == nil {
		return nil
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	theirs := router
	if to == s.broker.publish {
		theirs = hello(zmtp.PUB)
	}
	if _, err := nc.Write(says); err != nil {
		s.Errorf("handshake: %v", err)
	} else if _, err := io.ReadFull(nc, theirs); err != nil {
		s.Errorf("handshake: %v", err)
	}
	return nc
}

// pongs remembers the contexts of PONGs.
type pongs map[string]bool

func (pongs) Greeted(zmtp.Version) error { return nil }
func (pongs) Ready(zmtp.Ready) error     { return nil }
func (pongs) Message([]byte) error       { return nil }
func (p pongs) Command(name, data []byte) error {
	if string(name) == zmtp.CommandPong {
		p[string(data)] = true
	}
	return nil
}

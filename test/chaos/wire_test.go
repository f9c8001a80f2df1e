package chaos_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// wire is a TCP relay that does to each connection what the plan says, until it is healed. Bytes are never changed, doubled
// or swapped: TCP sees to that in a real network, too.
type wire struct {
	plan     plan
	number   int // which wire
	listener net.Listener
	target   atomic.Pointer[string]
	accepted atomic.Int64
	healed   chan struct{} // closed: no more faults
	ended    context.Context
	end      context.CancelFunc
	running  sync.WaitGroup
}

// newWire listens. Who connects is accepted at once, and connected to the target; see aim.
func newWire(t *testing.T, p plan, number int) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w := &wire{plan: p, number: number, listener: l, healed: make(chan struct{})}
	w.ended, w.end = context.WithCancel(context.Background())
	return w
}

// aim says where connections go, and begins.
func (w *wire) aim(target netip.AddrPort) {
	s := target.String()
	w.target.Store(&s)
	w.running.Add(1)
	go w.accept()
}

func (w *wire) addr() netip.AddrPort { return w.listener.Addr().(*net.TCPAddr).AddrPort() }

// heal ends all faults: who waits goes on, and what is to come happens no more. It is called once.
func (w *wire) heal() { close(w.healed) }

func (w *wire) isHealed() bool {
	select {
	case <-w.healed:
		return true
	default:
		return false
	}
}

// close ends all connections and returns when nothing runs any more.
func (w *wire) close() {
	w.end()
	_ = w.listener.Close()
	w.running.Wait()
}

// pause waits, unless the wire is healed or ends. It says whether to go on.
func (w *wire) pause(d time.Duration) bool {
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-w.healed:
		case <-w.ended.Done():
		}
	}
	return w.ended.Err() == nil
}

func (w *wire) accept() {
	defer w.running.Done()
	for {
		c, err := w.listener.Accept()
		if err != nil {
			return
		}
		n := int(w.accepted.Add(1)) - 1
		w.running.Add(1)
		go w.connection(c.(*net.TCPConn), n)
	}
}

// connection carries the n-th connection to its end.
func (w *wire) connection(near *net.TCPConn, n int) {
	defer w.running.Done()
	defer hangUp(near)
	course := w.plan.connection(w.number, n)
	if w.isHealed() {
		course = untroubled
	}
	if !w.pause(course.open) {
		return
	}
	if course.lie >= 0 && w.number >= masterPublish {
		w.tell(near, course.lie)
		return
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(w.ended, "tcp", *w.target.Load())
	if err != nil {
		return
	}
	far := conn.(*net.TCPConn)
	defer hangUp(far)
	if course.lie >= 0 {
		hangUp(near) // the minion has nothing to do with it
		w.tell(far, course.lie)
		return
	}
	defer context.AfterFunc(w.ended, func() { hangUp(near, far) })()
	var directions sync.WaitGroup
	directions.Go(func() { w.carry(far, near, course.up, course.close) })
	directions.Go(func() { w.carry(near, far, course.down, course.close) })
	directions.Wait()
}

// untroubled is the course of a connection over a good network.
var untroubled = course{lie: -1}

// tell says a lie to the broker and waits until the broker has enough of it.
func (w *wire) tell(c *net.TCPConn, n int) {
	defer context.AfterFunc(w.ended, func() { hangUp(c) })()
	if _, err := c.Write(lie(w.number, n)); err == nil {
		_, _ = io.Copy(io.Discard, c)
	}
}

// carry moves bytes in one direction. Where it ends, dst hears of it after the delay that the course has.
func (w *wire) carry(dst, src *net.TCPConn, b bearing, closing time.Duration) {
	buffer := make([]byte, 32<<10)
	passed := 0
	for {
		n, err := src.Read(buffer)
		for p := buffer[:n]; len(p) > 0; {
			piece := len(p)
			if !w.isHealed() {
				if len(b.ills) > 0 && passed == b.ills[0].at {
					i := b.ills[0]
					b.ills = b.ills[1:]
					if !w.suffer(dst, src, i) {
						return
					}
					continue
				}
				if passed < b.until {
					piece = min(piece, b.chunk)
					if !w.pause(b.delay) {
						return
					}
				}
				if len(b.ills) > 0 && b.ills[0].at > passed {
					piece = min(piece, b.ills[0].at-passed)
				}
			}
			if _, err := dst.Write(p[:piece]); err != nil {
				w.pause(closing)
				hangUp(src, dst)
				return
			}
			passed += piece
			p = p[piece:]
		}
		if err != nil {
			w.pause(closing)
			if !errors.Is(err, io.EOF) || dst.CloseWrite() != nil {
				hangUp(src, dst)
			}
			return
		}
	}
}

// suffer says whether the direction goes on.
func (w *wire) suffer(dst, src *net.TCPConn, i ill) bool {
	switch i.kind {
	case stall:
		return w.pause(i.pause)
	case half:
		_ = dst.CloseWrite()
		_ = src.CloseRead() // what the other end still says is thrown away
		return false
	case reset:
		_ = dst.SetLinger(0)
		_ = src.SetLinger(0)
	case cut:
	}
	hangUp(dst, src)
	return false
}

func hangUp(connections ...*net.TCPConn) {
	for _, c := range connections {
		_ = c.Close()
	}
}

package outage_test

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// way is a long way to the master: a relay that hands on every byte after a time, in order, as much at once as comes.
type way struct {
	to       netip.AddrPort
	delay    time.Duration // in each direction
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // nil: it has ended
}

// startWay returns where the way begins.
func startWay(t *testing.T, to netip.AddrPort, delay time.Duration) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w := &way{to: to, delay: delay, listener: ln, conns: map[net.Conn]bool{}}
	w.running.Go(w.accept)
	t.Cleanup(w.end)
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func (w *way) end() {
	_ = w.listener.Close()
	w.mu.Lock()
	for c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
	w.mu.Unlock()
	w.running.Wait()
}

func (w *way) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.to.String())
		if err != nil { // the master is away
			_ = near.Close()
			continue
		}
		w.mu.Lock()
		over := w.conns == nil
		if !over {
			w.conns[near], w.conns[far] = true, true
		}
		w.mu.Unlock()
		if over {
			_, _ = near.Close(), far.Close()
			return
		}
		w.running.Go(func() { w.carry(near, far) })
		w.running.Go(func() { w.carry(far, near) })
	}
}

// parcel is what is on the way.
type parcel struct {
	bytes []byte
	due   time.Time
}

// carry brings what comes from one end to the other. It ends with either of them.
func (w *way) carry(from, to net.Conn) {
	parcels := make(chan parcel, 1<<16) // more than the way ever has
	w.running.Go(func() {
		defer w.close(from, to)
		for p := range parcels {
			time.Sleep(time.Until(p.due)) // the delay itself
			if _, err := to.Write(p.bytes); err != nil {
				return
			}
		}
	})
	defer close(parcels)
	for {
		buf := make([]byte, 16<<10)
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		parcels <- parcel{buf[:n], time.Now().Add(w.delay)}
	}
}

func (w *way) close(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(w.conns, c)
	}
}

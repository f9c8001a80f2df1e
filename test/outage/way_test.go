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
	shut  bool              // it refuses who comes
	mute  bool              // it carries nothing, and says nothing of that
}

// startWay returns where the way begins.
func startWay(t *testing.T, to netip.AddrPort, delay time.Duration) netip.AddrPort {
	t.Helper()
	return newWay(t, to, delay).addr()
}

func newWay(t *testing.T, to netip.AddrPort, delay time.Duration) *way {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w := &way{to: to, delay: delay, listener: ln, conns: map[net.Conn]bool{}}
	w.running.Go(w.accept)
	t.Cleanup(w.end)
	return w
}

func (w *way) addr() netip.AddrPort { return w.listener.Addr().(*net.TCPAddr).AddrPort() }

// cut loses what is on the way, and lets nobody pass until open.
func (w *way) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shut = true
	for c := range w.conns {
		_ = c.Close()
	}
}

func (w *way) open() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shut = false
}

// silence has the way carry nothing any more, while its connections stay.
func (w *way) silence() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mute = true
}

func (w *way) silent() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mute
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
		over, shut := w.conns == nil, w.shut
		if !over && !shut {
			w.conns[near], w.conns[far] = true, true
		}
		w.mu.Unlock()
		if over || shut {
			_, _ = near.Close(), far.Close()
			if over {
				return
			}
			continue
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
			if w.silent() {
				continue
			}
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

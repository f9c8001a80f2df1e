//go:build linux

package sim

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Way is a way to a master on which things happen: a relay that hands on every byte after a time, in order, as much at once
// as comes. Its methods are safe from any goroutine.
type Way struct {
	to       netip.AddrPort
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex
	delay time.Duration     // in each direction
	loss  float64           // part of the parcels that come later, by
	again time.Duration     // and all behind them in that direction
	conns map[net.Conn]bool // nil: it has ended
	shut  bool              // it refuses who comes
	mute  bool              // it carries nothing, and says nothing of that
}

// StartWay listens at an address, host:port, "" for one that the kernel chooses, and leads from there until Stop. delay is
// for each direction.
func StartWay(address string, to netip.AddrPort, delay time.Duration) (*Way, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("sim: way to %v: %w", to, err)
	}
	w := &Way{to: to, delay: delay, listener: ln, conns: map[net.Conn]bool{}}
	w.running.Go(w.accept)
	return w, nil
}

// Addr returns where it begins.
func (w *Way) Addr() netip.AddrPort { return addrPortOf(w.listener.Addr()) }

func addrPortOf(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return tcp.AddrPort()
}

// Stop ends all connections and returns when nothing runs any more.
func (w *Way) Stop() {
	_ = w.listener.Close()
	w.mu.Lock()
	w.closeAll()
	w.conns = nil
	w.mu.Unlock()
	w.running.Wait()
}

// Cut loses what is on the way, and lets nobody pass until Open.
func (w *Way) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shut = true
	w.closeAll()
}

// Open ends what Cut and Silence have begun. What was on a silent way is lost.
func (w *Way) Open() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mute {
		w.closeAll()
	}
	w.shut, w.mute = false, false
}

// Silence has the way carry nothing any more, while its connections stay.
func (w *Way) Silence() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mute = true
}

// SetDelay changes the delay of what comes from now on.
func (w *Way) SetDelay(delay time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = delay
}

// SetLoss has the way lose this part, from 0 to 1, of what comes from now on, as TCP shows it: what is lost is sent again,
// comes later by that, and holds up everything behind it.
func (w *Way) SetLoss(part float64, again time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loss, w.again = part, again
}

func (w *Way) closeAll() {
	for c := range w.conns {
		_ = c.Close()
	}
}

func (w *Way) accept() {
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
		good := w.conns != nil && !w.shut
		if good {
			w.conns[near], w.conns[far] = true, true
		}
		w.mu.Unlock()
		if !good {
			_, _ = near.Close(), far.Close()
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
func (w *Way) carry(from, to net.Conn) {
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
		parcels <- parcel{buf[:n], time.Now().Add(w.takes())}
	}
}

// takes is how long the next parcel is on the way.
func (w *Way) takes() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.loss > 0 && rand.Float64() < w.loss {
		return w.delay + w.again
	}
	return w.delay
}

func (w *Way) silent() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mute
}

func (w *Way) close(conns ...net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(w.conns, c)
	}
}

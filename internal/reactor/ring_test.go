//go:build linux

package reactor

import (
	"bytes"
	"io"
	"net"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// eachWay runs a test with an io_uring and without, as where the kernel does not let us.
func eachWay(t *testing.T, test func(t *testing.T, r *rig, l *Loop)) {
	t.Helper()
	t.Run("one by one", func(t *testing.T) {
		r := start(t, Options{})
		l := r.Loops()[0]
		r.on(l, func() { l.ringed = true })
		test(t, r, l)
	})
	t.Run("io_uring", func(t *testing.T) {
		r := start(t, Options{})
		l := r.Loops()[0]
		r.on(l, func() {
			if l.batches() == nil {
				_, err := newRing()
				t.Logf("no io_uring here: %v", err)
			}
		})
		test(t, r, l)
	})
}

// each is p for so many connections.
func each(n int, p []byte) [][]byte { return slices.Repeat([][]byte{p}, n) }

// Everybody gets its own, of its own length or nothing.
func TestTryWriteAllToEachItsOwn(t *testing.T) {
	eachWay(t, func(t *testing.T, r *rig, l *Loop) {
		t.Helper()
		all := sequence(0, 100*MaxBatch)
		var conns []*Conn
		var peers []net.Conn
		ps := make([][]byte, MaxBatch)
		for i := range ps {
			c, peer := r.connect(r.probe())
			conns, peers = append(conns, c), append(peers, peer)
			ps[i] = all[100*i:][:i]
		}
		r.on(l, func() {
			took := make([]int, len(conns))
			l.TryWriteAll(conns, ps, took)
			for i, n := range took {
				if n != i {
					t.Errorf("connection %d took %d of %d bytes", i, n, i)
				}
			}
		})
		for i, peer := range peers {
			if !bytes.Equal(take(t, peer, i), ps[i]) {
				t.Errorf("connection %d got something else", i)
			}
		}
	})
}

// Everybody gets the same, in order, whatever is in its way; and who cannot is told from the others.
func TestTryWriteAll(t *testing.T) {
	eachWay(t, func(t *testing.T, r *rig, l *Loop) {
		t.Helper()
		const rounds, size = 300, 3000
		all := sequence(0, rounds*size)
		var conns [MaxBatch]*Conn
		var peers []net.Conn
		progress := make([]int, MaxBatch) // of bytes
		done := make(chan int, MaxBatch)
		for i := range conns {
			h := r.probe()
			narrow := 0
			if i%3 == 1 {
				narrow = 4096 // cannot take all at once
			}
			c, peer := r.connectTo(l, h, narrow)
			conns[i] = c
			h.writable = func(c *Conn) { // goes on by itself, as a minion that lags
				progress[i] += c.TryWrite(all[progress[i]:])
				if progress[i] == len(all) {
					done <- i
				}
			}
			peers = append(peers, peer)
		}
		const gone, kept = 5, 6 // one is closed, one has something that goes first
		r.on(l, func() {
			conns[gone].Close(io.EOF)
			if err := conns[kept].Write([]byte("first")); err != nil {
				t.Error(err)
			}
			lagging := make([]bool, MaxBatch)
			for at := 0; at < len(all); at += size {
				var now []*Conn
				var who []int
				for i, c := range conns {
					if !lagging[i] {
						now, who = append(now, c), append(who, i)
					}
				}
				took := make([]int, len(now))
				l.TryWriteAll(now, each(len(now), all[at:at+size]), took)
				for k, i := range who {
					progress[i] += took[k]
					lagging[i] = took[k] < size
				}
			}
			if l.ring != nil && *l.ring.seen != *l.ring.done {
				t.Error("something is left in the ring")
			}
		})
		if progress[gone] != 0 {
			t.Errorf("a closed connection took %d bytes", progress[gone])
		}
		short := 0
		for i, peer := range peers {
			if i == gone {
				continue
			}
			want := all
			if i == kept {
				want = append([]byte("first"), all...)
			}
			if i%3 == 1 {
				short++
			}
			if !bytes.Equal(take(t, peer, len(want)), want) {
				t.Errorf("connection %d got something else", i)
			}
		}
		for range short {
			wait(t, "one that lagged", done)
		}
	})
}

// A peer that has broken off ends its own connection.
func TestTryWriteAllToABrokenConnection(t *testing.T) {
	eachWay(t, func(t *testing.T, r *rig, l *Loop) {
		t.Helper()
		var conns []*Conn
		var peers []*net.TCPConn
		var probes []*probe
		for range 8 {
			h := r.probe()
			h.received = func(*Conn, []byte) error { return nil }
			c, peer := r.connect(h)
			conns, peers, probes = append(conns, c), append(peers, peer), append(probes, h)
		}
		r.on(l, func() {
			conns[3].PauseRead() // so that nobody notices before
			_ = peers[3].SetLinger(0)
			_ = peers[3].Close()
			took := make([]int, len(conns))
			for range 1000 { // the reset is on its way
				l.TryWriteAll(conns, each(len(conns), []byte("x")), took)
				if conns[3].Closed() {
					break
				}
			}
			for i, n := range took {
				if (n == 1) == (i == 3) {
					t.Errorf("connection %d took %d bytes", i, n)
				}
			}
		})
		if probes[3].reason() == nil {
			t.Error("it ended for no reason")
		}
	})
}

// Where the kernel ends the ring, all goes on without.
func TestTryWriteAllWhenTheRingBreaks(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	var conns []*Conn
	var peers []net.Conn
	for range 10 {
		c, peer := r.connect(r.probe())
		conns, peers = append(conns, c), append(peers, peer)
	}
	r.on(l, func() {
		ring := l.batches()
		if ring == nil {
			return
		}
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = null.Close() }()
		if err := unix.Dup2(int(null.Fd()), ring.fd); err != nil { // no ring any more
			t.Error(err)
		}
	})
	for _, text := range []string{"one", "two"} {
		r.on(l, func() {
			took := make([]int, len(conns))
			l.TryWriteAll(conns, each(len(conns), []byte(text)), took)
			for i, n := range took {
				if n != len(text) {
					t.Errorf("connection %d took %d bytes", i, n)
				}
			}
			if l.ring != nil {
				t.Error("the ring is still there")
			}
		})
	}
	for _, peer := range peers {
		if got := take(t, peer, 6); string(got) != "onetwo" {
			t.Errorf("%q", got)
		}
	}
}

func TestTryWriteAllDoesNotAllocate(t *testing.T) {
	eachWay(t, func(t *testing.T, r *rig, l *Loop) {
		t.Helper()
		var conns []*Conn
		for range 10 {
			c, peer := r.connect(r.probe())
			conns = append(conns, c)
			go func() { _, _ = io.Copy(io.Discard, peer) }()
		}
		r.on(l, func() {
			took := make([]int, len(conns))
			ps := each(len(conns), make([]byte, 100))
			l.TryWriteAll(conns, ps, took)
			if n := testing.AllocsPerRun(100, func() { l.TryWriteAll(conns, ps, took) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	})
}

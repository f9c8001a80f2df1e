//go:build linux

package reactor

import (
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// echo writes back what it receives.
type echo struct{}

func (echo) Received(c *Conn, p []byte) error { return c.Write(p) }
func (echo) Writable(*Conn)                   {}
func (echo) HalfClosed(c *Conn)               { c.Close(nil) }
func (echo) Closed(*Conn, error)              {}

// roundTrip sends p over a socket and waits for as much to come back.
func roundTrip(t testing.TB, c *net.TCPConn, p []byte) {
	t.Helper()
	if _, err := c.Write(p); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(p); {
		m, err := c.Read(p[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
}

// The hot path allocates nothing.
func TestEchoAllocatesNothing(t *testing.T) {
	for _, size := range []int{10, 400, 4000, 100_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			r := start(t, Options{})
			_, peer := r.connect(echo{})
			p := make([]byte, size)
			roundTrip(t, peer, p)
			// AllocsPerRun counts what the whole process allocates, the loop included.
			if n := testing.AllocsPerRun(500, func() { roundTrip(t, peer, p) }); n > 0 {
				t.Errorf("%v allocations a round trip", n)
			}
		})
	}
}

// Neither do writes that the peer is slow to read, touching a list of activity, and timers that are set again.
func TestTurnsAllocateNothing(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	c, peer := r.narrow(echo{})
	p, sink := make([]byte, 30_000), make([]byte, 30_000)
	done := make(chan struct{}, 1)
	var a *Activity
	var timer *Timer
	r.on(l, func() {
		a = l.NewActivity(1, func(*Conn) {})
		timer = l.After(0, func() {})
	})
	turn := func() {
		for rest := p; len(rest) > 0; {
			n := min(len(rest), 700)
			_ = c.Write(rest[:n])
			rest = rest[n:]
		}
		_ = c.WriteOwned(append(l.Get(20_000), p[:20_000]...))
		a.Add(c)
		a.Touch(c)
		timer.Reset(0)
		done <- struct{}{}
	}
	if n := testing.AllocsPerRun(100, func() {
		l.Post(turn)
		<-done
		for left := 50_000; left > 0; {
			n, err := peer.Read(sink[:min(left, len(sink))])
			if err != nil {
				t.Fatal(err)
			}
			left -= n
		}
	}); n > 0 {
		t.Errorf("%v allocations a turn", n)
	}
}

func BenchmarkEcho(b *testing.B) {
	for _, size := range []int{400, 64 << 10} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			r := start(b, Options{})
			_, peer := r.connect(echo{})
			p := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				roundTrip(b, peer, p)
			}
		})
	}
}

// BenchmarkEchoMany has all peers send before any reads: what a turn with many events costs, per round trip.
func BenchmarkEchoMany(b *testing.B) {
	for _, peers := range []int{10, 200} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			r := start(b, Options{})
			var all []*net.TCPConn
			for range peers {
				_, peer := r.connect(echo{})
				all = append(all, peer)
			}
			p := make([]byte, 400)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += peers {
				for _, c := range all[:min(peers, b.N-n)] {
					give(b, c, p)
				}
				for _, c := range all[:min(peers, b.N-n)] {
					if _, err := c.Read(p); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkFanOut writes one message to many connections; the time is per delivery.
func BenchmarkFanOut(b *testing.B) {
	for _, peers := range []int{1, 100} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			r := start(b, Options{})
			l := r.Loops()[0]
			reader := start(b, Options{}) // the other ends' loop
			var conns []*Conn
			for range peers {
				near, far := tcpPair(b, 0)
				conns = append(conns, adopt(b, r, far, echo{}))
				adopt(b, reader, near, silent{})
			}
			p := make([]byte, 400)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			done := make(chan struct{}, 1)
			left, sent := 0, 0
			var round func()
			round = func() {
				for i, c := range conns {
					if i >= left {
						break
					}
					sent += c.TryWrite(p)
				}
				if left -= peers; left > 0 {
					l.Post(round)
					return
				}
				done <- struct{}{}
			}
			b.ResetTimer()
			left = b.N
			l.Post(round)
			<-done
			b.ReportMetric(float64(sent)/float64(len(p))/float64(b.N), "taken/op") // by the kernel: below 1 the readers lag
		})
	}
}

// silent takes what it receives.
type silent struct{ echo }

func (silent) Received(*Conn, []byte) error { return nil }

func adopt(b *testing.B, r *rig, nc net.Conn, h Handler) (c *Conn) {
	b.Helper()
	var err error
	r.on(r.Loops()[0], func() { c, err = r.Loops()[0].Adopt(nc, h) })
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func BenchmarkPost(b *testing.B) {
	b.Run("posted", func(b *testing.B) { // from many goroutines, the loop busy
		r := start(b, Options{})
		l := r.Loops()[0]
		fn := func() {}
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				l.Post(fn)
			}
		})
		r.on(l, func() {})
	})
	b.Run("answered", func(b *testing.B) { // there and back, the loop asleep
		r := start(b, Options{})
		l := r.Loops()[0]
		done := make(chan struct{}, 1)
		fn := func() { done <- struct{}{} }
		b.ReportAllocs()
		for b.Loop() {
			l.Post(fn)
			<-done
		}
	})
}

// BenchmarkAccept is a whole short connection: accepted, told, closed.
func BenchmarkAccept(b *testing.B) {
	r := start(b, Options{})
	ln := r.listen(func(*Conn) Handler { return echo{} })
	port := int(ln.Addr().Port())
	b.ReportAllocs()
	p := make([]byte, 10)
	for b.Loop() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			b.Fatal(err)
		}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			b.Fatal(err)
		}
		if _, err := unix.Write(fd, p); err != nil {
			b.Fatal(err)
		}
		if _, err := unix.Read(fd, p); err != nil {
			b.Fatal(err)
		}
		// A reset leaves no port behind in TIME_WAIT.
		if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
			b.Fatal(err)
		}
		_ = unix.Close(fd)
	}
}

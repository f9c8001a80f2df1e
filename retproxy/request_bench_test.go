package retproxy

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// group runs event loops for the peers of a benchmark: they must not allocate, or nothing could be said about the proxy.
func group(tb testing.TB) *reactor.Group {
	tb.Helper()
	g, err := reactor.New(reactor.Options{MaxKept: 1 << 30})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- g.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			tb.Error(err)
		}
	})
	return g
}

// mirror is a master's request port, or a minion, on an event loop. The master sends back what it gets.
type mirror struct {
	conn   *reactor.Conn
	stream zmtp.Stream
	limits zmtp.Limits
	load   *load // of a minion
}

func newMirror(loop *reactor.Loop, l *load) *mirror {
	e := &mirror{load: l, limits: testLimits}
	e.limits.Buffers = loop
	return e
}

func (e *mirror) Received(_ *reactor.Conn, p []byte) error { return e.stream.Feed(p, &e.limits, e) }
func (e *mirror) Writable(*reactor.Conn)                   {}
func (e *mirror) HalfClosed(c *reactor.Conn)               { c.Close(nil) }
func (e *mirror) Closed(*reactor.Conn, error)              {}
func (e *mirror) Greeted(zmtp.Version) error               { return nil }
func (e *mirror) Command(_, _ []byte) error                { return nil }

func (e *mirror) Ready(zmtp.Ready) error {
	if e.load != nil {
		e.load.ready <- struct{}{}
	}
	return nil
}

func (e *mirror) Message(msg []byte) error {
	if e.load != nil {
		e.load.answered(e)
		return nil
	}
	return e.conn.Write(msg)
}

// loopMaster opens a master's port and returns its address.
func loopMaster(tb testing.TB) string {
	tb.Helper()
	hello := zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.ROUTER)
	ln, err := group(tb).Listen(context.Background(), reactor.ListenOptions{
		Address: "127.0.0.1:0",
		Accept: func(c *reactor.Conn) reactor.Handler {
			_ = c.Write(hello)
			e := newMirror(c.Loop(), nil)
			e.conn = c
			return e
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(ln.Close)
	return ln.Addr().String()
}

// load is minions that ask again as soon as they are answered.
type load struct {
	loop    *reactor.Loop
	minions []*mirror
	request []byte
	ready   chan struct{}
	done    chan struct{}

	// Owned by the loop.
	left, under int
}

func newLoad(tb testing.TB, r *running, minions, size int) *load {
	tb.Helper()
	l := &load{
		loop:    group(tb).Loops()[0],
		request: envelope(0, make([]byte, size)),
		ready:   make(chan struct{}, minions), done: make(chan struct{}, 1),
	}
	hello := zmtp.AppendReady(zmtp.AppendGreeting(nil), zmtp.REQ)
	for range minions {
		nc, err := net.Dial("tcp", r.Addr().String())
		if err != nil {
			tb.Fatal(err)
		}
		l.loop.Post(func() {
			e := newMirror(l.loop, l)
			c, err := l.loop.Adopt(nc, e)
			if err != nil {
				tb.Error(err)
				return
			}
			e.conn = c
			l.minions = append(l.minions, e)
			_ = c.Write(hello)
		})
	}
	for range minions {
		select {
		case <-l.ready:
		case <-time.After(patience):
			tb.Fatal("a minion does not get in")
		}
	}
	return l
}

// run has the minions ask n requests between them.
func (l *load) run(n int) {
	l.loop.Post(func() {
		l.left = n
		for _, e := range l.minions {
			l.ask(e)
		}
	})
	<-l.done
}

func (l *load) ask(e *mirror) {
	if l.left == 0 {
		return
	}
	l.left--
	l.under++
	_ = e.conn.Write(l.request)
}

func (l *load) answered(e *mirror) {
	l.under--
	l.ask(e)
	if l.under == 0 {
		l.done <- struct{}{}
	}
}

// loaded is a proxy between a master and minions on event loops, warmed up.
func loaded(tb testing.TB, minions, size, places int, change ...func(*Options)) *load {
	tb.Helper()
	m := &saltMaster{t: tb, addr: loopMaster(tb), links: map[*saltLink]bool{}}
	asTheProgram := func(o *Options) { o.MaxInFlight, o.MasterKey = places, func(string, []byte) {} }
	r := start(tb, m, append([]func(*Options){asTheProgram}, change...)...)
	l := newLoad(tb, r, minions, size)
	l.run(20 * minions)
	return l
}

func BenchmarkRequest(b *testing.B) {
	for _, bb := range []struct{ size, places int }{{400, 500}, {400, 50}, {16 << 10, 500}} {
		b.Run(fmt.Sprintf("%dB/places=%d", bb.size, bb.places), func(b *testing.B) {
			l := loaded(b, 200, bb.size, bb.places)
			b.SetBytes(int64(len(l.request)))
			b.ReportAllocs()
			b.ResetTimer()
			l.run(b.N)
			b.StopTimer()
		})
	}
}

// clustered has a proxy serve three more masters on loops instead of the one.
func clustered(tb testing.TB) func(*Options) {
	tb.Helper()
	addrs := []string{loopMaster(tb), loopMaster(tb), loopMaster(tb)}
	return func(o *Options) {
		for i, addr := range addrs {
			o.Masters = append(o.Masters, Peer{Name: nameOf(i), Master: o.Master})
			o.Masters[i].Master.Address = addr
		}
		o.MoveAfter = patience
		o.MasterKey = nil // these masters answer with a minion's request, which looks like a reply to _auth
	}
}

// BenchmarkClusterRequest is BenchmarkRequest with three peers. All requests have the same id, so one peer has them all.
func BenchmarkClusterRequest(b *testing.B) {
	l := loaded(b, 200, 400, 500, clustered(b))
	l.request = envelope(0, says("minion-1", string(make([]byte, 370))))
	b.SetBytes(int64(len(l.request)))
	b.ReportAllocs()
	b.ResetTimer()
	l.run(b.N)
	b.StopTimer()
}

// BenchmarkShortRequest is what minions of 3006.0 do: connect, handshake, request, reply, close. Most of it is the
// minion's part.
func BenchmarkShortRequest(b *testing.B) {
	m := &saltMaster{t: b, addr: loopMaster(b), links: map[*saltLink]bool{}}
	r := start(b, m)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		msg := envelope(0, make([]byte, 400))
		for pb.Next() {
			p, err := connect(b, r, as{minor: 1})
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := p.nc.Write(msg); err != nil {
				b.Error(err)
			}
			if _, err := p.message(); err != nil {
				b.Error(err)
			}
			p.leave() // without TIME_WAIT, or ports run out
		}
	})
}

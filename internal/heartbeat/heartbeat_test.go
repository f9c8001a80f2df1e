package heartbeat

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"salt-broker/internal/reactor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer counts its PINGs, and answers what it is told to.
type peer struct {
	loop   *reactor.Loop
	watch  *Watch
	conn   *reactor.Conn
	pings  chan time.Duration
	closed chan error
	fail   error
}

func (p *peer) Received(c *reactor.Conn, _ []byte) error { p.watch.Alive(c); return nil }
func (p *peer) Writable(*reactor.Conn)                   {}
func (p *peer) HalfClosed(c *reactor.Conn)               { c.Close(io.EOF) }
func (p *peer) Closed(_ *reactor.Conn, reason error)     { p.closed <- reason }

func (p *peer) Ping() error {
	p.pings <- p.conn.Loop().Now()
	if p.fail != nil {
		return p.fail
	}
	return p.conn.Write([]byte("ping"))
}

// watched connects a peer to a loop that watches it, and returns the other end.
func watched(t *testing.T, interval, timeout time.Duration, fail error) (*peer, net.Conn) {
	t.Helper()
	g, err := reactor.New(reactor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l := g.Loops()[0]
	p := &peer{
		loop: l, watch: New(l, interval, timeout), fail: fail,
		pings: make(chan time.Duration, 100), closed: make(chan error, 1),
	}
	ln, err := g.Listen(t.Context(), reactor.ListenOptions{
		Address: "127.0.0.1:0",
		Accept: func(c *reactor.Conn) reactor.Handler {
			p.conn = c
			p.watch.Add(c)
			return p
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = nc.Close()
	})
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return p, nc
}

func TestSilentPeerIsAskedOnceAndClosed(t *testing.T) {
	const interval, timeout = 20 * time.Millisecond, 60 * time.Millisecond
	p, nc := watched(t, interval, timeout, nil)
	asked := <-p.pings
	if err := <-p.closed; !errors.Is(err, ErrSilent) {
		t.Errorf("closed with %v", err)
	}
	if asked < interval {
		t.Errorf("asked after %v", asked)
	}
	if n := len(p.pings); n != 0 {
		t.Errorf("%d more PINGs", n)
	}
	got, err := io.ReadAll(nc)
	if string(got) != "ping" || err != nil {
		t.Errorf("the peer got %q, %v", got, err)
	}
}

func TestAnyAnswerIsLife(t *testing.T) {
	p, nc := watched(t, 10*time.Millisecond, time.Minute, nil)
	ping := make([]byte, 4)
	for range 5 { // each PING is answered with something, so there is another
		<-p.pings
		if _, err := io.ReadFull(nc, ping); err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-p.closed:
		t.Errorf("closed with %v", err)
	default:
	}
}

func TestPingThatFailsCloses(t *testing.T) {
	broken := errors.New("broken")
	p, _ := watched(t, time.Millisecond, time.Minute, broken)
	if err := <-p.closed; !errors.Is(err, broken) {
		t.Errorf("closed with %v", err)
	}
}

func TestNoIntervalWatchesNothing(t *testing.T) {
	p, nc := watched(t, 0, time.Millisecond, nil)
	if _, err := nc.Write([]byte("x")); err != nil { // Add and Alive have been called by the end
		t.Fatal(err)
	}
	_ = nc.Close()
	if err := <-p.closed; !errors.Is(err, io.EOF) {
		t.Errorf("closed with %v", err)
	}
	if n := p.watch.Counts(); n != (Counts{}) {
		t.Errorf("%+v", n)
	}
}

// Each count is added to its own kind.
func TestPlus(t *testing.T) {
	got := Counts{1, 2, 3, 4}.Plus(Counts{10, 20, 30, 40})
	if want := (Counts{PingsSent: 11, PongsReceived: 22, PingsReceived: 33, Silent: 44}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestNobodysWatch: nil is a watch as well.
func TestNobodysWatch(t *testing.T) {
	var w *Watch
	w.Add(nil)
	w.Alive(nil)
	w.Remove(nil)
	if w.Counts() != (Counts{}) {
		t.Error("it counts")
	}
}

// Other times hold for those who are watched already.
func TestSet(t *testing.T) {
	set := func(p *peer, nc net.Conn, interval, timeout time.Duration) {
		t.Helper()
		if _, err := nc.Write([]byte("x")); err != nil { // so conn is there
			t.Fatal(err)
		}
		done := make(chan struct{})
		p.loop.Post(func() { p.watch.Set(interval, timeout); close(done) })
		<-done
	}
	t.Run("from never", func(t *testing.T) {
		p, nc := watched(t, 0, 0, nil)
		set(p, nc, time.Millisecond, 20*time.Millisecond)
		if err := <-p.closed; !errors.Is(err, ErrSilent) {
			t.Errorf("closed with %v", err)
		}
	})
	t.Run("to no end", func(t *testing.T) {
		p, nc := watched(t, time.Millisecond, time.Minute, nil)
		<-p.pings
		set(p, nc, time.Millisecond, 0) // who has been asked is asked again
		for range 3 {
			<-p.pings
		}
	})
	t.Run("to never", func(t *testing.T) {
		p, nc := watched(t, time.Millisecond, time.Minute, nil)
		<-p.pings
		set(p, nc, 0, time.Millisecond)
		for len(p.pings) > 0 {
			<-p.pings
		}
		set(p, nc, time.Hour, time.Minute)
		set(p, nc, time.Hour, 20*time.Millisecond)
		set(p, nc, time.Millisecond, 20*time.Millisecond)
		if err := <-p.closed; !errors.Is(err, ErrSilent) {
			t.Errorf("closed with %v", err)
		}
		if len(p.pings) != 1 {
			t.Errorf("%d PINGs since", len(p.pings))
		}
	})
}

func TestNoTimeoutAsksAgainAndAgain(t *testing.T) {
	p, _ := watched(t, time.Millisecond, 0, nil)
	for range 5 {
		<-p.pings
	}
	select {
	case err := <-p.closed:
		t.Errorf("closed with %v", err)
	default:
	}
}

package admission

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// guest is the handler of a connection: it says nothing and closes for whatever comes.
type guest struct {
	door   *Door
	conn   *reactor.Conn
	stream zmtp.Stream
	ended  chan<- struct{}
	in     chan<- *reactor.Conn
}

func (g *guest) Received(_ *reactor.Conn, p []byte) error {
	return g.stream.Feed(p, &zmtp.Limits{MaxCommand: 1024}, g)
}
func (g *guest) Writable(*reactor.Conn)       {}
func (g *guest) HalfClosed(c *reactor.Conn)   { c.Close(io.EOF) }
func (g *guest) Greeted(zmtp.Version) error   { return nil }
func (g *guest) Message([]byte) error         { return nil }
func (g *guest) Command(_, data []byte) error { return errors.New(string(data)) }

func (g *guest) Ready(r zmtp.Ready) error {
	if err := g.door.Admit(g.conn, g.stream.Version(), r); err != nil {
		return err
	}
	g.in <- g.conn
	return nil
}

func (g *guest) Closed(c *reactor.Conn, reason error) {
	g.stream.Release(&zmtp.Limits{})
	g.door.Ended(c, reason)
	g.ended <- struct{}{}
}

// house is a door with guests.
type house struct {
	*Door
	t     *testing.T
	loop  *reactor.Loop
	log   *logtest.Hook
	ended chan struct{}
	in    chan *reactor.Conn
}

func open(t *testing.T, level logrus.Level, limit time.Duration) *house {
	t.Helper()
	return openWith(t, level, 1, Options{HandshakeTimeout: limit})
}

func openWith(t *testing.T, level logrus.Level, loops int, o Options) *house {
	t.Helper()
	g, err := reactor.New(reactor.Options{Loops: loops})
	if err != nil {
		t.Fatal(err)
	}
	logger, hook := logtest.NewNullLogger()
	logger.SetLevel(level)
	h := &house{t: t, loop: g.Loops()[0], log: hook, ended: make(chan struct{}, 1000), in: make(chan *reactor.Conn, 1000)}
	o.Listen, o.As, o.Peers = "127.0.0.1:0", zmtp.ROUTER, []zmtp.SocketType{zmtp.REQ, zmtp.DEALER}
	o.Accept = func(c *reactor.Conn) reactor.Handler {
		return &guest{door: h.Door, conn: c, ended: h.ended, in: h.in}
	}
	o.Log = logger.WithField("component", "door")
	door, err := Open(t.Context(), g, o)
	if err != nil {
		g.Close()
		t.Fatal(err)
	}
	h.Door = door
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	return h
}

// visit connects and says something.
func (h *house) visit(says []byte) *net.TCPConn {
	h.t.Helper()
	nc, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(h.Addr()))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = nc.Close() })
	if _, err := nc.Write(says); err != nil {
		h.t.Fatal(err)
	}
	return nc
}

// left waits for a connection to have ended.
func (h *house) left() {
	h.t.Helper()
	select {
	case <-h.ended:
	case <-time.After(patience):
		h.t.Fatal("no connection ends")
	}
}

// admitted waits for a connection to be in.
func (h *house) admitted() *reactor.Conn {
	h.t.Helper()
	select {
	case c := <-h.in:
		return c
	case <-time.After(patience):
		h.t.Fatal("nobody is admitted")
		return nil
	}
}

func hello(t zmtp.SocketType) []byte { return zmtp.AppendReady(zmtp.AppendGreeting(nil), t) }

func TestGreetsFirst(t *testing.T) {
	h := open(t, logrus.InfoLevel, patience)
	nc := h.visit(nil)
	want := hello(zmtp.ROUTER)
	got := make([]byte, len(want))
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestAdmits(t *testing.T) {
	for _, tt := range []struct {
		as     zmtp.SocketType
		admits bool
	}{
		{zmtp.REQ, true}, {zmtp.DEALER, true}, {zmtp.ROUTER, false}, {zmtp.SUB, false}, {zmtp.REP, false}, {zmtp.PAIR, false},
	} {
		t.Run(tt.as.String(), func(t *testing.T) {
			h := open(t, logrus.InfoLevel, patience)
			nc := h.visit(hello(tt.as))
			if tt.admits {
				h.admitted()
				_ = nc.Close()
			}
			h.left()
			if refused := h.Counts()["socket_type"] == 1; refused == tt.admits {
				t.Errorf("counted %v", h.Counts())
			}
			if line := h.log.LastEntry(); !tt.admits && !strings.Contains(line.Message, tt.as.String()+" socket cannot talk") {
				t.Errorf("the line does not say why: %q", line.Message)
			}
		})
	}
}

// TestTimeLimitEndsWithTheHandshake: silent peers go, who is in stays however silent.
func TestTimeLimitEndsWithTheHandshake(t *testing.T) {
	h := open(t, logrus.InfoLevel, 50*time.Millisecond)
	h.visit(hello(zmtp.REQ))
	in := h.admitted()
	for _, says := range [][]byte{nil, hello(zmtp.REQ)[:64]} {
		h.visit(says)
		h.left()
	}
	if n := h.Counts()[EndHandshake]; n != 2 {
		t.Errorf("%d for %s, want 2", n, EndHandshake)
	}
	stays := make(chan bool)
	h.loop.Post(func() { stays <- !in.Closed() })
	if !<-stays {
		t.Error("the admitted peer is gone as well")
	}
}

func TestCountsStartAtZero(t *testing.T) {
	h := open(t, logrus.InfoLevel, patience)
	counts := h.Counts()
	want := []string{
		EndLeft, EndReset, EndSilent, EndHeartbeat, EndHandshake, EndBackedUp, EndBehind, EndSubscriptions, EndStopped, EndOther,
		EndDenied, EndTooMany, EndTooManyFrom, EndMasterLost, EndBuffers,
	}
	for _, r := range zmtp.Reasons() {
		want = append(want, string(r))
	}
	for _, name := range want {
		if n, ok := counts[name]; n != 0 || !ok {
			t.Errorf("%s: %d, %v", name, n, ok)
		}
	}
	if len(counts) != len(want) {
		t.Errorf("%d reasons, want %d: %v", len(counts), len(want), counts)
	}
}

func TestReasonsHaveNames(t *testing.T) {
	for _, tt := range []struct {
		reason error
		want   string
	}{
		{io.EOF, "left"},
		{reactor.ErrStopped, "broker_stops"},
		{reactor.ErrKept, "does_not_read"},
		{syscall.ECONNRESET, "reset"},
		{syscall.EPIPE, "reset"},
		{syscall.ETIMEDOUT, "timed_out"},
		{syscall.EHOSTUNREACH, "timed_out"},
		{syscall.EIO, "other"},
		{fmt.Errorf("read: %w", syscall.ECONNRESET), "reset"},
		{fmt.Errorf("feed: %w", &zmtp.Fault{Reason: zmtp.ReasonFrame}), "bad_frame"},
		{&Refusal{EndBehind, "too slow"}, "too_slow"},
		{errHandshake, "handshake_timeout"},
		{errors.New("what"), "other"},
		{nil, "other"},
	} {
		t.Run(fmt.Sprint(tt.reason), func(t *testing.T) {
			if got := nameOf(tt.reason); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// TestEndThatIsNotKnown is counted all the same.
func TestEndThatIsNotKnown(t *testing.T) {
	h := open(t, logrus.InfoLevel, patience)
	h.visit(hello(zmtp.REQ))
	c := h.admitted()
	h.loop.Post(func() { c.Close(&Refusal{"no such name", "x"}) })
	h.left()
	if n := h.Counts()[EndOther]; n != 1 {
		t.Errorf("%v", h.Counts())
	}
}

func TestLinesSayWhoAndWhy(t *testing.T) {
	h := open(t, logrus.InfoLevel, patience)
	nc := h.visit([]byte("GET / HTTP/1.1\r\n"))
	h.left()
	lines := h.log.AllEntries()
	if len(lines) != 1 {
		t.Fatalf("%d lines, want 1", len(lines))
	}
	line := lines[0]
	if line.Level != logrus.WarnLevel || line.Data["reason"] != "not_zmtp" || line.Data["component"] != "door" ||
		fmt.Sprint(line.Data["remote"]) != nc.LocalAddr().String() {
		t.Errorf("%v %v", line.Level, line.Data)
	}
	if !strings.Contains(line.Message, nc.LocalAddr().String()) || !strings.Contains(line.Message, "HTTP") {
		t.Errorf("%q", line.Message)
	}
}

func TestUsualEndsAreForDebugging(t *testing.T) {
	for _, level := range []logrus.Level{logrus.InfoLevel, logrus.DebugLevel} {
		t.Run(level.String(), func(t *testing.T) {
			h := open(t, level, patience)
			_ = h.visit(hello(zmtp.REQ)).Close()
			h.left()
			nc := h.visit(hello(zmtp.REQ))
			h.admitted()
			h.admitted()
			_ = nc.SetLinger(0)
			_ = nc.Close()
			h.left()
			lines := h.log.AllEntries()
			if level == logrus.InfoLevel {
				if len(lines) != 0 {
					t.Errorf("%d lines, want none", len(lines))
				}
				return
			}
			if len(lines) != 2 {
				t.Fatalf("%d lines, want 2", len(lines))
			}
			if line := lines[1]; line.Level != logrus.DebugLevel || fmt.Sprint(line.Data["remote"]) != nc.LocalAddr().String() {
				t.Errorf("%v %v", line.Level, line.Data)
			}
		})
	}
}

// Whatever a connection ends for, its line has the peer's address and the reason's name, and no reason has lines that nobody
// limits but those for debugging.
func TestEveryEndSaysWho(t *testing.T) {
	h := open(t, logrus.DebugLevel, patience)
	h.journal.limit.SetLimit(1e9)
	nc := h.visit(hello(zmtp.REQ))
	c := h.admitted()
	tell := func(name string) (lines []*logrus.Entry) {
		h.log.Reset()
		done := make(chan struct{})
		h.loop.Post(func() {
			h.told(c, &Refusal{End: name, Text: "a reason"})
			close(done)
		})
		<-done
		return h.log.AllEntries()
	}
	for name, e := range h.ends {
		lines := tell(name)
		if len(lines) != 1 || fmt.Sprint(lines[0].Data["remote"]) != nc.LocalAddr().String() {
			t.Fatalf("%s: %v", name, lines)
		}
		if line := lines[0]; e.usual != (line.Level == logrus.DebugLevel) || !e.usual && (line.Level != logrus.WarnLevel || line.Data["reason"] != name) {
			t.Errorf("%s: %v %v", name, line.Level, line.Data)
		}
	}
	h.journal.limit.SetLimit(0)
	h.journal.limit.SetBurst(0)
	for name, e := range h.ends {
		if lines := tell(name); len(lines) > 0 && !e.usual {
			t.Errorf("%s: a line though there have been too many", name)
		}
	}
}

// TestLinesAreLimited: peers cannot fill the log; what is left out is told with the next line.
func TestLinesAreLimited(t *testing.T) {
	h := open(t, logrus.InfoLevel, patience)
	h.journal.limit.SetLimit(0) // no more than the burst, until the test says so
	const n = linesBurst + 7
	for range n {
		h.visit([]byte("x"))
		h.left()
	}
	if lines := len(h.log.AllEntries()); lines != linesBurst {
		t.Fatalf("%d lines for %d peers, want %d", lines, n, linesBurst)
	}
	if got := h.Counts()["not_zmtp"]; got != n {
		t.Errorf("%d counted, want %d", got, n)
	}

	h.journal.limit.SetLimit(1e9)
	for i, leftOut := range []any{7, nil} {
		h.visit([]byte("x"))
		h.left()
		if got := h.log.LastEntry().Data["lines_left_out"]; got != leftOut {
			t.Errorf("line %d after it tells of %v, want %v", i+1, got, leftOut)
		}
	}
}

func TestPausesAreTold(t *testing.T) {
	h := open(t, logrus.InfoLevel, patience)
	for range 1000 { // near the limit it goes up and down with every connection that ends
		h.paused(h.loop, syscall.EMFILE)
		h.paused(h.loop, nil)
	}
	lines := h.log.AllEntries()
	if len(lines) != 2 || lines[0].Level != logrus.ErrorLevel || !strings.Contains(lines[0].Message, "max_open_files") ||
		lines[1].Level != logrus.WarnLevel {
		t.Errorf("%v", lines)
	}
}

func TestCloseKeepsWhoIsIn(t *testing.T) {
	h := open(t, logrus.InfoLevel, patience)
	h.visit(hello(zmtp.REQ))
	c := h.admitted()
	h.Close()
	stays := make(chan bool)
	h.loop.Post(func() { stays <- !c.Closed() })
	if !<-stays {
		t.Error("closing the door throws guests out")
	}
	if nc, err := net.Dial("tcp", h.Addr().String()); err == nil {
		_ = nc.Close()
		t.Error("the port is still open")
	}
}

func TestPortTaken(t *testing.T) {
	h := open(t, logrus.InfoLevel, patience)
	g, err := reactor.New(reactor.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_, err = Open(t.Context(), g, Options{Listen: h.Addr().String(), Log: logrus.New()})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("%v", err)
	}
}

package buffers

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"salt-broker/internal/reactor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 20 * time.Second
	mebi     = 1 << 20
)

var errFull = errors.New("holds too much")

// holder keeps what comes until a full stop, which makes a message of it.
type holder struct {
	rig    *rig
	loop   int
	conn   *reactor.Conn
	held   atomic.Int64
	whole  atomic.Int64
	stops  atomic.Int64 // times that its reading was stopped
	deaf   bool         // does not listen to Flow
	reason chan error
}

func (h *holder) Received(_ *reactor.Conn, p []byte) error {
	h.add(int64(len(p)))
	if bytes.HasSuffix(p, []byte(".")) {
		h.add(-h.held.Load())
		h.whole.Add(1)
	}
	if h.rig.accounts[h.loop].Pressed() {
		h.Flow()
	}
	return nil
}

func (h *holder) add(n int64) {
	h.held.Add(n)
	h.rig.held[h.loop] += n
}

func (h *holder) Writable(*reactor.Conn)            {}
func (h *holder) HalfClosed(c *reactor.Conn)        { c.Close(io.EOF) }
func (h *holder) Buffered() (all, halfRead int64)   { return h.held.Load(), h.held.Load() }
func (h *holder) Closed(_ *reactor.Conn, err error) { h.add(-h.held.Load()); h.reason <- err }

func (h *holder) Flow() {
	switch {
	case h.deaf:
	case h.rig.accounts[h.loop].Stops(h.conn, h):
		h.stops.Add(1)
		h.conn.PauseRead()
	default:
		h.conn.ResumeRead()
	}
}

// rig is a running group whose loops share a budget.
type rig struct {
	t        *testing.T
	budget   *Budget
	group    *reactor.Group
	accounts []*Account
	held     []int64
	log      *test.Hook
	closed   atomic.Bool // a whole message would not leave
	end      func()
}

func start(t *testing.T, limit int64, loops int) *rig {
	t.Helper()
	g, err := reactor.New(reactor.Options{Loops: loops})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, group: g, held: make([]int64, loops)}
	log, hook := test.NewNullLogger()
	r.log = hook
	r.budget = New(limit, log)
	for i, l := range g.Loops() {
		r.accounts = append(r.accounts, r.budget.Open(l, &r.held[i], func() bool { return !r.closed.Load() }, errFull))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	ended := false
	r.end = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, a := range r.accounts {
			a.Close()
		}
		if used := r.budget.Used(); used != 0 {
			t.Errorf("%d bytes are counted when all is over", used)
		}
	}
	t.Cleanup(r.end)
	return r
}

// connect makes a connection of a loop, and returns its other end.
func (r *rig) connect(loop int, deaf bool) (*holder, net.Conn) {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = peer.Close() })
	nc, err := ln.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	h := &holder{rig: r, loop: loop, deaf: deaf, reason: make(chan error, 1)}
	adopted := make(chan error, 1)
	r.group.Loops()[loop].Post(func() {
		h.conn, err = r.group.Loops()[loop].Adopt(nc, h)
		adopted <- err
	})
	if err := <-adopted; err != nil {
		r.t.Fatal(err)
	}
	return h, peer
}

// until polls for what has no event to wait for.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			r.t.Fatalf("waited in vain for %s; %d bytes are used", what, r.budget.Used())
		}
	}
}

// send writes as much as the other end takes, until the connection is closed.
func send(nc net.Conn, size int, last string) <-chan error {
	now := make(chan struct{})
	close(now)
	return sendLate(nc, size, last, now)
}

// sendLate is send that keeps the last piece until late is closed.
func sendLate(nc net.Conn, size int, last string, late <-chan struct{}) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := nc.Write(bytes.Repeat([]byte("x"), size))
		<-late
		if err == nil {
			_, err = nc.Write([]byte(last))
		}
		done <- err
	}()
	return done
}

// crowd makes connections that send messages of 2 MiB, of which none ends before late is closed.
func (r *rig) crowd(n int, late <-chan struct{}) []*holder {
	r.t.Helper()
	holders := make([]*holder, n)
	for i := range holders {
		h, peer := r.connect(i%len(r.accounts), false)
		holders[i] = h
		sendLate(peer, 2*mebi, ".", late)
	}
	return holders
}

func TestWhoHoldsMoreThanAShareWaits(t *testing.T) {
	r := start(t, 8*mebi, 1)
	hogs := make([]*holder, 8)
	var peers []net.Conn
	for i := range hogs {
		h, peer := r.connect(0, false)
		hogs[i], peers = h, append(peers, peer)
		send(peer, 6*mebi, "")
	}
	r.until("reading to stop", func() bool {
		stopped := 0
		for _, h := range hogs {
			if h.stops.Load() > 0 {
				stopped++
			}
		}
		return r.budget.Pressed() && stopped > 0
	})
	small, peer := r.connect(0, false)
	for range 10 {
		if err := <-send(peer, 1000, "."); err != nil {
			t.Fatal(err)
		}
	}
	r.until("one with little to be served", func() bool { return small.whole.Load() > 0 && small.held.Load() == 0 })
	if small.stops.Load() > 0 {
		t.Error("one with less than its share was stopped")
	}
	for _, p := range peers {
		_ = p.Close()
	}
	r.until("room, and the log to say so", func() bool {
		said := r.log.AllEntries()
		return !r.budget.Pressed() && r.budget.Used() < mebi && len(said) == 2 && strings.Contains(said[0].Message, "max_buffered_bytes") &&
			strings.Contains(said[1].Message, "have room again")
	})
}

// TestHalfReadMessagesTakeTurns: they need more room together than there is, and each gets through. (What is held when
// reading stops, the shares of those that come later, and one message that is read on fit into the bound.)
func TestHalfReadMessagesTakeTurns(t *testing.T) {
	r := start(t, 24*mebi, 2)
	late := make(chan struct{})
	holders := r.crowd(16, late)
	r.until("reading to stop", r.budget.Pressed)
	close(late)
	for i, h := range holders {
		r.until("every message to be whole", func() bool { return h.whole.Load() == 1 })
		select {
		case err := <-h.reason:
			t.Errorf("connection %d ended: %v", i, err)
		default:
		}
	}
}

// TestNoTurnsWhileNothingLeaves: then it is better to wait than to fill what room there is.
func TestNoTurnsWhileNothingLeaves(t *testing.T) {
	r := start(t, 24*mebi, 2)
	r.closed.Store(true)
	late := make(chan struct{})
	holders := r.crowd(16, late)
	stopped := func() (n int) {
		for _, h := range holders {
			if h.stops.Load() > 0 {
				n++
			}
		}
		return n
	}
	r.until("all to be stopped", func() bool { return stopped() == len(holders) })
	for range 5 { // times that the loops look
		for _, l := range r.group.Loops() {
			looked := make(chan struct{})
			l.Post(func() { l.After(lookInterval, func() { close(looked) }) })
			<-looked
		}
	}
	for _, h := range holders {
		if h.whole.Load() > 0 || len(h.reason) > 0 {
			t.Error("a message got through, or its connection ended")
		}
	}
	r.closed.Store(false)
	close(late)
	for _, h := range holders {
		r.until("every message to be whole", func() bool { return h.whole.Load() == 1 })
	}
}

// TestAStalledTurnEnds: who has a turn and sends nothing keeps the others waiting for as long as a turn lasts.
func TestAStalledTurnEnds(t *testing.T) {
	r := start(t, 16*mebi, 1)
	var stalled []net.Conn
	for range 6 { // hold nothing, and have a share
		r.connect(0, false)
	}
	const much = 6600 << 10 // twice that is near the bound
	for range 2 {
		h, peer := r.connect(0, false)
		if err := <-send(peer, much, ""); err != nil {
			t.Fatal(err)
		}
		r.until("what is sent to be held", func() bool { return h.held.Load() == much })
		stalled = append(stalled, peer)
	}
	late, peer := r.connect(0, false)
	send(peer, 2500<<10, ".")
	r.until("one that goes on to get through", func() bool { return late.whole.Load() == 1 || len(late.reason) > 0 })
	if len(late.reason) > 0 {
		t.Error("it was closed")
	}
	for _, p := range stalled {
		_ = p.Close()
	}
}

func TestTheGreediestGoes(t *testing.T) {
	r := start(t, 8*mebi, 2)
	sizes := []int{1 * mebi, 2 * mebi, 1 * mebi, 5 * mebi} // 9 MiB; without the last 4
	var holders []*holder
	for i, size := range sizes {
		h, peer := r.connect(i%2, true)
		holders = append(holders, h)
		if i == len(sizes)-1 {
			send(peer, size, "")
			break
		}
		if err := <-send(peer, size, ""); err != nil {
			t.Fatal(err)
		}
		r.until("what is sent to be held", func() bool { return h.held.Load() == int64(size) })
	}
	greediest := holders[len(holders)-1]
	select {
	case err := <-greediest.reason:
		if !errors.Is(err, errFull) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("nobody was closed")
	}
	r.until("the books to be right", func() bool { return r.budget.Used() <= 4*mebi+2*grain })
	for i, h := range holders[:3] {
		if len(h.reason) > 0 {
			t.Errorf("connection %d was closed too", i)
		}
	}
}

func TestNobodysBudget(t *testing.T) {
	var b *Budget
	if b.Limit() != 0 || b.Used() != 0 || b.Pressed() {
		t.Error("a nil budget bounds something")
	}
	a := b.Open(nil, nil, nil, nil)
	if a.Pressed() || a.Stops(nil, nil) {
		t.Error("a nil account stops somebody")
	}
	a.Close()
}

// TestWhatPeersDoNotReadCounts: it is memory as well.
func TestWhatPeersDoNotReadCounts(t *testing.T) {
	r := start(t, 64*mebi, 1)
	h, peer := r.connect(0, false)
	r.group.Loops()[0].Post(func() { _ = h.conn.Write(make([]byte, 12*mebi)) })
	r.until("it to count", func() bool { return r.budget.Used() > 4*mebi })
	go func() { _, _ = io.Copy(io.Discard, peer) }()
	r.until("it to have gone", func() bool { return r.budget.Used() < mebi })
}

// Another limit holds for what is buffered already: reading stops when the next bytes come.
func TestSetLimit(t *testing.T) {
	r := start(t, 64*mebi, 1)
	h, peer := r.connect(0, true)
	if err := <-send(peer, 8*mebi, ""); err != nil {
		t.Fatal(err)
	}
	r.until("what is sent to be held", func() bool { return h.held.Load() == 8*mebi })
	if r.budget.Pressed() {
		t.Error("pressed with an eighth")
	}
	r.budget.SetLimit(10 * mebi)
	if limit := r.budget.Limit(); limit != 10*mebi {
		t.Errorf("the limit is %d", limit)
	}
	if err := <-send(peer, mebi, ""); err != nil {
		t.Fatal(err)
	}
	r.until("the new limit to hold", r.budget.Pressed)
}

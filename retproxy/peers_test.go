package retproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/internal/master"
	"salt-broker/internal/reactor"
	"salt-broker/internal/sim"
	"salt-broker/internal/zmtp"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// until polls for what has no event to wait for.
func until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatalf("waited in vain for %s", what)
		}
	}
}

// running is a proxy that a test has started.
type running struct {
	*Proxy
	t    testing.TB
	end  context.CancelFunc
	over chan error
}

// start runs a proxy towards m and ends it with the test.
func start(tb testing.TB, m *saltMaster, change ...func(*Options)) *running {
	tb.Helper()
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	o := Options{
		Listen: "127.0.0.1:0", Backlog: 4096, HandshakeTimeout: patience,
		Master: master.Options{
			Address: m.addr,
			Backoff: master.Backoff{Default: 5 * time.Millisecond, Max: 20 * time.Millisecond},
		},
		Loops: 1, MaxInFlight: 100, RequestDeadline: time.Minute, MaxMessage: 64 << 20,
		DrainTimeout: patience, Log: silent,
	}
	for _, c := range change {
		c(&o)
	}
	p, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Proxy: p, t: tb, end: cancel, over: make(chan error, 1)}
	go func() { r.over <- p.Run(ctx) }()
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("%+v", p.Stats())
		}
		m.stop() // or it would be waited for with what it holds
		cancel()
		r.wait()
	})
	return r
}

// wait returns when Run has, once or again.
func (r *running) wait() {
	r.t.Helper()
	select {
	case err := <-r.over:
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
		r.over <- nil
	case <-time.After(patience):
		r.t.Fatal("Run does not return")
	}
}

// balanced waits until the books add up: every request has come to one end, or is here or at the master.
func (r *running) balanced() {
	r.t.Helper()
	var s Stats
	until(r.t, "balanced books", func() bool {
		s = r.Stats()
		here := uint64(s.Waiting + s.InFlight)
		return s.Requests == here+s.Forgotten+s.LostWithLink+s.Overdue+s.Replies-s.Late
	})
}

// onLoop runs fn on the loop of a lane and waits for it.
func (r *running) onLoop(lane int, fn func(l *lane)) {
	r.t.Helper()
	done := make(chan struct{})
	if !r.lanes[lane].loop.Post(func() { fn(r.lanes[lane]); close(done) }) {
		r.t.Fatal("the loop has ended")
	}
	select {
	case <-done:
	case <-time.After(patience):
		r.t.Fatal("the loop is stuck")
	}
}

// saltMaster is a scripted master's request port: it does with requests what the test tells it to.
type saltMaster struct {
	t    testing.TB
	addr string

	// asked has the requests that came, when there is no script.
	asked chan *ask
	// script is called for every request, on a goroutine of its link. Set before the proxy starts.
	script func(*ask)
	// stuck, when not nil, keeps links on which a large message is half read from being read on until it is closed.
	stuck chan struct{}
	// mute has it answer no PING. Set before the proxy starts.
	mute bool
	// broker has it say that it is one, and told takes what it is told as such. Set before open.
	broker bool
	told   chan string
	// trip is how long it takes over a PONG, which has the context of its PING. Set before the proxy connects.
	trip time.Duration

	wg       sync.WaitGroup
	mu       sync.Mutex
	listener net.Listener
	links    map[*saltLink]bool
	now      int // requests here
	most     int // at a time
	total    int
	pongs    [][]byte
}

// saltLink is a connection from the proxy.
type saltLink struct {
	master *saltMaster
	nc     net.Conn
	mu     sync.Mutex // of writing
}

// ask is one request at the master.
type ask struct {
	link  *saltLink
	route []byte // body of the first frame
	rest  []byte // the frames as the minion sent them
}

// newMaster returns a master whose port is open.
func newMaster(tb testing.TB) *saltMaster {
	tb.Helper()
	m := absentMaster(tb)
	m.open()
	return m
}

// echo has the master answer every request with its own content.
func echo(a *ask) { a.answer(a.body()) }

// absentMaster returns a master that is away until open.
func absentMaster(tb testing.TB) *saltMaster {
	tb.Helper()
	port, err := sim.KeepPort(netip.MustParseAddrPort("127.0.0.1:0")) // or another test may be the master meanwhile
	if err != nil {
		tb.Fatal(err)
	}
	m := &saltMaster{t: tb, addr: port.Addr().String(), asked: make(chan *ask, 1<<16), told: make(chan string, 1<<10), links: map[*saltLink]bool{}}
	tb.Cleanup(func() { m.stop(); m.wg.Wait(); port.Close() })
	return m
}

// open opens the port.
func (m *saltMaster) open() {
	m.t.Helper()
	ln, err := net.Listen("tcp", m.addr)
	if err != nil {
		m.t.Fatal(err)
	}
	m.mu.Lock()
	m.listener = ln
	m.mu.Unlock()
	m.wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			k := &saltLink{master: m, nc: nc}
			m.mu.Lock()
			if m.listener != ln {
				_ = nc.Close()
			}
			m.links[k] = true
			m.mu.Unlock()
			m.wg.Go(k.serve)
		}
	})
}

// stop closes the port and all links. What is at the master is lost.
func (m *saltMaster) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.listener != nil {
		_ = m.listener.Close()
		m.listener = nil
	}
	for k := range m.links {
		_ = k.nc.Close()
	}
	m.now = 0
}

// cut breaks all links; the port stays open.
func (m *saltMaster) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.links {
		_ = k.nc.Close()
	}
	m.now = 0
}

// all are the links that there are.
func (m *saltMaster) all() (links []*saltLink) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.links {
		links = append(links, k)
	}
	return links
}

func (k *saltLink) serve() {
	defer func() {
		_ = k.nc.Close()
		k.master.mu.Lock()
		delete(k.master.links, k)
		k.master.mu.Unlock()
	}()
	ready := zmtp.AppendReady
	if k.master.broker {
		ready = zmtp.AppendBrokerReady
	}
	if _, err := k.nc.Write(ready(zmtp.AppendGreeting(nil), zmtp.ROUTER)); err != nil {
		return
	}
	var s zmtp.Stream
	buf := make([]byte, 256<<10)
	for {
		n, err := k.nc.Read(buf)
		if err != nil {
			s.Release(&testLimits)
			return
		}
		if err := s.Feed(buf[:n], &testLimits, (*saltSink)(k)); err != nil {
			k.master.t.Errorf("the master got: %v", err)
			return
		}
		if k.master.stuck != nil && s.Buffered() > 2*len(buf) {
			<-k.master.stuck
		}
	}
}

// saltSink is what a link of the master does with what comes.
type saltSink saltLink

func (k *saltSink) Greeted(zmtp.Version) error { return nil }

func (k *saltSink) Ready(r zmtp.Ready) error {
	if r.SocketType != zmtp.DEALER {
		return fmt.Errorf("a %s", r.SocketType)
	}
	return nil
}

func (k *saltSink) Message(msg []byte) error {
	route, rest, err := zmtp.CutFrame(bytes.Clone(msg))
	if err != nil {
		return err
	}
	a := &ask{(*saltLink)(k), route, rest}
	m := k.master
	m.mu.Lock()
	m.now++
	m.total++
	m.most = max(m.most, m.now)
	m.mu.Unlock()
	if m.script != nil {
		m.script(a)
	} else {
		m.asked <- a
	}
	return nil
}

func (k *saltSink) Command(name, data []byte) error {
	if string(name) == zmtp.CommandPing && !k.master.mute {
		pong, err := zmtp.AppendAnswer(nil, data)
		if err != nil || k.master.trip == 0 {
			(*saltLink)(k).write(pong)
			return err
		}
		time.AfterFunc(k.master.trip, func() { (*saltLink)(k).write(pong) })
	}
	switch string(name) {
	case zmtp.CommandPing:
	case zmtp.CommandPong:
		k.master.mu.Lock()
		k.master.pongs = append(k.master.pongs, bytes.Clone(data))
		k.master.mu.Unlock()
	default:
		if !k.master.broker {
			return fmt.Errorf("%s, which is nothing for a master", name)
		}
		k.master.told <- string(name) + " " + string(data)
	}
	return nil
}

// next waits for a request.
func (m *saltMaster) next() *ask {
	m.t.Helper()
	select {
	case a := <-m.asked:
		return a
	case <-time.After(patience):
		m.t.Fatal("the master waits in vain for a request")
		return nil
	}
}

// nothing says that no request is here that the test has not taken.
func (m *saltMaster) nothing() {
	m.t.Helper()
	select {
	case a := <-m.asked:
		m.t.Fatalf("the master got a request: %.60q", a.rest)
	default:
	}
}

// counts returns how many requests are at the master, how many were at a time, and how many ever.
func (m *saltMaster) counts() (now, most, total int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now, m.most, m.total
}

// body returns the last frame.
func (a *ask) body() (body []byte) {
	for rest := a.rest; len(rest) > 0; {
		body, rest, _ = zmtp.CutFrame(rest)
	}
	return body
}

// reply returns the message that answers with body.
func (a *ask) reply(body []byte) []byte {
	msg := zmtp.AppendFrame(nil, true, a.route)
	for rest := a.rest; ; {
		var frame []byte
		frame, rest, _ = zmtp.CutFrame(rest)
		msg = zmtp.AppendFrame(msg, true, frame)
		if len(frame) == 0 {
			return zmtp.AppendFrame(msg, false, body)
		}
	}
}

// answer answers. A link that has been cut meanwhile is no fault.
func (a *ask) answer(body []byte) {
	m := a.link.master
	m.mu.Lock()
	m.now--
	m.mu.Unlock()
	a.link.write(a.reply(body))
}

func (k *saltLink) write(b []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, _ = k.nc.Write(b)
}

var testLimits = zmtp.Limits{MaxMessage: 1 << 30, MaxFrames: 2000, MaxCommand: 8192}

// peer is a scripted peer on the request port.
type peer struct {
	t        testing.TB
	nc       *net.TCPConn
	stream   zmtp.Stream
	messages [][]byte
	pings    int
	pongs    [][]byte
	forgot   []string
	hops     [][]byte
	ready    bool
}

// as says what a peer claims to be.
type as struct {
	socket   string // REQ unless told
	identity string
	minor    byte // of ZMTP 3
}

// dial connects and shakes hands as far as the proxy plays along.
func dial(tb testing.TB, r *running, who as) *peer {
	tb.Helper()
	p, err := connect(tb, r, who)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.close)
	return p
}

// connect is dial for goroutines.
func connect(tb testing.TB, r *running, who as) (*peer, error) {
	tb.Helper()
	p, err := raw(tb, r)
	if err != nil {
		return nil, err
	}
	if who.socket == "" {
		who.socket = "REQ"
	}
	hello := zmtp.AppendGreeting(nil)
	hello[11] = who.minor
	body := []byte("\x05READY\x0bSocket-Type\x00\x00\x00" + string(rune(len(who.socket))) + who.socket)
	body = append(body, "\x08Identity\x00\x00\x00"+string(rune(len(who.identity)))+who.identity...)
	hello = zmtp.AppendHeader(hello, zmtp.FlagCommand, len(body))
	if _, err := p.nc.Write(append(hello, body...)); err != nil {
		return nil, err
	}
	for !p.ready {
		if err := p.read(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// raw connects and says nothing.
func raw(tb testing.TB, r *running) (*peer, error) {
	tb.Helper()
	nc, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(r.Addr()))
	if err != nil {
		return nil, err
	}
	return &peer{t: tb, nc: nc}, nil
}

func (p *peer) close() { _ = p.nc.Close() }

// leave closes so that the broker hears of it at once, whatever it thinks of half-closed peers.
func (p *peer) leave() {
	_ = p.nc.SetLinger(0)
	_ = p.nc.Close()
}

// read takes in what the proxy sends, at least something.
func (p *peer) read() error {
	var buf [64 << 10]byte
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	n, err := p.nc.Read(buf[:])
	if err != nil {
		return err
	}
	return p.stream.Feed(buf[:n], &testLimits, p)
}

// Greeted implements zmtp.Sink.
func (p *peer) Greeted(zmtp.Version) error { return nil }

// Ready implements zmtp.Sink.
func (p *peer) Ready(r zmtp.Ready) error {
	p.ready = true
	if r.SocketType != zmtp.ROUTER {
		return fmt.Errorf("the proxy is a %s", r.SocketType)
	}
	return nil
}

// Message implements zmtp.Sink.
func (p *peer) Message(msg []byte) error {
	p.messages = append(p.messages, bytes.Clone(msg))
	return nil
}

// Command implements zmtp.Sink.
func (p *peer) Command(name, data []byte) error {
	switch string(name) {
	case zmtp.CommandPing:
		p.pings++
	case zmtp.CommandPong:
		p.pongs = append(p.pongs, bytes.Clone(data))
	case zmtp.CommandForgot:
		p.forgot = append(p.forgot, string(data))
	case zmtp.CommandHop:
		p.hops = append(p.hops, bytes.Clone(data))
	default:
		return fmt.Errorf("the proxy says %s", name)
	}
	return nil
}

// message waits for a message.
func (p *peer) message() ([]byte, error) {
	for len(p.messages) == 0 {
		if err := p.read(); err != nil {
			return nil, err
		}
	}
	msg := p.messages[0]
	p.messages = p.messages[1:]
	return msg, nil
}

// expect waits for this message.
func (p *peer) expect(want []byte) {
	p.t.Helper()
	got, err := p.message()
	if err != nil {
		p.t.Fatalf("no reply: %v", err)
	}
	if !bytes.Equal(got, want) {
		p.t.Fatalf("the reply is %.80q (%d B), want %.80q (%d B)", got, len(got), want, len(want))
	}
}

// gone waits until the proxy has closed the connection, and sees that it sends no message before.
func (p *peer) gone() {
	p.t.Helper()
	for {
		if err := p.read(); errors.Is(err, os.ErrDeadlineExceeded) {
			p.t.Fatal("the connection stays open")
		} else if err != nil {
			break
		}
	}
	if len(p.messages) > 0 {
		p.t.Fatalf("got %.80q", p.messages[0])
	}
}

func (p *peer) send(msg []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(msg); err != nil {
		p.t.Fatalf("send: %v", err)
	}
}

// asks sends a request as a REQ does.
func (p *peer) asks(body string) { p.t.Helper(); p.send(envelope(0, []byte(body))) }

// hears waits for the reply as a REQ does.
func (p *peer) hears(body string) { p.t.Helper(); p.expect(envelope(0, []byte(body))) }

// ping makes sure that the proxy has seen all that was sent before, and answers in the midst of it.
func (p *peer) ping(context string) {
	p.t.Helper()
	p.send(zmtp.AppendPing(nil, 0, []byte(context)))
	for len(p.pongs) == 0 {
		if err := p.read(); err != nil {
			p.t.Fatalf("no PONG: %v", err)
		}
	}
	if string(p.pongs[0]) != context {
		p.t.Fatalf("PONG says %q, want %q", p.pongs[0], context)
	}
	p.pongs = p.pongs[1:]
}

// envelope is a message behind identities of some sizes and the delimiter.
func envelope(depth int, frames ...[]byte) (msg []byte) {
	for i := range depth {
		id := bytes.Repeat([]byte{byte(i)}, 1+(i*37)%255)
		msg = zmtp.AppendFrame(msg, true, id)
	}
	msg = zmtp.AppendFrame(msg, true, nil)
	for i, f := range frames {
		msg = zmtp.AppendFrame(msg, i < len(frames)-1, f)
	}
	return msg
}

// eachMinion adapts fn to what a loop calls for each of its connections.
func eachMinion(fn func(m *minion)) func(c *reactor.Conn) {
	return func(c *reactor.Conn) {
		if m, ok := c.Handler().(*minion); ok {
			fn(m)
		}
	}
}

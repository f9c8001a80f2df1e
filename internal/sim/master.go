//go:build linux

package sim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// MasterOptions say what kind of master there is. The zero value is a quick and reliable one, on loopback, with ports
// that the kernel chooses.
type MasterOptions struct {
	// PublishAddress and RequestAddress are where to listen, host:port; "" is 127.0.0.1:0.
	PublishAddress, RequestAddress string
	// ID tells masters apart in what they publish.
	ID uint32
	// Loops is the number of event loops; 0 means 1.
	Loops int
	// Version is what the master greets with: 3.1, or [Version30].
	Version zmtp.Version
	// JobBytes is the size of a job's payload; 0 is [DefaultJobBytes].
	JobBytes int
	// MaxKept is how many bytes may wait for a subscriber before publishes for it are dropped; 0 is 16 MiB.
	MaxKept int

	// Answer, when set, gets every request instead of what the stand-in does by itself: all frames behind the delimiter,
	// with their headers, valid during the call, which is on a loop and must not block. Reply sends one frame with this
	// body, in the envelope of the request, from any goroutine and whenever; a second time it does nothing.
	Answer func(request []byte, reply func(body []byte))
	// ServiceTime is how long one worker takes over a request; 0 answers at once. It does not apply to Answer.
	ServiceTime time.Duration
	// Workers is how many requests are served at a time, on each loop, with a ServiceTime; 0 means 5, Salt's default.
	Workers int
	// OnRequest, when set, is told of every request of a stand-in minion that comes, before anything is done with it:
	// whose it is, and the how manieth of that minion, from 1. It is called on a loop and must not block.
	OnRequest func(minion int, request uint64)
	// Lose, when set, is asked for every request, counted from 1, whether it is to be left without an answer. It is
	// called on a loop.
	Lose func(request uint64) bool
}

// Master is a stand-in for Salt's master. Its methods are safe from any goroutine, but those that wait must not be
// called from a hook.
type Master struct {
	options MasterOptions
	muted   atomic.Bool
	count   masterCounters

	mu          sync.Mutex // for the rest; never on the way of a message, but for Publish
	run         *run       // nil: stopped
	publishers  []*publisher
	publishAddr netip.AddrPort
	requestAddr netip.AddrPort
	kept        []*Port           // while it is away
	order       uint64            // of the last job
	serials     map[uint64]uint64 // of the last job of a series

	subscribed subscriptionCount
}

type masterCounters struct {
	subscribers, requesters                   atomic.Int64
	accepted, refused                         atomic.Uint64
	subscribes, cancels                       atomic.Uint64
	publishes, deliveries, dropped            atomic.Uint64
	requests, replies, lost, malformed, stray atomic.Uint64
	foreign, pings                            atomic.Uint64
	underWay, mostUnderWay                    atomic.Int64
}

// MasterStats is what a master has seen, since it was made if not said otherwise.
type MasterStats struct {
	Subscribers int    // connections of SUB and XSUB now
	Requesters  int    // connections of REQ and DEALER now
	Accepted    uint64 // connections
	Refused     uint64 // connections that ended because the peer did something wrong

	Subscribes, Cancels uint64 // that came, repeated ones included
	Publishes           uint64 // handed to Publish and PublishJob
	Deliveries          uint64 // copies of them that went to a connection
	Dropped             uint64 // copies that did not, because the peer does not read

	Requests  uint64 // that came in an envelope
	Replies   uint64
	Lost      uint64 // requests left without an answer on purpose: Lose, Mute
	Malformed uint64 // messages without an envelope
	Foreign   uint64 // requests that no stand-in minion has made, or damaged; answered with "bad load"
	Stray     uint64 // replies for connections that have gone

	UnderWay     int // requests that came and are not answered yet, now
	MostUnderWay int // the most there ever were
	Pings        uint64
}

// StartMaster listens and serves until Stop.
func StartMaster(o MasterOptions) (*Master, error) {
	if o.PublishAddress == "" {
		o.PublishAddress = "127.0.0.1:0"
	}
	if o.RequestAddress == "" {
		o.RequestAddress = "127.0.0.1:0"
	}
	if o.JobBytes == 0 {
		o.JobBytes = DefaultJobBytes
	}
	if o.Workers == 0 {
		o.Workers = 5
	}
	m := &Master{options: o, serials: map[uint64]uint64{}, subscribed: subscriptionCount{topics: map[string]int{}}}
	if err := m.Start(); err != nil {
		return nil, err
	}
	return m, nil
}

// Start serves again after Leave, on the same ports. Jobs are counted on. After Stop it does so too if nobody has got them
// meanwhile.
func (m *Master) Start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer m.givePortsUp()
	if m.run != nil {
		return errors.New("sim: the master runs already")
	}
	r, err := newRun(reactor.Options{Loops: m.options.Loops, MaxKept: m.options.MaxKept})
	if err != nil {
		return fmt.Errorf("sim: master: %w", err)
	}
	m.publishers = nil
	answerers := make([]*answerer, 0, len(r.group.Loops()))
	for _, l := range r.group.Loops() {
		m.publishers = append(m.publishers, newPublisher(m, l))
		answerers = append(answerers, newAnswerer(m, l))
	}
	publishers := m.publishers
	publish, err := listen(r.group, m.options.PublishAddress, m.publishAddr,
		func(c *reactor.Conn) reactor.Handler { return publishers[c.Loop().Index()].accept(c) })
	if err != nil {
		r.group.Close()
		return fmt.Errorf("sim: master: publish port: %w", err)
	}
	request, err := listen(r.group, m.options.RequestAddress, m.requestAddr,
		func(c *reactor.Conn) reactor.Handler { return answerers[c.Loop().Index()].accept(c) })
	if err != nil {
		r.group.Close()
		return fmt.Errorf("sim: master: request port: %w", err)
	}
	m.publishAddr, m.requestAddr = publish.Addr(), request.Addr()
	m.run = r
	r.start()
	return nil
}

// listen opens the address, or the one that it had before.
func listen(g *reactor.Group, address string, again netip.AddrPort, accept func(*reactor.Conn) reactor.Handler) (*reactor.Listener, error) {
	if again.IsValid() {
		address = again.String()
	}
	return whenFree(func() (*reactor.Listener, error) {
		return g.Listen(context.Background(), reactor.ListenOptions{Address: address, Backlog: 4096, Accept: accept})
	})
}

// whenFree takes a port that was ours until now. A process that is being started at that moment, by whichever goroutine,
// has a copy of each of our sockets until it becomes another program: so long the port is taken.
func whenFree[T any](take func() (T, error)) (T, error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Second); ; <-tick.C {
		taken, err := take()
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(deadline) {
			return taken, err
		}
	}
}

// Leave is Stop for a master that comes back: its ports are nobody else's meanwhile, and connecting to them is refused.
func (m *Master) Leave() error {
	if err := m.Stop(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, addr := range []netip.AddrPort{m.publishAddr, m.requestAddr} {
		p, err := whenFree(func() (*Port, error) { return KeepPort(addr) })
		if err != nil {
			m.givePortsUp()
			return err
		}
		m.kept = append(m.kept, p)
	}
	return nil
}

func (m *Master) givePortsUp() {
	for _, p := range m.kept {
		p.Close()
	}
	m.kept = nil
}

// Stop closes the ports and all connections, and returns when nothing runs any more. Requests under way are forgotten. A
// stopped master can be stopped again.
func (m *Master) Stop() error {
	m.mu.Lock()
	r := m.run
	m.run = nil
	m.givePortsUp()
	m.mu.Unlock()
	if r == nil {
		return nil
	}
	err := r.stop() // without the lock: a hook on a loop may be publishing
	m.count.underWay.Store(0)
	return err
}

// PublishAddr returns where minions and brokers subscribe. It stays the same when the master is stopped and started.
func (m *Master) PublishAddr() netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.publishAddr
}

// RequestAddr returns where requests go. It stays the same when the master is stopped and started.
func (m *Master) RequestAddr() netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.requestAddr
}

// Publish sends payload to whoever has subscribed to a prefix of the topic, or of the payload when topic is nil: then the
// message has one frame, else two. Neither may be changed afterwards. A stopped or mute master publishes nothing.
func (m *Master) Publish(topic, payload []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.publish(topic, payload)
}

// PublishJob publishes a job to a topic (nil: one frame, to everyone) and returns it. Jobs that a stopped or mute master
// publishes have numbers like the others, so minions find that they missed them.
func (m *Master) PublishJob(topic []byte) Job {
	m.mu.Lock()
	defer m.mu.Unlock()
	series := seriesOf(topic)
	m.order++
	m.serials[series]++
	j := Job{Master: m.options.ID, Order: m.order, Serial: m.serials[series], Series: series, Sent: time.Now()}
	m.publish(topic, AppendJob(nil, j, m.options.JobBytes))
	return j
}

func (m *Master) publish(topic, payload []byte) {
	m.count.publishes.Add(1)
	if m.run == nil {
		return
	}
	var msg []byte
	key := payload
	if topic != nil {
		msg = zmtp.AppendFrame(msg, true, topic)
		key = topic
	}
	msg = zmtp.AppendFrame(msg, false, payload)
	for _, p := range m.publishers {
		p.loop.Post(func() { p.publish(key, msg) })
	}
}

// Subscribed returns how many connections have subscribed to exactly this topic. Links of brokers count as one.
func (m *Master) Subscribed(topic string) int { return m.subscribed.of(topic) }

// AwaitSubscribed returns when exactly n connections have subscribed to the topic, or with an error when ctx ends.
func (m *Master) AwaitSubscribed(ctx context.Context, topic string, n int) error {
	return await(ctx, func() bool { return m.Subscribed(topic) == n }, func() string {
		return fmt.Sprintf("sim: %d subscriptions to %q, want %d", m.Subscribed(topic), topic, n)
	})
}

// Await returns when done is true of the master's stats, or with an error when ctx ends.
func (m *Master) Await(ctx context.Context, done func(s MasterStats) bool) error {
	return await(ctx, func() bool { return done(m.Stats()) }, func() string { return fmt.Sprintf("sim: master: %+v", m.Stats()) })
}

// DropConnections closes all connections that there are, without waiting for it. The ports stay open.
func (m *Master) DropConnections() {
	m.each(func(c *reactor.Conn) { c.Close(errDropped) })
}

// Mute makes the master say nothing any more, or speak again: connections stay and are read, but nobody gets a publish,
// a reply or a PONG. What came while it was mute is not answered later.
func (m *Master) Mute(on bool) { m.muted.Store(on) }

// each calls fn for every connection, on the loops.
func (m *Master) each(fn func(c *reactor.Conn)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.run == nil {
		return
	}
	for _, l := range m.run.group.Loops() {
		l.Post(func() { l.Each(fn) })
	}
}

// Stats returns what the master has seen so far.
func (m *Master) Stats() MasterStats {
	n := &m.count
	return MasterStats{
		Subscribers: int(n.subscribers.Load()), Requesters: int(n.requesters.Load()),
		Accepted: n.accepted.Load(), Refused: n.refused.Load(),
		Subscribes: n.subscribes.Load(), Cancels: n.cancels.Load(),
		Publishes: n.publishes.Load(), Deliveries: n.deliveries.Load(), Dropped: n.dropped.Load(),
		Requests: n.requests.Load(), Replies: n.replies.Load(), Lost: n.lost.Load(), Malformed: n.malformed.Load(),
		Foreign: n.foreign.Load(), Stray: n.stray.Load(),
		UnderWay: int(n.underWay.Load()), MostUnderWay: int(n.mostUnderWay.Load()), Pings: n.pings.Load(),
	}
}

// ended counts connections that a fault of the peer has ended.
func (m *Master) ended(reason error) {
	var fault *zmtp.Fault
	if errors.As(reason, &fault) {
		m.count.refused.Add(1)
	}
}

// began counts a request that is under way.
func (m *Master) began() {
	now := m.count.underWay.Add(1)
	for {
		most := m.count.mostUnderWay.Load()
		if now <= most || m.count.mostUnderWay.CompareAndSwap(most, now) {
			return
		}
	}
}

var errDropped = errors.New("sim: connection dropped on purpose")

// subscriptionCount knows how many connections have a topic.
type subscriptionCount struct {
	mu     sync.Mutex
	topics map[string]int
}

func (s *subscriptionCount) add(topic string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.topics[topic] += n; s.topics[topic] == 0 {
		delete(s.topics, topic)
	}
}

func (s *subscriptionCount) of(topic string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.topics[topic]
}

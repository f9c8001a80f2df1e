//go:build linux

package sim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// Shape is how minions use connections for their requests.
type Shape uint8

// The shapes of Salt's releases.
const (
	Kept  Shape = iota // one connection for all requests: 3004, 3006.3 and later, 3007
	Short              // a connection for each request: 3006.0 to 3006.2
	Mixed              // every other minion is Short
)

// String returns the shape's name.
func (s Shape) String() string { return [...]string{"kept", "short", "mixed"}[s] }

// MinionsOptions say what minions there are and what they do.
type MinionsOptions struct {
	// Count is how many there are; First is the number of the first. Numbers make ids: see [MinionID].
	Count, First int
	// Publish and Request are where the minions connect to: a broker, or a master. The zero value leaves that channel out.
	Publish, Request netip.AddrPort
	// Loops is the number of event loops; 0 means 1.
	Loops int
	// Version is what the minions greet with: 3.1, or [Version30].
	Version zmtp.Version
	// KeepAlive is how the kernel probes a broker that is silent (Salt: tcp_keepalive*); the zero value does not.
	KeepAlive reactor.KeepAlive
	// Identity, when set, is what a minion claims in its READY, on both channels.
	Identity func(minion int) []byte

	// Filtering is Salt's zmq_filtering: minions subscribe to their own [Topic] and to [Broadcast], not to everything.
	Filtering bool
	// ConnectAtOnce is how many handshakes of subscriptions are under way at a time, on each loop; 0 means 128.
	ConnectAtOnce int
	// Reconnect is the least time until a minion connects again, a random part of it is added; 0 means 100 ms.
	Reconnect time.Duration

	// Shape is how requests use connections.
	Shape Shape
	// Interval, when set, has every minion make a request once in this time, spread evenly. A minion that still waits
	// for a reply leaves one out.
	Interval time.Duration
	// Resting leaves requests out until Work.
	Resting bool
	// Busy has every minion make its next request as soon as the reply is there, from the first Ask on.
	Busy bool
	// Insist has a minion that has got no reply ask again, after Reconnect, until it gets one.
	Insist bool
	// RequestBytes and ReplyBytes are the sizes of the bodies; 0 means [DefaultRequestBytes] and [DefaultReplyBytes].
	RequestBytes, ReplyBytes int
	// Timeout is how long a minion waits for a reply, connecting included, and for a handshake; 0 means 60 s, Salt's
	// default. Then it gives up, and closes the connection.
	Timeout time.Duration
	// KeepOnTimeout has a minion that gives up keep its connection, if that is made, and ask again over it, as a REQ with
	// ZMQ_REQ_RELAXED. The reply to what it has given up is counted, Late, and is no fault.
	KeepOnTimeout bool

	// The hooks are called on a loop and must not block. OnFault is told what Faults counts.
	OnJob   func(minion int, job Job)
	OnReply func(minion int, latency time.Duration)
	OnFault func(minion int, err error)
}

// Minions are any number of stand-in minions. Their methods are safe from any goroutine, but those that wait must not be
// called from a hook.
type Minions struct {
	options MinionsOptions
	run     *run
	crews   []*crew
	minions []*minion // by number, from First on; what is in one belongs to its loop
	fault   atomic.Pointer[error]
}

// MinionsStats is what all minions together have seen since they were started.
type MinionsStats struct {
	Minions     int
	Subscribed  int    // have a subscription connection whose handshake is done, now
	Connections int    // of both kinds, now, handshakes included
	Handshakes  uint64 // done, of both kinds
	Failed      uint64 // connections that did not come about
	Cut         uint64 // subscription connections that ended though the minion wanted them

	Jobs         uint64 // that came whole, in order and once
	Reached      int    // minions that have had a job
	Missed       uint64 // left out between two that came on one connection
	MissedAway   uint64 // left out while the minion was connecting again
	Doubled      uint64 // came again, or after later ones
	Damaged      uint64 // not as they were sent
	Strayed      uint64 // for somebody else
	Delivery     Latency
	Requests     uint64 // made
	Replies      uint64 // that were right
	Waiting      int    // minions that wait for a reply now
	TimedOut     uint64 // requests without a reply in time
	Broken       uint64 // requests whose connection ended before the reply
	Unsent       uint64 // of TimedOut and Broken: those whose connection was not made, so nobody has got them
	LeftOut      uint64 // requests not made at their time, because the one before was not answered
	Late         uint64 // replies to what a minion has given up, over a connection that it keeps
	WrongReplies uint64 // somebody else's, damaged, or not asked for
	Latency      Latency
	Pings        uint64
	PeerFaults   uint64 // connections that ended because the peer did not speak ZMTP as it should
	FirstFault   error  // of what Faults counts
}

// Faults is how often something happened that never should. It leaves out what the loss of a connection explains:
// MissedAway, Broken, TimedOut.
func (s MinionsStats) Faults() uint64 {
	return s.Missed + s.Doubled + s.Damaged + s.Strayed + s.WrongReplies + s.PeerFaults
}

// StartMinions makes minions, which connect and go on until Stop.
func StartMinions(o MinionsOptions) (*Minions, error) {
	if o.Loops <= 0 {
		o.Loops = 1
	}
	setDefault(&o.ConnectAtOnce, 128)
	setDefault(&o.Reconnect, 100*time.Millisecond)
	setDefault(&o.RequestBytes, DefaultRequestBytes)
	setDefault(&o.ReplyBytes, DefaultReplyBytes)
	setDefault(&o.Timeout, time.Minute)
	r, err := newRun(reactor.Options{Loops: o.Loops})
	if err != nil {
		return nil, fmt.Errorf("sim: minions: %w", err)
	}
	m := &Minions{options: o, run: r, minions: make([]*minion, o.Count)}
	for _, l := range r.group.Loops() {
		m.crews = append(m.crews, newCrew(m, l))
	}
	for i := range m.minions {
		c := m.crews[i%len(m.crews)]
		m.minions[i] = newMinion(c, o.First+i)
		c.minions = append(c.minions, m.minions[i])
	}
	for _, c := range m.crews {
		c.loop.Post(c.begin)
	}
	r.start()
	return m, nil
}

func setDefault[T int | time.Duration](value *T, otherwise T) {
	if *value == 0 {
		*value = otherwise
	}
}

// Stop closes all connections and returns when nothing runs any more. It may be called again.
func (m *Minions) Stop() error { return m.run.stop() }

// on runs fn with a minion, on its loop. Numbers that no minion has are a mistake of the caller.
func (m *Minions) on(number int, fn func(*minion)) {
	one := m.minions[number-m.options.First]
	one.crew.loop.Post(func() { fn(one) })
}

// Ask has one minion make a request, unless it waits for a reply.
func (m *Minions) Ask(number int) { m.on(number, (*minion).ask) }

// AskAll has every minion make a request, unless it waits for a reply.
func (m *Minions) AskAll() {
	for _, c := range m.crews {
		c.loop.Post(func() {
			for _, one := range c.minions {
				one.ask()
			}
		})
	}
}

// Waits says whether a minion waits for the reply to this request now: see MasterOptions.OnRequest. Numbers that no minion
// has wait for nothing.
func (m *Minions) Waits(number int, request uint64) bool {
	i := number - m.options.First
	return i >= 0 && i < len(m.minions) && request > 0 && m.minions[i].req.open.Load() == request
}

// Rest ends what Interval and Busy have begun: no minion makes another request by itself. Replies that are due still come.
func (m *Minions) Rest() {
	for _, c := range m.crews {
		c.loop.Post(func() { c.resting = true })
	}
}

// Work begins what Interval says, or goes on with it after Rest.
func (m *Minions) Work() {
	for _, c := range m.crews {
		c.loop.Post(c.work)
	}
}

// Leave closes a minion's connections for good.
func (m *Minions) Leave(number int) { m.on(number, (*minion).leave) }

// PauseReading has a minion read nothing more of its publishes, as one that is too slow or whose machine hangs.
func (m *Minions) PauseReading(number int) { m.on(number, func(one *minion) { one.sub.pause(true) }) }

// ResumeReading ends PauseReading.
func (m *Minions) ResumeReading(number int) {
	m.on(number, func(one *minion) { one.sub.pause(false) })
}

// Arrived returns how many minions have had the job with this Order, and how long after its publishing the last of them.
// It knows the last thousand jobs.
func (m *Minions) Arrived(order uint64) (minions int, last time.Duration) {
	for _, c := range m.crews {
		n, d := c.arrivals.of(order)
		minions += n
		last = max(last, d)
	}
	return minions, last
}

// AwaitSubscribed returns when at least n minions have done the handshake of their subscription, or with an error when
// ctx ends. A broker may take a moment longer until it counts them in.
func (m *Minions) AwaitSubscribed(ctx context.Context, n int) error {
	return await(ctx, func() bool { return m.subscribed() >= n }, func() string {
		return fmt.Sprintf("sim: %d minions have subscribed, want %d: %v", m.subscribed(), n, m.firstFault())
	})
}

func (m *Minions) subscribed() int {
	n := int64(0)
	for _, c := range m.crews {
		n += c.count.subscribed.Load()
	}
	return int(n)
}

// AwaitArrived returns when n minions have had the job with this Order, or with an error when ctx ends.
func (m *Minions) AwaitArrived(ctx context.Context, order uint64, n int) error {
	arrived := func() int { k, _ := m.Arrived(order); return k }
	return await(ctx, func() bool { return arrived() >= n }, func() string {
		return fmt.Sprintf("sim: %d minions have had job %d, want %d: %v", arrived(), order, n, m.firstFault())
	})
}

// Await returns when done is true of the minions' stats, or with an error when ctx ends.
func (m *Minions) Await(ctx context.Context, done func(s MinionsStats) bool) error {
	return await(ctx, func() bool { return done(m.Stats()) }, func() string { return fmt.Sprintf("sim: minions: %+v", m.Stats()) })
}

func (m *Minions) firstFault() error {
	if err := m.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// Stats returns what the minions have seen so far.
func (m *Minions) Stats() MinionsStats {
	s := MinionsStats{Minions: len(m.minions), FirstFault: m.firstFault()}
	var delivery, latency []*histogram
	for _, c := range m.crews {
		n := &c.count
		s.Subscribed += int(n.subscribed.Load())
		s.Connections += c.loop.Connections()
		s.Handshakes += n.handshakes.Load()
		s.Failed += n.failed.Load()
		s.Cut += n.cut.Load()
		s.Jobs += n.jobs.Load()
		s.Reached += int(n.reached.Load())
		s.Missed += n.missed.Load()
		s.MissedAway += n.missedAway.Load()
		s.Doubled += n.doubled.Load()
		s.Damaged += n.damaged.Load()
		s.Strayed += n.strayed.Load()
		s.Requests += n.requests.Load()
		s.Replies += n.replies.Load()
		s.Waiting += int(n.waiting.Load())
		s.TimedOut += n.timedOut.Load()
		s.Broken += n.broken.Load()
		s.Unsent += n.unsent.Load()
		s.LeftOut += n.leftOut.Load()
		s.Late += n.late.Load()
		s.WrongReplies += n.wrongReplies.Load()
		s.Pings += n.pings.Load()
		s.PeerFaults += n.peerFaults.Load()
		delivery = append(delivery, &c.delivery)
		latency = append(latency, &c.latency)
	}
	s.Delivery, s.Latency = summarize(delivery...), summarize(latency...)
	return s
}

var (
	errTimeout = errors.New("sim: no reply in time")
	errDone    = errors.New("sim: no longer needed")
)

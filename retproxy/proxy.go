package retproxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"salt-broker/internal/admission"
	"salt-broker/internal/buffers"
	"salt-broker/internal/heartbeat"
	"salt-broker/internal/latency"
	"salt-broker/internal/master"
	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// maxKept is how many bytes of replies may wait for one peer. A peer with more than maxReplyBacklog waiting is not read
// from, so only what it has asked for already can add to that.
const maxKept = 64 << 20

// Options of a request proxy. There are no defaults here: package config has them.
type Options struct {
	// Listen is the address for minions, host:port (Salt: interface, ret_port).
	Listen string
	// Backlog is how many connections may wait to be accepted (Salt: zmq_backlog).
	Backlog int
	// KeepAlive is how silent minions are probed (Salt: tcp_keepalive*).
	KeepAlive reactor.KeepAlive
	// HandshakeTimeout is how long a minion may take to say READY.
	HandshakeTimeout time.Duration
	// MaxConnections is how many connections from minions there may be, and MaxPerAddress how many from one address; 0: any
	// number.
	MaxConnections, MaxPerAddress int
	// Allow and Deny are who may connect and who may not. Deny wins; an empty Allow is everybody.
	Allow, Deny []netip.Prefix
	// HeartbeatInterval and HeartbeatTimeout are when a silent peer on either side is sent a PING, and how long after that
	// it is given up (Salt: zmq_heartbeat_ivl, zmq_heartbeat_timeout). Interval 0: never.
	HeartbeatInterval, HeartbeatTimeout time.Duration
	// Master is where and how to reach the master. SocketType is set here.
	Master master.Options
	// Masters are the peers of a master cluster, instead of Master. Each minion's requests go to one of them, always the same
	// as long as it is healthy and there are links to it: see Proxy.SetHealthy and MoveAfter.
	Masters []Peer
	// MoveAfter is how long a peer may be without a link until its minions are moved to others. It bounds what they wait
	// when it has died, and one that has only lost its links should be back by then: more than the first pause of its
	// Backoff.
	MoveAfter time.Duration
	// Spare is for Apply alone: how long replies that are due from an address that is left may take.
	Spare time.Duration
	// Keep runs what keeps a link to the master connected until ctx ends, and again when it fails, so that minions notice
	// nothing of it. name is for the log. Its error ends the proxy. nil: it is run once, and its error ends the proxy.
	Keep func(ctx context.Context, name string, link func(ctx context.Context) error) error
	// Loops is the number of event loops, each with links of its own to the master. There are never more than
	// MaxInFlight.
	Loops int
	// MaxInFlight is how many requests may be at a master at a time; the others wait here.
	MaxInFlight int
	// RequestDeadline is how long a request at the master holds its place when no reply comes.
	RequestDeadline time.Duration
	// MaxMessage is the largest request or reply, in bytes, without its envelope.
	MaxMessage int64
	// Buffers bounds what all connections together have in memory, with those of whatever shares it; nil: nothing does.
	Buffers *buffers.Budget
	// DrainTimeout is how long requests under way may take to be answered when the proxy ends.
	DrainTimeout time.Duration
	// CloseOnMasterLoss shuts the port and sends the minions away when there has been no link for MasterLossAfter, until
	// there is one again (on_master_loss, on_master_loss_after).
	CloseOnMasterLoss bool
	MasterLossAfter   time.Duration
	// MasterKey, when set, is told of the public key that the master at an address shows in its replies to _auth, in PEM,
	// valid during the call: once for each link, and when it changes. It is called on an event loop and must not wait long.
	MasterKey func(address string, pem []byte)
	// Name and Version are what a trace says of this broker.
	Name, Version string
	// Log gets lines about the links and about peers.
	Log logrus.FieldLogger
}

// Proxy is the request channel of a broker.
type Proxy struct {
	options Options
	group   *reactor.Group
	door    *admission.Door
	lanes   []*lane       // by loop
	ended   chan struct{} // the loops have ended
	drains  atomic.Int64  // DrainTimeout

	mu      sync.Mutex
	members []*member     // those that are left as well, as long as they are used
	tend    func(*member) // keeps its links connected; nil: Run has not begun, or ends
	former  former        // of members that were left
}

// Stats is a snapshot of what a proxy has done since it started.
type Stats struct {
	Open          bool   // the port takes connections
	Minions       int    // connections now, handshakes included
	Requests      uint64 // from minions
	RequestBytes  uint64
	SentBytes     uint64 // of requests, to the master; QueueTime counts the messages
	Replies       uint64 // from the master
	ReplyBytes    uint64
	Answers       uint64 // of them: given to a minion
	AnswerBytes   uint64
	Waiting       int              // requests here now, for a place at a master
	InFlight      int              // requests at the master now
	TooLarge      uint64           // requests that were refused, of a peer that has many: see size.go
	Forgotten     uint64           // requests whose minion left, or asked anew, while they waited here or at a broker above: the master does not get them
	Unwanted      uint64           // replies for a minion that has left
	Unroutable    uint64           // replies without a routing frame of this broker
	Late          uint64           // replies after the deadline, passed on all the same
	Overdue       uint64           // places at the master given up at the deadline
	Moved         uint64           // requests that waited for a peer and were given to another one instead
	LostWithLink  uint64           // requests at the master when their link ended: not answered, not sent again
	TracesIgnored uint64           // TRACE beyond what a lane answers in a second
	Accepted      uint64           // connections that came, those that were refused included
	MinionBeats   heartbeat.Counts // heartbeats with minions
	MasterBeats   heartbeat.Counts // and with the master
	Ends          map[string]uint64
	Links         []master.State // of all masters
	Peers         []PeerStats    // the masters; those that are left and still have requests to answer, too
	Loops         []reactor.LoopStats

	// QueueTime is how long requests that were given to the master had waited here. MasterTime is how long their replies
	// took from there; those that came after the deadline are not in it.
	QueueTime, MasterTime latency.Histogram
}

// New opens the port for minions and fails when somebody has it. The proxy works when Run is called.
func New(o Options) (*Proxy, error) {
	o.Loops = max(1, min(o.Loops, o.MaxInFlight))
	g, err := reactor.New(reactor.Options{Loops: o.Loops, MaxKept: maxKept})
	if err != nil {
		return nil, fmt.Errorf("request port: %w", err)
	}
	p := &Proxy{options: o, group: g, ended: make(chan struct{})}
	p.drains.Store(int64(o.DrainTimeout))
	for _, loop := range g.Loops() {
		p.lanes = append(p.lanes, newLane(p, loop))
	}
	for _, peer := range o.peers() {
		p.members = append(p.members, newMember(p, peer, o))
	}
	for _, l := range p.lanes {
		l.begin(p.members)
	}
	door := o.door()
	door.As, door.Broker, door.Peers = zmtp.ROUTER, true, []zmtp.SocketType{zmtp.REQ, zmtp.DEALER, zmtp.ROUTER}
	door.Accept = func(c *reactor.Conn) reactor.Handler { return newMinion(p.lanes[c.Loop().Index()], c) }
	p.door, err = admission.Open(context.Background(), g, door)
	if err != nil {
		g.Close()
		p.closeAccounts()
		return nil, fmt.Errorf("request port: %w", err)
	}
	for _, l := range p.lanes {
		l.minionWatch = p.door.Watch(l.loop)
	}
	return p, nil
}

// door is what the door gets of o.
func (o Options) door() admission.Options {
	return admission.Options{
		Listen: o.Listen, Backlog: o.Backlog, KeepAlive: o.KeepAlive, HandshakeTimeout: o.HandshakeTimeout,
		HeartbeatInterval: o.HeartbeatInterval, HeartbeatTimeout: o.HeartbeatTimeout,
		MaxConnections: o.MaxConnections, MaxPerAddress: o.MaxPerAddress, Allow: o.Allow, Deny: o.Deny, Log: o.Log,
	}
}

// keep keeps a link as o says.
func (o Options) keep(ctx context.Context, name string, link func(ctx context.Context) error) error {
	if o.Keep == nil {
		return link(ctx)
	}
	return o.Keep(ctx, name, link)
}

// Addr returns the address that minions connect to.
func (p *Proxy) Addr() netip.AddrPort { return p.door.Addr() }

// Run forwards requests and replies until ctx ends. Then it accepts and reads nothing more, waits for the replies to
// requests under way for DrainTimeout at most, and returns nil. It runs once.
func (p *Proxy) Run(ctx context.Context) error {
	// The loops and links outlive ctx by the time that draining takes.
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	tasks, alive := errgroup.WithContext(alive)
	tasks.Go(func() error {
		defer close(p.ended)
		defer p.closeAccounts()
		return p.group.Run(alive)
	})
	p.tendMembers(alive, tasks)
	if p.options.CloseOnMasterLoss {
		tasks.Go(func() error {
			attending, leave := context.WithCancel(ctx) // not while draining
			defer leave()
			defer context.AfterFunc(alive, leave)()
			return p.door.Attend(attending, admission.Absence{After: p.options.MasterLossAfter, Master: p.master, Minion: isMinion})
		})
	}
	tasks.Go(func() error {
		select {
		case <-alive.Done():
		case <-ctx.Done():
			p.drain()
			end()
		}
		return nil
	})
	err := tasks.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// closeAccounts takes what the loops had buffered out of the budget.
func (p *Proxy) closeAccounts() {
	for _, l := range p.lanes {
		l.account.Close()
	}
}

// drain returns when no minion waits for a reply any more, or the time is up.
func (p *Proxy) drain() {
	p.door.Close()
	timeout := time.NewTimer(time.Duration(p.drains.Load()))
	defer timeout.Stop()
	var drained []<-chan struct{} // all lanes drain at once
	for _, l := range p.lanes {
		done := make(chan struct{})
		if l.loop.Post(func() { l.drain(done) }) {
			drained = append(drained, done)
		}
	}
	for _, done := range drained {
		select {
		case <-done:
		case <-timeout.C:
			return
		case <-p.ended:
			return
		}
	}
}

// master says whether a master is there for any lane's requests, and since when one is or none is.
func (p *Proxy) master() (there bool, since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.members {
		for _, w := range m.ways {
			s := w.ordinary.road.State()
			if s.Connected {
				return true, s.Since
			}
			if s.Since.After(since) {
				since = s.Since
			}
		}
	}
	return false, since
}

func isMinion(h reactor.Handler) bool {
	_, ok := h.(*minion)
	return ok
}

// Stats returns what the proxy has done so far. It is safe from any goroutine.
func (p *Proxy) Stats() Stats {
	s := Stats{
		Open: p.door.Open(), Accepted: p.door.Accepted(), MinionBeats: p.door.Heartbeats(), Ends: p.door.Counts(), Loops: p.group.Stats(),
	}
	for _, l := range p.lanes {
		s.Minions += int(l.minions.Load())
		s.Requests += l.requests.Load()
		s.RequestBytes += l.requestBytes.Load()
		s.SentBytes += l.sentBytes.Load()
		s.ReplyBytes += l.replyBytes.Load()
		s.Answers += l.answers.Load()
		s.AnswerBytes += l.answerBytes.Load()
		s.TooLarge += l.tooLarge.Load()
		s.Forgotten += l.forgotten.Load()
		s.Unwanted += l.unwanted.Load()
		s.Unroutable += l.unroutable.Load()
		s.Late += l.late.Load()
		s.Overdue += l.counters.overdue.Load()
		s.LostWithLink += l.lostWithLink.Load()
		s.TracesIgnored += l.tracesIgnored.Load()
		s.MasterBeats = s.MasterBeats.Plus(l.masterWatch.Counts())
		s.QueueTime = s.QueueTime.Plus(l.queueTime.Histogram())
		s.MasterTime = s.MasterTime.Plus(l.masterTime.Histogram())
		s.Moved += l.moved.Load()
	}
	p.addMembers(&s)
	return s
}

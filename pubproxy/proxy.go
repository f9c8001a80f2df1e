package pubproxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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

// maxTopicBytes is the longest prefix that a minion may subscribe to. Salt's have 40 bytes (sha1hex of a minion's id).
const maxTopicBytes = 4096

// All prefixes of a minion together may have usualTopicBytes for each that max_subscriptions allows, and topicRoom
// more: a hundred thousand of the longest would take half a gigabyte.
const (
	usualTopicBytes = 64
	topicRoom       = 64 << 10
)

// Options of a publish proxy. There are no defaults here: package config has them.
type Options struct {
	// Listen is the address for minions, host:port (Salt: interface, publish_port).
	Listen string
	// Backlog is how many connections may wait to be accepted (Salt: zmq_backlog).
	Backlog int
	// KeepAlive is how silent minions are probed (Salt: tcp_keepalive*).
	KeepAlive reactor.KeepAlive
	// HandshakeTimeout is how long a minion may take to say READY.
	HandshakeTimeout time.Duration
	// MaxConnections is how many connections from minions there may be, and MaxPerAddress how many from one address; 0:
	// any number.
	MaxConnections, MaxPerAddress int
	// Allow and Deny are who may connect and who may not. Deny wins; an empty Allow is everybody.
	Allow, Deny []netip.Prefix
	// HeartbeatInterval and HeartbeatTimeout are when a silent peer on either side is sent a PING, and how long after
	// that it is given up (Salt: zmq_heartbeat_ivl, zmq_heartbeat_timeout). Interval 0: never.
	HeartbeatInterval, HeartbeatTimeout time.Duration
	// Master is where and how to reach the master. SocketType is set here.
	Master master.Options
	// Paths are the addresses of the master's publish port where it has several, each with a link of its own; empty:
	// the one in Master. Publishes are taken over all of them at once, and each goes out once, in the master's order.
	Paths []string
	// Masters are the peers of a master cluster, in order, instead of Master and Paths: at least one. One of them
	// serves, the first in order that is well, and as long as it is. The next one is kept warm. See Proxy.SetHealthy.
	Masters []Peer
	// MoveAfter is how long a peer that has no link is waited for: the first one at the start; one that has lost its
	// links, where the warm one is not healthy; and the warm one, until another is dialed. 0: DefaultMoveAfter.
	MoveAfter time.Duration
	// WarmOverlap is for how long before the last publish of the peer that serves the publishes of the warm one follow
	// when that fails: more than the one may be behind the other. 0: DefaultWarmOverlap.
	WarmOverlap time.Duration
	// WarmKeep is how long a publish of the warm peer is kept at most. It should be more than it takes to see that a
	// master publishes nothing any more. 0: DefaultWarmKeep.
	WarmKeep time.Duration
	// WarmBytes is how much of what the warm peer publishes is kept. 0: DefaultWarmBytes.
	WarmBytes int64
	// Hold is how long a publish of a path that has returned may wait for what a slower path still carries.
	Hold time.Duration
	// Keep runs what keeps a link to the master connected until ctx ends, and again when it fails, so that minions
	// notice nothing of it. name is for the log. Its error ends the proxy. nil: it is run once, and its error ends the
	// proxy.
	Keep func(ctx context.Context, name string, link func(ctx context.Context) error) error
	// Loops is the number of event loops.
	Loops int
	// HWM is how many messages that match it a minion may lag behind before it loses the oldest (Salt: pub_hwm).
	HWM int
	// LogBytes is how much of the publishes is kept for minions that lag, all together.
	LogBytes int64
	// MaxLost is how many publishes a minion may lose before it is cut off; 0: any number.
	MaxLost int
	// MaxMessage is the largest message from the master, in bytes.
	MaxMessage int64
	// MaxSubscriptions is how many prefixes a minion may subscribe to. A broker has one for each minion behind it.
	MaxSubscriptions int
	// Buffers bounds what all connections together have in memory beside the log, with those of whatever shares it;
	// nil: nothing does.
	Buffers *buffers.Budget
	// CloseOnMasterLoss shuts the port and sends the minions away when there has been no link for MasterLossAfter,
	// until there is one again (on_master_loss, on_master_loss_after).
	CloseOnMasterLoss bool
	MasterLossAfter   time.Duration
	// Log gets lines about the link and about peers.
	Log logrus.FieldLogger
}

// Proxy is the publish channel of a broker.
type Proxy struct {
	options  Options
	group    *reactor.Group
	door     *admission.Door
	feeds    *feeds
	log      *publishLog
	fanouts  []*fanout // by loop
	upstream *upstream
	ended    chan struct{} // the loops have ended
}

// Stats is a snapshot of what a proxy has done since it started.
type Stats struct {
	Open          bool             // the port takes connections
	Minions       int              // connections now, handshakes included
	Behind        int              // of them lag now
	Lag           int              // messages that the last of them lags behind, as of the last look, at most a second ago
	LagBytes      int              // in them: what the log has to keep for it
	Subscriptions int              // prefixes that the master has been asked for
	Publishes     uint64           // whole messages from the master
	PublishBytes  uint64           // in them
	Deliveries    uint64           // messages that were handed to the kernel for a minion
	DeliveryBytes uint64           // that were, for a part of a message too
	Lost          uint64           // messages that minions lost because they lagged too far
	LostToLog     uint64           // of them: not since they lagged by more than pub_hwm, but since pub_log_size was used up
	Accepted      uint64           // connections that came, those that were refused included
	MinionBeats   heartbeat.Counts // heartbeats with minions
	MasterBeats   heartbeat.Counts // and with the master
	Ends          map[string]uint64
	Master        master.State // of a road that is connected, if one is, to the peer that serves first; dials are those of all
	Roads         []RoadStats  // to the peer that serves, and to the warm one
	Peers         []PeerStats  // the masters in order; then one that serves and is not among Options.Masters any more
	Warm          WarmCounts   // publishes of warm peers
	Switches      uint64       // how often another peer began to serve
	Loops         []reactor.LoopStats

	// FanOut is how long it took from a publish's arrival until it was written to all minions of a loop that did not
	// lag: each publish counts once for each loop that has minions.
	FanOut latency.Histogram
}

// New opens the port for minions and fails when somebody has it. The proxy works when Run is called.
func New(o Options) (*Proxy, error) {
	g, err := reactor.New(reactor.Options{Loops: o.Loops, MaxKept: maxKept})
	if err != nil {
		return nil, fmt.Errorf("publish port: %w", err)
	}
	p := &Proxy{options: o, group: g, log: newPublishLog(o.LogBytes), ended: make(chan struct{})}
	p.upstream = newUpstream(p, g.Loops()[0])
	p.feeds = newFeeds(p.upstream, o)
	for _, l := range g.Loops() {
		p.fanouts = append(p.fanouts, newFanout(p, l))
	}
	door := o.door()
	door.As, door.Peers = zmtp.PUB, []zmtp.SocketType{zmtp.SUB, zmtp.XSUB}
	door.Accept = func(c *reactor.Conn) reactor.Handler { return newMinion(p.fanouts[c.Loop().Index()], c) }
	p.door, err = admission.Open(context.Background(), g, door)
	if err != nil {
		g.Close()
		p.closeAccounts()
		return nil, fmt.Errorf("publish port: %w", err)
	}
	for _, f := range p.fanouts {
		f.watch = p.door.Watch(f.loop)
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

// Run forwards publishes until ctx ends, and returns nil then. It runs once.
func (p *Proxy) Run(ctx context.Context) error {
	tasks, ctx := errgroup.WithContext(ctx)
	p.upstream.ending = ctx.Done()
	tasks.Go(func() error {
		defer close(p.ended)
		defer p.closeAccounts()
		return p.group.Run(ctx)
	})
	tasks.Go(func() error { return p.feeds.run(ctx, p.options.keep) })
	if p.options.CloseOnMasterLoss {
		tasks.Go(func() error {
			return p.door.Attend(ctx, admission.Absence{After: p.options.MasterLossAfter, Master: p.master, Minion: isMinion})
		})
	}
	err := tasks.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// closeAccounts takes what the loops had buffered out of the budget.
func (p *Proxy) closeAccounts() {
	for _, f := range p.fanouts {
		f.account.Close()
	}
}

// master says whether the master is there: minions would get its publishes.
func (p *Proxy) master() (there bool, since time.Time) {
	s, _ := p.feeds.links()
	return s.Connected, s.Since
}

func isMinion(h reactor.Handler) bool {
	_, ok := h.(*minion)
	return ok
}

// Stats returns what the proxy has done so far. It is safe from any goroutine.
func (p *Proxy) Stats() Stats {
	s := Stats{
		Open:          p.door.Open(),
		Subscriptions: int(p.upstream.topics.Load()),
		Publishes:     p.upstream.messages.Load(),
		PublishBytes:  p.upstream.bytes.Load(),
		Accepted:      p.door.Accepted(),
		MinionBeats:   p.door.Heartbeats(),
		MasterBeats:   p.upstream.watch.Counts(),
		Ends:          p.door.Counts(),
		Peers:         p.upstream.peers(),
		Warm:          p.upstream.warmCounts.load(),
		Switches:      p.upstream.switches.Load(),
		Loops:         p.group.Stats(),
	}
	s.Master, s.Roads = p.feeds.links()
	for _, f := range p.fanouts {
		s.Minions += int(f.minions.Load())
		s.Behind += int(f.lagging.Load())
		s.Lag = max(s.Lag, int(f.lag.Load()))
		s.LagBytes = max(s.LagBytes, int(f.lagBytes.Load()))
		s.Deliveries += f.deliveries.Load()
		s.DeliveryBytes += f.deliveryBytes.Load()
		s.LostToLog += f.lostToLog.Load()
		s.Lost += f.lost.Load()
		s.FanOut = s.FanOut.Plus(f.spent.Histogram())
	}
	return s
}

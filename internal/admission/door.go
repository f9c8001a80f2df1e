// Package admission is the door that minions come in by, the same on both ports: it opens the port, greets whoever
// connects, gives them a time to finish the handshake, and knows for every connection that ended why it did, as a counter
// for each reason and as a line in the log that carries the peer's address.
//
// What a greeting, READY and socket types are: RFC 37/ZMTP 3.1 and package zmtp.
package admission

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/internal/heartbeat"
	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// Options of a door.
type Options struct {
	// Listen is the address to listen on, host:port; port 0 lets the kernel choose.
	Listen string
	// Backlog is how many connections may wait to be accepted (Salt: zmq_backlog); 0 is the system's.
	Backlog int
	// KeepAlive is how silent peers are probed (Salt: tcp_keepalive*).
	KeepAlive reactor.KeepAlive
	// HandshakeTimeout is how long a peer has from connecting to the end of its READY.
	HandshakeTimeout time.Duration
	// HeartbeatInterval and HeartbeatTimeout are when silent minions are asked whether they live, and when they are given
	// up (Salt: zmq_heartbeat_ivl, zmq_heartbeat_timeout). Their handlers must be heartbeat.Peers. 0: never.
	HeartbeatInterval, HeartbeatTimeout time.Duration
	// MaxConnections is how many connections may be in at a time, on all loops together; 0: as many as descriptors allow.
	MaxConnections int
	// MaxPerAddress is how many of them may come from one address; 0: any number, and nobody counts them.
	MaxPerAddress int
	// Allow and Deny are who may connect and who may not, IPv4 networks as such and not within ::ffff:0:0/96. Deny wins;
	// an empty Allow is everybody.
	Allow, Deny []netip.Prefix
	// As is the socket type that minions find here.
	As zmtp.SocketType
	// Broker says that those who stand behind us may send what brokers say to each other (zmtp.CommandForget).
	Broker bool
	// Peers are the socket types that minions may have.
	Peers []zmtp.SocketType
	// Accept returns the handler of a connection that has just been greeted. It is called on the connection's loop.
	Accept func(c *reactor.Conn) reactor.Handler
	// Log gets lines about peers.
	Log logrus.FieldLogger
}

// Door admits connections to the loops of one group. Its methods belong to the loop of the connection at hand; Counts,
// Accepted, Open, Heartbeats, Apply and Close are safe from anywhere.
type Door struct {
	options    Options
	group      *reactor.Group
	listen     reactor.ListenOptions // with the port that the kernel chose
	addr       netip.AddrPort
	hello      []byte              // greeting and READY: nobody waits for the other side's
	handshakes []*reactor.Activity // by loop
	watches    []*heartbeat.Watch  // by loop
	ends       map[string]*end     // immutable
	limits     []*limits           // by loop, all the same but while Apply changes them
	journal    *journal
	accepted   atomic.Uint64

	mu       sync.Mutex
	listener *reactor.Listener // nil: the port is shut
	closed   bool              // for good
}

// Open opens the port and begins to accept when the group runs.
func Open(ctx context.Context, g *reactor.Group, o Options) (*Door, error) {
	d := &Door{
		options: o,
		group:   g,
		hello:   greetingOf(o),
		ends:    newEnds(),
		journal: newJournal(o.Log),
	}
	rules := newLimits(o)
	for _, l := range g.Loops() {
		d.limits = append(d.limits, rules)
		d.handshakes = append(d.handshakes, l.NewActivity(o.HandshakeTimeout, d.expired))
		d.watches = append(d.watches, heartbeat.New(l, o.HeartbeatInterval, o.HeartbeatTimeout))
	}
	d.listen = reactor.ListenOptions{
		Address: o.Listen, Backlog: o.Backlog, KeepAlive: o.KeepAlive, Accept: d.accept, Paused: d.paused,
	}
	listener, err := g.Listen(ctx, d.listen)
	if err != nil {
		return nil, err
	}
	d.listener, d.addr = listener, listener.Addr()
	host, _, _ := net.SplitHostPort(o.Listen) // it was good enough to listen on
	d.listen.Address = net.JoinHostPort(host, strconv.Itoa(int(d.addr.Port())))
	return d, nil
}

// greetingOf is what everybody is greeted with.
func greetingOf(o Options) []byte {
	greeting := zmtp.AppendGreeting(nil)
	if o.Broker {
		return zmtp.AppendBrokerReady(greeting, o.As)
	}
	return zmtp.AppendReady(greeting, o.As)
}

// Addr is the address that the door listens on.
func (d *Door) Addr() netip.AddrPort { return d.addr }

// Close stops accepting. Connections that are in stay.
func (d *Door) Close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.shut()
}

// Open says whether the port takes connections.
func (d *Door) Open() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.listener != nil
}

// Accepted returns how many connections have come, those that were refused included.
func (d *Door) Accepted() uint64 { return d.accepted.Load() }

// Heartbeats returns what minions were asked, and what they have asked and answered.
func (d *Door) Heartbeats() (all heartbeat.Counts) {
	for _, w := range d.watches {
		all = all.Plus(w.Counts())
	}
	return all
}

func (d *Door) accept(c *reactor.Conn) reactor.Handler {
	d.accepted.Add(1)
	if refusal := d.limits[c.Loop().Index()].enter(c.RemoteAddr().Addr()); refusal != nil {
		d.told(c, refusal)
		return nil
	}
	h := d.options.Accept(c)
	d.handshakes[c.Loop().Index()].Add(c)
	if c.TryWrite(d.hello) < len(d.hello) {
		c.Close(syscall.ECONNRESET) // an empty send buffer takes a hundred bytes: the peer has gone already
	}
	return h
}

// Watch returns what looks after the admitted connections of a loop: handlers tell it of life.
func (d *Door) Watch(l *reactor.Loop) *heartbeat.Watch { return d.watches[l.Index()] }

// Admit checks the READY of a peer that speaks v and, when it may stay, ends its time limit. The error is the reason to
// close.
func (d *Door) Admit(c *reactor.Conn, v zmtp.Version, r zmtp.Ready) error {
	for _, t := range d.options.Peers {
		if t == r.SocketType {
			d.handshakes[c.Loop().Index()].Remove(c)
			if v.AtLeast(3, 1) { // others do not know PING; TCP keepalive has to do
				d.Watch(c.Loop()).Add(c)
			}
			return nil
		}
	}
	return &zmtp.Fault{
		Reason: zmtp.ReasonSocketType,
		Detail: fmt.Sprintf("a %s socket cannot talk to this port, which takes %v", r.SocketType, d.options.Peers),
	}
}

func (d *Door) expired(c *reactor.Conn) { c.Close(errHandshake) }

func (d *Door) paused(_ *reactor.Loop, err error) { d.journal.paused(err) }

package master

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/internal/zmtp"
)

// Options say how a [Link] reaches its master. Address and SocketType must be set.
type Options struct {
	// Address is "host:port" of one port of the master; an IPv6 address stands in brackets. A name is resolved again
	// at each attempt.
	Address string
	// SourceAddress is the local IP address to connect from; empty leaves the choice to the kernel. Addresses of the
	// master of the other family are then not tried. Salt: source_address.
	SourceAddress string
	// SocketType is what the link is to the master: SUB towards the publish port, DEALER towards the request port.
	SocketType zmtp.SocketType
	// DialTimeout bounds the resolving of the name and, on its own, the TCP connect to each address. 0: 5 s.
	DialTimeout time.Duration
	// HandshakeTimeout bounds the time from the TCP connection to the master's READY. 0: 5 s.
	HandshakeTimeout time.Duration
	// Backoff paces the attempts.
	Backoff Backoff
	// KeepAlive is the TCP keepalive of the link. With Enable false there is none; of the other fields a negative one
	// leaves the system's value. Salt: tcp_keepalive, tcp_keepalive_idle, _intvl, _cnt.
	KeepAlive net.KeepAliveConfig
	// Log gets one warning when the master becomes unreachable and one line when it is back; the attempts in between
	// are debug. nil: nothing is logged.
	Log logrus.FieldLogger
	// Changed, when set, is called when there is a connection and when there is none any more, by the goroutine of Run: it
	// must not wait. A connection that is left for another master counts too; an attempt that fails does not.
	Changed func(connected bool)
	// Herald is who tells the links of this process when one of them has got through. nil: none hears of the others.
	Herald *Herald
	// Resolver turns the host of Address into addresses. nil: [net.DefaultResolver].
	Resolver Resolver
}

// Resolver is what a [Link] needs of a [net.Resolver].
type Resolver interface {
	// LookupNetIP returns the addresses of host, best first. The network is always "ip".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

const (
	defaultDialTimeout      = 5 * time.Second
	defaultHandshakeTimeout = 5 * time.Second
)

// State is a snapshot of a [Link].
type State struct {
	// Connected says that the master is connected now and has shaken hands.
	Connected bool
	// Master is Options.Address.
	Master string
	// Address is where the master answers; the zero value while it is not connected.
	Address netip.AddrPort
	// Version is what the master speaks on this connection; the zero value while it is not connected.
	Version zmtp.Version
	// Broker is the level of the salt-broker that the master is on this connection ([zmtp.Ready]); 0: it is none, or not
	// connected.
	Broker int
	// Since is when Connected became what it is: the moment of the handshake, or of the loss. Before the first
	// attempt it is when the link was made.
	Since time.Time
	// LastError is why the last attempt failed or the last connection ended; nil when there was no failure yet. It
	// stays when the master is back.
	LastError error
	// Attempts counts the rounds of resolving and dialing since the link was made, whatever became of them.
	Attempts uint64
	// Connections counts those that ended in a handshake.
	Connections uint64
}

// Link keeps one connection to one port of a master: as long as [Link.Run] runs, it is connected or tries to be.
type Link struct {
	// Owned by Run.
	opts        Options
	attempts    uint64
	connections uint64
	report      reporter
	heard       hearing

	// What Apply has left for Run.
	mu      sync.Mutex
	wanted  Options            // the newest
	fresh   bool               // Run does not have them yet
	leave   context.CancelFunc // ends the attempt or the connection; nil: there is none
	changed chan struct{}      // has room for one: the pause is over

	// Written by Run, read by anyone.
	state   atomic.Pointer[State]
	running atomic.Bool
}

// NewLink makes a link that does nothing until [Link.Run] is called.
func NewLink(o Options) *Link {
	o = o.withDefaults()
	l := &Link{wanted: o, changed: make(chan struct{}, 1)}
	l.become(o)
	l.state.Store(&State{Master: o.Address, Since: time.Now()})
	return l
}

func (o Options) withDefaults() Options {
	if o.DialTimeout <= 0 {
		o.DialTimeout = defaultDialTimeout
	}
	if o.HandshakeTimeout <= 0 {
		o.HandshakeTimeout = defaultHandshakeTimeout
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	o.Backoff = o.Backoff.withDefaults()
	if o.Log == nil {
		silent := logrus.New()
		silent.SetOutput(nowhere{})
		o.Log = silent
	}
	return o
}

// State returns what the link does now. Any goroutine may ask.
func (l *Link) State() State { return *l.state.Load() }

// Run connects to the master again and again until ctx ends, and then returns nil. Any other return is an error in the
// options that no attempt can mend: an address that is none.
//
// Each live connection is given to serve: the handshake is done, what the master sent after its READY has not been
// touched, no deadline is set, and v is what the master's greeting says. nc is a bare *net.TCPConn, so an event loop can
// take over its descriptor. serve owns nc and returns when the connection is dead, with the reason; its ctx
// ends with that of Run, and when Apply has named another master: serve must return then. Run closes nc (once more, if serve has done so), waits for its back-off and dials again. serve is never called
// while a call of it is running.
//
// Run may be called again after it has returned, but not twice at a time.
func (l *Link) Run(ctx context.Context, serve func(ctx context.Context, nc net.Conn, v zmtp.Version) error) error {
	if !l.running.CompareAndSwap(false, true) {
		return errors.New("master link: Run is running already")
	}
	defer l.running.Store(false)
	defer l.disconnected(nil) // also when serve panics

	wait := l.opts.Backoff.start()
	for ctx.Err() == nil {
		life, leave := context.WithCancel(ctx)
		if l.renew(leave) {
			wait = l.opts.Backoff.start()
		}
		target, err := parseTarget(l.opts.Address, l.opts.SourceAddress)
		if err != nil {
			leave()
			return err
		}
		began := time.Now()
		lived, err := l.once(life, target, serve)
		if lived > 0 {
			began = time.Now() // what was before the connection ended is of no account
		}
		moved := life.Err() != nil
		leave()
		if ctx.Err() != nil {
			break // the error is our own doing
		}
		if moved {
			l.disconnected(nil)
			continue
		}
		l.disconnected(err)
		if lived > 0 && l.renew(leave) { // they came while the connection was good: the pause is theirs
			wait = l.opts.Backoff.start()
		}
		if lived >= l.opts.Backoff.Max {
			wait = l.opts.Backoff.start()
		}
		pause := wait.next()
		l.report.failed(time.Now(), err, lived, pause)
		if l.sleep(ctx, pause, began) { // its other port opens a moment later
			wait = l.opts.Backoff.start()
		}
	}
	return nil
}

// once makes one attempt and, if it succeeds, serves the connection to its end. lived is how long that was: zero when
// there was no connection. The error is never nil.
func (l *Link) once(ctx context.Context, t target, serve func(context.Context, net.Conn, zmtp.Version) error) (lived time.Duration, err error) {
	l.attempts++
	nc, p, err := l.opts.connect(ctx, t)
	if err != nil {
		return 0, err
	}
	defer func() { _ = nc.Close() }()

	born := time.Now()
	addr := addrPort(nc.RemoteAddr())
	l.connections++
	l.connected(born, addr, p)
	l.report.connected(born, addr, p.version, l.attempts)
	l.opts.Herald.news(born)

	err = serve(ctx, nc, p.version)
	if err == nil {
		err = errors.New("the connection ended")
	}
	return max(time.Since(born), 1), fmt.Errorf("connection to %s: %w", addr, err)
}

func (l *Link) connected(now time.Time, addr netip.AddrPort, p remote) {
	l.state.Store(&State{
		Connected: true, Master: l.opts.Address, Address: addr, Version: p.version, Broker: p.broker, Since: now,
		LastError: l.state.Load().LastError, Attempts: l.attempts, Connections: l.connections,
	})
	l.changedTo(true)
}

// disconnected notes that there is no connection, and why. nil leaves the last reason: the link was told to stop.
func (l *Link) disconnected(why error) {
	before := l.state.Load()
	now := State{
		Master: l.opts.Address, Since: before.Since, LastError: why,
		Attempts: l.attempts, Connections: l.connections,
	}
	if before.Connected {
		now.Since = time.Now()
	}
	if why == nil {
		now.LastError = before.LastError
	}
	l.state.Store(&now)
	if before.Connected {
		l.changedTo(false)
	}
}

func (l *Link) changedTo(connected bool) {
	if l.opts.Changed != nil {
		l.opts.Changed(connected)
	}
}

// target is where to dial to and from, taken apart.
type target struct {
	host   string
	port   uint16
	source netip.Addr // the zero value: any
}

func parseTarget(address, source string) (target, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return target{}, fmt.Errorf("master %q: not host:port: %w", address, err)
	}
	if host == "" {
		return target{}, fmt.Errorf("master %q: no host before the port", address)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return target{}, fmt.Errorf("master %q: the port must be a number from 1 to 65535", address)
	}
	t := target{host: host, port: uint16(number)}
	if source != "" {
		if t.source, err = netip.ParseAddr(source); err != nil {
			return target{}, fmt.Errorf("source_address %q: not an IP address: %w", source, err)
		}
		t.source = t.source.Unmap()
	}
	return t, nil
}

// addrPort is a TCP address with an IPv4 address as such, also where the kernel says ::ffff:192.0.2.1.
func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

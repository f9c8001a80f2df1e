package master

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"salt-broker/internal/zmtp"
)

// Dial is one attempt, as a [Link] makes it again and again: resolve, dial, shake hands. Backoff, Log and Changed are of no
// use to it. The connection is the caller's: both sides have said READY, what the peer sent after that has not been
// touched, and no deadline is set. v is what the peer's greeting says.
func Dial(ctx context.Context, o Options) (nc *net.TCPConn, v zmtp.Version, err error) {
	o = o.withDefaults()
	t, err := parseTarget(o.Address, o.SourceAddress)
	if err != nil {
		return nil, v, err
	}
	nc, p, err := o.connect(ctx, t)
	return nc, p.version, err
}

// connect is one attempt: resolve, then dial and shake hands with each address in turn until one answers as a master.
// An address that accepts the connection but is no master does not hide the next one.
func (o *Options) connect(ctx context.Context, t target) (*net.TCPConn, remote, error) {
	addrs, err := o.resolve(ctx, t)
	if err != nil {
		return nil, remote{}, err
	}
	var failed attemptError
	for _, addr := range addrs {
		nc, p, err := o.connectTo(ctx, addr, t.source)
		if err == nil {
			return nc, p, nil
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, remote{}, failed
}

// connectTo dials one address and shakes hands. Its errors name the address.
func (o *Options) connectTo(ctx context.Context, addr netip.AddrPort, source netip.Addr) (*net.TCPConn, remote, error) {
	nc, err := o.dial(ctx, addr, source)
	if err != nil {
		return nil, remote{}, err
	}
	p, err := shakeHands(ctx, nc, o.SocketType, o.HandshakeTimeout)
	if err != nil {
		_ = nc.Close()
		return nil, remote{}, fmt.Errorf("handshake with %s: %w", addr, err)
	}
	return nc, p, nil
}

// resolve returns the addresses to try, best first, each once. With a source address only those of its family are left.
func (o *Options) resolve(ctx context.Context, t target) ([]netip.AddrPort, error) {
	found := []netip.Addr{}
	if ip, err := netip.ParseAddr(t.host); err == nil {
		found = append(found, ip)
	} else {
		ctx, cancel := context.WithTimeout(ctx, o.DialTimeout)
		defer cancel()
		if found, err = o.Resolver.LookupNetIP(ctx, "ip", t.host); err != nil {
			return nil, fmt.Errorf("resolve %q: %w", t.host, err)
		}
	}

	var addrs []netip.AddrPort
	seen := make(map[netip.Addr]bool, len(found))
	for _, ip := range found {
		ip = ip.Unmap()
		if seen[ip] || t.source.IsValid() && t.source.Is4() != ip.Is4() {
			continue
		}
		seen[ip] = true
		addrs = append(addrs, netip.AddrPortFrom(ip, t.port))
	}
	switch {
	case len(found) == 0:
		return nil, fmt.Errorf("resolve %q: the name has no address", t.host)
	case len(addrs) == 0:
		return nil, fmt.Errorf("resolve %q: none of its addresses (%v) can be reached from source_address %s, which is of the other family", t.host, found, t.source)
	}
	return addrs, nil
}

// dial makes the TCP connection to one address, from source if that is valid.
func (o *Options) dial(ctx context.Context, addr netip.AddrPort, source netip.Addr) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: o.DialTimeout, KeepAliveConfig: o.KeepAlive}
	if !o.KeepAlive.Enable {
		d.KeepAlive = -1 // or the dialer would have its own idea of it
	}
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	nc, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, err
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		_ = nc.Close()
		return nil, fmt.Errorf("dialed a %T, not a TCP connection", nc)
	}
	return tcp, nil
}

// attemptError is why each address of an attempt failed: in one line, for the log.
type attemptError []error

func (e attemptError) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (e attemptError) Unwrap() []error { return e }

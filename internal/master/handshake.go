package master

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"

	"salt-broker/internal/zmtp"
)

// past is a deadline that ends any call on a connection at once.
var past = time.Unix(1, 0)

// errStopped is why a handshake ends that was under way when the link was told to stop.
var errStopped = errors.New("the link is stopping")

// shakeHands makes nc a ZMTP connection within limit: afterwards both sides have sent READY, the next byte that arrives
// is the first of the traffic, and nc has no deadline. The caller closes nc after an error.
func shakeHands(ctx context.Context, nc net.Conn, own zmtp.SocketType, limit time.Duration) (remote, error) {
	if err := nc.SetDeadline(time.Now().Add(limit)); err != nil {
		return remote{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(past) })
	g := &guard{Conn: nc, own: own, limit: limit}
	err := open(g, own)
	if !stop() && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return remote{}, errStopped
	}
	switch {
	case err == nil && ctx.Err() != nil:
		return remote{}, ctx.Err()
	case g.err != nil:
		// What the library makes of it says less.
		return remote{}, g.err
	case err != nil:
		return remote{}, err
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return remote{}, err
	}
	return remote{g.version, g.broker}, nil
}

// remote is what the handshake says of the other side.
type remote struct {
	version zmtp.Version // in its greeting
	broker  int          // zmtp.Ready.Broker
}

// open runs the library's side of the handshake. Nothing that the guard lets through is known to make it panic; if
// something does, it costs this connection and no more.
func open(g *guard, own zmtp.SocketType) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("zmq4 panicked: %v", r)
		}
	}()
	// The *zmq4.Conn is of no use beyond the handshake: it starts no goroutine and reads nothing ahead.
	_, err = zmq4.Open(g, null.Security(), zmq4.SocketType(own.String()), nil, false, nil)
	return err
}

// compatible says whether two sockets may talk to each other (RFC 23, table of valid socket combinations).
func compatible(peer, own zmtp.SocketType) bool {
	return zmq4.SocketType(peer.String()).IsCompatible(zmq4.SocketType(own.String()))
}

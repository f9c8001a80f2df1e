package retproxy

import (
	"encoding/binary"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// A request to the master begins with one frame more than the minion sent, and so does its reply: the routing frame.
// The master's ROUTER and REP sockets keep it as a part of the envelope (RFC 28) and return it as it was.
//
//	1 byte   flags: more frames follow
//	1 byte   length of the body, 16
//	8 bytes  the minion's connection on its loop: slot and generation (reactor.Ref)
//	8 bytes  the place that the request holds at the master: index and generation (ticket)
//
// What a minion says of its identity in READY has no part in it.
const (
	routeBody = 16
	routeSize = 2 + routeBody
)

// route is what a routing frame says.
type route struct {
	minion reactor.Ref
	ticket ticket
}

// frame returns the routing frame.
func (r route) frame() (b [routeSize]byte) {
	b[0], b[1] = zmtp.FlagMore, routeBody
	binary.BigEndian.PutUint64(b[2:], uint64(r.minion))
	binary.BigEndian.PutUint64(b[10:], uint64(r.ticket))
	return b
}

// parseRoute reads the body of a routing frame, and says whether it can be one.
func parseRoute(body []byte) (route, bool) {
	if len(body) != routeBody {
		return route{}, false
	}
	return route{
		minion: reactor.Ref(binary.BigEndian.Uint64(body)),
		ticket: ticket(binary.BigEndian.Uint64(body[8:])),
	}, true
}

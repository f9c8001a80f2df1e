package zmtp

import "strconv"

// SocketType is what kind of ZeroMQ socket a peer is (RFC 23, The Socket-Type Property). The zero value is none.
type SocketType uint8

// The socket types of RFC 23. Those that RFC 37 adds are drafts in libzmq and nothing that Salt knows.
const (
	PAIR SocketType = iota + 1
	PUB
	SUB
	REQ
	REP
	DEALER
	ROUTER
	PULL
	PUSH
	XPUB
	XSUB
)

var socketTypes = [...]string{
	PAIR: "PAIR", PUB: "PUB", SUB: "SUB", REQ: "REQ", REP: "REP", DEALER: "DEALER",
	ROUTER: "ROUTER", PULL: "PULL", PUSH: "PUSH", XPUB: "XPUB", XSUB: "XSUB",
}

// String returns the type as READY spells it.
func (t SocketType) String() string {
	if t == 0 || int(t) >= len(socketTypes) {
		return "SocketType(" + strconv.Itoa(int(t)) + ")"
	}
	return socketTypes[t]
}

// ParseSocketType reads the spelling of READY, which is upper case.
func ParseSocketType(name []byte) (t SocketType, ok bool) {
	for i, s := range socketTypes {
		if i > 0 && string(name) == s {
			return SocketType(i), true
		}
	}
	return 0, false
}

// hasIdentity says whether a socket of this type names an identity in its READY. RFC 23 leaves it to the sender; libzmq
// does so for these three, even when it is empty.
func (t SocketType) hasIdentity() bool {
	return t == REQ || t == DEALER || t == ROUTER
}

package zmtp

import (
	"bytes"
	"strconv"
)

// GreetingSize is how many bytes each side sends before its first frame (RFC 23, Formal Grammar):
//
//	greeting  = signature version mechanism as-server filler
//	signature = %xFF 8OCTET %x7F      bytes 0-9
//	version   = major minor           bytes 10, 11
//	mechanism = 20mechanism-char      bytes 12-31, padded with zeros
//	as-server = %x00 | %x01           byte 32
//	filler    = 31%x00                bytes 33-63
const GreetingSize = 64

// Where the fields of a greeting are.
const (
	signatureEnd  = 9
	majorAt       = 10
	minorAt       = 11
	mechanismAt   = 12
	asServerAt    = 32
	mechanismSize = asServerAt - mechanismAt
)

// Version is a version of ZMTP.
type Version struct{ Major, Minor uint8 }

// ours is the version that we greet with.
var ours = Version{3, 1}

// String returns the version as the RFCs write it: "3.1".
func (v Version) String() string {
	return strconv.Itoa(int(v.Major)) + "." + strconv.Itoa(int(v.Minor))
}

// AtLeast says whether v is this version or a later one.
func (v Version) AtLeast(major, minor uint8) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// null is the only mechanism that is spoken here.
var null = [mechanismSize]byte{'N', 'U', 'L', 'L'}

// Greeting is what a peer says about itself first.
type Greeting struct {
	// Version is what the connection speaks: the lower one of the peer's and ours, so 3.0 or 3.1.
	Version Version
	// Mechanism is the security mechanism, padded with zeros.
	Mechanism [20]byte
	// AsServer has a meaning in other mechanisms than NULL.
	AsServer bool
}

// MechanismName returns the mechanism without its padding.
func (g Greeting) MechanismName() string {
	return string(bytes.TrimRight(g.Mechanism[:], "\x00"))
}

// AppendGreeting appends our greeting, of [GreetingSize] bytes: ZMTP 3.1, NULL, not a server.
func AppendGreeting(dst []byte) []byte {
	dst = append(dst, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, ours.Major, ours.Minor)
	dst = append(dst, null[:]...)
	return append(dst, make([]byte, GreetingSize-asServerAt)...)
}

// ParseGreeting looks at the first bytes that came from a peer: p may hold less than a greeting, and more.
//
// It returns done with the greeting once p holds all of it, and neither done nor an error as long as p can still become
// a greeting that is acceptable here. It returns a [*Fault] as soon as p cannot, because those who speak something else
// wait for an answer that never comes: with the first byte for HTTP, TLS or SSH, with the eleventh for ZMTP 2.0.
//
// The padding in the signature, the filler, and as-server (which NULL has no use for) are not looked at: RFC 23, Version
// Negotiation, forbids it for the first, and a later version may use the others. Salt's minions put a length into the
// padding, for the sake of ZMTP 1.0.
func ParseGreeting(p []byte) (g Greeting, done bool, err error) {
	if len(p) == 0 {
		return g, false, nil
	}
	if p[0] != 0xff {
		return g, false, foreign(p)
	}
	if len(p) > signatureEnd && p[signatureEnd] != 0x7f {
		// RFC 23, Detecting ZMTP 1.0 and 2.0 Peers: there it is the flags of the peer's identity, whose length was long.
		if p[signatureEnd]&1 == 0 {
			return g, false, faultf(ReasonVersion, "the peer speaks ZMTP 1.0, of libzmq 2; 3.0 is the least")
		}
		return g, false, faultf(ReasonNotZMTP, "the tenth byte is 0x%02x; that of a greeting is 0x7f", p[signatureEnd])
	}
	if len(p) > majorAt {
		switch p[majorAt] {
		case 0:
			return g, false, faultf(ReasonVersion, "the peer greets with version 0; 3.0 is the least")
		case 1, 2:
			return g, false, faultf(ReasonVersion, "the peer speaks ZMTP 2.0, of libzmq 3; 3.0 is the least")
		}
	}
	if len(p) > mechanismAt {
		field := p[mechanismAt:min(len(p), asServerAt)]
		if !bytes.HasPrefix(null[:], field) {
			return g, false, mechanismFault(field)
		}
	}
	if len(p) < GreetingSize {
		return g, false, nil
	}

	g = Greeting{
		Version:   Version{p[majorAt], p[minorAt]},
		Mechanism: [mechanismSize]byte(p[mechanismAt:asServerAt]),
		AsServer:  p[asServerAt] == 1,
	}
	// RFC 23, Version Negotiation: higher versions are valid, and it is for them to speak ours.
	if g.Version.AtLeast(ours.Major, ours.Minor) {
		g.Version = ours
	}
	return g, true, nil
}

// foreign tells from the first bytes what else a peer may be speaking. What it gets is a guess at who has been pointed
// at the wrong port.
func foreign(p []byte) *Fault {
	switch {
	case len(p) >= 3 && p[0] == 0x16 && p[1] == 0x03: // RFC 8446, 5.1: handshake, legacy version 3.x
		return faultf(ReasonNotZMTP, "the peer speaks TLS")
	case bytes.HasPrefix(p, []byte("SSH-")): // RFC 4253, 4.2
		return faultf(ReasonNotZMTP, "the peer speaks SSH")
	case isHTTP(p):
		return faultf(ReasonNotZMTP, "the peer speaks HTTP")
	case bytes.HasPrefix(p, []byte("PROXY ")), bytes.HasPrefix(p, []byte("\r\n\r\n\x00\r\nQUIT\n")):
		return faultf(ReasonNotZMTP, "the peer sends the PROXY protocol: turn it off in the load balancer")
	case bytes.HasPrefix(p, []byte("\x82\xa4head")): // a msgpack map of head and body
		return faultf(ReasonNotZMTP, "the peer speaks Salt's TCP transport; it needs transport: zeromq")
	case len(p) >= 2 && p[0] != 0 && p[1] == 0:
		// RFC 23, Detecting ZMTP 1.0 and 2.0 Peers: the length of an identity and its flags.
		return faultf(ReasonVersion, "the peer speaks ZMTP 1.0, of libzmq 2; 3.0 is the least")
	}
	const enough = 16
	if len(p) > enough {
		p = p[:enough]
	}
	return faultf(ReasonNotZMTP, "the peer begins with %q; a greeting begins with 0xff", p)
}

// isHTTP says whether p begins as a request or a response of HTTP/1 or HTTP/2.
func isHTTP(p []byte) bool {
	for _, start := range []string{
		"GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", "PATCH ", "PRI * HTTP", "HTTP/",
	} {
		if bytes.HasPrefix(p, []byte(start)) {
			return true
		}
	}
	return false
}

// mechanismFault names a mechanism that is not ours, or as much of it as has come.
func mechanismFault(field []byte) *Fault {
	name, _, whole := bytes.Cut(field, []byte{0})
	switch {
	case len(name) == 0:
		return faultf(ReasonMechanism, "the peer names none; only NULL is spoken here")
	case whole && string(name) == "NULL":
		return faultf(ReasonMechanism, "NULL is not padded with zeros: %q", field)
	case whole || len(field) == mechanismSize:
		return faultf(ReasonMechanism, "the peer wants %q; only NULL is spoken here", name)
	default:
		return faultf(ReasonMechanism, "the peer wants one that begins with %q; only NULL is spoken here", name)
	}
}

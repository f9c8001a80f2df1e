package zmtp

import (
	"bytes"
	"encoding/binary"
)

// The names of commands (RFC 23, Commands, and RFC 37, which adds the last four).
const (
	CommandReady     = "READY"
	CommandError     = "ERROR"
	CommandSubscribe = "SUBSCRIBE"
	CommandCancel    = "CANCEL"
	CommandPing      = "PING"
	CommandPong      = "PONG"
)

// MaxContext is how many bytes a PING may ask back (RFC 37, Connection Heartbeating).
const MaxContext = 16

// Sizes in commands, in bytes.
const (
	ttlSize        = 2   // of a PING
	maxIdentity    = 255 // RFC 23, The Identity Property
	maxErrorReason = 255 // has one byte of length
	valueSizeBytes = 4   // before the value of a property
)

// The properties of READY that are read here (RFC 23, Connection Metadata).
const (
	propertySocketType = "Socket-Type"
	propertyIdentity   = "Identity"
)

// ParseCommand splits the body of a command frame. Name and data alias body.
//
//	command-body = OCTET 1*255ALPHA *OCTET
//
// What the name means, or whether it is known at all, is for the caller. A body that does not have this form is a
// [*Fault].
func ParseCommand(body []byte) (name, data []byte, err error) {
	if len(body) == 0 {
		return nil, nil, faultf(ReasonCommand, "a command without a body")
	}
	size := int(body[0])
	if size == 0 {
		return nil, nil, faultf(ReasonCommand, "a command without a name")
	}
	if size > len(body)-1 {
		return nil, nil, faultf(ReasonCommand, "a name of %d bytes in a command of %d", size, len(body))
	}
	name, data = body[1:1+size], body[1+size:]
	for _, c := range name {
		if !isAlpha(c) {
			return nil, nil, faultf(ReasonCommand, "%q is no name for a command", clip(name))
		}
	}
	return name, data, nil
}

// appendCommand appends the header and the name of a command whose data of size bytes is to follow.
func appendCommand(dst []byte, name string, size int) []byte {
	dst = AppendHeader(dst, FlagCommand, 1+len(name)+size)
	dst = append(dst, byte(len(name)))
	return append(dst, name...)
}

// Ready is the peer's side of the NULL handshake.
type Ready struct {
	// SocketType is what the peer is.
	SocketType SocketType
	// Identity is what the peer wants to be called, up to 255 bytes; nil when it says nothing. It aliases the input of
	// ParseReady. Two peers may claim the same, so nothing should be routed by it.
	Identity []byte
	// Broker is the level of a salt-broker, which tells what commands it understands; 0: the peer is none. The last one
	// counts if there are several.
	Broker int
}

// AppendReady appends our READY, a whole frame. Like libzmq's it has an empty Identity for REQ, DEALER and ROUTER.
func AppendReady(dst []byte, t SocketType) []byte {
	name := t.String()
	size := propertySize(propertySocketType, name)
	if t.hasIdentity() {
		size += propertySize(propertyIdentity, "")
	}
	dst = appendCommand(dst, CommandReady, size)
	dst = appendProperty(dst, propertySocketType, name)
	if t.hasIdentity() {
		dst = appendProperty(dst, propertyIdentity, "")
	}
	return dst
}

func propertySize(name, value string) int {
	return 1 + len(name) + valueSizeBytes + len(value)
}

func appendProperty(dst []byte, name, value string) []byte {
	dst = append(dst, byte(len(name)))
	dst = append(dst, name...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(value)))
	return append(dst, value...)
}

// ParseReady reads the data of a READY (RFC 23, The NULL Security Mechanism):
//
//	metadata  = *property
//	property  = name value
//	name      = OCTET 1*255name-char      in any case
//	name-char = ALPHA | DIGIT | "-" | "_" | "." | "+"
//	value     = 4OCTET *OCTET             up to 2^31-1 bytes
//
// Socket-Type must be there. It and Identity may come once; properties that are not known here are passed over. Anything
// else is a [*Fault].
func ParseReady(data []byte) (r Ready, err error) {
	for len(data) > 0 {
		var name, value []byte
		name, value, data, err = cutProperty(data)
		switch {
		case err != nil:
			return Ready{}, err
		case bytes.EqualFold(name, []byte(propertySocketType)):
			if r.SocketType != 0 {
				return Ready{}, faultf(ReasonReady, "two properties %s", propertySocketType)
			}
			t, ok := ParseSocketType(value)
			if !ok {
				return Ready{}, faultf(ReasonSocketType, "the peer is a %q, which is unknown here", clip(value))
			}
			r.SocketType = t
		case bytes.EqualFold(name, []byte(propertyIdentity)):
			if r.Identity != nil {
				return Ready{}, faultf(ReasonReady, "two properties %s", propertyIdentity)
			}
			if len(value) > maxIdentity {
				return Ready{}, faultf(ReasonReady, "an identity of %d bytes; the limit is %d", len(value), maxIdentity)
			}
			r.Identity = value
		case bytes.EqualFold(name, []byte(propertyBroker)):
			r.Broker = brokerLevel(value)
		}
	}
	if r.SocketType == 0 {
		return Ready{}, faultf(ReasonReady, "it has no %s", propertySocketType)
	}
	return r, nil
}

// cutProperty takes the first property off data. All results alias data; none is nil without an error.
func cutProperty(data []byte) (name, value, rest []byte, err error) {
	n := int(data[0])
	if n == 0 {
		return nil, nil, nil, faultf(ReasonReady, "a property without a name")
	}
	rest = data[1:]
	if len(rest) < n+valueSizeBytes {
		return nil, nil, nil, faultf(ReasonReady, "it ends within a property")
	}
	name, rest = rest[:n], rest[n:]
	for _, c := range name {
		if !isPropertyChar(c) {
			return nil, nil, nil, faultf(ReasonReady, "%q is no name for a property", clip(name))
		}
	}
	size := binary.BigEndian.Uint32(rest)
	rest = rest[valueSizeBytes:]
	if uint64(size) > uint64(len(rest)) {
		return nil, nil, nil, faultf(ReasonReady, "property %s says %d bytes, %d are left", clip(name), size, len(rest))
	}
	return name, rest[:size], rest[size:], nil
}

// AppendPing appends a PING, a whole frame. The TTL is in tenths of a second; 0 asks nothing of the peer, which is the
// better choice: libzmq cuts connections over TTLs of 66 s and more. What the context has beyond [MaxContext] bytes is
// left out.
func AppendPing(dst []byte, ttl uint16, context []byte) []byte {
	context = context[:min(len(context), MaxContext)]
	dst = appendCommand(dst, CommandPing, ttlSize+len(context))
	dst = binary.BigEndian.AppendUint16(dst, ttl)
	return append(dst, context...)
}

// ParsePing reads the data of a PING. The TTL is in tenths of a second, after which the peer wants the connection closed
// if it sends nothing more; 0 is none. The context has up to [MaxContext] bytes, which belong into the PONG; it aliases
// data.
func ParsePing(data []byte) (ttl uint16, context []byte, err error) {
	if len(data) < ttlSize {
		return 0, nil, faultf(ReasonCommand, "a PING without a TTL: %d bytes of data", len(data))
	}
	if len(data) > ttlSize+MaxContext {
		return 0, nil, faultf(ReasonCommand, "a PING with a context of %d bytes; the limit is %d", len(data)-ttlSize, MaxContext)
	}
	return binary.BigEndian.Uint16(data), data[ttlSize:], nil
}

// AppendPong appends a PONG, a whole frame, with the context of the PING that it answers. What the context has beyond
// [MaxContext] bytes is left out.
func AppendPong(dst, context []byte) []byte {
	context = context[:min(len(context), MaxContext)]
	dst = appendCommand(dst, CommandPong, len(context))
	return append(dst, context...)
}

// AppendError appends an ERROR, a whole frame: the last thing to say in a handshake to a peer that is refused. What the
// reason has beyond 255 bytes is left out.
func AppendError(dst []byte, reason string) []byte {
	reason = reason[:min(len(reason), maxErrorReason)]
	dst = appendCommand(dst, CommandError, 1+len(reason))
	dst = append(dst, byte(len(reason)))
	return append(dst, reason...)
}

// ParseError reads the data of an ERROR:
//
//	error-reason = OCTET 0*255VCHAR
//
// The reason is for the log and has no other meaning. It is whatever the peer wrote, not only VCHAR (libzmq does not
// check it either): quote it.
func ParseError(data []byte) (reason string, err error) {
	if len(data) == 0 {
		return "", faultf(ReasonCommand, "an ERROR without a reason")
	}
	if int(data[0]) != len(data)-1 {
		return "", faultf(ReasonCommand, "an ERROR with a reason of %d bytes, and %d are there", data[0], len(data)-1)
	}
	return string(data[1:]), nil
}

// AppendAnswer appends the PONG that answers a PING with this data: it carries the PING's context (RFC 37, Connection
// Heartbeating).
func AppendAnswer(dst, ping []byte) ([]byte, error) {
	_, context, err := ParsePing(ping)
	if err != nil {
		return nil, err
	}
	return AppendPong(dst, context), nil
}

// Complaint is what an ERROR with this data ends a connection with: always a fault, of the peer's making or ours.
func Complaint(data []byte) error {
	reason, err := ParseError(data)
	if err != nil {
		return err
	}
	return faultf(ReasonPeerError, "the peer says: %q", reason)
}

func isAlpha(c byte) bool {
	c |= 0x20
	return 'a' <= c && c <= 'z'
}

func isPropertyChar(c byte) bool {
	return isAlpha(c) || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.' || c == '+'
}

// clip bounds what a fault quotes of a peer.
func clip(p []byte) []byte {
	const enough = 32
	return p[:min(len(p), enough)]
}

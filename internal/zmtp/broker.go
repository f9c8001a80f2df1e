package zmtp

import (
	"bytes"
	"strconv"
)

// Commands between brokers, of which one stands behind the other: the lower one is a minion to the upper. RFC 23 has none
// of them. The upper says in its READY that it is a broker, and the lower sends none to who has not; the lower says so
// with the first of them, and the upper sends none before. docs/decisions/0018-what-brokers-say-to-each-other.rst has why.
const (
	// CommandBroker is the lower's first word: it understands what the upper may send. It has no data that matters.
	CommandBroker = "BROKER"
	// CommandForget names a request whose minion has given it up. Its data are the body of the request's first frame.
	CommandForget = "FORGET"
	// CommandForgot names, in the same way, a request that the upper is not to be waited for any more, behind a byte that
	// says why.
	CommandForgot = "FORGOT"

	// CommandTrace asks each broker on the way to the master who it is; anyone may send it to who is a broker. Its data
	// are how many brokers it may pass, in one byte, and behind that 8 bytes for each that it has passed, its own.
	CommandTrace = "TRACE"
	// CommandHop is the answer of one broker. Its data are how many brokers there are on the way back, in one byte, and
	// their 8 bytes each, of which each takes its own away; then who it is, up to the end.
	CommandHop = "HOP"
)

// BrokerLevel is what we understand of brokers. A higher one understands that, too.
const BrokerLevel = 1

// propertyBroker is the property of READY with the level of a broker in decimal digits. RFC 23 leaves names with X- to
// applications, and peers pass over those that they do not know.
const propertyBroker = "X-Salt-Broker"

// AppendBrokerReady appends the READY of a broker, a whole frame: that of [AppendReady], and the level.
func AppendBrokerReady(dst []byte, t SocketType) []byte {
	ready := AppendReady(nil, t)
	h, _, _ := ParseHeader(ready) // our own
	level := strconv.Itoa(BrokerLevel)
	dst = AppendHeader(dst, FlagCommand, int(h.Size)+propertySize(propertyBroker, level))
	return appendProperty(append(dst, ready[h.Len:]...), propertyBroker, level)
}

// AppendCommand appends any command, a whole frame.
func AppendCommand(dst []byte, name string, data []byte) []byte {
	return append(appendCommand(dst, name, len(data)), data...)
}

// brokerLevel reads the value of the property. What is no level is none: who says so is no broker of ours.
func brokerLevel(value []byte) int {
	const enough = 3 // digits
	if len(value) == 0 || len(value) > enough || bytes.ContainsFunc(value, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0
	}
	level, _ := strconv.Atoi(string(value))
	return level
}

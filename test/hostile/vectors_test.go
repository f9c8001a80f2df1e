package hostile

import (
	"bytes"
	"encoding/binary"
	"math"
	"net/netip"
	"strings"
	"testing"

	"salt-broker/internal/sim"
	"salt-broker/internal/zmtp"
)

// vector is what ends a connection at once.
type vector struct {
	name   string
	says   []byte
	reason string
	detail string // a piece of the line
}

// vectors has each said once on its port, and wants the line about it. There are no more of them for a port than the log
// takes at a time.
func vectors(t *testing.T, of func(s *siege) map[netip.AddrPort][]vector) {
	t.Helper()
	besiege(t, func(s *siege) {
		for to, table := range of(s) {
			for _, v := range table {
				address := s.ends(v.name, to, soon, v.says)
				s.named(v.reason, v.detail, address)
			}
		}
	})
}

// greeting is ours with other bytes from a place on.
func greeting(at int, bytes string) []byte {
	p := zmtp.AppendGreeting(nil)
	copy(p[at:], bytes)
	return p
}

// command is a whole frame, of any data.
func command(name, data string) []byte {
	body := append([]byte{byte(len(name))}, name+data...)
	return append(zmtp.AppendHeader(nil, zmtp.FlagCommand, len(body)), body...)
}

func property(name, value string) string {
	size := binary.BigEndian.AppendUint32(nil, uint32(len(value)))
	return string(byte(len(name))) + name + string(size) + value
}

// ready is a handshake with any READY.
func ready(properties ...string) []byte {
	return append(zmtp.AppendGreeting(nil), command(zmtp.CommandReady, strings.Join(properties, ""))...)
}

// after is a handshake and something more.
func after(as zmtp.SocketType, parts ...[]byte) []byte {
	return append(hello(as), bytes.Join(parts, nil)...)
}

func long(flags byte, size uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{flags | zmtp.FlagLong}, size)
}

func TestMalformedGreetings(t *testing.T) {
	table := []vector{
		{"ZMTP 1.0", []byte{1, 0}, "zmtp_version", "ZMTP 1.0"},
		{"ZMTP 2.0", greeting(10, "\x01\x02\x00\x00"), "zmtp_version", "ZMTP 2.0"},
		{"version 0", greeting(10, "\x00"), "zmtp_version", "version 0"},
		{"end of the signature", greeting(9, "\x7d"), "not_zmtp", "the tenth byte"},
		{"PLAIN", greeting(12, "PLAIN"), "mechanism", "PLAIN"},
		{"CURVE", greeting(12, "CURVE"), "mechanism", "CURVE"},
		{"no mechanism", greeting(12, "\x00\x00\x00\x00"), "mechanism", "names none"},
		{"rubbish behind NULL", greeting(12, "NULL\x00\x00x"), "mechanism", "not padded"},
		{"READY without a type", ready(), "bad_ready", "no Socket-Type"},
		{"two types", ready(property("Socket-Type", "REQ"), property("Socket-Type", "REQ")), "bad_ready", "two properties"},
		{"unknown type", ready(property("Socket-Type", "CLIENT")), "socket_type", "CLIENT"},
		{"property of 2^32-1 bytes", ready("\x01x\xff\xff\xff\xff"), "bad_ready", "says 4294967295 bytes"},
		{"property without a name", ready("\x00\x00\x00\x00\x00"), "bad_ready", "without a name"},
		{"half a property", ready("\x05ab"), "bad_ready", "ends within"},
		{"identity of 256 bytes", ready(property("Socket-Type", "REQ"), property("Identity", strings.Repeat("x", 256))), "bad_ready", "256 bytes"},
		{"a message for READY", append(zmtp.AppendGreeting(nil), request...), "bad_ready", "where READY is due"},
		{"PING for READY", append(zmtp.AppendGreeting(nil), zmtp.AppendPing(nil, 0, nil)...), "bad_ready", "PING where READY"},
		{"ERROR for READY", append(zmtp.AppendGreeting(nil), zmtp.AppendError(nil, "no \x1b[31m")...), "peer_error", "refuses"},
		{"a publisher", hello(zmtp.PUB), "socket_type", "PUB socket cannot talk"},
	}
	vectors(t, func(s *siege) map[netip.AddrPort][]vector {
		return map[netip.AddrPort][]vector{s.broker.publish: table, s.broker.request: table}
	})
}

func TestMalformedFrames(t *testing.T) {
	table := func(as zmtp.SocketType) []vector {
		return []vector{
			{"flags that do not exist", after(as, []byte{8, 0}), "bad_frame", ""},
			{"a command with more", after(as, []byte{5, 0}), "bad_frame", ""},
			{"a frame of 2^63", after(as, long(0, 1<<63)), "bad_frame", ""},
			{"a frame of 2^64-1", after(as, long(0, math.MaxUint64)), "bad_frame", ""},
			{"a frame of 2^63-1", after(as, long(0, math.MaxInt64)), "message_too_large", "of 9223372036854775807 bytes"},
			{"a command of 2^63-1", after(as, long(zmtp.FlagCommand, math.MaxInt64)), "command_too_large", "of 9223372036854775807 bytes"},
			{"a command of 2^64-1", after(as, long(zmtp.FlagCommand, math.MaxUint64)), "bad_frame", ""},
			{"an empty command", after(as, []byte{4, 0}), "bad_command", "without a body"},
			{"a command without a name", after(as, []byte{4, 1, 0}), "bad_command", "without a name"},
			{"a name too long", after(as, []byte{4, 2, 9, 'x'}), "bad_command", "a name of 9 bytes"},
			{"a name of bytes", after(as, command("PI\x00G", "")), "bad_command", "no name"},
			{"a PING without a TTL", after(as, command("PING", "")), "bad_command", "without a TTL"},
			{"a PING with too much", after(as, command("PING", strings.Repeat("x", 19))), "bad_command", "17 bytes"},
			{"an ERROR without a reason", after(as, command("ERROR", "")), "bad_command", "without a reason"},
			{"an ERROR that is too short", after(as, command("ERROR", "\xffno")), "bad_command", "255 bytes"},
			{"an ERROR", after(as, zmtp.AppendError(nil, "no")), "peer_error", "the peer says"},
			{"READY twice", after(as, hello(as)[zmtp.GreetingSize:]), "bad_ready", "a second one"},
		}
	}
	vectors(t, func(s *siege) map[netip.AddrPort][]vector {
		return map[netip.AddrPort][]vector{
			s.broker.publish: append(table(zmtp.SUB),
				vector{"a frame of 2^62 after another", after(zmtp.SUB, long(0, 1<<62)), "message_too_large", "of 4611686018427387904 bytes"}),
			s.broker.request: append(table(zmtp.DEALER),
				vector{"a frame of 2^62 after another", after(zmtp.REQ, []byte{1, 0}, long(0, 1<<62)), "message_too_large", "after 2 bytes"}),
		}
	})
}

// TestWhatIsNotForThisPort has messages that are well-formed and no business of a minion, publishes to others first of
// all: none of them gets a job that the master did not publish.
func TestWhatIsNotForThisPort(t *testing.T) {
	job := sim.AppendJob(nil, sim.Job{Master: 1, Order: 1 << 40, Serial: 1 << 40}, sim.DefaultJobBytes)
	frame := func(more bool, body string) []byte { return zmtp.AppendFrame(nil, more, []byte(body)) }
	vectors(t, func(s *siege) map[netip.AddrPort][]vector {
		return map[netip.AddrPort][]vector{
			s.broker.publish: {
				{"a job", after(zmtp.SUB, frame(false, string(job))), "bad_subscription", "begins with 0x"},
				{"a job from XSUB", after(zmtp.XSUB, frame(false, string(job))), "bad_subscription", "begins with 0x"},
				{"a job with a topic", after(zmtp.XSUB, frame(true, sim.Broadcast), frame(false, string(job))), "too_many_frames", "more than 1 frames"},
				{"an empty message", after(zmtp.SUB, frame(false, "")), "bad_subscription", "an empty message"},
				{"a subscription in two frames", after(zmtp.XSUB, frame(true, "\x01a"), frame(false, "b")), "too_many_frames", ""},
				{"neither 0 nor 1", after(zmtp.XSUB, frame(false, "\x02topic")), "bad_subscription", "begins with 0x02"},
				{"a topic too long", after(zmtp.SUB, zmtp.AppendSubscribe(nil, make([]byte, 4097))), "bad_subscription", "4097 bytes"},
				{"a request", after(zmtp.SUB, request), "too_many_frames", ""},
				{"a REQ", after(zmtp.REQ, request), "socket_type", "REQ"},
			},
			s.broker.request: {
				{"no delimiter", after(zmtp.REQ, frame(false, "x")), "no_delimiter", "of 1 frames"},
				{"identities alone", after(zmtp.DEALER, frame(true, "a"), frame(true, "b"), frame(false, "c")), "no_delimiter", "of 3 frames"},
				{"a delimiter alone", after(zmtp.REQ, frame(false, "")), "no_delimiter", ""},
				{"a large envelope", after(zmtp.REQ, frame(true, strings.Repeat("x", 5000)), request), "message_too_large", "an envelope of"},
				{"a job", after(zmtp.DEALER, frame(true, sim.Broadcast), frame(false, string(job))), "no_delimiter", ""},
				{"a reply", after(zmtp.REP, request), "socket_type", "REP"},
				{"a SUB", after(zmtp.SUB), "socket_type", "SUB"},
			},
		}
	})
}

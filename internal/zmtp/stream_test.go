package zmtp

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// roomy admits everything in these tests that is not about limits.
func roomy(b Buffers) *Limits {
	return &Limits{MaxMessage: 1 << 20, MaxFrames: 64, MaxCommand: 1 << 10, Buffers: b}
}

// feed plays the pieces to a new stream and returns what was told. Whatever happens, no memory stays behind.
func feed(t *testing.T, skip bool, pieces ...[]byte) (events []string, err error) {
	t.Helper()
	var s Stream
	if skip {
		s.SkipHandshake(Version{3, 1})
	}
	var lent lender
	lim := roomy(&lent)
	var sink notes
	for _, piece := range pieces {
		p := bytes.Clone(piece)
		err = s.Feed(p, lim, &sink)
		for i := range p {
			p[i] = 0xdb // nothing of it may be kept
		}
		if err != nil {
			break
		}
	}
	if err != nil && s.Buffered() != 0 {
		t.Fatalf("%d bytes are held after %v", s.Buffered(), err)
	}
	s.Release(lim)
	lent.settled(t)
	return sink.events, err
}

// conversations are what peers send from the first byte on, and what that is.
var conversations = []struct {
	name  string
	bytes []byte
	want  []string
}{
	{
		"RFC 23, worked example, and a message",
		wire(greeting30 + readyDealer + `00 05 "hello"`),
		[]string{`greeted 3.0`, `ready DEALER ""`, `message 000568656c6c6f`},
	},
	{
		"RFC 37, a minion's SUB",
		wire(greeting31 + `04 19 05 "READY" 0b "Socket-Type" 00000003 "SUB"` + `04 0a 09 "SUBSCRIBE"` + `04 07 04 "PING" 0000`),
		[]string{`greeted 3.1`, `ready SUB ""`, `command SUBSCRIBE `, `command PING 0000`},
	},
	{
		"RFC 28, a minion's REQ asks twice",
		wire(greeting31 + `04 26 05 "READY" 0b "Socket-Type" 00000003 "REQ" 08 "Identity" 00000000` + `01 00 00 02 "q1"` + `01 00 00 02 "q2"`),
		[]string{`greeted 3.1`, `ready REQ ""`, `message 010000027131`, `message 010000027132`},
	},
	{
		"commands between the frames, as libzmq sends them",
		wire(greeting31 + readyRouter +
			`01 02 "id"  04 07 04 "PING" 0000  01 00  04 06 04 "PONG" "c"  04 05 01 "x" 00 ff 00  00 03 "abc"` + `00 01 "z"`),
		[]string{
			`greeted 3.1`, `ready ROUTER ""`, `command PING 0000`, `command PONG 63`, `command x 00ff00`,
			`message 0102696401000003616263`, `message 00017a`,
		},
	},
	{
		"empty frames, and long ones that need not be",
		wire(greeting31 + readyRouter + `00 00  01 00 00 00  03 0000000000000000 02 0000000000000002 "ab"  06 0000000000000003 01 "y" 01`),
		[]string{
			`greeted 3.1`, `ready ROUTER ""`, `message 0000`, `message 01000000`,
			`message 0300000000000000000200000000000000026162`, `command y 01`,
		},
	},
}

func TestStream(t *testing.T) {
	for _, test := range conversations {
		t.Run(test.name, func(t *testing.T) {
			check := func(how string, pieces ...[]byte) {
				t.Helper()
				got, err := feed(t, false, pieces...)
				if err != nil || !slices.Equal(got, test.want) {
					t.Fatalf("%s: %v\n got %s\nwant %s", how, err, strings.Join(got, "\n     "), strings.Join(test.want, "\n     "))
				}
			}
			p := test.bytes
			check("whole", p)
			check("byte by byte", slices.Collect(slices.Chunk(p, 1))...)
			for i := range p {
				check(fmt.Sprintf("cut at %d", i), p[:i], p[i:])
				for j := i; j < len(p); j++ {
					check(fmt.Sprintf("cut at %d and %d", i, j), p[:i], p[i:j], p[j:])
				}
			}
		})
	}
}

// TestStreamAfterHandshake: what an adopted link sends, from its first frame on.
func TestStreamAfterHandshake(t *testing.T) {
	got, err := feed(t, true, wire(`00 01 "a"`))
	if err != nil || !slices.Equal(got, []string{"message 000161"}) {
		t.Fatalf("%q, %v", got, err)
	}
	var s Stream
	s.SkipHandshake(Version{3, 0})
	if s.Version() != (Version{3, 0}) {
		t.Fatalf("version %s", s.Version())
	}
}

func TestStreamKnowsTheVersion(t *testing.T) {
	var s Stream
	if s.Version() != (Version{}) {
		t.Fatalf("before the greeting: %s", s.Version())
	}
	if err := s.Feed(wire(greeting30), roomy(nil), new(notes)); err != nil || s.Version() != (Version{3, 0}) {
		t.Fatalf("%s, %v", s.Version(), err)
	}
}

// TestStreamRefuses: illegal order and broken bytes. What was right before is told all the same, and cutting the bytes
// changes neither that nor the reason.
func TestStreamRefuses(t *testing.T) {
	const (
		ready = `04 19 05 "READY" 0b "Socket-Type" 00000003 "SUB"`
		up    = greeting31 + ready
	)
	tests := []struct {
		name   string
		bytes  string
		told   int // events before
		reason Reason
		detail string
	}{
		{"HTTP", `"GET / HTTP/1.1" 0d0a0d0a`, 0, ReasonNotZMTP, ""},
		{"greeting twice", greeting31 + greeting31, 1, ReasonFrame, "reserved flags are set: 0xff"},
		{"CURVE", `ff 0000000000000000 7f 03 01 "CURVE" 0000`, 0, ReasonMechanism, ""},

		{"message before READY", greeting31 + `00 01 "a"`, 1, ReasonReady, "a message where READY is due"},
		{"subscription before READY", greeting31 + `00 01 01` + ready, 1, ReasonReady, "a message where READY is due"},
		{"SUBSCRIBE before READY", greeting31 + `04 0a 09 "SUBSCRIBE"` + ready, 1, ReasonReady, "command SUBSCRIBE where READY is due"},
		{"PING before READY", greeting31 + `04 07 04 "PING" 0000`, 1, ReasonReady, "command PING where"},
		{"HELLO of PLAIN", greeting31 + `04 08 05 "HELLO" 00 00`, 1, ReasonReady, "command HELLO where"},
		{"ready in lower case", greeting31 + `04 19 05 "ready" 0b "Socket-Type" 00000003 "SUB"`, 1, ReasonReady, "command ready where"},
		{"ERROR for READY", greeting31 + `04 0e 05 "ERROR" 07 "Invalid"`, 1, ReasonPeerError, `it refuses the connection: "Invalid"`},
		{"bad ERROR for READY", greeting31 + `04 0e 05 "ERROR" 17 "Invalid"`, 1, ReasonCommand, "a reason of 23 bytes"},
		{"READY of nothing", greeting31 + `04 06 05 "READY"`, 1, ReasonReady, "no Socket-Type"},
		{"READY of a stranger", greeting31 + `04 1b 05 "READY" 0b "Socket-Type" 00000005 "RADIO"`, 1, ReasonSocketType, `"RADIO"`},
		{"READY with MORE", greeting31 + `05 19 05 "READY" 0b "Socket-Type" 00000003 "SUB"`, 1, ReasonFrame, "more frames follow"},
		{"READY as a message", greeting31 + `00 19 05 "READY" 0b "Socket-Type" 00000003 "SUB"`, 1, ReasonReady, "a message where"},
		{"READY of 2^62 bytes", greeting31 + `06 4000000000000000 05 "READY"`, 1, ReasonCommandTooLarge, "4611686018427387904"},

		{"READY twice", up + ready, 2, ReasonReady, "a second one"},
		{"READY within a message", up + `01 01 "a"` + ready, 2, ReasonReady, "a second one"},
		{"READY after a message", up + `00 01 "a"` + ready, 3, ReasonReady, "a second one"},
		{"reserved flags", up + `00 01 "a"  08 00`, 3, ReasonFrame, "0x08"},
		{"reserved flags within a message", up + `01 01 "a"  80 00`, 2, ReasonFrame, "0x80"},
		{"command with MORE", up + `05 07 04 "PING" 0000`, 2, ReasonFrame, "more frames follow"},
		{"command with MORE within a message", up + `01 01 "a"  05 07 04 "PING" 0000`, 2, ReasonFrame, "more frames follow"},
		{"command without a body", up + `04 00`, 2, ReasonCommand, "without a body"},
		{"command without a name", up + `04 01 00`, 2, ReasonCommand, "without a name"},
		{"command with a wrong name", up + `01 01 "a"  04 04 03 "a b"`, 2, ReasonCommand, `"a b"`},
		{"size of 2^63", up + `02 8000000000000000`, 2, ReasonFrame, "2^63"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := wire(test.bytes)
			whole, err := feed(t, false, p)
			wantFault(t, err, test.reason, test.detail)
			if len(whole) != test.told {
				t.Fatalf("told of %q", whole)
			}
			check := func(how string, pieces ...[]byte) {
				t.Helper()
				got, err := feed(t, false, pieces...)
				if reasonOf(err) != test.reason || !slices.Equal(got, whole) {
					t.Fatalf("%s: %q, %v", how, got, err)
				}
			}
			check("byte by byte", slices.Collect(slices.Chunk(p, 1))...)
			for i := range p {
				check(fmt.Sprintf("cut at %d", i), p[:i], p[i:])
			}
		})
	}
}

// TestStreamErrorAfterHandshake: there ERROR is one command among others, and the sink's to judge.
func TestStreamErrorAfterHandshake(t *testing.T) {
	got, err := feed(t, true, wire(`04 07 05 "ERROR" 00`))
	if err != nil || !slices.Equal(got, []string{"command ERROR 00"}) {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestStreamLimits(t *testing.T) {
	lim := Limits{MaxMessage: 20, MaxFrames: 3, MaxCommand: 10}
	tests := []struct {
		name   string
		bytes  string
		told   int
		reason Reason
	}{
		{"message just fits", `00 12 "123456789012345678"`, 1, ""},
		{"message too large by one", `00 13`, 0, ReasonMessageTooLarge},
		{"long header counts", `02 000000000000000c`, 0, ReasonMessageTooLarge},
		{"frames just fit together", `01 06 "123456"  01 04 "1234"  00 04 "1234"`, 1, ""},
		{"frames too large together", `01 06 "123456"  01 04 "1234"  00 05`, 0, ReasonMessageTooLarge},
		{"no room for a header", `01 11 "12345678901234567"  00 00`, 0, ReasonMessageTooLarge},
		{"too many frames", `01 00  01 00  01 00  00 00`, 0, ReasonTooManyFrames},
		{"frames are counted for each message", `01 00  01 00  00 00  01 00  01 00  00 00`, 2, ""},
		{"commands do not count", `01 06 "123456"  04 0a 09 "SUBSCRIBE"  01 04 "1234"  04 0a 09 "SUBSCRIBE"  00 04 "1234"`, 3, ""},
		{"frames are counted across commands", `01 00  01 00  04 03 02 "xy"  01 00  04 03 02 "xy"  00 00`, 2, ReasonTooManyFrames},
		{"command too large", `04 0b`, 0, ReasonCommandTooLarge},
		{"command too large within a message", `01 00  06 000000000000000b`, 0, ReasonCommandTooLarge},
		{"2^62 bytes", `02 4000000000000000`, 0, ReasonMessageTooLarge},
		{"2^63-1 bytes", `00 01 "a"  03 7fffffffffffffff`, 1, ReasonMessageTooLarge},
		{"command of 2^63-1 bytes", `06 7fffffffffffffff`, 0, ReasonCommandTooLarge},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := wire(test.bytes)
			for i := range len(p) + 1 {
				var lent lender
				lim := lim
				lim.Buffers = &lent
				var sink notes
				s := Stream{phase: traffic}
				err := s.Feed(p[:i], &lim, &sink)
				if err == nil {
					err = s.Feed(p[i:], &lim, &sink)
				}
				wantFault(t, err, test.reason, "")
				if len(sink.events) != test.told {
					t.Fatalf("cut at %d: told of %q", i, sink.events)
				}
				if lent.largest > leastBuffer {
					t.Fatalf("cut at %d: a buffer of %d bytes", i, lent.largest)
				}
				s.Release(&lim)
				lent.settled(t)
			}
		})
	}
}

// TestStreamZeroLimits: a forgotten limit is found with the first message, not with the first attack.
func TestStreamZeroLimits(t *testing.T) {
	for p, reason := range map[string]Reason{
		`00 00`: ReasonTooManyFrames,
		`04 01`: ReasonCommandTooLarge,
	} {
		s := Stream{phase: traffic}
		wantFault(t, s.Feed(wire(p), new(Limits), new(notes)), reason, "")
	}
	s := Stream{phase: traffic}
	wantFault(t, s.Feed(wire(`04 01`), &Limits{MaxCommand: -1}, new(notes)), ReasonCommandTooLarge, "")
	s = Stream{phase: traffic}
	wantFault(t, s.Feed(wire(`00 00`), &Limits{MaxMessage: -1 << 63, MaxFrames: 1}, new(notes)), ReasonMessageTooLarge, "")
}

// TestStreamDeclaredLength: memory follows the bytes that came. A message of 2^62 bytes within the limits gets no further
// than its sender's bytes do.
func TestStreamDeclaredLength(t *testing.T) {
	var lent lender
	lim := &Limits{MaxMessage: math.MaxInt64, MaxFrames: 10, MaxCommand: math.MaxInt, Buffers: &lent}
	for _, header := range []string{
		`02 4000000000000000`, `03 4000000000000000`, `06 4000000000000000`, `01 00 02 7ffffffffffffff0`, `01 00 06 7fffffffffffffff`,
	} {
		s := Stream{phase: traffic}
		sent := 0
		for _, p := range append([][]byte{wire(header)}, slices.Repeat([][]byte{make([]byte, 1000)}, 100)...) {
			if err := s.Feed(p, lim, new(notes)); err != nil {
				t.Fatalf("%s: %v", header, err)
			}
			sent += len(p)
			if held := s.Buffered(); held < sent || held > max(leastBuffer, 2*sent) {
				t.Fatalf("%s: %d bytes are held of %d", header, held, sent)
			}
		}
		s.Release(lim)
	}
	lent.settled(t)
}

// TestStreamBuffered: one buffer while something is half read, none otherwise.
func TestStreamBuffered(t *testing.T) {
	for _, test := range conversations {
		var s Stream
		var lent lender
		lim := roomy(&lent)
		for i, p := range slices.Collect(slices.Chunk(test.bytes, 1)) {
			if err := s.Feed(p, lim, new(notes)); err != nil {
				t.Fatal(err)
			}
			held := 0
			for _, b := range lent.lent {
				held += cap(b)
			}
			if len(lent.lent) > 1 || held != s.Buffered() {
				t.Fatalf("%s, byte %d: %d buffers of %d bytes; Buffered says %d", test.name, i, len(lent.lent), held, s.Buffered())
			}
		}
		if s.Buffered() != 0 || s.held != nil {
			t.Fatalf("%s: %d bytes are held at the end", test.name, s.Buffered())
		}
		lent.settled(t)
	}
}

// TestStreamManyFrames takes a minute if anything is walked again for every frame or every read.
func TestStreamManyFrames(t *testing.T) {
	const frames = 1 << 18
	msg := append(bytes.Repeat([]byte{FlagMore, 0}, frames-1), 0, 0)
	for _, size := range []int{1, 3, 4096} {
		lim := &Limits{MaxMessage: int64(len(msg)), MaxFrames: frames}
		s := Stream{phase: traffic}
		var sink counter
		for p := range slices.Chunk(msg, size) {
			if err := s.Feed(p, lim, &sink); err != nil {
				t.Fatal(err)
			}
		}
		if sink.messages != 1 || sink.bytes != len(msg) {
			t.Fatalf("pieces of %d: %d messages, %d bytes", size, sink.messages, sink.bytes)
		}
	}
}

// counter is a Sink that costs nothing.
type counter struct{ handshakes, messages, commands, bytes int }

func (c *counter) Greeted(Version) error { return nil }

func (c *counter) Ready(Ready) error {
	c.handshakes++
	return nil
}

func (c *counter) Message(msg []byte) error {
	c.messages++
	c.bytes += len(msg)
	return nil
}

func (c *counter) Command(_, _ []byte) error {
	c.commands++
	return nil
}

func TestStreamTake(t *testing.T) {
	const (
		first  = `01 00  00 05 "first"`
		second = `01 00  00 06 "second"`
		third  = `01 00  04 07 04 "PING" 0000  00 05 "third"`
	)
	p := wire(first + second + third)
	cut := len(wire(first)) + 5
	var lent lender
	lim := roomy(&lent)
	s := Stream{phase: traffic}
	sink := notes{stream: &s}
	for _, piece := range [][]byte{p[:cut], p[cut:]} {
		if err := s.Feed(piece, lim, &sink); err != nil {
			t.Fatal(err)
		}
	}
	// The first one lay in the input. The second was cut by the read and the third by a command, so each has a buffer.
	if len(sink.events) != 4 || len(sink.taken) != 2 {
		t.Fatalf("told of %q, took %d", sink.events, len(sink.taken))
	}
	wantBytes(t, "second", sink.taken[0], wire(second))
	wantBytes(t, "third", sink.taken[1], wire(`01 00  00 05 "third"`))
	if b, rest := s.Take(); b != nil || rest != nil || s.Rest() != nil {
		t.Fatal("Take outside of Message returned something")
	}
	s.Release(lim)
	for _, b := range sink.taken {
		lim.put(b)
	}
	lent.settled(t)
}

// TestStreamTakeHalfRead: what is half read, or a command, is not for taking.
func TestStreamTakeHalfRead(t *testing.T) {
	s := Stream{phase: traffic}
	lim := roomy(nil)
	if err := s.Feed(wire(`01 01 "a" 04 07`), lim, new(notes)); err != nil {
		t.Fatal(err)
	}
	if b, _ := s.Take(); b != nil {
		t.Fatal("took half a message")
	}
	sink := taker{s: &s}
	if err := s.Feed(wire(`04 "PING" 0000`), lim, &sink); err != nil {
		t.Fatal(err)
	}
	if sink.commands != 1 || sink.got != nil {
		t.Fatalf("%d commands, took %x", sink.commands, sink.got)
	}
}

// taker asks for the buffer of a command, which it must not get.
type taker struct {
	counter
	s   *Stream
	got []byte
}

func (k *taker) Command(name, data []byte) error {
	k.got, _ = k.s.Take()
	return k.counter.Command(name, data)
}

// TestStreamSinkRefuses: the sink's error comes out as it is, from wherever, and nothing is told after it.
func TestStreamSinkRefuses(t *testing.T) {
	p := wire(greeting31 + readyDealer + `01 00  04 07 04 "PING" 0000  00 01 "a"  00 01 "b"`)
	all, err := feed(t, false, p)
	if err != nil {
		t.Fatal(err)
	}
	for n, event := range all {
		for i := range len(p) + 1 {
			var lent lender
			lim := roomy(&lent)
			sink := notes{refuse: event}
			var s Stream
			err := s.Feed(p[:i], lim, &sink)
			if err == nil {
				err = s.Feed(p[i:], lim, &sink)
			}
			if err != errRefused { //nolint:errorlint // as it is, not wrapped
				t.Fatalf("%s, cut at %d: %v", event, i, err)
			}
			if !slices.Equal(sink.events, all[:n+1]) {
				t.Fatalf("%s, cut at %d: told of %q", event, i, sink.events)
			}
			if err := s.Feed([]byte{0}, lim, &sink); err == nil || len(sink.events) != n+1 {
				t.Fatalf("%s, cut at %d: the stream goes on: %v, %q", event, i, err, sink.events)
			}
			lent.settled(t)
		}
	}
}

// TestStreamRelease: at any point of a conversation, once or twice, everything is given back.
func TestStreamRelease(t *testing.T) {
	p := conversations[3].bytes
	for i := range len(p) + 1 {
		var s Stream
		var lent lender
		lim := roomy(&lent)
		if err := s.Feed(p[:i], lim, new(notes)); err != nil {
			t.Fatal(err)
		}
		s.Release(lim)
		s.Release(lim)
		lent.settled(t)
		if s.Buffered() != 0 {
			t.Fatalf("after %d bytes: %d are held", i, s.Buffered())
		}
		if err := s.Feed([]byte{0xff}, lim, new(notes)); err == nil {
			t.Fatalf("after %d bytes: the stream goes on", i)
		}
	}
}

// TestStreamSize: there are tens of thousands of idle ones.
func TestStreamSize(t *testing.T) {
	if size := unsafe.Sizeof(Stream{}); size > 16 {
		t.Fatalf("an idle stream has %d bytes", size)
	}
}

package zmtp

import (
	"bytes"
	"strings"
	"testing"
)

// RFC 23, Worked Example: the client's READY.
const readyDealer = `
	04 29                             ; command, 41 bytes
	05 "READY"
	0b "Socket-Type" 00 00 00 06 "DEALER"
	08 "Identity"    00 00 00 00
`

// RFC 23, Worked Example: the server's READY. libzmq's ROUTER sends an Identity too.
const readyRouter = `
	04 1c                             ; command, 28 bytes
	05 "READY"
	0b "Socket-Type" 00 00 00 06 "ROUTER"
`

// data is the data of a command that is a whole frame.
func data(t *testing.T, frame []byte, name string) []byte {
	t.Helper()
	h, ok, err := ParseHeader(frame)
	if !ok || err != nil || !h.Command() || h.Len+int(h.Size) != len(frame) {
		t.Fatalf("%x is not one command frame: %+v, %t, %v", frame, h, ok, err)
	}
	got, data, err := ParseCommand(frame[h.Len:])
	if err != nil || string(got) != name {
		t.Fatalf("%x is the command %q, %v", frame, got, err)
	}
	return data
}

func TestAppendCommands(t *testing.T) {
	topic := bytes.Repeat([]byte("t"), 300)
	tests := []struct {
		name      string
		got, want []byte
	}{
		{"READY of DEALER", AppendReady(nil, DEALER), wire(readyDealer)},
		{"READY of ROUTER", AppendReady(nil, ROUTER), wire(`04 29 05 "READY" 0b "Socket-Type" 00000006 "ROUTER" 08 "Identity" 00000000`)},
		{"READY of REQ", AppendReady(nil, REQ), wire(`04 26 05 "READY" 0b "Socket-Type" 00000003 "REQ" 08 "Identity" 00000000`)},
		{"READY of SUB", AppendReady(nil, SUB), wire(`04 19 05 "READY" 0b "Socket-Type" 00000003 "SUB"`)},
		{"READY of XPUB", AppendReady(nil, XPUB), wire(`04 1a 05 "READY" 0b "Socket-Type" 00000004 "XPUB"`)},

		// RFC 37, Connection Heartbeating.
		{"PING", AppendPing(nil, 0, nil), wire(`04 07 04 "PING" 0000`)},
		{"PING with all", AppendPing(nil, 300, []byte("ctx")), wire(`04 0a 04 "PING" 012c "ctx"`)},
		{"PING with too much", AppendPing(nil, 1, topic), wire(`04 17 04 "PING" 0001 "tttttttttttttttt"`)},
		{"PONG", AppendPong(nil, nil), wire(`04 05 04 "PONG"`)},
		{"PONG with context", AppendPong(nil, []byte("ctx")), wire(`04 08 04 "PONG" "ctx"`)},
		{"PONG with too much", AppendPong(nil, topic), wire(`04 15 04 "PONG" "tttttttttttttttt"`)},

		// RFC 37, The Publish-Subscribe Pattern.
		{"SUBSCRIBE to all", AppendSubscribe(nil, nil), wire(`04 0a 09 "SUBSCRIBE"`)},
		{"SUBSCRIBE", AppendSubscribe(nil, []byte("A")), wire(`04 0b 09 "SUBSCRIBE" "A"`)},
		{"SUBSCRIBE, long", AppendSubscribe(nil, topic), append(wire(`06 0000000000000136 09 "SUBSCRIBE"`), topic...)},
		{"CANCEL", AppendCancel(nil, []byte("A")), wire(`04 08 06 "CANCEL" "A"`)},

		// RFC 23, The NULL Security Mechanism.
		{"ERROR", AppendError(nil, "Invalid"), wire(`04 0e 05 "ERROR" 07 "Invalid"`)},
		{"ERROR without words", AppendError(nil, ""), wire(`04 07 05 "ERROR" 00`)},
		{"ERROR with too much", AppendError(nil, string(topic)), append(wire(`06 0000000000000106 05 "ERROR" ff`), topic[:255]...)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { wantBytes(t, "frame", test.got, test.want) })
	}
}

func TestParseCommand(t *testing.T) {
	long := strings.Repeat("N", 255)
	tests := []struct {
		name   string
		body   []byte
		reason Reason
		want   string
		data   string
	}{
		{"PING", wire(`04 "PING" 0000`), "", "PING", "\x00\x00"},
		{"no data", wire(`04 "PONG"`), "", "PONG", ""},
		{"one letter", wire(`01 "x"`), "", "x", ""},
		{"longest name", append([]byte{255}, long+"data"...), "", long, "data"},
		{"nobody knows it", wire(`05 "LEAVE" "group"`), "", "LEAVE", "group"},
		{"nothing", nil, ReasonCommand, "without a body", ""},
		{"no name", wire(`00 "PING"`), ReasonCommand, "without a name", ""},
		{"name beyond the end", wire(`05 "PING"`), ReasonCommand, "a name of 5 bytes in a command of 5", ""},
		{"length alone", wire(`04`), ReasonCommand, "a name of 4 bytes in a command of 1", ""},
		{"digit", wire(`05 "PING2"`), ReasonCommand, `"PING2" is no name`, ""},
		{"zero", wire(`05 "PING" 00`), ReasonCommand, `"PING\x00" is no name`, ""},
		{"next to letters", wire(`01 "@"`), ReasonCommand, `"@" is no name`, ""},
		{"next to letters, lower", wire(`01 "{"`), ReasonCommand, `"{" is no name`, ""},
		{"high bit", wire(`01 c1`), ReasonCommand, `"\xc1" is no name`, ""},
		{"long rubbish is clipped", append([]byte{255}, strings.Repeat("-", 255)...), ReasonCommand, `"` + strings.Repeat("-", 32) + `" is`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			name, data, err := ParseCommand(test.body)
			if test.reason != "" {
				wantFault(t, err, test.reason, test.want)
				return
			}
			if err != nil || string(name) != test.want || string(data) != test.data {
				t.Fatalf("got %q, %q, %v", name, data, err)
			}
		})
	}
}

func TestParseReady(t *testing.T) {
	var (
		sub      = `0b "Socket-Type" 00000003 "SUB"`
		anyone   = `08 "Identity" 00000000`
		identity = strings.Repeat("i", 256)
	)
	tests := []struct {
		name     string
		data     []byte
		want     SocketType
		identity string // "none" is none
		reason   Reason
		detail   string
	}{
		{"RFC 23, DEALER", data(t, wire(readyDealer), "READY"), DEALER, "", "", ""},
		{"RFC 23, ROUTER", data(t, wire(readyRouter), "READY"), ROUTER, "none", "", ""},
		{"a minion's SUB", wire(sub), SUB, "none", "", ""},
		{"any case", wire(`0b "sOCKET-tYPE" 00000003 "REQ" 08 "IDENTITY" 00000002 "me"`), REQ, "me", "", ""},
		{"identity first", wire(`08 "Identity" 00000002 "me"` + sub), SUB, "me", "", ""},
		{"identity with zero byte first", wire(sub + `08 "Identity" 00000005 00 6b 8b 45 67`), SUB, "\x00\x6b\x8b\x45\x67", "", ""},
		{"longest identity", append(wire(sub+`08 "Identity" 000000ff`), identity[:255]...), SUB, identity[:255], "", ""},
		{"other properties", wire(`06 "X-Salt" 00000003 010203` + sub + `08 "Resource" 00000001 "/" 01 "+" 00000000`), SUB, "none", "", ""},
		{"the same unknown property twice", wire(`03 "X-a" 00000000 03 "X-a" 00000000` + sub), SUB, "none", "", ""},

		{"nothing", nil, 0, "", ReasonReady, "no Socket-Type"},
		{"identity alone", wire(anyone), 0, "", ReasonReady, "no Socket-Type"},
		{"two types", wire(sub + sub), 0, "", ReasonReady, "two properties Socket-Type"},
		{"two types, spelled otherwise", wire(sub + `0b "SOCKET-TYPE" 00000003 "PUB"`), 0, "", ReasonReady, "two properties Socket-Type"},
		{"two identities", wire(sub + anyone + anyone), 0, "", ReasonReady, "two properties Identity"},
		{"identity too long", append(wire(sub+`08 "Identity" 00000100`), identity...), 0, "", ReasonReady, "an identity of 256 bytes"},
		{"unknown type", wire(`0b "Socket-Type" 00000006 "CLIENT"`), 0, "", ReasonSocketType, `"CLIENT"`},
		{"lower case type", wire(`0b "Socket-Type" 00000003 "sub"`), 0, "", ReasonSocketType, `"sub"`},
		{"empty type", wire(`0b "Socket-Type" 00000000`), 0, "", ReasonSocketType, `""`},
		{"type with a zero", wire(`0b "Socket-Type" 00000004 "SUB" 00`), 0, "", ReasonSocketType, `"SUB\x00"`},
		{"property without name", wire(sub + `00 00000000`), 0, "", ReasonReady, "without a name"},
		{"name with a blank", wire(sub + `03 "X a" 00000000`), 0, "", ReasonReady, `"X a" is no name`},
		{"a zero at the end", wire(sub + `00`), 0, "", ReasonReady, "without a name"},
		{"value beyond the end", wire(`0b "Socket-Type" 00000004 "SUB"`), 0, "", ReasonReady, "says 4 bytes, 3 are left"},
		{"value of 2^31-1", wire(sub + `01 "X" 7fffffff`), 0, "", ReasonReady, "says 2147483647 bytes, 0 are left"},
		{"value of 2^32-1", wire(sub + `01 "X" ffffffff 00`), 0, "", ReasonReady, "says 4294967295 bytes, 1 are left"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := ParseReady(test.data)
			wantFault(t, err, test.reason, test.detail)
			if err != nil {
				return
			}
			if r.SocketType != test.want || string(r.Identity) != strings.TrimPrefix(test.identity, "none") || (r.Identity == nil) != (test.identity == "none") {
				t.Fatalf("got %s, %q", r.SocketType, r.Identity)
			}
		})
	}
}

// TestParseReadyCut: no beginning of a READY is a READY, except where a property ends.
func TestParseReadyCut(t *testing.T) {
	whole := data(t, wire(readyDealer), "READY")
	first := len(`.Socket-Type....DEALER`)
	for n := range whole {
		_, err := ParseReady(whole[:n])
		if n == first {
			if err != nil {
				t.Errorf("the first property alone: %v", err)
			}
			continue
		}
		wantFault(t, err, ReasonReady, "")
	}
}

func TestAppendReadyParses(t *testing.T) {
	for i := range socketTypes {
		if i == 0 {
			continue
		}
		own := SocketType(i)
		r, err := ParseReady(data(t, AppendReady(nil, own), "READY"))
		if err != nil || r.SocketType != own || len(r.Identity) > 0 || (r.Identity != nil) != own.hasIdentity() {
			t.Errorf("%s: %+v, %v", own, r, err)
		}
	}
}

func TestParsePing(t *testing.T) {
	tests := []struct {
		name    string
		data    []byte
		ttl     uint16
		context string
		reason  Reason
	}{
		{"no context", wire(`00 00`), 0, "", ""},
		{"TTL of 30 s", wire(`01 2c`), 300, "", ""},
		{"longest TTL", wire(`ff ff`), 65535, "", ""},
		{"context", wire(`00 00 "ctx"`), 0, "ctx", ""},
		{"longest context", wire(`00 00 "0123456789abcdef"`), 0, "0123456789abcdef", ""},
		{"context too long", wire(`00 00 "0123456789abcdefg"`), 0, "", ReasonCommand},
		{"half a TTL", wire(`00`), 0, "", ReasonCommand},
		{"nothing", nil, 0, "", ReasonCommand},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ttl, context, err := ParsePing(test.data)
			wantFault(t, err, test.reason, "")
			if ttl != test.ttl || string(context) != test.context {
				t.Fatalf("got %d, %q", ttl, context)
			}
		})
	}
}

func TestParseError(t *testing.T) {
	tests := []struct {
		name   string
		data   []byte
		want   string
		reason Reason
	}{
		{"words", wire(`07 "Invalid"`), "Invalid", ""},
		{"none", wire(`00`), "", ""},
		{"no VCHAR", wire(`03 "a" 0a 00`), "a\n\x00", ""},
		{"nothing", nil, "", ReasonCommand},
		{"too long", wire(`08 "Invalid"`), "", ReasonCommand},
		{"too short", wire(`06 "Invalid"`), "", ReasonCommand},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseError(test.data)
			wantFault(t, err, test.reason, "")
			if got != test.want {
				t.Fatalf("got %q", got)
			}
		})
	}
}

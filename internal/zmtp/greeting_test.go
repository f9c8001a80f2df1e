package zmtp

import (
	"bytes"
	"strings"
	"testing"
)

// RFC 23, Worked Example.
const greeting30 = `
	ff 00 00 00 00 00 00 00 00 7f 03                              ; signature, major
	00 "NULL" 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00     ; minor, mechanism
	00                                                            ; as-server
	00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ; filler
`

// RFC 37, Worked Example.
const greeting31 = `
	ff 00 00 00 00 00 00 00 00 7f 03                              ; signature, major
	01 "NULL" 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00     ; minor, mechanism
	00                                                            ; as-server
	00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ; filler
`

// changed is the greeting of RFC 37 with other bytes from one place on.
func changed(at int, with string) []byte {
	p := wire(greeting31)
	copy(p[at:], with)
	return p
}

func TestAppendGreeting(t *testing.T) {
	wantBytes(t, "greeting", AppendGreeting(nil), wire(greeting31))
	wantBytes(t, "appended", AppendGreeting([]byte("before")), append([]byte("before"), wire(greeting31)...))
}

func TestParseGreeting(t *testing.T) {
	tests := []struct {
		name  string
		bytes []byte
		want  Greeting
	}{
		{"RFC 23, worked example", wire(greeting30), Greeting{Version: Version{3, 0}}},
		{"RFC 37, worked example", wire(greeting31), Greeting{Version: Version{3, 1}}},
		{"identity length in the padding, as minions send it", changed(8, "\x03"), Greeting{Version: Version{3, 1}}},
		{"padding full of bits", changed(1, strings.Repeat("\xff", 8)), Greeting{Version: Version{3, 1}}},
		{"later minor version", changed(11, "\x07"), Greeting{Version: Version{3, 1}}},
		{"later major version", changed(10, "\x04\x00"), Greeting{Version: Version{3, 1}}},
		{"last major version", changed(10, "\xff\xff"), Greeting{Version: Version{3, 1}}},
		{"as-server", changed(32, "\x01"), Greeting{Version: Version{3, 1}, AsServer: true}},
		{"filler of a later version", changed(33, strings.Repeat("\xaa", 31)), Greeting{Version: Version{3, 1}}},
		{"READY behind it", append(wire(greeting31), 0x04, 0x29), Greeting{Version: Version{3, 1}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.want.Mechanism = [20]byte{'N', 'U', 'L', 'L'}
			for n := range GreetingSize {
				if _, done, err := ParseGreeting(test.bytes[:n]); done || err != nil {
					t.Fatalf("after %d bytes: done %t, %v", n, done, err)
				}
			}
			g, done, err := ParseGreeting(test.bytes)
			if !done || err != nil {
				t.Fatalf("done %t, %v", done, err)
			}
			if g != test.want {
				t.Fatalf("got %+v, want %+v", g, test.want)
			}
			if name := g.MechanismName(); name != "NULL" {
				t.Fatalf("mechanism %q", name)
			}
		})
	}
}

// TestParseGreetingRefuses also holds how many bytes it takes to know, because most of these peers wait for an answer.
func TestParseGreetingRefuses(t *testing.T) {
	tests := []struct {
		name   string
		bytes  []byte
		known  int // with so many bytes it is refused, and with one fewer it is not
		reason Reason
		detail string
	}{
		{"HTTP/1.1 request", []byte("GET / HTTP/1.1\r\nHost: salt\r\n\r\n"), 1, ReasonNotZMTP, "the peer speaks HTTP"},
		{"HTTP POST", []byte("POST /run HTTP/1.1\r\n"), 1, ReasonNotZMTP, "the peer speaks HTTP"},
		{"HTTP/2 preface", []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 1, ReasonNotZMTP, "the peer speaks HTTP"},
		{"HTTP response", []byte("HTTP/1.1 400 Bad Request\r\n"), 1, ReasonNotZMTP, "the peer speaks HTTP"},
		{"TLS ClientHello", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 1, ReasonNotZMTP, "the peer speaks TLS"},
		{"SSH", []byte("SSH-2.0-OpenSSH_9.6\r\n"), 1, ReasonNotZMTP, "the peer speaks SSH"},
		{"PROXY protocol 1", []byte("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), 1, ReasonNotZMTP, "the PROXY protocol"},
		{"PROXY protocol 2", []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11"), 1, ReasonNotZMTP, "the PROXY protocol"},
		{"Salt's TCP transport", []byte("\x82\xa4head\x80\xa4body\x82"), 1, ReasonNotZMTP, "transport: zeromq"},
		{"random", []byte("\x9d\x11\x00\xfe\x03\x18"), 1, ReasonNotZMTP, `the peer begins with "\x9d\x11\x00\xfe\x03\x18"`},
		{"random, long", bytes.Repeat([]byte("\x00\x01"), 100), 1, ReasonNotZMTP, `\x00\x01"; a greeting begins with 0xff`},
		{"one byte", []byte("\x01"), 1, ReasonNotZMTP, "a greeting begins with 0xff"},

		// RFC 15, RFC 23 Detecting ZMTP 1.0 and 2.0 Peers: an identity as a frame: length, flags, octets.
		{"ZMTP 1.0, anonymous", wire(`01 00`), 1, ReasonVersion, "ZMTP 1.0"},
		{"ZMTP 1.0, identity", wire(`06 00 "minio"`), 1, ReasonVersion, "ZMTP 1.0"},
		{"ZMTP 1.0, long length", wire(`ff 00 00 00 00 00 00 01 00 00 "identity"`), 10, ReasonVersion, "ZMTP 1.0"},
		{"signature ends wrongly", changed(9, "\x7d"), 10, ReasonNotZMTP, "the tenth byte is 0x7d"},

		// RFC 23, Detecting ZMTP 2.0 Peers.
		{"ZMTP 2.0", wire(`ff 00 00 00 00 00 00 00 01 7f 01 02 00 00`), 11, ReasonVersion, "ZMTP 2.0"},
		{"ZMTP 2.0, other number", wire(`ff 00 00 00 00 00 00 00 01 7f 02 02 00 00`), 11, ReasonVersion, "ZMTP 2.0"},
		{"version 0", changed(10, "\x00"), 11, ReasonVersion, "version 0"},

		{"PLAIN", changed(12, "PLAIN"), 13, ReasonMechanism, `wants "PLAIN"; only NULL`},
		{"CURVE", changed(12, "CURVE"), 13, ReasonMechanism, `wants "CURVE"`},
		{"GSSAPI", changed(12, "GSSAPI"), 13, ReasonMechanism, `wants "GSSAPI"`},
		{"unknown", changed(12, "X-NONE_2"), 13, ReasonMechanism, `wants "X-NONE_2"`},
		{"all of 20 characters", changed(12, "ABCDEFGHIJKLMNOPQRST"), 13, ReasonMechanism, `wants "ABCDEFGHIJKLMNOPQRST"`},
		{"lower case", changed(12, "null"), 13, ReasonMechanism, `wants "null"`},
		{"begins as NULL", changed(12, "NULLIFY"), 17, ReasonMechanism, `wants "NULLIFY"`},
		{"shorter than NULL", changed(12, "NUL\x00"), 16, ReasonMechanism, `wants "NUL"`},
		{"NULL and rubbish", changed(12, "NULL\x00\x00\x00x"), 20, ReasonMechanism, "not padded with zeros"},
		{"last byte of the mechanism", changed(31, "x"), 32, ReasonMechanism, "not padded with zeros"},
		{"no name", changed(12, "\x00\x00\x00\x00"), 13, ReasonMechanism, "names none"},
		{"bytes", changed(12, "\xff\x00\n"), 13, ReasonMechanism, `wants "\xff"`},
		{"cut", changed(12, "CURVE")[:15], 13, ReasonMechanism, `begins with "CUR"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, done, err := ParseGreeting(test.bytes)
			if done {
				t.Fatal("accepted")
			}
			wantFault(t, err, test.reason, test.detail)
			for n := range test.bytes {
				_, done, err := ParseGreeting(test.bytes[:n])
				if done || (err != nil) != (n >= test.known) {
					t.Fatalf("after %d bytes, and known after %d: done %t, %v", n, test.known, done, err)
				}
			}
		})
	}
}

func TestVersion(t *testing.T) {
	if got := (Version{3, 1}).String(); got != "3.1" {
		t.Errorf("String: %q", got)
	}
	tests := []struct {
		v, least Version
		want     bool
	}{
		{Version{3, 1}, Version{3, 1}, true},
		{Version{3, 0}, Version{3, 1}, false},
		{Version{3, 2}, Version{3, 1}, true},
		{Version{4, 0}, Version{3, 1}, true},
		{Version{2, 9}, Version{3, 0}, false},
		{Version{}, Version{3, 0}, false},
	}
	for _, test := range tests {
		if got := test.v.AtLeast(test.least.Major, test.least.Minor); got != test.want {
			t.Errorf("%s at least %s: %t", test.v, test.least, got)
		}
	}
}

package zmtp

import "testing"

func TestEnvelope(t *testing.T) {
	tests := []struct {
		name   string
		msg    string
		depth  int
		reason Reason
		detail string
	}{
		// RFC 28, The REQ Socket Type: a delimiter, one or more data frames.
		{"of a REQ", `01 00  00 05 "hello"`, 0, "", ""},
		{"of a REQ, empty data", `01 00  00 00`, 0, "", ""},
		{"of a REQ, three frames", `01 00  01 01 "a"  01 00  00 01 "b"`, 0, "", ""},
		// RFC 28, The REP Socket Type: zero or more identities before that.
		{"behind one ROUTER", `01 05 00 6b8b4567  01 00  00 05 "hello"`, 1, "", ""},
		{"behind two", `01 01 "a"  01 02 "bc"  01 00  00 05 "hello"`, 2, "", ""},
		{"long frames", `03 0000000000000001 "a"  03 0000000000000000  02 0000000000000001 "b"`, 1, "", ""},

		{"one frame", `00 05 "hello"`, 0, ReasonEnvelope, "a message of 1 frames"},
		{"one empty frame", `00 00`, 0, ReasonEnvelope, "of 1 frames"},
		{"delimiter last", `01 01 "a"  00 00`, 0, ReasonEnvelope, "of 2 frames"},
		{"no delimiter", `01 01 "a"  01 01 "b"  00 05 "hello"`, 0, ReasonEnvelope, "of 3 frames"},
		// The first of several pieces.
		{"goes on", `01 01 "a"  01 00  00 05 "hell"`, 1, "", ""},
		{"goes on, no delimiter", `01 01 "a"  00 05 "hell"`, 0, ReasonEnvelope, "of 2 frames"},
		{"nothing", ``, 0, ReasonFrame, "within a header"},
		{"cut in the header", `01`, 0, ReasonFrame, "within a header"},
		{"cut in the body", `01 02 "a"`, 0, ReasonFrame, "within a frame of 2 bytes"},
		{"cut between frames", `01 01 "a"`, 0, ReasonFrame, "0 bytes after it"},
		{"a command in it", `01 01 "a"  04 07 04 "PING" 0000  01 00  00 00`, 0, ReasonFrame, "a command within a message"},
		{"reserved flags", `01 01 "a"  10 00`, 0, ReasonFrame, "reserved"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			depth, err := Envelope(wire(test.msg))
			wantFault(t, err, test.reason, test.detail)
			if depth != test.depth {
				t.Fatalf("depth %d, want %d", depth, test.depth)
			}
		})
	}
}

func TestCutFrame(t *testing.T) {
	msg := wire(`01 05 00 6b8b4567  01 00  00 05 "hello"`)
	var bodies []string
	for rest := msg; ; {
		var body []byte
		var err error
		body, rest, err = CutFrame(rest)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(body))
		if len(rest) == 0 {
			break
		}
	}
	if len(bodies) != 3 || bodies[0] != "\x00\x6b\x8b\x45\x67" || bodies[1] != "" || bodies[2] != "hello" {
		t.Fatalf("got %q", bodies)
	}
}

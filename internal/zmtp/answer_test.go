package zmtp

import (
	"bytes"
	"errors"
	"testing"
)

func TestAnswers(t *testing.T) {
	var fault *Fault
	for _, c := range []struct{ name, ping, pong string }{
		{"no context", "\x00\x00", "\x04\x05\x04PONG"},
		{"a context", "\x01\x2cctx", "\x04\x08\x04PONGctx"},
		{"the longest", "\x00\x000123456789abcdef", "\x04\x15\x04PONG0123456789abcdef"},
	} {
		got, err := AppendAnswer([]byte("before"), []byte(c.ping))
		if err != nil || !bytes.Equal(got, append([]byte("before"), c.pong...)) {
			t.Errorf("%s: %q, %v; want %q", c.name, got, err, c.pong)
		}
	}
	for _, ping := range []string{"", "\x00", "\x00\x000123456789abcdefg"} {
		if got, err := AppendAnswer(nil, []byte(ping)); !errors.As(err, &fault) || fault.Reason != ReasonCommand {
			t.Errorf("PING %q: %q, %v", ping, got, err)
		}
	}
	for _, c := range []struct {
		data   string
		reason Reason
		says   string
	}{
		{"\x05no\n\x1bm", ReasonPeerError, `the peer says: "no\n\x1bm"`},
		{"", ReasonCommand, "an ERROR without a reason"},
		{"\x05no", ReasonCommand, "an ERROR with a reason of 5 bytes, and 2 are there"},
	} {
		err := Complaint([]byte(c.data))
		if !errors.As(err, &fault) || fault.Reason != c.reason || fault.Detail != c.says {
			t.Errorf("ERROR %q: %v", c.data, err)
		}
	}
}

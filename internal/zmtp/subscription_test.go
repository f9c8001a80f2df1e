package zmtp

import (
	"bytes"
	"testing"
)

// RFC 23, The Publish-Subscribe Pattern: subscribe = %x00 short-size %d1 subscription.
func TestSubscription(t *testing.T) {
	topic := string(bytes.Repeat([]byte("t"), 255))
	tests := []struct {
		name   string
		cancel bool
		topic  string
		want   []byte
	}{
		{"to all", false, "", wire(`00 01 01`)},
		{"to A", false, "A", wire(`00 02 01 "A"`)},
		{"no more of A", true, "A", wire(`00 02 00 "A"`)},
		{"no more of all", true, "", wire(`00 01 00`)},
		{"longest in a short frame", false, topic[:254], append(wire(`00 ff 01`), topic[:254]...)},
		{"in a long frame", true, topic, append(wire(`02 0000000000000100 00`), topic...)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wantBytes(t, "message", AppendSubscription(nil, []byte(test.topic), test.cancel), test.want)
			s, err := ParseSubscription(test.want)
			if err != nil || string(s.Topic) != test.topic || s.Cancel != test.cancel {
				t.Fatalf("got %q, %t, %v", s.Topic, s.Cancel, err)
			}
			for n := range test.want {
				if s, err := ParseSubscription(test.want[:n]); err == nil {
					t.Fatalf("cut after %d bytes: %+v", n, s)
				}
			}
		})
	}
}

func TestParseSubscriptionRefuses(t *testing.T) {
	tests := []struct {
		name   string
		msg    string
		reason Reason
		detail string
	}{
		{"empty", `00 00`, ReasonSubscription, "an empty message"},
		{"other first byte", `00 02 02 "A"`, ReasonSubscription, "a message of 2 bytes that begins with 0x02"},
		{"a minion's words", `00 05 "hello"`, ReasonSubscription, "begins with 0x68"},
		{"two frames", `01 02 01 "A" 00 00`, ReasonSubscription, "more than one frame"},
		{"bytes behind it", `00 02 01 "A" 00 00`, ReasonFrame, "2 bytes after it"},
		{"says more", `01 02 01 "A"`, ReasonFrame, "0 bytes after it"},
		{"a command", `04 0a 09 "SUBSCRIBE"`, ReasonFrame, "a command within a message"},
		{"nothing", ``, ReasonFrame, "within a header"},
		{"cut", `00 02 01`, ReasonFrame, "within a frame of 2 bytes"},
		{"huge", `02 7fffffffffffffff 01`, ReasonFrame, "within a frame of 9223372036854775807 bytes"},
		{"reserved flags", `08 01 01`, ReasonFrame, "reserved"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseSubscription(wire(test.msg))
			wantFault(t, err, test.reason, test.detail)
		})
	}
}

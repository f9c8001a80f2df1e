package retproxy

import (
	"bytes"
	"strings"
	"testing"

	"salt-broker/internal/zmtp"
)

func TestSize(t *testing.T) {
	identities := func(n, size int) (msg []byte) {
		for range n {
			msg = zmtp.AppendFrame(msg, true, bytes.Repeat([]byte("i"), size))
		}
		return zmtp.AppendFrame(msg, true, nil)
	}
	frames := func(envelope []byte, n int) []byte {
		for range n - 1 {
			envelope = zmtp.AppendFrame(envelope, true, []byte("f"))
		}
		return zmtp.AppendFrame(envelope, false, []byte("f"))
	}
	body := func(envelope []byte, size int) []byte { return zmtp.AppendFrame(envelope, false, make([]byte, size)) }
	cases := []struct {
		name  string
		depth int
		msg   []byte
		fault string
	}{
		{"empty", 0, body(identities(0, 0), 0), ""},
		{"the largest", 0, body(identities(0, 0), 10000-9), ""},
		{"the largest behind brokers", 3, body(identities(3, 16), 10000-9), ""},
		{"one byte more", 0, body(identities(0, 0), 10000-8), "is a request of 10001 bytes (limit 10000: max_message_size)"},
		{"the longest envelope", 227, body(identities(227, 16), 5), ""},
		{"a longer one", 228, body(identities(228, 16), 5), "has an envelope of 4106 bytes (limit 4096)"},
		{"many frames", 1, frames(identities(1, 5), maxContentFrames), ""},
		{"too many", 1, frames(identities(1, 5), maxContentFrames+1), "is a request of 1025 frames (limit 1024)"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, msg := range []message{{head: c.msg}, cut(c.msg)} {
				err := size(10000).check(msg, c.depth)
				if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
					t.Errorf("in %d pieces: got %v, want %q", 1+len(msg.rest), err, c.fault)
				}
			}
		})
	}
}

func TestRequestBeyondTheLimitHarmsOnlyItself(t *testing.T) {
	m := newMaster(t)
	m.script = echo
	r := start(t, m, func(o *Options) { o.MaxMessage = 1000 })
	broker := dial(t, r, as{socket: "DEALER"})
	large := envelope(1, make([]byte, 1000)) // and its header: 1009 bytes
	broker.send(large)
	broker.send(envelope(1, []byte("one of the others")))
	broker.expect(envelope(1, []byte("one of the others")))
	until(t, "the refusal to be counted", func() bool { return r.Stats().TooLarge == 1 })

	minion := dial(t, r, as{})
	minion.send(envelope(0, make([]byte, 1000)))
	minion.gone()
	until(t, "the reason to be counted", func() bool {
		return r.Stats().Ends[string(zmtp.ReasonMessageTooLarge)] == 1
	})
	broker.send(envelope(1, []byte("still here")))
	broker.expect(envelope(1, []byte("still here")))
}

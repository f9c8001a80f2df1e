package zmtp

import (
	"bytes"
	"slices"
	"testing"
)

// What sockets of libzmq 4.3.4 sent, taken down byte for byte. The padding of the greeting carries the length of the
// identity and one.
const (
	seenGreeting = `
		ff 00 00 00 00 00 00 00 01 7f 03 01 4e 55 4c 4c 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
		00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00`
	seenGreetingOfNamed = `
		ff 00 00 00 00 00 00 00 03 7f 03 01 4e 55 4c 4c 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
		00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00`
	seenReadySUB = `
		04 19 05 52 45 41 44 59 0b 53 6f 63 6b 65 74 2d 54 79 70 65 00 00 00 03 53 55 42`
	seenReadyXSUB = `
		04 1a 05 52 45 41 44 59 0b 53 6f 63 6b 65 74 2d 54 79 70 65 00 00 00 04 58 53 55 42`
	seenReadyREQ = `
		04 26 05 52 45 41 44 59 0b 53 6f 63 6b 65 74 2d 54 79 70 65 00 00 00 03 52 45 51
		08 49 64 65 6e 74 69 74 79 00 00 00 00`
	seenReadyDEALER = `
		04 2b 05 52 45 41 44 59 0b 53 6f 63 6b 65 74 2d 54 79 70 65 00 00 00 06 44 45 41 4c 45 52
		08 49 64 65 6e 74 69 74 79 00 00 00 02 6d 65`
	seenSubscribeAll   = `04 0a 09 53 55 42 53 43 52 49 42 45`
	seenSubscribe      = `04 0b 09 53 55 42 53 43 52 49 42 45 41`
	seenCancel         = `04 08 06 43 41 4e 43 45 4c 41`
	seenPing           = `04 07 04 50 49 4e 47 00 3c` // TTL 6 s
	seenMessagesOfXSUB = `00 02 01 41 00 02 00 41`    // to a 3.1 peer too
	seenRequest        = `01 00 00 05 68 65 6c 6c 6f` // "hello"
	seenSubscribeTo30  = `00 02 01 41`                // SUB to a 3.0 peer
	seenLong           = `02 00 00 00 00 00 00 01 2c` // the header of 300 bytes
)

func TestLibzmqIsUnderstood(t *testing.T) {
	tests := []struct {
		name  string
		bytes string
		want  []string
	}{
		{
			"SUB", seenGreeting + seenReadySUB + seenSubscribeAll + seenPing + seenSubscribe + seenCancel,
			[]string{`greeted 3.1`, `ready SUB ""`, `command SUBSCRIBE `, `command PING 003c`, `command SUBSCRIBE 41`, `command CANCEL 41`},
		},
		{
			"SUB to a 3.0 peer", seenGreeting + seenReadySUB + seenSubscribeTo30,
			[]string{`greeted 3.1`, `ready SUB ""`, `message 00020141`},
		},
		{
			"XSUB", seenGreeting + seenReadyXSUB + seenMessagesOfXSUB,
			[]string{`greeted 3.1`, `ready XSUB ""`, `message 00020141`, `message 00020041`},
		},
		{
			"REQ", seenGreeting + seenReadyREQ + seenRequest,
			[]string{`greeted 3.1`, `ready REQ ""`, `message 0100000568656c6c6f`},
		},
		{
			"DEALER with an identity", seenGreetingOfNamed + seenReadyDEALER,
			[]string{`greeted 3.1`, `ready DEALER "me"`},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := wire(test.bytes)
			for i := range p {
				got, err := feed(t, false, p[:i], p[i:])
				if err != nil || !slices.Equal(got, test.want) {
					t.Fatalf("cut at %d: %q, %v", i, got, err)
				}
			}
		})
	}
}

// TestWrittenAsLibzmqDoes: nobody can tell us from libzmq by how we write, but for the padding.
func TestWrittenAsLibzmqDoes(t *testing.T) {
	greeting := wire(seenGreeting)
	greeting[8] = 0
	tests := []struct {
		name string
		got  []byte
		want []byte
	}{
		{"greeting", AppendGreeting(nil), greeting},
		{"READY of SUB", AppendReady(nil, SUB), wire(seenReadySUB)},
		{"READY of XSUB", AppendReady(nil, XSUB), wire(seenReadyXSUB)},
		{"READY of REQ", AppendReady(nil, REQ), wire(seenReadyREQ)},
		{"SUBSCRIBE", AppendSubscribe(nil, []byte("A")), wire(seenSubscribe)},
		{"SUBSCRIBE to all", AppendSubscribe(nil, nil), wire(seenSubscribeAll)},
		{"CANCEL", AppendCancel(nil, []byte("A")), wire(seenCancel)},
		{"PING", AppendPing(nil, 60, nil), wire(seenPing)},
		{
			"subscriptions as messages",
			AppendSubscription(AppendSubscription(nil, []byte("A"), false), []byte("A"), true),
			wire(seenMessagesOfXSUB),
		},
		{"request", AppendFrame(AppendFrame(nil, true, nil), false, []byte("hello")), wire(seenRequest)},
		{"long frame", AppendFrame(nil, false, make([]byte, 300)), append(wire(seenLong), make([]byte, 300)...)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if !bytes.Equal(test.got, test.want) {
				t.Fatalf("\n got %x\nwant %x", test.got, test.want)
			}
		})
	}
}

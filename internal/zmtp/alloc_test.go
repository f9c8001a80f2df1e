//go:build !race

// The race detector allocates; make test runs these without it.

package zmtp

import (
	"bytes"
	"slices"
	"testing"
)

func TestAllocations(t *testing.T) {
	var (
		lim       = &Limits{MaxMessage: 1 << 20, MaxFrames: 64, MaxCommand: 1 << 10, Buffers: new(stack)}
		sink      counter
		handshake = wire(greeting31 + readyDealer)
		messages  = bytes.Repeat(append(request(400), wire(`04 07 04 "PING" 0000`)...), 100)
		between   = wire(`01 00  04 07 04 "PING" 0000  00 05 "hello"`)
		envelope  = wire(`01 05 00 6b8b4567  01 00  00 05 "hello"`)
		topic     = wire(`00 02 01 "A"`)
		ping      = wire(`0000 "ctx"`)
		ready     = data(t, wire(readyDealer), CommandReady)
		out       = make([]byte, 0, 4096)
	)
	idle := Stream{phase: traffic}
	feedAll := func(s *Stream, p []byte, size int) {
		for piece := range slices.Chunk(p, size) {
			if err := s.Feed(piece, lim, &sink); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name string
		run  func()
	}{
		{"messages and commands, whole", func() { feedAll(&idle, messages, len(messages)) }},
		{"messages and commands, cut", func() { feedAll(&idle, messages, 1448) }},
		{"messages and commands, in small pieces", func() { feedAll(&idle, messages, 7) }},
		{"command within a message", func() { feedAll(&idle, between, len(between)) }},
		{"handshake, whole", func() {
			var s Stream
			feedAll(&s, handshake, len(handshake))
		}},
		{"handshake, greeting and READY apart", func() {
			var s Stream
			feedAll(&s, handshake, GreetingSize)
		}},
		{"handshake, signature first, as libzmq sends it", func() {
			var s Stream
			feedAll(&s, handshake, 11)
		}},
		{"Envelope", func() {
			if depth, err := Envelope(envelope); depth != 1 || err != nil {
				t.Fatal(depth, err)
			}
		}},
		{"ParseSubscription", func() {
			if _, err := ParseSubscription(topic); err != nil {
				t.Fatal(err)
			}
		}},
		{"ParsePing", func() {
			if _, _, err := ParsePing(ping); err != nil {
				t.Fatal(err)
			}
		}},
		{"ParseReady", func() {
			if _, err := ParseReady(ready); err != nil {
				t.Fatal(err)
			}
		}},
		{"everything that appends", func() {
			b := AppendReady(AppendGreeting(out), DEALER)
			b = AppendCancel(AppendSubscribe(b, topic), topic)
			b = AppendPong(AppendPing(b, 0, ping), ping)
			b = AppendSubscription(AppendError(b, "no"), topic, true)
			AppendFrame(b, true, topic)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, test.run); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

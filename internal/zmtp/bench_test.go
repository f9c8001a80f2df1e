package zmtp

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
)

// stack is a Buffers that gives out again what came back, as a loop's pool does.
type stack struct{ free [][]byte }

func (s *stack) Get(n int) []byte {
	if last := len(s.free) - 1; last >= 0 && cap(s.free[last]) >= n {
		b := s.free[last]
		s.free = s.free[:last]
		return b
	}
	return make([]byte, 0, max(n, 4096))
}

func (s *stack) Put(b []byte) { s.free = append(s.free, b[:0]) }

// request is what a minion's _return looks like on the wire: delimiter and body.
func request(size int) []byte {
	return AppendFrame(AppendFrame(nil, true, nil), false, bytes.Repeat([]byte{0x81}, size))
}

// BenchmarkFeed is a connection that never rests: messages of one size, read in pieces of one size.
func BenchmarkFeed(b *testing.B) {
	for _, size := range []int{40, 400, 4 << 10, 1 << 20} {
		for _, read := range []int{1448, 64 << 10} {
			b.Run(fmt.Sprintf("message=%d/read=%d", size, read), func(b *testing.B) {
				lim := &Limits{MaxMessage: 8 << 20, MaxFrames: 64, MaxCommand: 1 << 10, Buffers: new(stack)}
				msg := request(size)
				messages := bytes.Repeat(msg, max(1, 256<<10/len(msg)))
				pieces := slices.Collect(slices.Chunk(messages, read))
				s := Stream{phase: traffic}
				var sink counter
				b.SetBytes(int64(len(messages)))
				b.ReportAllocs()
				for b.Loop() {
					for _, p := range pieces {
						if err := s.Feed(p, lim, &sink); err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sink.messages), "ns/message")
			})
		}
	}
}

// BenchmarkHandshake is what each new connection costs here: old minions make one for every request.
func BenchmarkHandshake(b *testing.B) {
	lim := &Limits{MaxMessage: 1 << 20, MaxFrames: 64, MaxCommand: 1 << 10, Buffers: new(stack)}
	p := wire(greeting31 + readyDealer)
	for _, read := range []int{11, GreetingSize, len(p)} {
		b.Run(fmt.Sprintf("read=%d", read), func(b *testing.B) {
			pieces := slices.Collect(slices.Chunk(p, read))
			var sink counter
			b.ReportAllocs()
			for b.Loop() {
				var s Stream
				for _, piece := range pieces {
					if err := s.Feed(piece, lim, &sink); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkEnvelope(b *testing.B) {
	msg := append(wire(`01 05 00 6b8b4567`), request(400)...)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if depth, err := Envelope(msg); depth != 1 || err != nil {
			b.Fatal(depth, err)
		}
	}
}

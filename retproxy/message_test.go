package retproxy

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"salt-broker/internal/zmtp"
)

// joined is the message in one piece.
func (m message) joined() []byte { return slices.Concat(append([][]byte{m.head}, m.rest...)...) }

// cut is a message in pieces, as a stream makes them: the last frame goes on in the second and third.
func cut(msg []byte) message {
	last, rest := msg, msg
	for len(rest) > 0 {
		last = rest
		_, rest, _ = zmtp.CutFrame(rest)
	}
	h, _, _ := zmtp.ParseHeader(last)
	body := last[h.Len:]
	at := len(msg) - len(body) + len(body)/3
	return message{head: msg[:at], rest: slices.Collect(slices.Chunk(msg[at:], len(body)/3+1))}
}

// TestLargeMessages: they go through in pieces, some at once and some after they have waited, and come whole, also beside
// small ones and over a broker; the books and the buffers are as after small ones.
func TestLargeMessages(t *testing.T) {
	m := newMaster(t)
	m.script = echo
	b, change := tight(64 << 20)
	r := start(t, m, change, func(o *Options) { o.MaxInFlight = 4 })
	const most = 4 << 20
	random := rand.New(rand.NewPCG(5, 6))
	var noise []byte
	for range 2 * most / 8 {
		noise = binary.BigEndian.AppendUint64(noise, random.Uint64())
	}
	bytesOf := func(n int) []byte { return noise[random.IntN(most):][:n] } // nowhere the same
	sizes := []int{100, 33 << 10, 64<<10 - 11, 70 << 10, 128 << 10, 300_000, 1<<20 - 1, 1 << 20, 3<<20 + 12345}
	type asked struct {
		p    *peer
		msgs [][]byte
	}
	var all []asked
	for i := range 8 {
		a := asked{p: dial(t, r, as{minor: 1}), msgs: [][]byte{envelope(0, bytesOf(sizes[i%len(sizes)]))}}
		if i == 1 {
			a = asked{p: dial(t, r, as{minor: 1, socket: "DEALER"})}
			for _, size := range sizes {
				a.msgs = append(a.msgs, envelope(1, bytesOf(size)))
			}
		}
		all = append(all, a)
	}
	for _, a := range all {
		go func() { _, _ = a.p.nc.Write(slices.Concat(a.msgs...)) }()
	}
	for i, a := range all {
		want := slices.Clone(a.msgs)
		for range a.msgs {
			got, err := a.p.message()
			if err != nil {
				t.Fatalf("peer %d: %v", i, err)
			}
			at := slices.IndexFunc(want, func(msg []byte) bool { return bytes.Equal(msg, got) })
			if at < 0 {
				t.Fatalf("peer %d got %d bytes that nobody has sent", i, len(got))
			}
			want = slices.Delete(want, at, at+1)
		}
	}
	r.balanced()
	until(t, "the buffers to be empty", func() bool { return b.Used() < 1<<20 && !b.Pressed() })
}

// TestLargeReplyForNobody: the pieces of a reply whose minion has left, and of one that has no routing frame, are given back.
func TestLargeReplyForNobody(t *testing.T) {
	m := newMaster(t)
	r := start(t, m)
	p := dial(t, r, as{minor: 1})
	p.asks("who are you?")
	a := m.next()
	p.leave()
	until(t, "the minion to be gone", func() bool { return r.Stats().Minions == 0 })
	a.answer(make([]byte, 1<<20))
	until(t, "the reply to be counted", func() bool { return r.Stats().Unwanted == 1 })
	a.link.write(envelope(1, make([]byte, 1<<20)))
	until(t, "what has no routing frame to be counted", func() bool { return r.Stats().Unroutable == 1 })
	a.link.write(zmtp.AppendFrame(nil, false, make([]byte, 1<<20)))
	until(t, "what has one frame to be counted", func() bool { return r.Stats().Unroutable == 2 })
	q := dial(t, r, as{minor: 1})
	q.asks("and you?")
	m.next().answer([]byte("a master"))
	q.hears("a master")
	r.balanced()
	r.onLoop(0, func(l *lane) {
		if l.held != 0 {
			t.Errorf("%d bytes are counted as held", l.held)
		}
	})
}

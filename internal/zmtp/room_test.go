package zmtp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// inPieces are limits with which large messages come in pieces.
func inPieces(b Buffers) *Limits {
	lim := roomy(b)
	lim.Pieces = true
	return lim
}

// traffic31 is a stream after the handshake.
func traffic31() *Stream {
	s := new(Stream)
	s.SkipHandshake(Version{3, 1})
	return s
}

// play gives a stream what a peer sends in reads of these sizes, to Room wherever there is one and place says so, and
// returns how many bytes went there.
func play(t *testing.T, s *Stream, lim *Limits, sink Sink, sent []byte, next func() (n int, place bool)) (placed int) {
	t.Helper()
	for len(sent) > 0 {
		n, place := next()
		n = min(n, len(sent))
		var err error
		if room := s.Room(lim); len(room) > 0 && place {
			n = copy(room, sent[:n])
			placed += n
			err = s.Filled(n, lim, sink)
		} else {
			p := bytes.Clone(sent[:n])
			err = s.Feed(p, lim, sink)
			clear(p)
		}
		if err != nil {
			t.Fatal(err)
		}
		if held := s.Buffered(); held > max(leastBuffer, 2*s.HalfRead()) {
			t.Fatalf("%d bytes of memory hold %d", held, s.HalfRead())
		}
		sent = sent[n:]
	}
	return placed
}

// What is put into a stream's own room means what it means when it is fed: messages of one frame and of several, with
// commands between them, large and small.
func TestStreamRoom(t *testing.T) {
	body := make([]byte, 300<<10)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range body {
		body[i] = byte(random.Uint32())
	}
	large := AppendFrame(wire(`01 00`), false, body)
	several := slices.Concat(wire(`01 00`), AppendFrame(nil, true, body[:100<<10]), wire(`04 07 04 "PING" 0000`), AppendFrame(nil, true, body[:40<<10]),
		AppendFrame(nil, false, body[:150<<10]))
	alone := AppendFrame(nil, false, body[:80<<10])
	sent := slices.Concat(large, wire(`00 05 "hello"  04 07 04 "PING" 0000`), several, alone, large, wire(`00 05 "hello"`))
	want, err := feed(t, true, sent)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			s, lent := traffic31(), new(lender)
			lim, sink := inPieces(lent), notes{stream: s}
			often := seed % 4 // the last of them never
			placed := play(t, s, lim, &sink, sent, func() (int, bool) { return 1 + random.IntN(64<<10), random.IntN(3) >= int(often) })
			if !slices.Equal(sink.events, want) {
				t.Error("other events than when it is fed")
			}
			if often == 0 && placed < len(sent)/2 {
				t.Errorf("%d of %d bytes were put into place", placed, len(sent))
			}
			s.Release(lim)
			for _, b := range sink.taken {
				lim.put(b)
			}
			lent.settled(t)
			if lent.largest > 2*len(several) {
				t.Errorf("a buffer of %d bytes was asked for", lent.largest)
			}
		})
	}
}

// There is room in the middle of a large last frame that follows others, and nowhere else; never for more than the frame.
func TestStreamRoomIsForLargeFrames(t *testing.T) {
	const bodyBytes = 200 << 10
	frame := AppendFrame(wire(`01 00`), false, make([]byte, bodyBytes))
	alone := AppendFrame(nil, false, make([]byte, bodyBytes))
	more := AppendFrame(wire(`01 00`), true, make([]byte, bodyBytes))
	many := bytes.Repeat(AppendFrame(nil, true, make([]byte, 100)), 1000)
	for name, c := range map[string]struct {
		came []byte
		room int
	}{
		"nothing":                    {nil, 0},
		"only a declared length":     {frame[:11], 0},
		"little of it":               {frame[:leastLarge-1], 0},
		"as much as has come":        {frame[:leastLarge], leastLarge},
		"one read":                   {frame[:pieceBytes], pieceBytes},
		"enough is missing":          {frame[:len(frame)-leastLarge], leastLarge},
		"little is missing":          {frame[:len(frame)-leastLarge+1], 0},
		"whole":                      {frame, 0},
		"a message of one frame":     {alone[:pieceBytes], 0},
		"more frames follow":         {more[:pieceBytes], 0},
		"many small frames":          {many[:50<<10], 0},
		"of the next frame a header": {append(bytes.Clone(many), alone[:4]...), 0},
		"of the next frame a little": {append(bytes.Clone(many), alone[:20]...), pieceBytes},
	} {
		t.Run(name, func(t *testing.T) {
			s, lim := traffic31(), inPieces(nil)
			lim.MaxFrames = 2000
			if err := s.Feed(c.came, lim, new(notes)); err != nil {
				t.Fatal(err)
			}
			if room := s.Room(lim); len(room) != c.room {
				t.Errorf("room for %d bytes, want %d", len(room), c.room)
			}
			if room := s.Room(lim); len(room) != c.room {
				t.Errorf("asked again there is room for %d bytes, want %d", len(room), c.room)
			}
		})
	}
	t.Run("to the end of the frame", func(t *testing.T) {
		s, lim, sink := traffic31(), inPieces(nil), new(notes)
		came := frame[:pieceBytes]
		if err := s.Feed(came, lim, sink); err != nil {
			t.Fatal(err)
		}
		for left := frame[len(came):]; len(left) >= leastRoom; {
			room := s.Room(lim)
			if len(room) == 0 || len(room) > len(left) {
				t.Fatalf("room for %d bytes, and %d are missing", len(room), len(left))
			}
			n := copy(room[:len(room)-1], left)
			if err := s.Filled(n, lim, sink); err != nil {
				t.Fatal(err)
			}
			left = left[n:]
		}
		if s.Room(lim) != nil {
			t.Error("room for less than a read is worth")
		}
	})
	t.Run("not in pieces", func(t *testing.T) {
		s := traffic31()
		if err := s.Feed(frame[:pieceBytes], roomy(nil), new(notes)); err != nil {
			t.Fatal(err)
		}
		if s.Room(roomy(nil)) != nil {
			t.Error("room without Limits.Pieces")
		}
	})
	if new(Stream).Room(inPieces(nil)) != nil {
		t.Error("room before the greeting")
	}
}

// An error that comes from what was put into place ends the stream as any other.
func TestStreamRoomSinkRefuses(t *testing.T) {
	frame := AppendFrame(wire(`01 00`), false, make([]byte, 100<<10))
	s, lent := traffic31(), new(lender)
	lim := inPieces(lent)
	refuses := &notes{refuse: fmt.Sprintf("message %x", frame), stream: s}
	if err := s.Feed(frame[:leastLarge], lim, refuses); err != nil {
		t.Fatal(err)
	}
	var err error
	for rest := frame[leastLarge:]; err == nil && len(rest) > 0; {
		if room := s.Room(lim); room != nil {
			n := copy(room, rest)
			err, rest = s.Filled(n, lim, refuses), rest[n:]
		} else {
			err, rest = s.Feed(rest, lim, refuses), nil
		}
	}
	if err != errRefused || s.Buffered() != 0 { //nolint:errorlint // as it is, not wrapped
		t.Errorf("%v, and %d bytes are held", err, s.Buffered())
	}
	for _, b := range refuses.taken {
		lim.put(b)
	}
	lent.settled(t)
}

// FuzzPieces is FuzzFrame for messages in pieces: they mean the same whatever their frames and the reads are, and memory
// follows what has come. Each byte of shape is a frame: its size, and whether more follow.
func FuzzPieces(f *testing.F) {
	f.Fuzz(func(t *testing.T, shape, reads []byte) {
		const most = 16
		var sent []byte
		for i, b := range shape[:min(len(shape), most)] {
			switch size := int(b>>2) << 12; b & 3 {
			case 0:
				sent = append(sent, "\x04\x07\x04PING\x00\x00"...)
			case 1, 2:
				sent = AppendFrame(sent, true, bytes.Repeat([]byte{byte(i)}, size>>2))
			default:
				sent = AppendFrame(sent, false, bytes.Repeat([]byte{byte(i)}, size))
			}
		}
		lim := &Limits{MaxMessage: 300 << 10, MaxFrames: 8, MaxCommand: 512}
		want, reason := model(sent, true, *lim)
		s, lent := traffic31(), new(lender)
		lim.Pieces, lim.Buffers = true, lent
		sink := notes{stream: s}
		var err error
		for i := 0; len(sent) > 0 && err == nil; i++ {
			n, place := len(sent), true
			if len(reads) > 0 {
				b := reads[i%len(reads)]
				n, place = min(n, 1+int(b>>1)<<9), b&1 == 1
			}
			if room := s.Room(lim); len(room) > 0 && place {
				n = copy(room, sent[:n])
				err = s.Filled(n, lim, &sink)
			} else {
				err = s.Feed(sent[:n], lim, &sink)
			}
			sent = sent[n:]
			if held := s.Buffered(); held > max(leastBuffer, 2*s.HalfRead()) {
				t.Fatalf("%d bytes of memory hold %d", held, s.HalfRead())
			}
		}
		if reasonOf(err) != reason || !slices.Equal(sink.events, want) {
			t.Fatalf("%v, and %d events; want %q, and %d", err, len(sink.events), reason, len(want))
		}
		s.Release(lim)
		for _, b := range sink.taken {
			lim.put(b)
		}
		lent.settled(t)
	})
}

package zmtp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// play gives a stream what a peer sends in pieces of random sizes, to Room wherever there is one, and returns how many bytes
// went there.
func play(t *testing.T, s *Stream, lim *Limits, sink Sink, sent []byte, random *rand.Rand) (placed int) {
	t.Helper()
	for len(sent) > 0 {
		n := min(1+random.IntN(64<<10), len(sent))
		came := s.HalfRead()
		room := s.Room(lim)
		if held := s.Buffered(); held > max(leastBuffer, 2*came) {
			t.Fatalf("%d bytes of memory hold %d", held, came)
		}
		var err error
		if len(room) > 0 {
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
	sent := slices.Concat(large, wire(`00 05 "hello"  04 07 04 "PING" 0000`), several, large, wire(`00 05 "hello"`))
	want, err := feed(t, true, sent)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			var s Stream
			s.SkipHandshake(Version{3, 1})
			var lent lender
			lim := roomy(&lent)
			var sink notes
			placed := play(t, &s, lim, &sink, sent, rand.New(rand.NewPCG(seed, 0)))
			if !slices.Equal(sink.events, want) {
				t.Error("other events than when it is fed")
			}
			if placed < len(sent)/2 {
				t.Errorf("%d of %d bytes were put into place", placed, len(sent))
			}
			s.Release(lim)
			lent.settled(t)
		})
	}
}

// There is room in the middle of what is large, and nowhere else; never for more than the frame.
func TestStreamRoomIsForLargeFrames(t *testing.T) {
	const bodyBytes = 200 << 10
	frame := AppendFrame(nil, false, make([]byte, bodyBytes))
	many := bytes.Repeat(AppendFrame(nil, true, make([]byte, 100)), 1000)
	for name, c := range map[string]struct {
		came []byte
		room bool
	}{
		"nothing":                    {nil, false},
		"only a declared length":     {frame[:9], false},
		"little of it":               {frame[:leastRoom-1], false},
		"much of it":                 {frame[:leastRoom], true},
		"little is missing":          {frame[:len(frame)-leastRoom+1], false},
		"enough is missing":          {frame[:len(frame)-leastRoom], true},
		"whole":                      {frame, false},
		"many small frames":          {many[:50<<10], false},
		"of the next frame a header": {append(bytes.Clone(many), frame[:4]...), false},
		"of the next frame a little": {append(bytes.Clone(many), frame[:20]...), true},
	} {
		t.Run(name, func(t *testing.T) {
			var s Stream
			s.SkipHandshake(Version{3, 1})
			lim := roomy(nil)
			lim.MaxFrames = 2000
			if err := s.Feed(c.came, lim, new(notes)); err != nil {
				t.Fatal(err)
			}
			room := s.Room(lim)
			if (room != nil) != c.room {
				t.Errorf("room for %d bytes", len(room))
			}
			if most := bodyBytes + 9 - len(c.came); c.room && len(c.came) < len(many) && len(room) > most {
				t.Errorf("room for %d bytes, and %d are missing", len(room), most)
			}
		})
	}
	var before Stream
	if before.Room(roomy(nil)) != nil {
		t.Error("room before the greeting")
	}
}

// An error that comes from what was put into place ends the stream as any other.
func TestStreamRoomSinkRefuses(t *testing.T) {
	frame := AppendFrame(nil, false, make([]byte, 100<<10))
	var s Stream
	s.SkipHandshake(Version{3, 1})
	var lent lender
	lim := roomy(&lent)
	refuses := &notes{refuse: fmt.Sprintf("message %x", frame)}
	if err := s.Feed(frame[:leastRoom], lim, refuses); err != nil {
		t.Fatal(err)
	}
	var err error
	for rest := frame[leastRoom:]; err == nil && len(rest) > 0; {
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
	lent.settled(t)
}

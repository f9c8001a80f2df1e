package zmtp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Seeds are in testdata/fuzz, named after what they are: what real peers send, and what they must not.

// FuzzGreeting: what is refused stays refused with every further byte, what is accepted stays accepted, and nothing is
// decided without its bytes.
func FuzzGreeting(f *testing.F) {
	f.Fuzz(func(t *testing.T, p []byte) {
		refused := false
		for n := range min(len(p), GreetingSize+2) + 1 {
			g, done, err := ParseGreeting(p[:n])
			switch {
			case err != nil:
				if done || n == 0 || !strings.Contains(err.Error(), ": ") || reasonOf(err) == "" {
					t.Fatalf("after %d bytes: done %t, %v", n, done, err)
				}
				refused = true
			case refused:
				t.Fatalf("refused before %d bytes, and not with them", n)
			case done != (n >= GreetingSize):
				t.Fatalf("after %d bytes: done %t", n, done)
			case done:
				if p[0] != 0xff || p[9] != 0x7f || p[10] < 3 || string(p[12:32]) != "NULL"+strings.Repeat("\x00", 16) {
					t.Fatalf("accepted: %x", p[:n])
				}
				if g.Version != (Version{3, 0}) && g.Version != (Version{3, 1}) || g.MechanismName() != "NULL" || g.AsServer != (p[32] == 1) {
					t.Fatalf("%x: %+v", p[:n], g)
				}
			}
		}
	})
}

// FuzzReady: what is accepted says a type and an identity of at most 255 bytes that lies in the input; written in the
// plain form it means the same.
func FuzzReady(f *testing.F) {
	f.Fuzz(func(t *testing.T, p []byte) {
		before := bytes.Clone(p)
		r, err := ParseReady(p)
		wantBytes(t, "the input was changed", p, before)
		if err != nil {
			if reason := reasonOf(err); reason != ReasonReady && reason != ReasonSocketType {
				t.Fatal(err)
			}
			if r.SocketType != 0 || r.Identity != nil {
				t.Fatalf("%+v with %v", r, err)
			}
			return
		}
		if len(r.Identity) > 255 || !bytes.Contains(p, r.Identity) || !bytes.Contains(p, []byte(r.SocketType.String())) {
			t.Fatalf("%s, %x", r.SocketType, r.Identity)
		}
		plain := appendProperty(nil, "socket-type", r.SocketType.String())
		if r.Identity != nil {
			plain = appendProperty(plain, "IDENTITY", string(r.Identity))
		}
		again, err := ParseReady(plain)
		if err != nil || again.SocketType != r.SocketType || !bytes.Equal(again.Identity, r.Identity) || (again.Identity == nil) != (r.Identity == nil) {
			t.Fatalf("%+v became %+v, %v", r, again, err)
		}
	})
}

// FuzzFrame is about Stream: bytes mean what the specification says, which a slow model spells out; they mean the same
// however they are cut; and memory follows what has come.
func FuzzFrame(f *testing.F) {
	lim := Limits{MaxMessage: 4 << 10, MaxFrames: 8, MaxCommand: 512}
	f.Fuzz(func(t *testing.T, skip bool, p, cuts []byte) {
		want, reason := model(p, skip, lim)

		var lent lender
		lim := lim
		lim.Buffers = &lent
		var s Stream
		if skip {
			s.SkipHandshake(Version{3, 1})
		}
		var whole notes
		err := s.Feed(p, &lim, &whole)
		if got := reasonOf(err); got != reason || !slices.Equal(whole.events, want) {
			t.Fatalf("%q (%v)\n got %q\nwant %q: %q", got, err, whole.events, reason, want)
		}
		s.Release(&lim)
		lent.settled(t)

		s = Stream{}
		if skip {
			s.SkipHandshake(Version{3, 1})
		}
		cut := notes{stream: &s}
		err = nil
		for fed := 0; fed < len(p) && err == nil; {
			n := 1
			if len(cuts) > 0 {
				n += int(cuts[fed%len(cuts)])
			}
			n = min(n, len(p)-fed)
			piece := bytes.Clone(p[fed : fed+n])
			err = s.Feed(piece, &lim, &cut)
			for i := range piece {
				piece[i] = 0xdb
			}
			fed += n
			if held := s.Buffered(); held > max(leastBuffer, 2*fed) || held > 2*int(lim.MaxMessage)+2*lim.MaxCommand {
				t.Fatalf("%d bytes are held after %d", held, fed)
			}
			if kept := len(lent.lent) - len(cut.taken); kept > 1 || (kept == 1) != (s.Buffered() > 0) {
				t.Fatalf("%d buffers are lent, %d bytes held", kept, s.Buffered())
			}
		}
		// Of something else than ZMTP the first bytes do not always tell what it is.
		if got := reasonOf(err); got != reason && (got == "" || reason == "" || len(want) > 0) {
			t.Fatalf("whole %q, cut %q (%v)", reason, got, err)
		}
		if !slices.Equal(cut.events, want) {
			t.Fatalf("cut %q\nwhole %q", cut.events, want)
		}
		s.Release(&lim)
		for _, b := range cut.taken {
			lim.put(b)
		}
		lent.settled(t)
		if lent.largest > max(leastBuffer, 2*len(p)) {
			t.Fatalf("a buffer of %d bytes for an input of %d", lent.largest, len(p))
		}
	})
}

// model says what a stream has to tell of p and with which fault it ends: the specification, told as simply as can be,
// for an input that is there as a whole. It has nothing in common with Stream but the parsers of greeting, commands and
// READY.
func model(p []byte, skip bool, lim Limits) (events []string, end Reason) {
	told := new(notes)
	ready := skip
	if !skip {
		g, done, err := ParseGreeting(p)
		if !done {
			return nil, reasonOf(err)
		}
		_ = told.Greeted(g.Version)
		p = p[GreetingSize:]
	}
	var msg []byte
	var frames int
	for len(p) > 0 {
		flags := p[0]
		command := flags&4 != 0
		if flags > 7 || flags == 5 || flags == 7 {
			return told.events, ReasonFrame
		}
		var size, header uint64
		if flags&2 == 0 {
			header = 2
			if len(p) < 2 {
				break
			}
			size = uint64(p[1])
		} else {
			header = 9
			if len(p) > 1 && p[1] > 0x7f {
				return told.events, ReasonFrame
			}
			if len(p) < 9 {
				break
			}
			size = binary.BigEndian.Uint64(p[1:])
		}
		switch {
		case command && size > uint64(lim.MaxCommand):
			return told.events, ReasonCommandTooLarge
		case !command && !ready:
			return told.events, ReasonReady
		case !command && frames == lim.MaxFrames:
			return told.events, ReasonTooManyFrames
		case !command && uint64(len(msg))+header+size > uint64(lim.MaxMessage):
			return told.events, ReasonMessageTooLarge
		}
		if uint64(len(p)) < header+size {
			break
		}
		frame := p[:header+size]
		p = p[header+size:]
		if command {
			name, data, err := ParseCommand(frame[header:])
			switch {
			case err != nil:
				return told.events, reasonOf(err)
			case ready && string(name) == "READY":
				return told.events, ReasonReady
			case ready:
				_ = told.Command(name, data)
			case string(name) == "READY":
				r, err := ParseReady(data)
				if err != nil {
					return told.events, reasonOf(err)
				}
				ready = true
				_ = told.Ready(r)
			case string(name) == "ERROR":
				if _, err := ParseError(data); err != nil {
					return told.events, reasonOf(err)
				}
				return told.events, ReasonPeerError
			default:
				return told.events, ReasonReady
			}
			continue
		}
		msg = append(msg, frame...)
		frames++
		if flags&1 == 0 {
			_ = told.Message(msg)
			msg, frames = nil, 0
		}
	}
	return told.events, ""
}

// FuzzCommand takes a command apart and puts it together again.
func FuzzCommand(f *testing.F) {
	f.Fuzz(func(t *testing.T, body []byte) {
		name, data, err := ParseCommand(body)
		if err != nil {
			wantFault(t, err, ReasonCommand, "")
			return
		}
		frame := append(appendCommand(nil, string(name), len(data)), data...)
		if !bytes.HasSuffix(frame, body) {
			t.Fatalf("%x became %x", body, frame)
		}
		h, ok, err := ParseHeader(frame)
		if err != nil || !ok || !h.Command() || h.More() || uint64(h.Len)+h.Size != uint64(len(frame)) {
			t.Fatalf("%x: %+v, %t, %v", frame, h, ok, err)
		}

		ttl, context, err := ParsePing(data)
		if err == nil {
			wantBytes(t, "PING", AppendPing(nil, ttl, context)[2+1+4:], data)
			wantBytes(t, "PONG", AppendPong(nil, context)[2+1+4:], context)
		} else if n := len(data); n >= 2 && n <= 18 {
			t.Fatalf("PING of %x: %v", data, err)
		}
		reason, err := ParseError(data)
		if err == nil {
			if again := AppendError(nil, reason); !bytes.HasSuffix(again, data) {
				t.Fatalf("ERROR of %x became %x", data, again)
			}
		} else if len(data) > 0 && int(data[0]) == len(data)-1 {
			t.Fatalf("ERROR of %x: %v", data, err)
		}
	})
}

// FuzzSubscription: what is accepted has one frame with a 0 or 1 and the topic, and written again means the same.
func FuzzSubscription(f *testing.F) {
	f.Fuzz(func(t *testing.T, msg []byte) {
		s, err := ParseSubscription(msg)
		if err != nil {
			if reason := reasonOf(err); reason != ReasonSubscription && reason != ReasonFrame {
				t.Fatal(err)
			}
			return
		}
		if !bytes.HasSuffix(msg, s.Topic) || len(msg) < 3 || msg[0]&^FlagLong != 0 {
			t.Fatalf("%x: %q", msg, s.Topic)
		}
		plain := AppendSubscription(nil, s.Topic, s.Cancel)
		if msg[0] == 0 || len(s.Topic) > 254 {
			wantBytes(t, "written again", plain, msg)
		}
		again, err := ParseSubscription(plain)
		if err != nil || again.Cancel != s.Cancel || !bytes.Equal(again.Topic, s.Topic) {
			t.Fatalf("%+v became %+v, %v", s, again, err)
		}
	})
}

// FuzzEnvelope: the delimiter is where a split into all frames finds it.
func FuzzEnvelope(f *testing.F) {
	f.Fuzz(func(t *testing.T, msg []byte) {
		depth, err := Envelope(msg)

		var bodies [][]byte
		var broken error
		var goesOn bool
		for rest := msg; ; {
			at := rest
			var body []byte
			body, rest, broken = CutFrame(at)
			if broken != nil {
				h, ok, err := ParseHeader(at)
				goesOn = ok && err == nil && at[0]&^FlagLong == 0 && uint64(h.Len)+h.Size > uint64(len(at))
				break
			}
			bodies = append(bodies, body)
			if len(rest) == 0 {
				break
			}
		}
		last := len(bodies) - 1
		if broken != nil {
			last++ // the frames before the fault are whole, and none of them is the last
		}
		want := slices.IndexFunc(bodies[:max(last, 0)], func(body []byte) bool { return len(body) == 0 })
		switch {
		case want >= 0:
			if err != nil || depth != want {
				t.Fatalf("depth %d, %v; want %d", depth, err, want)
			}
		case goesOn:
			wantFault(t, err, ReasonEnvelope, fmt.Sprintf("of %d frames", len(bodies)+1))
		case broken != nil:
			wantFault(t, err, ReasonFrame, "")
		default:
			wantFault(t, err, ReasonEnvelope, fmt.Sprintf("of %d frames", len(bodies)))
		}
		if broken == nil {
			var again []byte
			for i, body := range bodies {
				again = AppendFrame(again, i < len(bodies)-1, body)
			}
			if len(again) > len(msg) || len(again) == len(msg) && !bytes.Equal(again, msg) {
				t.Fatalf("%x became %x", msg, again)
			}
		}
	})
}

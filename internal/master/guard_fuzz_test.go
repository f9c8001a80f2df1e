package master

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"salt-broker/internal/zmtp"
)

// FuzzHandshake sends anything as a peer's first bytes: what the guard lets through never makes the library panic, and
// neither reads a byte beyond READY.
func FuzzHandshake(f *testing.F) {
	g := greeting(3, 1)
	f.Add([]byte{})
	f.Add(g)
	f.Add(concat(g, ready(zmtp.PUB)))
	f.Add(concat(g, ready(zmtp.XPUB), zmtp.AppendFrame(nil, false, []byte("publish"))))
	f.Add(concat(greeting(4, 0), readyWith(property("socket-type", 3, "PUB"), property("IDENTITY", 0, ""))))
	f.Add(concat(g, readyWith(property("Socket-Type", 3, "PUB"), property("X-Last", 200, "short"))))
	f.Add(concat(g, readyWith([]byte("\x06Socket"))))
	f.Add(concat(g, longHeader(zmtp.FlagCommand, 1<<63-1)))
	f.Add(concat(g, zmtp.AppendError(nil, "no room")))
	f.Fuzz(func(t *testing.T, sent []byte) {
		nc := &recording{Reader: bytes.NewReader(sent)}
		_, err := shakeHands(t.Context(), nc, zmtp.SUB, time.Minute)
		switch taken := len(sent) - nc.Len(); {
		case err != nil && strings.Contains(err.Error(), "panicked"):
			t.Fatal(err)
		case taken > zmtp.GreetingSize+9+maxReady:
			t.Fatalf("took %d bytes", taken)
		case err == nil:
			h, ok, err := zmtp.ParseHeader(sent[zmtp.GreetingSize:])
			if want := zmtp.GreetingSize + h.Len + int(h.Size); !ok || err != nil || taken != want {
				t.Fatalf("took %d bytes, the handshake has %d", taken, want)
			}
		}
	})
}

// recording is a connection to a peer whose bytes are all there already, and that swallows ours.
type recording struct {
	net.Conn
	*bytes.Reader
}

func (r *recording) Read(p []byte) (int, error)  { return r.Reader.Read(p) }
func (r *recording) Write(p []byte) (int, error) { return io.Discard.Write(p) }
func (*recording) SetDeadline(time.Time) error   { return nil }
func (*recording) Close() error                  { return nil }

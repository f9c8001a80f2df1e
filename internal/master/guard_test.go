package master

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"salt-broker/internal/zmtp"
)

// command is a command frame, long form if it must be.
func command(body []byte) []byte {
	return append(zmtp.AppendHeader(nil, zmtp.FlagCommand, len(body)), body...)
}

// readyWith is a READY frame with the metadata as given.
func readyWith(metadata ...[]byte) []byte {
	return command(concat([]byte("\x05READY"), concat(metadata...)))
}

// property is one of READY's, whose value claims to be as long as said.
func property(name string, claimed uint32, value string) []byte {
	p := append([]byte{byte(len(name))}, name...)
	p = binary.BigEndian.AppendUint32(p, claimed)
	return append(p, value...)
}

// longHeader is nine bytes that declare a body.
func longHeader(flags byte, size uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{flags | zmtp.FlagLong}, size)
}

// drips sends the bytes and then one byte of padding at a time for as long as it is let.
func drips(head []byte) func(net.Conn) {
	return func(nc net.Conn) {
		if _, err := nc.Write(head); err != nil {
			return
		}
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := nc.Write([]byte{0}); err != nil {
				return
			}
		}
	}
}

// resets ends the connection the hard way, once it is established on both sides.
func resets(nc net.Conn) {
	_, _ = nc.Read(make([]byte, 1))
	_ = nc.(*net.TCPConn).SetLinger(0)
}

func TestHostilePeers(t *testing.T) {
	const (
		short = 50 * time.Millisecond // where the deadline has to end the attempt
		long  = patience              // where it must not come to that
	)
	g := greeting(3, 1)
	plain := greeting(3, 1)
	copy(plain[12:], "PLAIN\x00")
	tests := []struct {
		name   string
		limit  time.Duration
		script func(net.Conn)
		reason zmtp.Reason // of the fault; empty where there is none
		is     error       // what else the error is
		says   string      // part of its text
	}{
		{name: "silence", limit: short, script: silent, is: os.ErrDeadlineExceeded, says: "only 0 of 64 bytes of the greeting"},
		{name: "half a greeting", limit: short, script: says(g[:32]), is: os.ErrDeadlineExceeded, says: "only 32 of 64 bytes of the greeting"},
		{name: "greeting alone", limit: short, script: says(g), is: os.ErrDeadlineExceeded, says: "only the greeting and 0 bytes of READY"},
		{name: "half a header", limit: short, script: says(g, []byte{4}), is: os.ErrDeadlineExceeded, says: "only the greeting and 1 bytes of READY"},
		{name: "half a READY", limit: short, script: says(g, ready(zmtp.PUB)[:9]), is: os.ErrDeadlineExceeded, says: "bytes of READY"},
		{name: "READY that never ends", limit: short, script: drips(concat(g, longHeader(zmtp.FlagCommand, 8<<10))), is: os.ErrDeadlineExceeded},

		{name: "hangs up at once", limit: long, script: hangsUp(nil), is: io.EOF, says: "hung up after 0 of 64"},
		{name: "hangs up in the greeting", limit: long, script: hangsUp(g[:11]), is: io.EOF, says: "hung up after 11 of 64"},
		{name: "hangs up for READY", limit: long, script: hangsUp(g), says: "hung up"},
		{name: "resets", limit: long, script: resets, says: "hung up"},

		{name: "HTTP", limit: long, script: says([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")), reason: zmtp.ReasonNotZMTP},
		{name: "TLS", limit: long, script: says([]byte("\x15\x03\x01\x00\x02\x02\x46")), reason: zmtp.ReasonNotZMTP},
		{name: "SSH", limit: long, script: says([]byte("SSH-2.0-OpenSSH_9.2\r\n")), reason: zmtp.ReasonNotZMTP},
		{name: "ZMTP 2.0", limit: long, script: says(append(g[:10:10], 1, 1)), reason: zmtp.ReasonVersion},
		{name: "PLAIN", limit: long, script: says(plain), reason: zmtp.ReasonMechanism},

		{name: "command of 2^63-1 bytes", limit: long, script: says(g, longHeader(zmtp.FlagCommand, math.MaxInt64)), reason: zmtp.ReasonReady, says: "9223372036854775807"},
		{name: "command of 2^64-1 bytes", limit: long, script: says(g, longHeader(zmtp.FlagCommand, math.MaxUint64)), reason: zmtp.ReasonFrame},
		{name: "command of 1 GiB", limit: long, script: says(g, longHeader(zmtp.FlagCommand, 1<<30)), reason: zmtp.ReasonReady, says: "limit"},
		{name: "READY one byte too long", limit: long, script: says(g, longHeader(zmtp.FlagCommand, maxReady+1)), reason: zmtp.ReasonReady, says: "limit is 8192"},
		{name: "message of 2^63-1 bytes", limit: long, script: says(g, longHeader(0, math.MaxInt64)), reason: zmtp.ReasonReady, says: "a message"},
		{name: "short message", limit: long, script: says(g, []byte("\x00\x05hello")), reason: zmtp.ReasonReady, says: "a message of 5 bytes"},
		{name: "READY with MORE", limit: long, script: says(g, []byte("\x05\x06\x05READY")), reason: zmtp.ReasonFrame},
		{name: "reserved flags", limit: long, script: says(g, []byte("\xf4\x06\x05READY")), reason: zmtp.ReasonFrame},
		{name: "empty command", limit: long, script: says(g, command(nil)), reason: zmtp.ReasonCommand},
		{name: "command name with a lying length", limit: long, script: says(g, command([]byte("\xffREADY"))), reason: zmtp.ReasonCommand},
		{name: "PING for READY", limit: long, script: says(g, zmtp.AppendPing(nil, 0, nil)), reason: zmtp.ReasonReady, says: `"PING"`},

		{name: "empty READY", limit: long, script: says(g, readyWith()), reason: zmtp.ReasonReady},
		{name: "name cut off", limit: long, script: says(g, readyWith([]byte("\x0bSocket"))), reason: zmtp.ReasonReady},
		// The library checks the name's length against all that is left, its own byte included, and then reads on.
		{name: "name to the last byte", limit: long, script: says(g, readyWith([]byte("\x06Socket"))), reason: zmtp.ReasonReady},
		{name: "length cut off", limit: long, script: says(g, readyWith([]byte("\x0bSocket-Type\x00\x00"))), reason: zmtp.ReasonReady},
		{name: "value longer than READY", limit: long, script: says(g, readyWith(property("Socket-Type", 300, "PUB"))), reason: zmtp.ReasonReady},
		{name: "value of 2^32-1 bytes", limit: long, script: says(g, readyWith(property("Socket-Type", math.MaxUint32, "PUB"))), reason: zmtp.ReasonReady},
		{name: "lie after the socket type", limit: long, script: says(g, readyWith(property("Socket-Type", 3, "PUB"), []byte{255})), reason: zmtp.ReasonReady},

		{name: "wrong socket type", limit: long, script: says(g, ready(zmtp.ROUTER)), reason: zmtp.ReasonSocketType, says: "ROUTER"},
		{name: "unknown socket type", limit: long, script: says(g, readyWith(property("Socket-Type", 6, "SERVER")))},
		{name: "ERROR", limit: long, script: says(g, zmtp.AppendError(nil, "no room")), reason: zmtp.ReasonPeerError, says: "no room"},
		{name: "ERROR with a lying length", limit: long, script: says(g, command([]byte("\x05ERROR\xffno")))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, "127.0.0.1:0", tt.script)
			r := run(t, p.addr.String(), func(o *Options) { o.HandshakeTimeout = tt.limit })
			began := time.Now()
			for range 3 { // so two attempts have ended, and the link goes on
				select {
				case <-p.accepted:
				case <-r.served:
					t.Fatal("the peer was taken for a master")
				case <-time.After(patience):
					t.Fatal("the link does not dial again")
				}
			}
			if took := time.Since(began); tt.limit == short && took < 2*short {
				t.Errorf("two attempts took %v, less than their deadlines", took)
			}
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}

			state := r.State()
			if state.Connected || state.Connections != 0 || state.Attempts < 2 {
				t.Errorf("state %+v", state)
			}
			err := state.LastError
			if err == nil {
				t.Fatal("no error")
			}
			t.Log(err)
			var fault *zmtp.Fault
			if got := errors.As(err, &fault); got && tt.reason != "" && fault.Reason != tt.reason {
				t.Errorf("reason %q, want %q", fault.Reason, tt.reason)
			} else if !got && tt.reason != "" {
				t.Errorf("not a fault: %v", err)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is not %v", err, tt.is)
			}
			for _, part := range []string{tt.says, p.addr.String()} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
}

// A first command of the greatest size allowed, full of properties that nobody knows, is fine.
func TestReadyOfGreatestSize(t *testing.T) {
	typ := property("Socket-Type", 3, "PUB")
	left := maxReady - len("\x05READY") - len(typ) - len(property("X-Long", 0, ""))
	frame := readyWith(typ, property("X-Long", uint32(left), strings.Repeat("x", left)))
	if want := maxReady + 9; len(frame) != want {
		t.Fatalf("%d bytes, want %d", len(frame), want)
	}
	p := newPeer(t, "127.0.0.1:0", says(greeting(3, 1), frame))
	run(t, p.addr.String(), nil).connection(t)
}

// The names of properties have no case (RFC 23), whatever the library thinks.
func TestReadyInAnyCase(t *testing.T) {
	for _, name := range []string{"SOCKET-TYPE", "socket-type", "sOcKeT-tYpE"} {
		p := newPeer(t, "127.0.0.1:0", says(greeting(3, 1), readyWith(property(name, 3, "PUB"))))
		run(t, p.addr.String(), nil).connection(t)
	}
}

// Whatever the peer sends together with its READY is for whoever serves the connection, to the byte.
func TestTrafficIsNotSwallowed(t *testing.T) {
	traffic := zmtp.AppendFrame(nil, true, []byte("topic"))
	traffic = zmtp.AppendFrame(traffic, false, bytes.Repeat([]byte("payload "), 1000))
	for _, version := range []zmtp.Version{{Major: 3, Minor: 0}, {Major: 3, Minor: 1}} {
		hello := concat(greeting(version.Major, version.Minor), ready(zmtp.PUB))
		// Cut inside the greeting, between the two, inside READY's header, inside READY, at its end, and nowhere.
		for _, cut := range []int{1, 10, 63, 64, 65, 66, 70, len(hello), len(hello) + 3, len(hello) + len(traffic)} {
			t.Run(fmt.Sprintf("%v/%d", version, cut), func(t *testing.T) {
				t.Parallel()
				all := concat(hello, traffic)
				p := newPeer(t, "127.0.0.1:0", says(all[:cut], all[cut:]))
				s := run(t, p.addr.String(), nil).connection(t)
				if s.version != version {
					t.Errorf("version %v, want %v", s.version, version)
				}
				if _, ok := s.nc.(*net.TCPConn); !ok {
					t.Errorf("served a %T, want a bare *net.TCPConn", s.nc)
				}
				got := make([]byte, len(traffic))
				if err := s.nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(s.nc, got); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, traffic) {
					t.Error("the traffic does not arrive as it was sent")
				}
			})
		}
	}
}

// The deadline of the handshake does not outlive it.
func TestNoDeadlineAfterHandshake(t *testing.T) {
	const limit = 100 * time.Millisecond
	p := newPeer(t, "127.0.0.1:0", func(nc net.Conn) {
		_, _ = nc.Write(concat(greeting(3, 1), ready(zmtp.PUB)))
		<-time.After(2 * limit)
		_, _ = nc.Write([]byte{42})
		silent(nc)
	})
	s := run(t, p.addr.String(), func(o *Options) { o.HandshakeTimeout = limit }).connection(t)
	var b [1]byte
	if _, err := io.ReadFull(s.nc, b[:]); err != nil || b[0] != 42 {
		t.Fatalf("read %v, %v", b, err)
	}
}

// What we send is a NULL greeting and a READY with our type, by the account of our own parsers.
func TestOurHandshake(t *testing.T) {
	for _, own := range []zmtp.SocketType{zmtp.SUB, zmtp.DEALER} {
		t.Run(own.String(), func(t *testing.T) {
			heard := make(chan error, 1)
			p := newPeer(t, "127.0.0.1:0", func(nc net.Conn) {
				peerOf := map[zmtp.SocketType]zmtp.SocketType{zmtp.SUB: zmtp.XPUB, zmtp.DEALER: zmtp.ROUTER}[own]
				g := &guard{Conn: nc, own: peerOf}
				if _, err := nc.Write(concat(greeting(3, 1), ready(peerOf))); err != nil {
					heard <- err
					return
				}
				_, err := g.next()
				if err == nil {
					_, err = g.next()
				}
				heard <- err
				silent(nc)
			})
			r := run(t, p.addr.String(), func(o *Options) { o.SocketType = own })
			if err := receive(t, heard); err != nil {
				t.Error(err)
			}
			r.connection(t)
		})
	}
}

// A panic inside the library costs the attempt.
func TestLibraryPanics(t *testing.T) {
	err := open(&guard{Conn: panics{}}, zmtp.SUB)
	if err == nil || !strings.Contains(err.Error(), "panicked: boom") {
		t.Errorf("got %v", err)
	}
}

type panics struct{ net.Conn }

func (panics) Write([]byte) (int, error) { panic("boom") }

//go:build linux

package sim

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// Version30 is what libzmq before 4.3.3 greets with. The zero Version in options stands for 3.1.
var Version30 = zmtp.Version{Major: 3, Minor: 0}

// The limits are wide: stand-ins take what a broker lets through, and say what is wrong with it.
func limits(l *reactor.Loop) zmtp.Limits {
	return zmtp.Limits{MaxMessage: 1 << 30, MaxFrames: 1 << 10, MaxCommand: 64 << 10, Buffers: l}
}

// minorAt is where a greeting has the minor version (RFC 23).
const minorAt = 11

// hello is a greeting and a READY. REQ names an identity, empty or not; so does anybody who is given one.
func hello(v zmtp.Version, t zmtp.SocketType, identity []byte) []byte {
	p := zmtp.AppendGreeting(nil)
	if v == Version30 {
		p[minorAt] = 0
	}
	if len(identity) == 0 {
		return zmtp.AppendReady(p, t)
	}
	body := append([]byte{byte(len(zmtp.CommandReady))}, zmtp.CommandReady...)
	body = appendProperty(body, "Socket-Type", []byte(t.String()))
	body = appendProperty(body, "Identity", identity)
	return append(zmtp.AppendHeader(p, zmtp.FlagCommand, len(body)), body...)
}

func appendProperty(dst []byte, name string, value []byte) []byte {
	dst = append(dst, byte(len(name)))
	dst = append(dst, name...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(value)))
	return append(dst, value...)
}

// delimiter is the empty frame, with more to follow, that REQ puts before its request.
var delimiter = []byte{zmtp.FlagMore, 0}

// poll is how often something is looked at that nobody tells of.
const poll = time.Millisecond

// await looks until done is true or ctx ends; what says what was waited for in vain.
func await(ctx context.Context, done func() bool, what func() string) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what(), ctx.Err())
		}
	}
	return nil
}

package zmtp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire reads hexadecimal bytes and quoted strings as the specifications draw them: `04 29 05 "READY"`. What follows a
// semicolon, up to the end of the line, is a comment.
func wire(text string) []byte {
	var p []byte
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, ";")
		for i, part := range strings.Split(line, `"`) {
			if i%2 == 1 {
				p = append(p, part...)
				continue
			}
			raw, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
			if err != nil {
				panic(err)
			}
			p = append(p, raw...)
		}
	}
	return p
}

// reasonOf returns the reason of a fault, "" for no error, and the error's text for anything else.
func reasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	if fault, ok := errors.AsType[*Fault](err); ok {
		return fault.Reason
	}
	return Reason("no fault: " + err.Error())
}

func wantFault(t *testing.T, err error, reason Reason, detail string) {
	t.Helper()
	if got := reasonOf(err); got != reason {
		t.Fatalf("reason %q (%v), want %q", got, err, reason)
	}
	if err != nil && !strings.Contains(err.Error(), detail) {
		t.Fatalf("error %q does not say %q", err, detail)
	}
}

func wantBytes(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%s\n got %x\nwant %x", what, got, want)
	}
}

// notes is a Sink that writes down what it is told.
type notes struct {
	events []string
	// refuse is the event that it returns errRefused for.
	refuse string
	// stream, if there, is asked for the buffer of each message.
	stream *Stream
	taken  [][]byte
}

var errRefused = errors.New("the sink refuses")

func (n *notes) note(format string, args ...any) error {
	event := fmt.Sprintf(format, args...)
	n.events = append(n.events, event)
	if event == n.refuse {
		return errRefused
	}
	return nil
}

func (n *notes) Greeted(v Version) error { return n.note("greeted %s", v) }

func (n *notes) Ready(r Ready) error { return n.note("ready %s %q", r.SocketType, r.Identity) }

func (n *notes) Command(name, data []byte) error { return n.note("command %s %x", name, data) }

func (n *notes) Message(msg []byte) error {
	if n.stream != nil {
		pieces := n.stream.Rest()
		b, rest := n.stream.Take()
		if b != nil {
			if &b[0] != &msg[0] || len(b) != len(msg) {
				return errors.New("Take returned something else than the message")
			}
			n.taken = append(n.taken, b)
		}
		if len(rest) != len(pieces) || len(rest) > 0 && (b == nil || &rest[0] != &pieces[0]) {
			return errors.New("Take returned something else than Rest")
		}
		n.taken = append(n.taken, rest...)
		if b, rest := n.stream.Take(); b != nil || rest != nil || n.stream.Rest() != nil {
			return errors.New("Take returned the message twice")
		}
		msg = slices.Concat(append([][]byte{msg}, rest...)...)
	}
	return n.note("message %x", msg)
}

// lender is a Buffers that knows what it has lent. What comes back is overwritten, so whoever still reads it notices.
type lender struct {
	lent    [][]byte
	largest int // of all that was asked for
	gets    int
	faults  []string
}

func (l *lender) Get(n int) []byte {
	b := make([]byte, 0, n)
	l.lent = append(l.lent, b)
	l.largest = max(l.largest, n)
	l.gets++
	return b
}

func (l *lender) Put(b []byte) {
	b = b[:cap(b)]
	for i := range b {
		b[i] = 0xdb
	}
	i := slices.IndexFunc(l.lent, func(lent []byte) bool { return &lent[:1][0] == &b[:1][0] })
	if i < 0 {
		l.faults = append(l.faults, fmt.Sprintf("%d bytes put that are not lent", len(b)))
		return
	}
	l.lent = slices.Delete(l.lent, i, i+1)
}

// settled fails the test unless everything that was lent has come back once.
func (l *lender) settled(t *testing.T) {
	t.Helper()
	if len(l.lent) > 0 || len(l.faults) > 0 {
		t.Fatalf("%d buffers are still lent; %q", len(l.lent), l.faults)
	}
}

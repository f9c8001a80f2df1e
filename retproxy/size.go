package retproxy

import (
	"fmt"

	"salt-broker/internal/zmtp"
)

// How much a request may be. Each broker on the way adds a frame to the envelope, so what is just within the limits at
// one may be just beyond them at the next, which gets the requests of many minions over one connection. So two limits
// are kept: a request beyond these is refused alone, and a connection is only closed for what no broker lets pass.
const (
	// maxEnvelopeBytes is for all identities and the delimiter: more than 200 brokers.
	maxEnvelopeBytes = 4096
	// maxContentFrames is for the frames behind the delimiter. Salt sends one.
	maxContentFrames = 1024

	// envelopeRoom and maxFrames are for what is read at all: room for what brokers add.
	envelopeRoom = 64 << 10
	maxFrames    = 8192
)

// size is what one request may be, without its envelope.
type size int64

// check measures a request whose envelope has depth identities.
func (s size) check(msg message, depth int) error {
	content := msg.head
	for range depth + 1 {
		_, content, _ = zmtp.CutFrame(content)
	}
	envelope := len(msg.head) - len(content)
	if envelope > maxEnvelopeBytes {
		return tooLarge("has an envelope of %d bytes (limit %d)", envelope, maxEnvelopeBytes)
	}
	if n := int64(msg.size() - envelope); n > int64(s) {
		return tooLarge("is a request of %d bytes (limit %d: max_message_size)", n, int64(s))
	}
	frames := 0
	for rest := content; len(rest) > 0; frames++ {
		_, rest, _ = zmtp.CutFrame(rest) // nothing follows the last, all there or not
	}
	if frames > maxContentFrames {
		return &zmtp.Fault{
			Reason: zmtp.ReasonTooManyFrames,
			Detail: fmt.Sprintf("is a request of %d frames (limit %d)", frames, maxContentFrames),
		}
	}
	return nil
}

func tooLarge(format string, n, limit any) error {
	return &zmtp.Fault{Reason: zmtp.ReasonMessageTooLarge, Detail: fmt.Sprintf(format, n, limit)}
}

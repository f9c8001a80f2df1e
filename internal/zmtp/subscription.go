package zmtp

// Subscription is a wish of a subscriber. A topic is a prefix: it matches every message whose first frame begins with it,
// and the empty one matches all (RFC 23, The Publish-Subscribe Pattern; RFC 29). Subscriptions add up: what was asked for
// twice is canceled twice.
//
// It travels in two forms, and both occur in the same connection: XSUB sends messages, and repeats itself in commands
// when it reconnects.
type Subscription struct {
	Topic  []byte
	Cancel bool
}

// The first byte of a subscription that is a message.
const (
	messageCancel    = 0
	messageSubscribe = 1
)

// AppendSubscription appends a subscription as a message, the form of ZMTP 3.0, which 3.1 understands too.
func AppendSubscription(dst, topic []byte, cancel bool) []byte {
	dst = AppendHeader(dst, 0, 1+len(topic))
	if cancel {
		dst = append(dst, messageCancel)
	} else {
		dst = append(dst, messageSubscribe)
	}
	return append(dst, topic...)
}

// ParseSubscription reads a whole message, as it is on the wire, as a subscription. The topic aliases msg.
//
//	subscribe   = %x00 short-size %d1 subscription
//	unsubscribe = %x00 short-size %d0 subscription
//
// A long size is accepted too: topics may have more than 254 bytes. Any other message is a [*Fault].
func ParseSubscription(msg []byte) (s Subscription, err error) {
	body, rest, err := CutFrame(msg)
	switch {
	case err != nil:
		return s, err
	case len(rest) > 0:
		return s, faultf(ReasonSubscription, "a message of more than one frame")
	case len(body) == 0:
		return s, faultf(ReasonSubscription, "an empty message")
	case body[0] != messageSubscribe && body[0] != messageCancel:
		return s, faultf(ReasonSubscription, "a message of %d bytes that begins with 0x%02x", len(body), body[0])
	}
	return Subscription{Topic: body[1:], Cancel: body[0] == messageCancel}, nil
}

// AppendSubscribe appends a subscription as the command of ZMTP 3.1 (RFC 37). The data of the command is the topic.
func AppendSubscribe(dst, topic []byte) []byte {
	dst = appendCommand(dst, CommandSubscribe, len(topic))
	return append(dst, topic...)
}

// AppendCancel appends the end of a subscription as the command of ZMTP 3.1 (RFC 37). The data of the command is the
// topic.
func AppendCancel(dst, topic []byte) []byte {
	dst = appendCommand(dst, CommandCancel, len(topic))
	return append(dst, topic...)
}

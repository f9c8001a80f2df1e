package retproxy

import (
	"bytes"

	"salt-broker/internal/salt"
	"salt-broker/internal/zmtp"
)

// lookForKey looks for the master's public key in a reply, which is its envelope, the delimiter and its body. One that is
// not the same as the last one on this link is told of. The reply is one that a stream has handed out.
func (k *link) lookForKey(reply []byte) {
	body := bodyOf(reply)
	if !salt.MayHaveKey(body) {
		return
	}
	// It lies where it lay the last time: replies to _auth differ in their cryptograms only, which follow it.
	if end := k.keyAt + len(k.key); len(k.key) > 0 && end <= len(body) && bytes.Equal(body[k.keyAt:end], k.key) {
		return
	}
	key := salt.MasterKey(body)
	if key == nil {
		return
	}
	same := bytes.Equal(key, k.key)
	k.key, k.keyAt = append(k.key[:0], key...), bytes.Index(body, key)
	if !same {
		k.lane.proxy.options.MasterKey(k.master, k.key)
	}
}

// bodyOf is the last frame of a reply. That to a REQ is the delimiter and one frame; others are taken apart.
func bodyOf(reply []byte) (body []byte) {
	const short, long = 2 + 2, 2 + 9 // where it begins behind the delimiter
	if len(reply) >= short && reply[0] == zmtp.FlagMore && reply[1] == 0 {
		switch {
		case reply[2] == 0:
			return reply[short:]
		case reply[2] == zmtp.FlagLong && len(reply) >= long:
			return reply[long:]
		}
	}
	for rest := reply; len(rest) > 0; {
		var err error
		if body, rest, err = zmtp.CutFrame(rest); err != nil {
			return nil
		}
	}
	return body
}

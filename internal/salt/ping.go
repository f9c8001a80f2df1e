package salt

import "github.com/tinylib/msgp/msgp"

// CommandPing is the cmd of the one request that needs no key and that a worker of the master answers, unlike connecting,
// which proves only that somebody listens.
const CommandPing = "ping"

// pingVersion is what a ping says of itself: masters ask for version 3 by default since 3006.17 and 3007.9.
const pingVersion = 3

// AppendPing appends the ping: {enc: clear, load: {cmd: ping}, version: 3}.
func AppendPing(dst []byte) []byte {
	dst = msgp.AppendMapHeader(dst, 3)
	dst = appendKeyed(dst, keyEnc, EncClear)
	dst = AppendPingReply(AppendRawString(dst, keyLoad))
	return msgp.AppendInt(AppendRawString(dst, keyVersion), pingVersion)
}

// AppendPingReply appends what a healthy master answers to a ping: {cmd: ping}.
func AppendPingReply(dst []byte) []byte {
	return appendKeyed(msgp.AppendMapHeader(dst, 1), keyCmd, CommandPing)
}

// IsPingReply says whether p is what a healthy master answers to a ping. A master that is not ready yet, or no master at
// all, answers something else.
func IsPingReply(p []byte) bool {
	_, rest, err := cutValue(p)
	return err == nil && len(rest) == 0 && command(p) == CommandPing
}

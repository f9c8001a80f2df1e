package pubproxy

import (
	"sync/atomic"

	"salt-broker/internal/zmtp"
)

// segmentBytes is the size of a segment of the log; a larger message has a segment of its own. A thousand publishes of
// Salt's usual 440 bytes fill about two.
const segmentBytes = 256 << 10

// publishLog is what the master published, as the bytes it came in: whole messages in order, appended by one loop (the
// one that has the link) and read by all without a lock. What is in it never changes. Nobody holds the whole of it: each
// reader holds the segment that it is in, which holds its followers, and the collector frees what is behind the last
// reader. So the log costs what its slowest reader needs, and the limit is kept by saying which messages are past it:
// readers leave those.
type publishLog struct {
	// Owned by the writing loop.
	head  *segment
	marks []mark // of the full segments within the limit, oldest first
	bytes int64  // in them and in head
	limit int64

	// oldest is the serial of the first message within the limit. Readers that are behind it must move on.
	oldest atomic.Uint64
}

// mark remembers a segment without holding it.
type mark struct {
	serial uint64 // of its first message
	bytes  int64
}

// segment is a part of the log.
type segment struct {
	data   []byte // [0:end) is written and final
	serial uint64 // of its first message: serials count all messages since the broker started
	start  int64  // bytes of all messages before that
	end    atomic.Uint64
	next   atomic.Pointer[segment] // set when this one will not grow any more
}

// A segment's end packs the offset behind its last whole message and the number of its messages, so that readers see
// both move at once.
func (s *segment) load() (end uint32, messages uint32) {
	v := s.end.Load()
	return uint32(v >> 32), uint32(v)
}

func (s *segment) store(end, messages uint32) { s.end.Store(uint64(end)<<32 | uint64(messages)) }

func newPublishLog(limit int64) *publishLog {
	first := &segment{data: make([]byte, segmentBytes)}
	return &publishLog{head: first, limit: limit}
}

// append adds one whole message, which stays the caller's. Only the writing loop may call it.
func (l *publishLog) append(msg []byte) {
	s := l.head
	end, messages := s.load()
	if len(msg) > len(s.data)-int(end) {
		l.marks = append(l.marks, mark{s.serial, int64(end)})
		s = &segment{
			data: make([]byte, max(segmentBytes, len(msg))), serial: s.serial + uint64(messages), start: s.start + int64(end),
		}
		l.head.next.Store(s)
		l.head = s
		end, messages = 0, 0
	}
	copy(s.data[end:], msg)
	s.store(end+uint32(len(msg)), messages+1)
	l.bytes += int64(len(msg))
	if l.bytes > l.limit {
		l.forget()
	}
}

// forget declares the oldest segments past the limit. The newest always stays within it.
func (l *publishLog) forget() {
	n := 0
	for ; n < len(l.marks) && l.bytes > l.limit; n++ {
		l.bytes -= l.marks[n].bytes
	}
	if n == 0 {
		return
	}
	l.marks = append(l.marks[:0], l.marks[n:]...)
	if len(l.marks) > 0 {
		l.oldest.Store(l.marks[0].serial)
	} else {
		l.oldest.Store(l.head.serial)
	}
}

// position is a place between two messages of the log.
type position struct {
	seg    *segment
	offset uint32
	serial uint64 // of the message that begins here
}

// bytes counts those of all messages before the position.
func (p *position) bytes() int64 { return p.seg.start + int64(p.offset) }

// newest is the position behind the last whole message.
func (l *publishLog) newest() position {
	end, messages := l.head.load()
	return position{l.head, end, l.head.serial + uint64(messages)}
}

// cross moves a position at the end of a full segment to the beginning of the next, and says whether it did.
func (p *position) cross() bool {
	next := p.seg.next.Load()
	if next == nil {
		return false
	}
	if end, _ := p.seg.load(); p.offset < end { // grew between the caller's look and its end
		return false
	}
	p.seg, p.offset = next, 0
	return true
}

// skipTo moves a position forward to the message with this serial, which is in the log and not before p.
func (p *position) skipTo(serial uint64) {
	for {
		next := p.seg.next.Load()
		if next == nil || next.serial > serial {
			break
		}
		p.seg, p.offset, p.serial = next, 0, next.serial
	}
	for p.serial < serial {
		p.offset += messageSize(p.seg.data[p.offset:])
		p.serial++
	}
}

// messageSize is the size of the message that p begins with. What is in the log has been scanned when it came.
func messageSize(p []byte) uint32 {
	size := 0
	for {
		h, _, _ := zmtp.ParseHeader(p[size:])
		size += h.Len + int(h.Size)
		if h.Flags&zmtp.FlagMore == 0 {
			return uint32(size)
		}
	}
}

// topicOf is what subscriptions are compared with: the body of the first frame.
func topicOf(msg []byte) []byte {
	h, _, _ := zmtp.ParseHeader(msg)
	return msg[h.Len : h.Len+int(h.Size)]
}

//go:build linux

package reactor

import "golang.org/x/sys/unix"

// maxPieces is how many pieces one system call sends at most.
const maxPieces = 64

// outbox is what a connection has to send and could not yet. It exists only while there is something.
type outbox struct {
	pieces [][]byte // in order; the last may still have room that copy fills
	first  int      // pieces before it have gone
	sent   int      // of the first piece
	bytes  int      // that wait, over all pieces
	then   error    // close with this reason when all has gone
}

// copy adds a small piece to what is gathered.
func (o *outbox) copy(p *pool, b []byte) {
	o.bytes += len(b)
	if last := len(o.pieces) - 1; last >= o.first && cap(o.pieces[last])-len(o.pieces[last]) >= len(b) {
		o.pieces[last] = append(o.pieces[last], b...)
		return
	}
	size := len(b)
	if o.bytes > size { // not the first of this turn: more will follow
		size = max(size, min(4*o.bytes, 64<<10))
	}
	o.pieces = append(o.pieces, append(p.get(size), b...))
}

// copyLarge adds a piece of any size.
func (o *outbox) copyLarge(p *pool, b []byte) {
	o.bytes += len(b)
	o.pieces = append(o.pieces, append(p.get(len(b)), b...))
}

// own adds a buffer without copying. Nothing is appended to it: its room may be small, or not ours to fill.
func (o *outbox) own(b []byte) {
	o.bytes += len(b)
	o.pieces = append(o.pieces, b)
}

// send writes until all has gone (0) or the kernel takes no more.
func (o *outbox) send(fd int32, l *Loop) unix.Errno {
	for o.bytes > 0 {
		var n int
		var errno unix.Errno
		waiting := o.pieces[o.first:]
		want := len(waiting[0]) - o.sent
		if len(waiting) == 1 {
			n, errno = send(fd, waiting[0][o.sent:])
		} else {
			iov := l.iov[:0]
			iov = append(iov, unix.Iovec{Base: &waiting[0][o.sent], Len: uint64(want)})
			for _, piece := range waiting[1:min(len(waiting), maxPieces)] {
				iov = append(iov, unix.Iovec{Base: &piece[0], Len: uint64(len(piece))})
				want += len(piece)
			}
			n, errno = sendv(fd, &l.msghdr, iov)
			clear(iov) // do not hold on to the buffers
		}
		if errno != 0 {
			return errno
		}
		o.advance(&l.pool, n)
		if n < want {
			return unix.EAGAIN
		}
	}
	return 0
}

// advance drops n bytes that have gone.
func (o *outbox) advance(p *pool, n int) {
	o.bytes -= n
	for n > 0 {
		left := len(o.pieces[o.first]) - o.sent
		if n < left {
			o.sent += n
			return
		}
		n -= left
		p.put(o.pieces[o.first])
		o.pieces[o.first] = nil
		o.first++
		o.sent = 0
	}
	if o.first == len(o.pieces) {
		o.pieces, o.first = o.pieces[:0], 0
	}
}

func (o *outbox) release(p *pool) {
	for _, piece := range o.pieces[o.first:] {
		p.put(piece)
	}
	clear(o.pieces)
	*o = outbox{pieces: o.pieces[:0]}
}

//go:build linux

package reactor

import "golang.org/x/sys/unix"

// maxPieces is how many pieces one system call sends at most.
const maxPieces = 64

// outbox is what a connection has to send and could not yet. It exists only while there is something.
type outbox struct {
	pieces [][]byte // in order
	first  int      // pieces before it have gone
	sent   int      // of the first piece
	bytes  int      // that wait, over all pieces
	open   bool     // the last piece may still have room that copy fills
	then   error    // why the connection closes when all has gone, if it is closing
}

// copy adds a small piece to what is gathered.
func (o *outbox) copy(p *pool, b []byte) {
	o.bytes += len(b)
	if last := len(o.pieces) - 1; o.open && last >= o.first && cap(o.pieces[last])-len(o.pieces[last]) >= len(b) {
		o.pieces[last] = append(o.pieces[last], b...)
		return
	}
	size := len(b)
	if o.bytes > size { // not the first of this turn: more will follow
		size = max(size, min(4*o.bytes, 64<<10))
	}
	o.add(append(p.get(size), b...))
	o.open = true
}

// copyLarge adds a piece of any size.
func (o *outbox) copyLarge(p *pool, b []byte) {
	o.bytes += len(b)
	o.add(append(p.get(len(b)), b...))
	o.open = true
}

// own adds a buffer without copying. Nothing is appended to it: its room may be small, or not ours to fill.
func (o *outbox) own(b []byte) {
	o.bytes += len(b)
	o.add(b)
	o.open = false
}

// add appends a piece. Where a peer reads all the time but never catches up, pieces only ever leave at the front: their
// places are used again, or the list would grow for as long as the connection lives.
func (o *outbox) add(piece []byte) {
	if len(o.pieces) == cap(o.pieces) && o.first > len(o.pieces)/2 {
		n := copy(o.pieces, o.pieces[o.first:])
		clear(o.pieces[n:])
		o.pieces, o.first = o.pieces[:n], 0
	}
	o.pieces = append(o.pieces, piece)
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
			iov = append(iov, vector(waiting[0][o.sent:]))
			for _, piece := range waiting[1:min(len(waiting), maxPieces)] {
				iov = append(iov, vector(piece))
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

// vector is a piece as the kernel wants it. No piece is empty.
func vector(piece []byte) unix.Iovec {
	v := unix.Iovec{Base: &piece[0]}
	v.SetLen(len(piece))
	return v
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

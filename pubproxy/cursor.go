package pubproxy

import "bytes"

// cursor is the place in the log of a minion that lags: the kernel did not take all that was written to it. Its
// messages wait in the log, which all minions share. A minion that lags too far loses the oldest of them: whole ones,
// never a part of one.
type cursor struct {
	at     position // of the message that is being sent; what is before it has gone or is lost
	sent   uint32   // bytes of it that have gone
	rest   []byte   // what is left of a message that was given up by the log while it was being sent; goes first
	copied int64    // bytes in memory for rest that no other minion shares
	pong   []byte   // an answer to a PING that waits for the end of a message
	ping   bool     // a PING waits for it, too

	// waiting counts the messages from at to the loop's position that match, for minions without ''.
	waiting int
}

// inside says whether the minion has got a part of a message, and nothing else may be written.
func (c *cursor) inside() bool { return c.sent > 0 || len(c.rest) > 0 }

// advance notes that n more bytes have gone, and returns how many messages are whole by that.
func (c *cursor) advance(n int) (whole int) {
	c.sent += uint32(n)
	for c.sent > 0 {
		size := messageSize(c.at.seg.data[c.at.offset:])
		if c.sent < size {
			break
		}
		c.sent -= size
		c.at.offset += size
		c.at.serial++
		whole++
	}
	return whole
}

// copiedBytes is the size up to which the rest of a message is copied. It would hold its segment's bytes in memory
// otherwise, and a thousand minions as many segments; a larger one is shared by all that are within it.
const copiedBytes = 16 << 10

// skipPast moves the cursor behind the message that is being sent, whose rest it keeps: the segment would keep the whole
// log behind it in memory. It returns by how much the minion holds more for that.
func (c *cursor) skipPast() (copied int64) {
	size := messageSize(c.at.seg.data[c.at.offset:])
	c.rest = c.at.seg.data[c.at.offset+c.sent : c.at.offset+size]
	if len(c.rest) <= copiedBytes {
		c.rest = bytes.Clone(c.rest)
		c.copied = int64(len(c.rest))
	}
	c.sent = 0
	c.at.offset += size
	c.at.serial++
	return c.copied
}

// fallBehind gives a minion a cursor at a position from which n bytes have gone, unless it turns out to be closed.
func (f *fanout) fallBehind(m *minion, at position, n int) bool {
	takeOut(&f.current, m)
	if m.conn.Closed() {
		return false
	}
	f.deliveryBytes.Add(uint64(n))
	m.cursor = &cursor{at: at}
	if whole := m.cursor.advance(n); whole > 0 {
		f.deliveries.Add(uint64(whole))
		m.cursor.waiting -= whole // the caller adds what it tried to write
	}
	m.place = insert(&f.behind, m)
	f.lagging.Add(1)
	if len(f.behind) == 1 {
		if f.sweeper == nil {
			f.sweeper = f.loop.After(sweepInterval, f.sweep)
		} else {
			f.sweeper.Reset(sweepInterval)
		}
	}
	return true
}

// catchUp ends a minion's lag.
func (f *fanout) catchUp(m *minion) {
	f.rejoin(m)
	if m.everything {
		m.place = insert(&f.current, m)
	}
}

// rejoin takes a minion out of those that lag.
func (f *fanout) rejoin(m *minion) {
	takeOut(&f.behind, m)
	m.cursor = nil
	if f.lagging.Add(-1) == 0 {
		f.lag.Store(0)
		f.lagBytes.Store(0)
	}
}

// serve writes to a minion that lags, as far as it goes now.
func (f *fanout) serve(m *minion) {
	f.hold(m)
	c := m.cursor
	for !m.conn.Closed() {
		if len(c.rest) > 0 {
			n := m.conn.TryWrite(c.rest)
			f.progress(m, n)
			c.rest = c.rest[n:]
			if len(c.rest) > 0 {
				return
			}
			f.release(c)
			f.deliveries.Add(1)
		}
		if err := f.commands(m); err != nil {
			m.conn.Close(err)
			return
		}
		if c.at.serial == f.pos.serial {
			f.catchUp(m)
			return
		}
		end := f.pos.offset
		if c.at.seg != f.pos.seg {
			if end, _ = c.at.seg.load(); c.at.offset == end {
				c.at.cross()
				continue
			}
		}
		if c.pong != nil || c.ping {
			end = c.at.offset + messageSize(c.at.seg.data[c.at.offset:])
		}
		if !m.everything {
			if end = f.matching(m, end); end == c.at.offset {
				continue
			}
		}
		chunk := c.at.seg.data[c.at.offset+c.sent : end]
		n := m.conn.TryWrite(chunk)
		f.progress(m, n)
		whole := c.advance(n)
		c.waiting -= whole
		f.deliveries.Add(uint64(whole))
		if n < len(chunk) {
			return
		}
	}
}

// progress notes that a minion that lags has taken n bytes: slow is not dead.
func (f *fanout) progress(m *minion, n int) {
	if n > 0 {
		f.deliveryBytes.Add(uint64(n))
		f.watch.Alive(m.conn)
	}
}

// release gives up the rest of a message that a cursor has kept.
func (f *fanout) release(c *cursor) {
	f.held -= c.copied
	c.rest, c.copied = nil, 0
}

// commands sends what waits for the end of a message, if that is here.
func (f *fanout) commands(m *minion) error {
	c := m.cursor
	if c.inside() {
		return nil
	}
	if c.pong != nil {
		pong := c.pong
		c.pong = nil
		if err := m.conn.Write(pong); err != nil {
			return err
		}
	}
	if c.ping {
		c.ping = false
		return m.Ping()
	}
	return nil
}

// matching finds the next messages before end that a minion is subscribed to: it moves the cursor to the first of them
// and returns the end of those that follow it directly; the cursor's own place when there are none.
func (f *fanout) matching(m *minion, end uint32) uint32 {
	c := m.cursor
	data := c.at.seg.data
	for c.sent == 0 && c.at.offset < end && !f.tree.wants(m, topicOf(data[c.at.offset:])) {
		c.at.offset += messageSize(data[c.at.offset:])
		c.at.serial++
	}
	to := c.at.offset
	if c.sent > 0 { // half gone: whatever it is subscribed to by now
		to += messageSize(data[to:])
	}
	for to < end && f.tree.wants(m, topicOf(data[to:])) {
		to += messageSize(data[to:])
	}
	return to
}

// count returns how many messages from a position to a serial a minion is subscribed to.
func (f *fanout) count(m *minion, from position, to uint64) (n int) {
	for from.serial < to {
		if end, _ := from.seg.load(); from.offset == end {
			from.cross()
			continue
		}
		msg := from.seg.data[from.offset:]
		if f.tree.wants(m, topicOf(msg)) {
			n++
		}
		from.offset += messageSize(msg)
		from.serial++
	}
	return n
}

// sweep holds all minions that lag to the marks, also those that do not read at all.
func (f *fanout) sweep() {
	f.swept = f.proxy.log.oldest.Load()
	lag, lagBytes := uint64(0), int64(0)
	for _, m := range f.behind {
		f.hold(m)
		at := &m.cursor.at
		lag = max(lag, f.pos.serial-at.serial)
		lagBytes = max(lagBytes, f.pos.bytes()-at.bytes())
	}
	f.lag.Store(int64(lag))
	f.lagBytes.Store(lagBytes)
	if len(f.behind) > 0 && f.sweeper != nil {
		f.sweeper.Reset(sweepInterval)
	}
}

// hold keeps a minion within its high-water mark and within the log: it loses the oldest messages beyond.
func (f *fanout) hold(m *minion) {
	c := m.cursor
	hwm := uint64(f.hwm)
	oldest := min(f.proxy.log.oldest.Load(), f.pos.serial)
	target := c.at.serial
	if m.everything && f.pos.serial-target > hwm {
		target = f.pos.serial - hwm
	}
	target = max(target, oldest)
	excess := 0
	if !m.everything {
		excess = max(0, c.waiting-int(hwm))
	}
	if target == c.at.serial && excess == 0 {
		return
	}
	if c.sent > 0 {
		f.held += c.skipPast()
		c.waiting--
		excess--
	}
	lost := 0
	if m.everything {
		if target > c.at.serial {
			lost = int(target - c.at.serial)
			c.at.skipTo(target)
		}
	} else {
		lost = f.drop(m, target, excess)
	}
	m.lost += uint32(lost)
	f.lost.Add(uint64(lost))
	if target == oldest && excess <= 0 {
		f.lostToLog.Add(uint64(lost))
	}
	if limit := f.maxLost; limit > 0 && int(m.lost) > limit {
		m.conn.Close(errBehind)
	}
}

// drop moves the cursor of a minion with topics to a serial at least, and over at least excess messages that match, and
// returns how many that match it has passed.
func (f *fanout) drop(m *minion, serial uint64, excess int) (lost int) {
	c := m.cursor
	for c.at.serial < f.pos.serial && (c.at.serial < serial || lost < excess) {
		if end, _ := c.at.seg.load(); c.at.offset == end {
			c.at.cross()
			continue
		}
		msg := c.at.seg.data[c.at.offset:]
		if f.tree.wants(m, topicOf(msg)) {
			lost++
		}
		c.at.offset += messageSize(msg)
		c.at.serial++
	}
	c.waiting -= lost
	return lost
}

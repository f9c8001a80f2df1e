package pubproxy

import (
	"sync/atomic"
	"time"

	"salt-broker/internal/admission"
	"salt-broker/internal/buffers"
	"salt-broker/internal/heartbeat"
	"salt-broker/internal/latency"
	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// sweepInterval is how often minions that lag are held to the high-water mark when they do not read at all.
const sweepInterval = time.Second

// forgetPerTurn is how many subscriptions of a minion that has left are canceled in a turn.
const forgetPerTurn = 1000

// fanout brings what is in the log to the minions of one loop.
type fanout struct {
	proxy *Proxy
	loop  *reactor.Loop

	// Owned by the loop.
	hwm, maxLost, maxSubscriptions int // see Options

	limits     zmtp.Limits
	held       int64 // bytes in memory for single minions, beside the log
	account    *buffers.Account
	watch      *heartbeat.Watch
	pos        position  // everything before it has been written to every minion that is not behind
	current    []*minion // subscribed to '' and not behind
	behind     []*minion // have a cursor
	tree       tree      // subscriptions but ''
	everything int       // minions subscribed to ''
	sweeper    *reactor.Timer
	swept      uint64 // the log's oldest serial at the last sweep
	runs       []run  // of messages to write, while spread works
	batch      batch
	stamp      uint32   // of the message being matched
	at         position // its beginning
	end        uint32   // its end in the segment

	found func(*minion) // f.match, bound once
	work  func()        // f.run, bound once

	// Shared.
	pending       atomic.Bool   // run has been posted and has not begun
	came          time.Duration // when what it was posted for came; whoever sets pending sets it, before posting
	minions       atomic.Int64
	lagging       atomic.Int64
	lag, lagBytes atomic.Int64 // of the last minion behind, at the last sweep
	deliveries    atomic.Uint64
	deliveryBytes atomic.Uint64
	lost          atomic.Uint64
	lostToLog     atomic.Uint64
	spent         latency.Recorder
}

// batch is what minions get with one system call, while it is put together and written.
type batch struct {
	minions [reactor.MaxBatch]*minion
	runs    [reactor.MaxBatch]*run
	conns   [reactor.MaxBatch]*reactor.Conn
	chunks  [reactor.MaxBatch][]byte
	took    [reactor.MaxBatch]int
}

// run is what a minion gets in one write: messages that follow each other in the log and all match.
type run struct {
	minion   *minion // nil: already written
	at       position
	end      uint32
	messages int
}

func newFanout(p *Proxy, l *reactor.Loop) *fanout {
	f := &fanout{proxy: p, loop: l, pos: p.log.newest()}
	f.limits = zmtp.Limits{
		MaxMessage: maxTopicBytes + 64, // minions send subscriptions only
		MaxFrames:  1,
		MaxCommand: maxTopicBytes + 64,
		Buffers:    l,
	}
	f.keep(p.options)
	nobodyStops := func() bool { return false } // so nobody needs a turn to be read on
	f.account = p.options.Buffers.Open(l, &f.held, nobodyStops, admission.ErrBuffers)
	f.found, f.work = f.match, f.run
	return f
}

// notify has the loop write what is new in the log and came now. It is safe from any goroutine, and many calls cost one
// wake-up.
func (f *fanout) notify(now time.Duration) {
	if !f.pending.Swap(true) {
		f.came = now
		f.loop.Post(f.work)
	}
}

// run writes what is new to all minions that are up to date.
func (f *fanout) run() {
	came, written := f.came, uint64(0) // before somebody else may set it
	f.pending.Store(false)
	for {
		seg := f.pos.seg
		end, messages := seg.load()
		if f.pos.offset < end {
			serial := seg.serial + uint64(messages)
			f.broadcast(seg.data[f.pos.offset:end], serial-f.pos.serial)
			if f.tree.count > 0 {
				f.spread(end)
			}
			written += serial - f.pos.serial
			f.pos.offset, f.pos.serial = end, serial
		}
		if !f.pos.cross() && f.caughtUp() {
			break
		}
	}
	if written > 0 && len(f.current)+f.tree.count > 0 {
		f.spent.Observe(f.loop.Clock()-came, written)
	}
	if f.swept != f.proxy.log.oldest.Load() {
		f.sweep()
	}
}

func (f *fanout) caughtUp() bool {
	end, _ := f.pos.seg.load()
	return f.pos.offset == end
}

// broadcast writes whole messages to every minion that wants all of them.
func (f *fanout) broadcast(chunk []byte, messages uint64) {
	b := &f.batch
	var delivered, whole uint64
	// From the end: whom fallBehind takes out of current, the last one takes the place of, and that has had its turn.
	for left := len(f.current); left > 0; {
		n := copy(b.minions[:], f.current[max(0, left-len(b.minions)):left])
		left -= n
		for i, m := range b.minions[:n] {
			b.conns[i], b.chunks[i] = m.conn, chunk
		}
		f.loop.TryWriteAll(b.conns[:n], b.chunks[:n], b.took[:n])
		for i, m := range b.minions[:n] {
			if b.took[i] == len(chunk) {
				delivered += messages
				whole++
				continue
			}
			f.fallBehind(m, f.pos, b.took[i])
		}
	}
	clear(b.chunks[:]) // or they keep their segment in memory
	if delivered > 0 {
		f.deliveries.Add(delivered)
		f.deliveryBytes.Add(whole * uint64(len(chunk)))
	}
}

// spread writes each message from f.pos to end to the minions with a matching subscription. Messages for the same minion
// that follow each other leave in one write.
func (f *fanout) spread(end uint32) {
	data := f.pos.seg.data[:end]
	for f.at = f.pos; f.at.offset < end; {
		msg := data[f.at.offset:]
		f.end = f.at.offset + messageSize(msg)
		f.stamp++
		f.tree.match(topicOf(msg), f.found)
		f.at.offset = f.end
		f.at.serial++
	}
	b, n := &f.batch, 0
	for i := range f.runs {
		if r := &f.runs[i]; r.minion != nil {
			b.runs[n], b.conns[n], b.chunks[n] = r, r.minion.conn, r.bytes()
			n++
		}
		if n == len(b.runs) || i == len(f.runs)-1 {
			f.writeBatch(n)
			n = 0
		}
	}
	f.runs = f.runs[:0]
}

// writeBatch writes the first n runs of the batch, to a minion each.
func (f *fanout) writeBatch(n int) {
	b := &f.batch
	f.loop.TryWriteAll(b.conns[:n], b.chunks[:n], b.took[:n])
	for i, r := range b.runs[:n] {
		r.minion.run = -1
		f.written(r, b.took[i])
		r.minion = nil
	}
	clear(b.chunks[:n])
}

// match is called for a minion that has a subscription to the message at hand; several times if it has several.
func (f *fanout) match(m *minion) {
	if m.everything || m.seen == f.stamp {
		return
	}
	m.seen = f.stamp
	if m.cursor != nil {
		m.cursor.waiting++
		return
	}
	if m.run < 0 {
		m.run = int32(len(f.runs))
		f.runs = append(f.runs, run{m, f.at, f.end, 1})
		return
	}
	r := &f.runs[m.run]
	if r.end == f.at.offset {
		r.end = f.end
		r.messages++
		return
	}
	if f.write(r) {
		*r = run{m, f.at, f.end, 1}
		return
	}
	r.minion, m.run = nil, -1
	if m.cursor != nil {
		m.cursor.waiting++
	}
}

// bytes are the run's in the log.
func (r *run) bytes() []byte { return r.at.seg.data[r.at.offset:r.end] }

// write sends a run and says whether all of it has gone.
func (f *fanout) write(r *run) bool { return f.written(r, r.minion.conn.TryWrite(r.bytes())) }

// written takes in that n bytes of a run have gone, and says whether that is all of it. Otherwise the minion has a cursor
// now, or is closed.
func (f *fanout) written(r *run, n int) bool {
	if n == len(r.bytes()) {
		f.deliveries.Add(uint64(r.messages))
		f.deliveryBytes.Add(uint64(n))
		return true
	}
	if f.fallBehind(r.minion, r.at, n) {
		r.minion.cursor.waiting += r.messages
	}
	return false
}

// subscribe adds a prefix to a minion's subscriptions. Repeating one changes nothing.
func (f *fanout) subscribe(m *minion, topic []byte) {
	if len(topic) > 0 {
		prefix := string(topic) // one copy for the tree and for the union
		added, first := f.tree.add(m, prefix)
		if added {
			m.topicBytes += uint32(len(prefix))
		}
		if first {
			f.proxy.upstream.change(f.loop, prefix, +1)
		}
		return
	}
	if m.everything {
		return
	}
	m.everything = true
	if m.cursor == nil {
		m.place = insert(&f.current, m)
	}
	if f.everything++; f.everything == 1 {
		f.proxy.upstream.change(f.loop, "", +1)
	}
}

// has says whether a minion has subscribed to this very prefix.
func (f *fanout) has(m *minion, topic []byte) bool {
	if len(topic) == 0 {
		return m.everything
	}
	n := f.tree.find(topic)
	return n != nil && n.has(m) >= 0
}

// cancel takes a prefix from a minion's subscriptions.
func (f *fanout) cancel(m *minion, topic []byte) {
	if len(topic) > 0 {
		removed, last := f.tree.remove(m, topic)
		if removed {
			m.topicBytes -= uint32(len(topic))
		}
		if last {
			f.proxy.upstream.change(f.loop, string(topic), -1)
		}
		return
	}
	if !m.everything {
		return
	}
	m.everything = false
	if m.cursor == nil {
		takeOut(&f.current, m)
	} else {
		m.cursor.waiting = f.count(m, m.cursor.at, f.pos.serial)
	}
	if f.everything--; f.everything == 0 {
		f.proxy.upstream.change(f.loop, "", -1)
	}
}

// leave forgets a minion.
func (f *fanout) leave(m *minion) {
	if m.cursor != nil {
		f.release(m.cursor)
		f.rejoin(m)
	}
	f.cancel(m, nil)
	f.forget(m)
}

// forget cancels the subscriptions of a minion that has left, some in a turn: it may have a hundred thousand, and others
// should not wait for that. What matches one meanwhile is written to a closed connection.
func (f *fanout) forget(m *minion) {
	for len(m.entries) > 0 {
		f.tree.removeSome(m, forgetPerTurn, func(prefix string) { f.proxy.upstream.change(f.loop, prefix, -1) })
		if len(m.entries) > 0 && f.loop.Post(func() { f.forget(m) }) {
			return
		}
	}
	m.entries = nil
	f.minions.Add(-1)
}

// insert and takeOut keep a list of minions without order, each minion knowing its place.
func insert(list *[]*minion, m *minion) int32 {
	*list = append(*list, m)
	return int32(len(*list) - 1)
}

func takeOut(list *[]*minion, m *minion) {
	if m.place < 0 {
		return
	}
	end := len(*list) - 1
	moved := (*list)[end]
	(*list)[m.place] = moved
	moved.place = m.place
	(*list)[end] = nil
	*list = (*list)[:end]
	m.place = -1
}

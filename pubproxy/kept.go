package pubproxy

import (
	"sync/atomic"
	"time"
)

const (
	// keptRoom and keptPlaces are what an empty list keeps for the next time, in bytes and in publishes.
	keptRoom   = 1 << 20
	keptPlaces = 4096
)

// kept is what the warm peer published last, in its order. It owns copies, and belongs to the loop.
type kept struct {
	counts *warmCounts
	list   []keptPublish // from first on
	first  int
	bytes  []byte // of them, one after the other, from start on
	start  int

	// For others to look at.
	held, heldBytes atomic.Int64
}

type keptPublish struct {
	came time.Duration
	size int
}

// warmCounts count publishes of warm peers. They are written by the loop.
type warmCounts struct{ kept, replayed, passed, old, full, left atomic.Uint64 }

// WarmCounts count what became of the publishes of the peer that is kept warm.
type WarmCounts struct {
	Kept     uint64 // came from it
	Replayed uint64 // followed when the peer that served had failed
	Passed   uint64 // dropped: the peer that serves has published WarmOverlap later, as usual
	Old      uint64 // dropped after WarmKeep
	Full     uint64 // dropped, the oldest ones: there were more than WarmBytes
	Left     uint64 // dropped: their peer is not the warm one any more
}

func (c *warmCounts) load() WarmCounts {
	return WarmCounts{
		Kept: c.kept.Load(), Replayed: c.replayed.Load(),
		Passed: c.passed.Load(), Old: c.old.Load(), Full: c.full.Load(), Left: c.left.Load(),
	}
}

// After adds what a former proxy has counted.
func (c WarmCounts) After(former WarmCounts) WarmCounts {
	c.Kept += former.Kept
	c.Replayed += former.Replayed
	c.Passed += former.Passed
	c.Old += former.Old
	c.Full += former.Full
	c.Left += former.Left
	return c
}

func (k *kept) len() int { return len(k.list) - k.first }

// size is in bytes.
func (k *kept) size() int64 { return int64(len(k.bytes) - k.start) }

// since is when the oldest came, which there is.
func (k *kept) since() time.Duration { return k.list[k.first].came }

// add copies msg to the end. The oldest go when there would be more than limit bytes.
func (k *kept) add(msg []byte, now time.Duration, limit int64) {
	k.counts.kept.Add(1)
	for k.len() > 0 && k.size()+int64(len(msg)) > limit {
		k.take()
		k.counts.full.Add(1)
	}
	if int64(len(msg)) > limit {
		k.counts.full.Add(1)
		return
	}
	k.compact(len(msg))
	k.bytes = append(k.bytes, msg...)
	k.list = append(k.list, keptPublish{now, len(msg)})
	k.show()
}

// compact moves everything to the front where the next one has no room and half of that is free: each byte is moved
// once on average.
func (k *kept) compact(more int) {
	if len(k.bytes)+more > cap(k.bytes) && k.start >= len(k.bytes)/2 {
		k.bytes = k.bytes[:copy(k.bytes, k.bytes[k.start:])]
		k.start = 0
	}
	if len(k.list) == cap(k.list) && k.first >= len(k.list)/2 {
		k.list = k.list[:copy(k.list, k.list[k.first:])]
		k.first = 0
	}
}

// take takes the oldest away, which there is. Its bytes are valid until the next add.
func (k *kept) take() (msg []byte) {
	end := k.start + k.list[k.first].size
	msg = k.bytes[k.start:end:end]
	k.start = end
	k.first++
	if k.len() == 0 {
		if cap(k.bytes) > keptRoom {
			k.bytes = nil
		}
		if cap(k.list) > keptPlaces {
			k.list = nil
		}
		k.bytes, k.start, k.list, k.first = k.bytes[:0], 0, k.list[:0], 0
	}
	k.show()
	return msg
}

// dropUntil drops what came until then.
func (k *kept) dropUntil(then time.Duration, reason *atomic.Uint64) {
	for k.len() > 0 && k.since() <= then {
		k.take()
		reason.Add(1)
	}
}

// drop drops everything.
func (k *kept) drop(reason *atomic.Uint64) {
	for k.len() > 0 {
		k.take()
		reason.Add(1)
	}
}

func (k *kept) show() {
	k.held.Store(int64(k.len()))
	k.heldBytes.Store(k.size())
}

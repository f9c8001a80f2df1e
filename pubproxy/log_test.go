package pubproxy

import (
	"bytes"
	"testing"
)

func TestLogKeepsOrderAcrossSegments(t *testing.T) {
	l := newPublishLog(1 << 30)
	p := l.newest()
	var want [][]byte
	sizes := []int{10, 300, 100_000, segmentBytes - 9, segmentBytes, 5 * segmentBytes, 8}
	for i := range 100 {
		msg := message("", i, sizes[i%len(sizes)])
		l.append(msg)
		want = append(want, msg)
	}
	starts := make([]position, 0, len(want))
	for i, msg := range want {
		if end, _ := p.seg.load(); p.offset == end && !p.cross() {
			t.Fatalf("the log ends at message %d", i)
		}
		if p.serial != uint64(i) {
			t.Fatalf("message %d has serial %d", i, p.serial)
		}
		starts = append(starts, p)
		size := messageSize(p.seg.data[p.offset:])
		if !bytes.Equal(p.seg.data[p.offset:p.offset+size], msg) {
			t.Fatalf("message %d is another", i)
		}
		p.offset += size
		p.serial++
	}
	if p != l.newest() {
		t.Errorf("the end is at %+v, not %+v", p, l.newest())
	}
	for from := range starts {
		for _, to := range []int{from, from + 1, from + 7, len(starts) - 1} {
			if to >= len(starts) {
				continue
			}
			p := starts[from]
			p.skipTo(uint64(to))
			if p.serial != uint64(to) {
				t.Fatalf("skip from %d to %d ends at %d", from, to, p.serial)
			}
			if end, _ := p.seg.load(); p.offset == end {
				p.cross()
			}
			if p != starts[to] {
				t.Fatalf("skip from %d to %d ends at %+v, want %+v", from, to, p, starts[to])
			}
		}
	}
}

func TestLogForgetsBeyondItsLimit(t *testing.T) {
	const limit = 4 * segmentBytes
	l := newPublishLog(limit)
	msg := message("", 1, 1000)
	each := uint64(segmentBytes / len(msg)) // messages a segment
	for i := range 100 * int(each) {
		l.append(msg)
		oldest := l.oldest.Load()
		within := uint64(i+1) - oldest
		if within*uint64(len(msg)) > limit+uint64(len(msg)) && l.bytes > limit {
			t.Fatalf("after %d messages %d are within the limit", i+1, within)
		}
		if i > 10*int(each) && within < 2*each {
			t.Fatalf("after %d messages only %d are left", i+1, within)
		}
	}
	if n := len(l.marks); n > limit/segmentBytes+1 {
		t.Errorf("%d marks", n)
	}
	l.append(message("", 2, 10*limit)) // alone over the limit: stays all the same
	if oldest := l.oldest.Load(); oldest != l.head.serial {
		t.Errorf("oldest is %d, want the newest message %d", oldest, l.head.serial)
	}
}

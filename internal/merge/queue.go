package merge

import "time"

const (
	// keptBytes and keptMessages are what an empty queue keeps for the next time.
	keptBytes    = 1 << 20
	keptMessages = 4096
)

// queue is what a path has brought and what has not gone out yet, in order. It owns copies. The zero value is empty.
type queue struct {
	sums
	came  []time.Duration // by the places of sums
	bytes []byte          // of all, one after the other, from start on
	start int
}

func (q *queue) empty() bool { return q.gone == q.last }

// held is how many bytes wait.
func (q *queue) held() int { return len(q.bytes) - q.start }

// add copies msg to the end.
func (q *queue) add(x sum, msg []byte, now time.Duration) {
	if q.empty() {
		q.bytes, q.start = q.bytes[:0], 0
	}
	if q.start > 0 && len(q.bytes)+len(msg) > cap(q.bytes) && q.start >= len(q.bytes)/2 {
		q.bytes = q.bytes[:copy(q.bytes, q.bytes[q.start:])]
		q.start = 0
	}
	q.bytes = append(q.bytes, msg...)
	before := len(q.ring)
	q.sums.add(x)
	if len(q.ring) != before {
		came := make([]time.Duration, len(q.ring))
		for serial := q.gone + 1; serial < q.last; serial++ {
			came[q.place(serial)] = q.came[uint32(serial)&uint32(before-1)]
		}
		q.came = came
	}
	q.came[q.place(q.last)] = now
}

// head is the first, and when it came.
func (q *queue) head() (x sum, came time.Duration) {
	place := q.place(q.gone + 1)
	return q.ring[place], q.came[place]
}

// take takes the first away. Its bytes are valid until the next add.
func (q *queue) take() (x sum, msg []byte) {
	x, _ = q.head()
	end := q.start + int(x.size)
	msg = q.bytes[q.start:end:end]
	q.start = end
	q.sums.take()
	if q.empty() {
		if cap(q.bytes) > keptBytes {
			q.bytes = nil
		}
		q.bytes, q.start = q.bytes[:0], 0
		if q.shrink(keptMessages); q.ring == nil {
			q.came = nil
		}
	}
	return x, msg
}

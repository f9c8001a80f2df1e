// Package latency counts how long things took, on an event loop that must not be held up by that: a [Recorder] is an array
// of counters, one for each of a few fixed spans of time, each twice as long as the one before it. Counting takes no lock
// and no memory. A [Histogram] is what it has counted so far.
package latency

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	// Bounds is how many buckets have an upper bound; one more has the rest.
	Bounds = 24
	// shortest is the bound of the first bucket, as a power of two of microseconds: 16 µs. The last bound is 134 s: more
	// than the default request_deadline.
	shortest = 4
)

// Bound is the longest time that bucket i takes, from 0 to Bounds-1.
func Bound(i int) time.Duration { return time.Microsecond << (shortest + i) }

// Recorder counts durations. It is written by one loop and read by anyone. The zero value is ready.
type Recorder struct {
	counts [Bounds + 1]atomic.Uint64
	nanos  atomic.Uint64 // of all together
}

// Observe counts n things that took d each; a negative d is 0.
func (r *Recorder) Observe(d time.Duration, n uint64) {
	if d <= 0 {
		r.counts[0].Add(n)
		return
	}
	r.counts[bucketOf(d)].Add(n)
	r.nanos.Add(uint64(d) * n)
}

// bucketOf returns the first bucket whose bound is not below d, which is positive.
func bucketOf(d time.Duration) int {
	return min(max(bits.Len64(uint64(d-1)/uint64(time.Microsecond))-shortest, 0), Bounds)
}

// Histogram returns what has been counted. Each of its numbers is right; together they may be some microseconds apart.
func (r *Recorder) Histogram() Histogram {
	var h Histogram
	for i := range r.counts {
		h.Counts[i] = r.counts[i].Load()
	}
	h.Nanos = r.nanos.Load()
	return h
}

// Histogram says how many things took how long.
type Histogram struct {
	Counts [Bounds + 1]uint64 // by bucket; the last one has what is above all bounds
	Nanos  uint64             // that all of them took together
}

// Plus returns both together.
func (h Histogram) Plus(other Histogram) Histogram {
	for i, n := range other.Counts {
		h.Counts[i] += n
	}
	h.Nanos += other.Nanos
	return h
}

// Minus returns what has been counted since earlier, which is an older Histogram of the same things.
func (h Histogram) Minus(earlier Histogram) Histogram {
	for i, n := range earlier.Counts {
		h.Counts[i] -= n
	}
	h.Nanos -= earlier.Nanos
	return h
}

// Count is how many there were.
func (h Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Quantile returns the time that a share q of all, from 0 to 1, did not exceed: the bound of the bucket where that one is,
// so at most twice the truth. It is 0 when nothing was counted, and beyond the last bound it is [math.MaxInt64].
func (h Histogram) Quantile(q float64) time.Duration {
	all := h.Count()
	if all == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(all))), 1)
	for i, n := range h.Counts[:Bounds] {
		if n >= rank {
			return Bound(i)
		}
		rank -= n
	}
	return math.MaxInt64
}

//go:build linux

package sim

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Latency sums up how long something took. Quantiles are up to 6 % too high, Max is exact.
type Latency struct {
	Count         uint64
	P50, P99, Max time.Duration
}

const (
	subBuckets    = 16 // for each power of two of nanoseconds
	latencyBucket = 60 * subBuckets
)

// histogram counts durations in buckets that grow with them. One goroutine observes, any may read.
type histogram struct {
	counts [latencyBucket]atomic.Uint64
	max    atomic.Int64
}

func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0))
	shift := max(bits.Len64(v)-5, 0)
	return shift*subBuckets + int(v>>shift)
}

// upperEnd is the longest duration of a bucket.
func upperEnd(bucket int) time.Duration {
	if bucket < 2*subBuckets {
		return time.Duration(bucket)
	}
	shift := bucket/subBuckets - 1
	return time.Duration((bucket%subBuckets+subBuckets+1)<<shift - 1)
}

func (h *histogram) observe(d time.Duration) {
	h.counts[bucketOf(d)].Add(1)
	if int64(d) > h.max.Load() {
		h.max.Store(int64(d))
	}
}

func summarize(all ...*histogram) Latency {
	var l Latency
	var counts [latencyBucket]uint64
	for _, h := range all {
		for i := range counts {
			n := h.counts[i].Load()
			counts[i] += n
			l.Count += n
		}
		l.Max = max(l.Max, time.Duration(h.max.Load()))
	}
	quantile := func(parts uint64) time.Duration { // in hundredths
		rank := (l.Count*parts + 99) / 100
		for i, n := range counts {
			if n >= rank {
				return min(upperEnd(i), l.Max)
			}
			rank -= n
		}
		return l.Max
	}
	if l.Count > 0 {
		l.P50, l.P99 = quantile(50), quantile(99)
	}
	return l
}

//go:build linux

package reactor

import (
	"math/bits"
	"time"
)

// Sizes of the pool: buffers come in powers of two. What is larger than the largest class is made and left to the
// garbage collector, and what would make the pool hold more than poolBytes is not kept.
const (
	smallestClass = 9  // 512 B: most of Salt's requests and replies
	largestClass  = 22 // 4 MiB: a file chunk of 1 MiB with its wrapper needs 2 MiB
	poolBytes     = 8 << 20

	// trimInterval is how long a buffer may lie about without being needed once.
	trimInterval = 5 * time.Second
)

// pool keeps used buffers for the next message. It belongs to one loop.
type pool struct {
	classes [largestClass - smallestClass + 1]class
	bytes   int // kept in all classes
}

type class struct {
	free [][]byte
	idle int // the fewest that lay here since the last trim: nobody needed these
}

func classOf(n int) int {
	if n <= 1<<smallestClass {
		return 0
	}
	return bits.Len(uint(n-1)) - smallestClass
}

// get returns an empty buffer with room for at least n bytes. What is in it beyond its length is undefined.
func (p *pool) get(n int) []byte {
	i := classOf(n)
	if i >= len(p.classes) {
		return make([]byte, 0, n)
	}
	c := &p.classes[i]
	last := len(c.free) - 1
	if last < 0 {
		return make([]byte, 0, 1<<(i+smallestClass))
	}
	b := c.free[last]
	c.free[last] = nil
	c.free = c.free[:last]
	c.idle = min(c.idle, last)
	p.bytes -= cap(b)
	return b
}

// put takes a buffer back. Nobody may use it any more.
func (p *pool) put(b []byte) {
	n := cap(b)
	if n < 1<<smallestClass || n > 1<<largestClass || p.bytes+n > poolBytes {
		return
	}
	i := bits.Len(uint(n)) - 1 - smallestClass // rounded down: a buffer serves what it has room for
	p.classes[i].free = append(p.classes[i].free, b[:0])
	p.bytes += n
}

// trim forgets the buffers that nobody has needed since the last time.
func (p *pool) trim() {
	for i := range p.classes {
		c := &p.classes[i]
		for range c.idle {
			last := len(c.free) - 1
			p.bytes -= cap(c.free[last])
			c.free[last] = nil
			c.free = c.free[:last]
		}
		if len(c.free) == 0 {
			c.free = nil
		}
		c.idle = len(c.free)
	}
}

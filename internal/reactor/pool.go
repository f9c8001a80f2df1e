//go:build linux

package reactor

import (
	"math/bits"
	"time"
)

// Sizes of the pool: buffers come in powers of two, from 64 KiB on in quarters of them, so that large ones have little
// room that nobody needs. What is larger than the largest class is made and left to the garbage collector, and what would
// make the pool hold more than poolBytes is not kept: a large buffer that is made has to be cleared, and its pages to be
// found, which costs more than all else that is done with a chunk of a file.
const (
	smallestClass = 9  // 512 B: most of Salt's requests and replies
	quartersFrom  = 16 // 64 KiB
	largestClass  = 22 // 4 MiB
	poolBytes     = 64 << 20

	// trimInterval is how long a buffer may lie about without being needed once.
	trimInterval = 5 * time.Second
)

// pool keeps used buffers for the next message. It belongs to one loop.
type pool struct {
	classes [quartersFrom - smallestClass + 1 + 4*(largestClass-quartersFrom)]class
	bytes   int // kept in all classes
}

type class struct {
	free [][]byte
	idle int // the fewest that lay here since the last trim: nobody needed these
}

// classOf is the first class whose buffers have room for n bytes, and their size.
func classOf(n int) (i, size int) {
	if n <= 1<<smallestClass {
		return 0, 1 << smallestClass
	}
	power := bits.Len(uint(n - 1))
	if power <= quartersFrom {
		return power - smallestClass, 1 << power
	}
	quarter := (n - 1) >> (power - 3) // 4 to 7
	return classAt(power-1, quarter+1), (quarter + 1) << (power - 3)
}

// classWithin is the last class whose buffers are not larger than n bytes.
func classWithin(n int) int {
	power := bits.Len(uint(n)) - 1
	if power < quartersFrom {
		return power - smallestClass
	}
	return classAt(power, n>>(power-2))
}

// classAt is the class of so many quarters of a power of two.
func classAt(power, quarters int) int {
	return quartersFrom - smallestClass + 4*(power-quartersFrom) + quarters - 4
}

// get returns an empty buffer with room for at least n bytes. What is in it beyond its length is undefined.
func (p *pool) get(n int) []byte {
	i, size := classOf(n)
	if i >= len(p.classes) {
		return make([]byte, 0, n)
	}
	c := &p.classes[i]
	last := len(c.free) - 1
	if last < 0 {
		return make([]byte, 0, size)
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
	i := classWithin(n) // a buffer serves what it has room for
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

//go:build linux

package reactor

import "testing"

func TestPoolGet(t *testing.T) {
	const smallest, largest = 1 << smallestClass, 1 << largestClass
	for _, test := range []struct {
		name         string
		n, cap, kept int
	}{
		{"nothing", 0, smallest, smallest},
		{"one", 1, smallest, smallest},
		{"the smallest", smallest, smallest, smallest},
		{"one more", smallest + 1, 2 * smallest, 2 * smallest},
		{"in between", 40_000, 65536, 65536},
		{"one more than that", 65537, 80 << 10, 80 << 10},
		{"a little more than a quarter", 100_000, 112 << 10, 112 << 10},
		{"a file chunk", 1<<20 + 300, 1280 << 10, 1280 << 10},
		{"nearly the largest", largest - 1, largest, largest},
		{"the largest", largest, largest, largest},
		{"larger than any", largest + 1, largest + 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var p pool
			b := p.get(test.n)
			if len(b) != 0 || cap(b) != test.cap {
				t.Fatalf("length %d, capacity %d, want 0 and %d", len(b), cap(b), test.cap)
			}
			p.put(append(b, "xyz"...)[:min(1, cap(b))])
			if p.bytes != test.kept {
				t.Errorf("%d bytes kept, want %d", p.bytes, test.kept)
			}
			if test.kept == 0 {
				return
			}
			again := p.get(test.n)
			if len(again) != 0 || &again[:1][0] != &b[:1][0] {
				t.Error("not the buffer that was put back")
			}
			if p.bytes != 0 {
				t.Errorf("%d bytes kept, want 0", p.bytes)
			}
		})
	}
}

// Any buffer may be put, and serves what it has room for.
func TestPoolPutForeign(t *testing.T) {
	for _, test := range []struct {
		name string
		cap  int
		fits int // the most that it is taken for; 0: it is not kept
	}{
		{"nil", 0, 0},
		{"too small", 511, 0},
		{"smallest", 512, 512},
		{"odd", 1500, 1024},
		{"nearly the next", 2047, 1024},
		{"quarter", 100_000, 96 << 10},
		{"exactly a quarter", 96 << 10, 96 << 10},
		{"less than two", 1<<21 - 1, 1792 << 10},
		{"largest", 4 << 20, 4 << 20},
		{"too large", 4<<20 + 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var p pool
			p.put(make([]byte, test.cap/2, test.cap))
			if test.fits == 0 {
				if p.bytes != 0 {
					t.Error("kept")
				}
				return
			}
			if p.bytes != test.cap {
				t.Fatalf("%d bytes kept, want %d", p.bytes, test.cap)
			}
			if b := p.get(test.fits + 1); cap(b) <= test.fits || p.bytes != test.cap {
				t.Errorf("a buffer of %d bytes was lent for %d", cap(b), test.fits+1)
			}
			if b := p.get(test.fits); cap(b) != test.cap || len(b) != 0 {
				t.Errorf("not lent for %d bytes", test.fits)
			}
		})
	}
}

func TestPoolIsBounded(t *testing.T) {
	var p pool
	for range 100 {
		p.put(make([]byte, 1<<20))
	}
	if p.bytes > poolBytes || p.bytes < poolBytes-1<<20 {
		t.Errorf("%d bytes kept, want at most %d", p.bytes, poolBytes)
	}
}

// What nobody has needed between two trims goes, what was needed stays.
func TestPoolTrim(t *testing.T) {
	const size = 1 << 10
	var p pool
	var lent [][]byte
	for range 10 {
		lent = append(lent, p.get(size))
	}
	for _, b := range lent {
		p.put(b)
	}
	p.trim() // all have come since the last time
	if p.bytes != 10*size {
		t.Fatalf("%d bytes kept, want %d", p.bytes, 10*size)
	}
	a, b := p.get(size), p.get(size)
	p.put(a)
	p.put(b)
	p.trim() // eight lay here all the time
	if p.bytes != 2*size {
		t.Fatalf("%d bytes kept, want %d", p.bytes, 2*size)
	}
	p.trim()
	if p.bytes != 0 {
		t.Fatalf("%d bytes kept, want 0", p.bytes)
	}
	p.trim()
	if cap(p.get(size)) != size {
		t.Error("nothing to lend after trim")
	}
}

// Every size fits into its class, and no smaller class has room for it.
func TestPoolClasses(t *testing.T) {
	last := -1
	for n := 1; n <= 1<<largestClass; n += max(1, n/1000) {
		i, size := classOf(n)
		if size < n || i < last || i > last+1 && last >= 0 || classWithin(size) != i || size > 1<<smallestClass && classWithin(size-1) != i-1 {
			t.Fatalf("%d bytes: class %d of %d bytes after class %d; within: %d", n, i, size, last, classWithin(size))
		}
		last = i
	}
	if want := len(new(pool).classes) - 1; last != want {
		t.Errorf("the last class is %d, want %d", last, want)
	}
}

//go:build !race

// The race detector allocates; make test runs these without it.

package merge

import "testing"

// TestAllocatesNothing: neither for what goes out at once, nor for what is held, once there is room for as much.
func TestAllocatesNothing(t *testing.T) {
	for name, run := range map[string]func(b *testing.B){
		"two paths": func(b *testing.B) { deliver(b, 2, 100) },
		"returns":   returns,
	} {
		if r := testing.Benchmark(run); r.AllocsPerOp() > 0 || r.AllocedBytesPerOp() > 0 {
			t.Errorf("%s: %d allocations, %d bytes (%v)", name, r.AllocsPerOp(), r.AllocedBytesPerOp(), r)
		}
	}
}

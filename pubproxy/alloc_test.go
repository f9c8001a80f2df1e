//go:build !race

// The race detector allocates; make test runs these without it.

package pubproxy

import "testing"

// TestFanOutAllocatesNothing holds what the benchmark reports: no allocation for a message or for a delivery.
func TestFanOutAllocatesNothing(t *testing.T) {
	for _, topic := range []string{"", "broadcast"} {
		for _, roads := range []int{1, 2} {
			r := testing.Benchmark(func(b *testing.B) { fanOut(b, 100, topic, roads) })
			if n := r.AllocsPerOp(); n > 0 {
				t.Errorf("topic %q, roads %d: %d allocations for a message to 100 minions (%v)", topic, roads, n, r)
			}
		}
	}
}

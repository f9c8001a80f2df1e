//go:build !race

// The race detector allocates; make test runs these without it.

package retproxy

import "testing"

// TestClusterAllocatesNothing: choosing a peer costs no allocation either.
func TestClusterAllocatesNothing(t *testing.T) {
	l := loaded(t, 50, 400, 10, clustered(t))
	for name, request := range map[string][]byte{"without an id": l.request, "with an id": envelope(0, says("m1", string(make([]byte, 370))))} {
		l.request = request
		const n = 5000
		if allocs := testing.AllocsPerRun(1, func() { l.run(n) }); allocs > n/100 {
			t.Errorf("%s: %v allocations for %d requests", name, allocs, n)
		}
	}
}

// TestRequestAllocatesNothing: neither on the short way nor through the queue.
func TestRequestAllocatesNothing(t *testing.T) {
	for _, tt := range []struct {
		name         string
		size, places int
	}{
		{"a place for each", 400, 500},
		{"most wait", 400, 10},
		{"large enough for buffers of their own", 40000, 500},
		{"and most wait", 40000, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := loaded(t, 50, tt.size, tt.places)
			const n = 5000
			// A hundredth for what comes with time: collections that empty pools, timers.
			if allocs := testing.AllocsPerRun(1, func() { l.run(n) }); allocs > n/100 {
				t.Errorf("%v allocations for %d requests", allocs, n)
			}
		})
	}
}

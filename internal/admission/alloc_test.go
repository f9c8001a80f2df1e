//go:build !race

// The race detector allocates; make test runs these without it.

package admission

import (
	"net/netip"
	"testing"
)

// TestLimitsAllocateNothing for a connection, whether it comes in or not.
func TestLimitsAllocateNothing(t *testing.T) {
	address, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for name, o := range map[string]Options{
		"no limits": {}, "all": {MaxConnections: 2}, "of an address": {MaxPerAddress: 2},
		"lists": {Allow: prefixes("192.0.2.0/24"), Deny: prefixes("192.0.2.7/32")},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLimits(o)
			if n := testing.AllocsPerRun(1000, func() {
				in := 0
				for range 3 {
					if l.enter(address) == nil {
						in++
					}
				}
				if l.enter(other) == nil {
					l.leave(other)
				}
				for range in {
					l.leave(address)
				}
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

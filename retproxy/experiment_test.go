//go:build long

package retproxy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestOrderExperiment prints what docs/decisions/0009 is about. `make outage` runs it.
func TestOrderExperiment(t *testing.T) {
	orders := []time.Duration{always, 5 * time.Second, 2 * time.Second, time.Second, time.Second / 2, never}
	for _, h := range []herd{
		{minions: 5000, patience: 5 * time.Second, service: 50 * time.Millisecond, trip: time.Millisecond},
		{minions: 5000, patience: 5 * time.Second, service: 2 * time.Millisecond, trip: 20 * time.Millisecond},
		{minions: 5000, patience: 5 * time.Second, service: 2 * time.Millisecond, trip: 50 * time.Millisecond},
		{minions: 1000, patience: 5 * time.Second, service: 100 * time.Millisecond, trip: time.Millisecond},
		{minions: 1000, patience: 5 * time.Second, service: 200 * time.Millisecond, trip: time.Millisecond},
		{minions: 1000, patience: 5 * time.Second, service: 300 * time.Millisecond, trip: time.Millisecond},
		{minions: 1000, patience: 5 * time.Second, service: 400 * time.Millisecond, trip: time.Millisecond},
		{minions: 1000, patience: 2 * time.Second, service: 50 * time.Millisecond, trip: time.Millisecond},
		{minions: 15000, patience: 60 * time.Second, service: 50 * time.Millisecond, trip: time.Millisecond},
	} {
		var b strings.Builder
		fmt.Fprintf(&b, "%d minions, patience %v, service %v, round trip %v, work %v\n", h.minions, h.patience, h.service, h.trip, h.work())
		fmt.Fprintf(&b, "%14s %26s %26s %26s %26s %26s %26s\n", "max_in_flight", "FIFO", "5 s", "2 s", "1 s", "0.5 s", "LIFO")
		for _, places := range []int{8, 16, 32, 64, 128, 256} {
			fmt.Fprintf(&b, "%14d", places)
			for _, fresh := range orders {
				h.places, h.fresh = places, fresh
				o := h.run()
				took := fmt.Sprintf("%.1fs", o.took.Seconds())
				if o.served < h.minions {
					took = fmt.Sprintf("%d served", o.served)
				}
				fmt.Fprintf(&b, " %26s", fmt.Sprintf("%s, %d in vain, %d stale", took, o.wasted, o.stale))
			}
			b.WriteByte('\n')
		}
		t.Log(b.String())
	}
}

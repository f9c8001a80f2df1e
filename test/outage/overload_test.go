package outage_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"salt-broker/internal/sim"
)

// TestMasterIsTooSlowForGood: minions ask again as soon as they are answered, and that is more than the master can do. What it
// does is to be of use all the same, and not for the same few all the time.
func TestMasterIsTooSlowForGood(t *testing.T) {
	t.Parallel()
	for _, way := range []time.Duration{0, 200 * time.Millisecond} {
		for _, keep := range []bool{false, true} {
			h := herd{minions: 1000, patience: 3 * time.Second, service: 20 * time.Millisecond, way: way, keep: keep}
			t.Run(h.name(), func(t *testing.T) {
				t.Parallel()
				overload(t, h)
			})
		}
	}
}

func overload(t *testing.T, h herd) {
	t.Helper()
	m, asking, stale := h.startMaster(t)
	stood := watchStandstill(t)
	s := defaults()
	s.way = h.way / 2
	b := startBroker(t, m, s)
	answered := make([]atomic.Uint64, h.minions)
	minions := startMinions(t, sim.MinionsOptions{
		Count: h.minions, Request: b.request.Addr(), Timeout: h.patience, Insist: true, Busy: true, KeepOnTimeout: h.keep,
		Reconnect: time.Millisecond,
		OnReply:   func(minion int, _ time.Duration) { answered[minion].Add(1) },
	})
	asking.Store(minions)
	spread(t, minions, h.minions, time.Second)
	// Six seconds' work. What is left when it ends is what is under way.
	enough, served := uint64(6*workers)*uint64(time.Second/h.service), func() (n int) {
		for i := range answered {
			if answered[i].Load() > 0 {
				n++
			}
		}
		return n
	}
	must(t, minions.Await(within(t), func(s sim.MinionsStats) bool { return s.Replies >= enough }))
	got, there := minions.Stats(), m.Stats()
	// A pause of the whole machine may cost the master as much of its time again: what was under way is late then, and
	// minions that would have had a reply wait.
	excused := float64(stood.Sum()) * workers / float64(h.service)
	vain, mostVain := float64(there.Replies-got.Replies), 0.05*float64(there.Replies)+excused
	text := fmt.Sprintf("%d of %d minions served, %d replies waited for, %.2f %% of the master's; %d stale; %d given up; stood still for %v",
		served(), h.minions, got.Replies, 100*(1-vain/float64(there.Replies)), stale.Load(), got.TimedOut, stood.Sum())
	t.Log(text)
	if vain > mostVain || float64(stale.Load()) > 0.01*float64(got.Replies)+excused || float64(served())+excused < float64(h.minions/2) || got.TimedOut == 0 {
		t.Error(text)
	}
	if there.MostUnderWay > s.MaxInFlight {
		t.Errorf("%d requests were at the master, %d may be", there.MostUnderWay, s.MaxInFlight)
	}
	if got.Faults() != 0 {
		t.Error(got.FirstFault)
	}
}

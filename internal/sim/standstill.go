package sim

import (
	"sync"
	"sync/atomic"
	"time"
)

// Standstill adds up for how long this process stood still, with everything that is stood in for by it: as it does where a
// machine has other work for its processors, or is stopped itself. What is late for that reason says nothing about the
// broker, so who judges a time allows it as much more.
type Standstill struct {
	total, longest atomic.Int64
	done           chan struct{}
	ended          sync.WaitGroup
}

const (
	standstillTick = 10 * time.Millisecond
	// noStandstill is how long a tick may take on a machine that is merely busy.
	noStandstill = 50 * time.Millisecond
)

// WatchStandstill watches until Stop.
func WatchStandstill() *Standstill {
	s := &Standstill{done: make(chan struct{})}
	s.ended.Go(s.watch)
	return s
}

func (s *Standstill) watch() {
	tick := time.NewTicker(standstillTick)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		now := time.Now()
		s.ticked(now.Sub(last))
		last = now
	}
}

// ticked takes note of a tick that came so long after the one before. It belongs to the watch.
func (s *Standstill) ticked(after time.Duration) {
	if after > noStandstill {
		s.total.Add(int64(after))
		s.longest.Store(max(s.longest.Load(), int64(after)))
	}
}

// Sum is for how long it did until now, in all. It is safe from any goroutine.
func (s *Standstill) Sum() time.Duration { return time.Duration(s.total.Load()) }

// Longest is for how long it did at a time. It is safe from any goroutine.
func (s *Standstill) Longest() time.Duration { return time.Duration(s.longest.Load()) }

// Stop ends the watch, once.
func (s *Standstill) Stop() {
	close(s.done)
	s.ended.Wait()
}

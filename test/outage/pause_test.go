package outage_test

import (
	"sync/atomic"
	"testing"
	"time"
)

// pauses adds up for how long this process stood still, with the proxies, the minions and the master in it: as it does
// where a machine has other work for both of its processors. What is late for that reason says nothing about the broker.
type pauses struct{ total atomic.Int64 }

// noPause is how late a tick may be on a machine that is merely busy.
const noPause = 50 * time.Millisecond

// watchPauses watches until the test ends.
func watchPauses(t *testing.T) *pauses {
	t.Helper()
	var p pauses
	done, ended := make(chan struct{}), make(chan struct{})
	tick := time.NewTicker(10 * time.Millisecond)
	go func() {
		defer close(ended)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			now := time.Now()
			if late := now.Sub(last); late > noPause {
				p.total.Add(int64(late))
			}
			last = now
		}
	}()
	t.Cleanup(func() {
		close(done)
		<-ended
	})
	return &p
}

// sum is how long they were together until now.
func (p *pauses) sum() time.Duration { return time.Duration(p.total.Load()) }

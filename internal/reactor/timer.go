//go:build linux

package reactor

import (
	"math"
	"time"
)

// Timer calls a function once, on its loop. All its methods belong to the loop as well. There are few of them: idle
// connections are watched by an [Activity], not by a timer each.
type Timer struct {
	loop  *Loop
	call  func()
	at    time.Duration
	index int // in the loop's heap, -1: not waiting
}

// After calls fn on the loop when d has passed. The timer can be set again with [Timer.Reset], also from fn.
func (l *Loop) After(d time.Duration, fn func()) *Timer {
	t := &Timer{loop: l, call: fn, index: -1}
	t.Reset(d)
	return t
}

// Reset makes the timer fire when d has passed since this turn began, whether it was waiting or not; in the next turn at
// the earliest.
func (t *Timer) Reset(d time.Duration) {
	t.Stop()
	t.at = t.loop.now + min(max(d, 1), math.MaxInt64-t.loop.now)
	t.index = len(t.loop.timers)
	t.loop.timers = append(t.loop.timers, t)
	t.loop.timers.up(t.index)
}

// Stop keeps a waiting timer from firing.
func (t *Timer) Stop() {
	if t.index >= 0 {
		t.loop.timers.remove(t.index)
	}
}

// timers is a heap, the timer that is due first at its top.
type timers []*Timer

func (h timers) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h timers) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if h[parent].at <= h[i].at {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h timers) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if right := child + 1; right < len(h) && h[right].at < h[child].at {
			child = right
		}
		if h[i].at <= h[child].at {
			return
		}
		h.swap(i, child)
		i = child
	}
}

func (h *timers) remove(i int) {
	last := len(*h) - 1
	t := (*h)[i]
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	if i < last {
		h.up(i)
		h.down(i)
	}
	t.index = -1
}

// run calls the timers that are due at now. One that its own call sets again is not: see Reset.
func (h *timers) run(now time.Duration) {
	for len(*h) > 0 && (*h)[0].at <= now {
		t := (*h)[0]
		h.remove(0)
		t.call()
	}
}

//go:build linux

package reactor

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Timers fire in the order in which they are due, never early, and not once they are stopped.
func TestTimers(t *testing.T) {
	const n = 3000
	r := start(t, Options{})
	l := r.Loops()[0]
	rnd := rand.New(rand.NewPCG(5, 6))
	done := make(chan struct{})
	var fired []time.Duration
	left := 0
	r.on(l, func() {
		set := l.Now()
		timers, delays := make([]*Timer, n), make([]time.Duration, n)
		for i := range timers {
			delays[i] = time.Duration(1+rnd.IntN(60_000)) * time.Microsecond
			timers[i] = l.After(delays[i], func() {
				if l.Now() < set+delays[i] {
					t.Error("fired early")
				}
				fired = append(fired, set+delays[i])
				if left--; left == 0 {
					close(done)
				}
			})
		}
		left = n
		for i, timer := range timers {
			switch i % 5 {
			case 1:
				timer.Stop()
				timer.Stop()
				left--
			case 2:
				delays[i] = time.Duration(1+rnd.IntN(90_000)) * time.Microsecond
				timer.Reset(delays[i])
			case 3:
				timer.Stop()
				delays[i] = 30*time.Millisecond + time.Duration(i)*time.Microsecond
				timer.Reset(delays[i])
			}
		}
	})
	wait(t, "the timers", done)
	r.on(l, func() {
		if !slices.IsSorted(fired) {
			t.Error("not in the order in which they were due")
		}
		if len(fired) != n-n/5 {
			t.Errorf("%d fired, want %d", len(fired), n-n/5)
		}
		for i, timer := range l.timers {
			if timer.index != i {
				t.Errorf("the timer at %d believes to be at %d", i, timer.index)
			}
		}
		if len(l.timers) != 1 { // the loop's own
			t.Errorf("%d timers left", len(l.timers))
		}
	})
}

// A timer may set itself again: it fires once a turn at most, and others are not kept from theirs.
func TestTimerResetsItself(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	done := make(chan struct{})
	var turns []uint64
	other := false
	r.on(l, func() {
		var timer *Timer
		for range 5 {
			l.After(0, func() { other = true })
		}
		timer = l.After(0, func() {
			if turns = append(turns, l.Turns()); len(turns) == 10 {
				close(done)
				return
			}
			timer.Reset(0)
		})
	})
	wait(t, "the timer", done)
	r.on(l, func() {
		for i, turn := range turns[1:] {
			if turn != turns[i]+1 {
				t.Errorf("fired in turns %v, want one after the other", turns)
				break
			}
		}
		if !other {
			t.Error("the others did not fire")
		}
	})
	r.quiet(l)
}

// A timer's call may stop and set others.
func TestTimerStopsAnother(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	done := make(chan struct{})
	r.on(l, func() {
		var second *Timer
		l.After(time.Millisecond, func() {
			second.Stop()
			l.After(time.Millisecond, func() { close(done) })
		})
		second = l.After(time.Millisecond+1, func() { t.Error("a stopped timer fired") })
	})
	wait(t, "the last timer", done)
}

// Times that no clock reaches do not become the past.
func TestTimerForEver(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	r.on(l, func() {
		timer := l.After(math.MaxInt64, func() { t.Error("fired") })
		if timer.at < l.now {
			t.Error("due in the past")
		}
	})
	r.turns(l, 3)
	r.quiet(l)
}

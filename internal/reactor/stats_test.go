//go:build linux

package reactor

import (
	"testing"
	"time"
)

// Work counts as such, waiting does not, and what a loop has waited for is not counted when it wakes up.
func TestBusy(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	const work = 20 * time.Millisecond
	r.turns(l, 2)
	before, began := r.Stats()[0], time.Now()
	r.on(l, func() {
		for began := time.Now(); time.Since(began) < work; {
		}
	})
	worked := r.Stats()[0] // on returns within the turn, which is not counted yet
	fired := make(chan struct{})
	const nap = 10 * work
	r.on(l, func() { l.After(nap, func() { close(fired) }) })
	wait(t, "the timer", fired)
	r.turns(l, 2)
	after := r.Stats()[0]
	if got, most := after.Busy-before.Busy, time.Since(began)-nap/2; got < work || got > most {
		t.Errorf("busy for %v, want %v to %v", got, work, most)
	}
	if after.Turns <= worked.Turns || worked.Turns < before.Turns {
		t.Errorf("%+v, %+v, %+v", before, worked, after)
	}
	sum := after.After(before)
	if sum.Busy != after.Busy+before.Busy || sum.Turns != after.Turns+before.Turns || sum.Connections != after.Connections {
		t.Errorf("%+v", sum)
	}
}

func TestClockIsAheadOfTheTurn(t *testing.T) {
	r := start(t, Options{})
	r.on(r.Loops()[0], func() {
		if l := r.Loops()[0]; l.Clock() < l.Now() {
			t.Errorf("%v, the turn began at %v", l.Clock(), l.Now())
		}
	})
}

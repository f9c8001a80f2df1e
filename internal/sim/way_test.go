//go:build linux

package sim

import (
	"testing"
	"time"
)

// waying is a master, a way to it, and a minion that asks by that way.
type waying struct {
	*Way
	t       *testing.T
	minions *Minions
	took    chan time.Duration
}

func newWaying(t *testing.T) *waying {
	t.Helper()
	m := startMaster(t, MasterOptions{})
	w, err := StartWay("", m.RequestAddr(), 0)
	must(t, err)
	t.Cleanup(w.Stop)
	y := &waying{Way: w, t: t, took: make(chan time.Duration, 1)}
	y.minions, err = StartMinions(MinionsOptions{
		Count: 1, Request: w.Addr(), Timeout: patience, Reconnect: time.Millisecond, Insist: true,
		OnReply: func(_ int, latency time.Duration) { y.took <- latency },
	})
	must(t, err)
	t.Cleanup(func() { must(t, y.minions.Stop()) })
	y.ask() // connects
	return y
}

// ask returns how long a request and its reply took.
func (y *waying) ask() time.Duration {
	y.t.Helper()
	y.minions.Ask(0)
	select {
	case took := <-y.took:
		return took
	case <-time.After(patience):
		y.t.Fatal("a request is never answered")
		return 0
	}
}

// TestWayIsLate: by its delay, and what is lost by so much more, in each direction; from the next byte on.
func TestWayIsLate(t *testing.T) {
	t.Parallel()
	const delay, again = 100 * time.Millisecond, 300 * time.Millisecond
	y := newWaying(t)
	for _, test := range []struct {
		delay, least, below time.Duration
		loss                float64
	}{
		{0, 0, 2 * again, 0},
		{delay, 2 * delay, 2 * again, 0},
		{delay, 2 * (delay + again), patience, 1},
		{0, 2 * again, patience, 1},
		{0, 0, 2 * again, 0},
	} {
		y.SetDelay(test.delay)
		y.SetLoss(test.loss, again)
		if took := y.ask(); took < test.least || took >= test.below {
			t.Errorf("late by %v, with %v of all lost, a request took %v", test.delay, test.loss, took)
		}
	}
}

// TestWayLosesAPart: as much as it is told, more or less.
func TestWayLosesAPart(t *testing.T) {
	t.Parallel()
	w := Way{delay: time.Second}
	w.SetLoss(0.02, time.Minute)
	const all = 100000
	lost := 0
	for range all {
		switch w.takes() {
		case time.Second:
		case time.Minute + time.Second:
			lost++
		default:
			t.Fatal("neither lost nor not")
		}
	}
	if lost < all/50*9/10 || lost > all/50*11/10 {
		t.Errorf("%d of %d are lost", lost, all)
	}
}

// TestWayIsCut: who is on it is cut off, and nobody gets on it before it is open. A silent one cuts nobody off, and what was
// on it is lost.
func TestWayIsCut(t *testing.T) {
	t.Parallel()
	y := newWaying(t)
	for name, do := range map[string]func(){"cut": y.Cut, "silent": y.Silence} {
		before := y.minions.Stats()
		do()
		y.minions.Ask(0)
		if name == "cut" {
			must(t, y.minions.Await(within(t), func(s MinionsStats) bool { return s.Broken >= before.Broken+3 })) // it tries again
		} else {
			select {
			case <-y.took:
				t.Error("a silent way carries a reply")
			case <-time.After(50 * time.Millisecond): // a reply takes less than one
			}
			if s := y.minions.Stats(); s.Broken != before.Broken {
				t.Errorf("a silent way has cut a minion off: %+v", s)
			}
		}
		y.Open()
		select {
		case <-y.took:
		case <-time.After(patience):
			t.Fatalf("%s, and open again: no reply", name)
		}
	}
}

//go:build linux

package reactor

import (
	"math"
	"testing"
	"time"
)

// members are the connections of a list, longest inactive first.
func (a *Activity) members(t *testing.T) []*Conn {
	t.Helper()
	var forward, backward []*Conn
	for c := a.head; c != nil; c = c.newer {
		forward = append(forward, c)
	}
	for c := a.tail; c != nil; c = c.older {
		backward = append(backward, c)
	}
	if len(forward) != len(backward) {
		t.Fatalf("%d members from one end, %d from the other", len(forward), len(backward))
	}
	for i, c := range forward {
		if backward[len(backward)-1-i] != c {
			t.Fatal("another order from the other end")
		}
	}
	return forward
}

func TestActivityOrder(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	var c [4]*Conn
	for i := range c {
		c[i], _ = r.connect(r.probe())
	}
	const timeout = time.Hour
	r.on(l, func() {
		a := l.NewActivity(timeout, func(*Conn) { t.Error("expired") })
		b := l.NewActivity(timeout, func(*Conn) { t.Error("expired") })
		expect := func(step string, a *Activity, want ...*Conn) {
			t.Helper()
			got := a.members(t)
			if len(got) != len(want) {
				t.Errorf("%s: %d members, want %d", step, len(got), len(want))
				return
			}
			for i := range got {
				if got[i] != want[i] {
					t.Errorf("%s: wrong order", step)
				}
			}
		}
		now := l.now
		defer func() { l.now = now }()
		a.Touch(c[0])
		expect("touched before it was added", a)
		for _, c := range c {
			l.now++
			a.Add(c)
		}
		expect("added", a, c[0], c[1], c[2], c[3])
		l.now += timeout / slack / 2
		a.Touch(c[1])
		expect("touched soon after", a, c[0], c[1], c[2], c[3])
		l.now += timeout / slack
		a.Touch(c[1])
		expect("touched later", a, c[0], c[2], c[3], c[1])
		a.Touch(c[1])
		l.now += timeout / 2
		a.Touch(c[1])
		expect("touched as the newest", a, c[0], c[2], c[3], c[1])
		b.Add(c[2])
		expect("added to another", a, c[0], c[3], c[1])
		expect("added to another", b, c[2])
		a.Remove(c[2])
		a.Touch(c[2])
		expect("removed from where it is not", b, c[2])
		a.Add(c[0])
		expect("added again", a, c[3], c[1], c[0])
		c[1].Close(nil)
		expect("closed in the middle", a, c[3], c[0])
		a.Add(c[1])
		expect("added when closed", a, c[3], c[0])
		c[3].Close(nil)
		c[0].Close(nil)
		expect("closed", a)
		b.Remove(c[2])
		b.Remove(c[2])
		expect("removed", b)
	})
}

// A connection expires after its time without activity: not earlier, and not much later.
func TestActivityExpires(t *testing.T) {
	const timeout = 64 * time.Millisecond
	r := start(t, Options{})
	l := r.Loops()[0]
	touched := make(map[*Conn]time.Duration) // when a connection was last active
	expired := make(chan *Conn, 10)
	var a *Activity
	var late time.Duration
	r.on(l, func() {
		a = l.NewActivity(timeout, func(c *Conn) {
			idle := l.Now() - touched[c]
			if idle < timeout {
				t.Errorf("expired after %v, want %v", idle, timeout)
			}
			late = max(late, idle-timeout-timeout/slack)
			if c.activity != nil {
				t.Error("still on the list")
			}
			expired <- c
		})
	})
	silent, _ := r.connect(r.probe())
	h := r.probe()
	h.received = func(c *Conn, _ []byte) error { touched[c] = l.Now(); a.Touch(c); return nil }
	busy, peer := r.connect(h)
	removed, _ := r.connect(r.probe())
	closed, _ := r.connect(r.probe())
	r.on(l, func() {
		for _, c := range []*Conn{busy, silent, removed, closed} {
			touched[c] = l.Now()
			a.Add(c)
		}
		a.Remove(removed)
		closed.Close(nil)
	})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case c := <-expired:
			if c != silent {
				t.Error("a connection expired that was active, removed or closed")
			}
			waiting = false
		case <-tick.C:
			give(t, peer, []byte("x"))
		case <-time.After(patience):
			t.Fatal("nothing expired")
		}
	}
	if c := wait(t, "the other to expire", expired); c != busy {
		t.Error("the wrong connection expired")
	}
	r.on(l, func() {
		if late > 500*time.Millisecond { // the machine may be busy; the loop is not
			t.Errorf("%v too late", late)
		}
		if a.head != nil || a.tail != nil || a.timer.index >= 0 {
			t.Error("something is left of the list")
		}
	})
	if len(expired) != 0 {
		t.Error("another expired")
	}
}

// The expired function may put the connection back, close it, or close others that are about to expire.
func TestActivityFromExpired(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Microsecond, 5 * time.Millisecond} {
		t.Run(timeout.String(), func(t *testing.T) {
			r := start(t, Options{})
			l := r.Loops()[0]
			first, second := r.probe(), r.probe()
			c, _ := r.connect(first)
			d, _ := r.connect(second)
			r.on(l, func() {
				rounds := 0
				var a *Activity
				a = l.NewActivity(timeout, func(x *Conn) {
					if x != c {
						t.Error("a closed connection expired")
					}
					d.Close(errTest)
					if rounds++; rounds == 3 {
						c.Close(errTest)
						a.Add(c)
						return
					}
					a.Add(c)
				})
				a.Add(c)
				a.Add(d)
			})
			first.expect(errTest)
			second.expect(errTest)
			r.quiet(l)
		})
	}
}

func TestActivityForEver(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	c, _ := r.connect(r.probe())
	r.on(l, func() { l.NewActivity(math.MaxInt64, func(*Conn) { t.Error("expired") }).Add(c) })
	r.turns(l, 3)
	r.quiet(l)
}

// With another timeout nobody is due sooner than by the new one, who would be due at once is not, and not all at the same
// time.
func TestActivitySetTimeout(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	var c [4]*Conn
	for i := range c {
		c[i], _ = r.connect(r.probe())
	}
	const minute = time.Minute
	r.on(l, func() {
		now := l.now
		defer func() { l.now = now }()
		a := l.NewActivity(time.Hour, func(*Conn) {})
		a.SetTimeout(2 * time.Hour) // of nobody
		for _, c := range c {
			a.Add(c)
		}
		l.now += 10 * minute // all have been silent for so long, but for the last one
		a.Touch(c[3])
		a.SetTimeout(4 * minute)
		for i, want := range []time.Duration{minute, 2 * minute, 3 * minute, 4 * minute} {
			if left := a.deadline(c[i]) - a.timeout/slack - l.now; left != want {
				t.Errorf("connection %d is due in %v, want %v", i, left, want)
			}
		}
		if left := a.timer.at - l.now; left != minute+a.timeout/slack {
			t.Errorf("the timer fires in %v", left)
		}
		a.SetTimeout(time.Hour)
		if left := a.deadline(c[0]) - a.timeout/slack - l.now; left != 57*minute {
			t.Errorf("the first is due in %v of an hour", left)
		}
		if a.First() != c[0] || len(a.members(t)) != len(c) {
			t.Error("another order")
		}
		for _, c := range c {
			c.Close(nil)
		}
		if a.First() != nil {
			t.Error("somebody is left")
		}
	})
}

// What a turn has closed is there until its handler has been told.
func TestUntold(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	one, _ := r.connect(r.probe())
	untold := func() (all []*Conn) {
		l.Untold(func(c *Conn) { all = append(all, c) })
		return all
	}
	r.on(l, func() {
		if got := untold(); len(got) != 0 {
			t.Errorf("%d before", len(got))
		}
		one.Close(nil)
		if got := untold(); len(got) != 1 || got[0] != one {
			t.Errorf("%d in the turn", len(got))
		}
	})
	r.on(l, func() {
		if got := untold(); len(got) != 0 {
			t.Errorf("%d afterwards", len(got))
		}
	})
}

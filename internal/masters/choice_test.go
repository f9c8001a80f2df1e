package masters

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// what happens to masters, and which one serves then.
type event struct {
	after  time.Duration // the event before
	master int           // -1: nothing happens but time
	is     Health
	serves int
	why    Reason // "": nobody moves
}

func TestChoice(t *testing.T) {
	for _, test := range []struct {
		name     string
		failback bool
		events   []event
	}{
		{"the first one serves as long as it is up", false, []event{
			{0, 0, Up, 0, ""}, {1, 1, Up, 0, ""}, {1, 2, Down, 0, ""}, {1, 2, Up, 0, ""},
		}},
		{"nobody leaves one that is not known to be down", false, []event{{0, 1, Up, 0, ""}, {1, 2, Up, 0, ""}}},
		{"the next one in order", false, []event{
			{0, 2, Up, 0, ""}, {1, 1, Up, 0, ""}, {1, 0, Up, 0, ""}, {1, 0, Down, 1, Failed}, {1, 1, Down, 2, Failed},
		}},
		{"the first that is up, wherever", false, []event{
			{0, 0, Down, 0, ""}, {1, 1, Down, 0, ""}, {1, 2, Up, 2, Failed}, {1, 0, Up, 2, ""}, {1, 2, Down, 0, Failed},
		}},
		{"when none is up the last one stays", false, []event{
			{0, 0, Up, 0, ""},
			{1, 0, Down, 0, ""},
			{1, 1, Down, 0, ""},
			{1, 2, Down, 0, ""},
			{1, 2, Up, 2, Failed},
			{1, 2, Down, 2, ""},
			{1, 2, Up, 2, ""},
			{1, 1, Up, 2, ""},
		}},
		{"without failback nobody goes back", false, []event{
			{0, 1, Up, 0, ""}, {1, 0, Down, 1, Failed}, {1, 0, Up, 1, ""}, {10 * time.Hour, -1, 0, 1, ""},
		}},
		{"with failback after a while", true, []event{
			{0, 1, Up, 0, ""}, {1, 0, Down, 1, Failed}, {1, 0, Up, 1, ""}, {time.Minute - 1, -1, 0, 1, ""}, {1, -1, 0, 0, FailedBack},
		}},
		{"not to one that stays away", true, []event{
			{0, 1, Up, 0, ""}, {1, 0, Down, 1, Failed}, {10 * time.Hour, -1, 0, 1, ""},
		}},
		{"with failback to the earliest", true, []event{
			{0, 2, Up, 0, ""},
			{1, 0, Down, 2, Failed},
			{1, 1, Up, 2, ""},
			{30 * time.Second, 0, Up, 2, ""},
			{30 * time.Second, -1, 0, 1, FailedBack},
			{30 * time.Second, -1, 0, 0, FailedBack},
		}},
		{"not to one that went away meanwhile", true, []event{
			{0, 1, Up, 0, ""},
			{1, 0, Down, 1, Failed},
			{1, 0, Up, 1, ""},
			{50 * time.Second, 0, Down, 1, ""},
			{time.Second, 0, Up, 1, ""},
			{time.Minute, -1, 0, 1, ""},
			{time.Minute, -1, 0, 0, FailedBack},
		}},
		{"what failed does not wait for a hold", true, []event{
			{0, 1, Up, 0, ""}, {1, 0, Down, 1, Failed}, {1, 0, Up, 1, ""}, {1, 1, Down, 0, Failed},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := choice{candidates: make([]candidate, 3), failback: test.failback, hold: time.Minute}
			now := time.Unix(1000, 0)
			for i, e := range test.events {
				now = now.Add(e.after)
				if e.master >= 0 {
					c.judged(e.master, e.is, now)
				}
				to, why, move := c.decide(now)
				if move {
					c.serving = to
				}
				if c.serving != e.serves || why != e.why || move != (e.why != "") {
					t.Fatalf("event %d: %d serves (%s), want %d (%s)", i, c.serving, why, e.serves, e.why)
				}
			}
		})
	}
}

// Nobody is moved to a master whose last answer was a bad one: the next tells more.
func TestDoubt(t *testing.T) {
	c := choice{candidates: make([]candidate, 2), serving: 1, failback: true}
	now := time.Unix(1000, 0)
	c.judged(0, Up, now)
	c.candidates[0].doubt = true
	for _, is := range []Health{Up, Down} { // of the one that serves
		c.judged(1, is, now)
		if _, why, move := c.decide(now); move {
			t.Errorf("%v: %s", is, why)
		}
	}
	c.candidates[0].doubt = false
	if to, why, move := c.decide(now); to != 0 || why != Failed || !move {
		t.Errorf("%d, %s", to, why)
	}
}

// TestFlapping: a first master that is up for five minutes and down for ten seconds, for a day. Without a growing hold
// it would move the minions twice each time, some 550 times.
func TestFlapping(t *testing.T) {
	c := choice{candidates: make([]candidate, 2), failback: true, hold: time.Minute}
	now := time.Unix(0, 0)
	c.judged(1, Up, now)
	moves := 0
	var at []string
	for began := now; now.Sub(began) < 24*time.Hour; now = now.Add(time.Second) {
		is := Up
		if int(now.Sub(began)/time.Second)%310 >= 300 {
			is = Down
		}
		c.judged(0, is, now)
		if to, _, move := c.decide(now); move {
			c.serving = to
			moves++
			at = append(at, fmt.Sprint(now.Sub(began)))
		}
	}
	// Holds of 1, 2 and 4 minutes are over within five, those after them are not.
	if moves != 7 || c.serving != 1 {
		t.Errorf("%d moves (%s), %d serves", moves, strings.Join(at, " "), c.serving)
	}
	// A calm hour, and it is trusted as before.
	c.judged(0, Up, now)
	now = now.Add(longestHold)
	if to, why, _ := c.decide(now); to != 0 || why != FailedBack {
		t.Errorf("after an hour %d, %s", to, why)
	}
	c.serving = 0
	c.judged(0, Down, now.Add(time.Minute))
	if hold := c.candidates[0].hold; hold != time.Minute {
		t.Errorf("the hold is %v", hold)
	}
}

package chaos_test

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// plan is all faults of a run. It is nothing but its seed: everything else is drawn from that, by name, so that the order
// in which a machine gets to things has no influence.
type plan struct{ seed uint64 }

// The wires. The first two are towards the broker's ports, the others from the broker to the master.
const (
	minionPublish = iota
	minionRequest
	masterPublish
	masterRequest
	wires
	theEvents // not a wire: who draws the events
	theSite   // nor this: who draws the site
)

func (p plan) draw(who, n int) *rand.Rand {
	return rand.New(rand.NewPCG(p.seed, uint64(who)<<32|uint64(n)))
}

// course is what happens to one connection.
type course struct {
	open, close time.Duration // an end hears of the other's coming and going so much later: others overtake it
	lie         int           // which of lies is told instead of connecting; -1: none
	up, down    bearing       // from who connects, and to it
}

// bearing is one direction of a connection.
type bearing struct {
	chunk int           // the most bytes in a write, while fewer than until have passed; 0: any number
	until int           // bytes
	delay time.Duration // before each of these writes
	ills  []ill         // by offset
}

// ill happens when so many bytes have passed: at any byte of a greeting, a header or a body.
type ill struct {
	at    int
	kind  illness
	pause time.Duration // of stall
}

type illness uint8

const (
	stall illness = iota // nothing passes for a while; the kernel's buffers fill up
	cut                  // both sides are closed, so what was under way is truncated
	reset                // both sides are reset
	half                 // this direction ends, the other goes on
)

// connection returns the course of the n-th connection of a wire, from 0.
func (p plan) connection(wire, n int) course {
	r := p.draw(wire, n)
	c := course{lie: -1}
	if r.IntN(4) == 0 {
		c.open = milliseconds(r, 150)
	}
	if r.IntN(4) == 0 {
		c.close = milliseconds(r, 300)
	}
	if r.IntN(12) == 0 {
		c.lie = r.IntN(lies)
	}
	c.up, c.down = p.bearing(r), p.bearing(r)
	return c
}

func (p plan) bearing(r *rand.Rand) (b bearing) {
	if r.IntN(3) == 0 {
		b.chunk, b.until, b.delay = 1+r.IntN(9), 1+r.IntN(2000), time.Duration(r.IntN(500))*time.Microsecond
	}
	at := 0
	for range r.IntN(4) {
		// Some in the handshake, some in the first messages, some far behind.
		at += 1 + r.IntN([]int{150, 5000, 300_000}[r.IntN(3)])
		i := ill{at: at}
		switch n := r.IntN(10); {
		case n < 6:
			i.kind, i.pause = stall, milliseconds(r, []int{20, 300, 3000}[r.IntN(3)])
		case n < 8:
			i.kind = cut
		case n < 9:
			i.kind = reset
		default:
			i.kind = half
		}
		b.ills = append(b.ills, i)
		if i.kind != stall {
			break // the rest is never reached
		}
	}
	return b
}

func milliseconds(r *rand.Rand, most int) time.Duration {
	return time.Duration(1+r.IntN(most)) * time.Millisecond
}

// event is something that the master or a minion does.
type event struct {
	wait   time.Duration // after the one before
	kind   deed
	last   time.Duration
	minion int // of deafen
}

type deed uint8

const (
	restart deed = iota // the master is away for a while
	mute                // the master says nothing for a while
	drop                // the master closes all connections
	deafen              // a minion reads none of its publishes for a while
	deeds
)

// event returns the n-th, from 0.
func (p plan) event(n, minions int) event {
	r := p.draw(theEvents, n)
	e := event{wait: milliseconds(r, 500), kind: deed(r.IntN(int(deeds))), last: milliseconds(r, 400), minion: r.IntN(minions)}
	return e
}

func TestSeedGivesPlan(t *testing.T) {
	everything := func(seed uint64) (all []any) {
		p := plan{seed}
		for n := range 200 {
			for w := range wires {
				all = append(all, p.connection(w, n))
			}
			all = append(all, p.event(n, 30))
		}
		return append(all, p.site())
	}
	if !reflect.DeepEqual(everything(1), everything(1)) {
		t.Error("the same seed gives another plan")
	}
	if reflect.DeepEqual(everything(1), everything(2)) {
		t.Error("another seed gives the same plan")
	}
	seen, told := map[illness]int{}, map[int]int{}
	for n := range 500 {
		c := plan{1}.connection(masterPublish, n)
		told[c.lie]++
		for _, i := range append(c.up.ills, c.down.ills...) {
			seen[i.kind]++
		}
	}
	if len(seen) != 4 || len(told) != lies+1 {
		t.Errorf("not all faults occur: %v, lies %v", seen, told)
	}
}

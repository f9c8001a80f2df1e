//go:build linux

package reactor

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// The lists of a turn are given back when they have grown large, but not while something is in them.
func TestTrimKeepsWhatIsUnderWay(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	h := r.probe()
	c, peer := r.connect(h)
	g := r.probe()
	d, _ := r.connect(g)
	r.on(l, func() {
		l.dirty = make([]*Conn, 0, 5000)
		l.ended = make([]ending, 0, 5000)
		if err := c.Write([]byte("word")); err != nil {
			t.Error(err)
		}
		d.Close(nil)
		l.trim()
	})
	if got := string(take(t, peer, 4)); got != "word" {
		t.Errorf("got %q", got)
	}
	g.expect(nil)
	r.on(l, func() {
		l.trim()
		if cap(l.dirty) > 4096 || cap(l.ended) > 4096 {
			t.Error("large lists stay")
		}
	})
}

// What many goroutines post is run on the loop, all of it, and in order for each of them.
func TestPost(t *testing.T) {
	const goroutines, each = 8, 2000
	r := start(t, Options{})
	l := r.Loops()[0]
	var thread int
	r.on(l, func() { thread = unix.Gettid() })
	next := make([]int, goroutines) // only the loop touches it: the race detector sees to that
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range each {
				posted := l.Post(func() {
					if unix.Gettid() != thread {
						t.Error("not on the loop's thread")
					}
					if next[g] != i {
						t.Errorf("goroutine %d: function %d ran when %d was due", g, i, next[g])
					}
					next[g]++
				})
				if !posted {
					t.Error("Post returned false")
				}
			}
		})
	}
	wg.Wait()
	r.on(l, func() {
		for g, n := range next {
			if n != each {
				t.Errorf("goroutine %d: %d of %d functions ran", g, n, each)
			}
		}
	})
}

// What the loop itself posts runs in its next turn, after what was posted before.
func TestPostFromTheLoop(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	done := make(chan struct{})
	var order []string
	r.on(l, func() {
		turn := l.Turns()
		l.Post(func() {
			order = append(order, "first")
			if l.Turns() != turn+1 {
				t.Errorf("ran %d turns later", l.Turns()-turn)
			}
			l.Post(func() { order = append(order, "third"); close(done) })
		})
		l.Post(func() { order = append(order, "second") })
	})
	wait(t, "the last function", done)
	r.on(l, func() {
		if got := fmt.Sprint(order); got != "[first second third]" {
			t.Errorf("order %v", got)
		}
	})
}

// However much is posted while a loop is busy or asleep, it is woken once.
func TestPostsCostOneWakeUp(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	entered, leave := make(chan struct{}), make(chan struct{})
	l.Post(func() { close(entered); <-leave })
	wait(t, "the loop", entered)
	before := l.Turns()
	ran := 0
	for range 10_000 {
		l.Post(func() { ran++ })
	}
	close(leave)
	r.on(l, func() {
		if ran != 10_000 {
			t.Errorf("%d functions had run", ran)
		}
	})
	if turns := l.Turns() - before; turns > 4 {
		t.Errorf("%d turns for what was posted at once", turns)
	}
}

func TestPostBeforeRunAndAfter(t *testing.T) {
	g, err := New(Options{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g.Loops()[1].Post(func() { ran++; cancel() })
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := g.Run(ctx); err == nil {
		t.Error("the group ran twice")
	}
	if ran == 0 {
		t.Error("what was posted before Run did not run")
	}
	for _, l := range g.Loops() {
		if l.Post(func() { t.Error("ran after the end") }) {
			t.Error("Post after the end returned true")
		}
	}
	g.Close() // of no effect: above all, it must not close the descriptors of others
}

// An idle loop sleeps.
func TestIdle(t *testing.T) {
	r := start(t, Options{Loops: 2})
	for i := range 20 {
		r.connectTo(r.Loops()[i%2], r.probe(), 0)
	}
	for _, l := range r.Loops() {
		r.quiet(l)
	}
}

func TestEach(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	var probes []*probe
	for range 5 {
		h := r.probe()
		r.connect(h)
		probes = append(probes, h)
	}
	r.on(l, func() {
		n := 0
		l.Each(func(c *Conn) { n++; c.Close(errTest) })
		if n != 5 {
			t.Errorf("%d connections, want 5", n)
		}
		l.Each(func(*Conn) { t.Error("a closed connection") })
	})
	for _, h := range probes {
		h.expect(errTest)
	}
}

// Refs are never used again, whatever happens to slots; and some name nothing.
func TestRefs(t *testing.T) {
	var table table
	seen := map[Ref]bool{}
	for range 100 {
		c := &Conn{}
		table.add(c)
		if c.slot != 0 {
			t.Fatalf("slot %d, want the free one", c.slot)
		}
		if c.Ref() == 0 || seen[c.Ref()] || table.lookup(c.Ref()) != c {
			t.Fatalf("ref %x", uint64(c.Ref()))
		}
		seen[c.Ref()] = true
		table.remove(c)
		if table.lookup(c.Ref()) != nil {
			t.Fatal("found after it was removed")
		}
	}
	table.generations[0] = 1<<32 - 1
	c := &Conn{}
	table.add(c)
	table.remove(c)
	table.add(c)
	if c.generation != 1 {
		t.Errorf("generation %d after the last one, want 1", c.generation)
	}
	for _, ref := range []Ref{0, makeRef(0, 0), makeRef(1, 1), makeRef(slotWake, 0), makeRef(slotListener, 0), 1<<64 - 1} {
		if table.lookup(ref) != nil {
			t.Errorf("%x names a connection", uint64(ref))
		}
	}
}

// A sleeping loop is woken by the first that is posted; whoever posts more, and whoever posts to a loop that is awake,
// makes no system call.
func TestPostWakesOnce(t *testing.T) {
	g, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	l := g.Loops()[0]
	for _, test := range []struct {
		sleeping bool
		want     uint64
	}{{false, 0}, {true, 1}} {
		l.sleeping = test.sleeping // a group that does not run has no loop to disturb
		for range 3 {
			l.Post(func() {})
		}
		var count [8]byte
		if n, _ := unix.Read(l.wakefd, count[:]); n != 8 && test.want != 0 {
			t.Error("not woken")
		}
		if got := binary.NativeEndian.Uint64(count[:]); got != test.want {
			t.Errorf("woken %d times, want %d", got, test.want)
		}
	}
}

//go:build linux

package reactor

import (
	"context"
	"runtime"
	"testing"
	"time"
)

func TestTurned(t *testing.T) {
	g, err := New(Options{Loops: 3})
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := g.Turned(soon); err == nil || err.Error() != "loops [0 1 2] of 3 do not turn" {
		t.Errorf("nobody runs them: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	if err := g.Turned(t.Context()); err != nil {
		t.Error(err)
	}

	held, release := make(chan struct{}), make(chan struct{})
	g.Loops()[1].Post(func() { close(held); <-release })
	<-held
	soon, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := g.Turned(soon); err == nil || err.Error() != "loops [1] of 3 do not turn" {
		t.Errorf("one is held up: %v", err)
	}
	close(release)
	if err := g.Turned(t.Context()); err != nil {
		t.Error(err)
	}

	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := g.Turned(t.Context()); err != nil {
		t.Errorf("they have ended: %v", err)
	}
}

// A loop that ends while it is asked is not stuck.
func TestTurnedOfALoopThatEnds(t *testing.T) {
	g, err := New(Options{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	l := g.Loops()[0]
	ended := make(chan error, 1)
	go func() { ended <- g.Run(t.Context()) }()
	last := make(chan struct{})
	turned := make(chan error)
	l.Post(func() { // its last turn, in which it is asked
		l.stopping = true
		go func() {
			soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			turned <- g.Turned(soon)
		}()
		for asked := false; !asked; runtime.Gosched() {
			l.mu.Lock()
			asked = len(l.posted) > 0
			l.mu.Unlock()
		}
		close(last)
	})
	<-last
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := <-turned; err != nil {
		t.Error(err)
	}
}

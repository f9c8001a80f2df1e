//go:build linux

package reactor

import (
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// Between two batches a thread that waits for the core gets it, and not when the kernel finds that it is its turn.
func TestTryWriteAllMakesRoom(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4)) // of the kernel's room, not of Go's
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	for cpu := 0; one.Count() == 0; cpu++ {
		if before.IsSet(cpu) {
			one.Set(cpu)
		}
	}
	r := start(t, Options{})
	l := r.Loops()[0]
	stay := func(on *unix.CPUSet) {
		if err := unix.SchedSetaffinity(0, on); err != nil {
			t.Error(err)
		}
	}
	r.on(l, func() { stay(&one) })

	var did atomic.Int64
	var enough atomic.Bool
	began, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer stay(&before)
		stay(&one)
		close(began)
		for !enough.Load() {
			did.Add(1)
		}
	}()
	<-began
	r.on(l, func() {
		defer stay(&before)
		seen := did.Load()
		for range 1000 { // some ten microseconds, would nobody else get the core
			if l.TryWriteAll(nil, nil, nil); did.Load() != seen {
				return
			}
		}
		t.Error("who waited for the core did not get it")
	})
	enough.Store(true)
	<-ended
}

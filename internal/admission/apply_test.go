package admission

import (
	"testing"

	"github.com/sirupsen/logrus"

	"salt-broker/internal/reactor"
)

// apply has every loop keep other limits, and waits until all do.
func (h *house) apply(o Options) {
	h.t.Helper()
	h.Apply(o, func(h reactor.Handler) bool { _, ok := h.(*guest); return ok })
	for _, l := range h.group.Loops() {
		done := make(chan struct{})
		if !l.Post(func() { close(done) }) {
			h.t.Fatal("a loop has ended")
		}
		<-done
	}
}

// TestApply: who is in stays and counts, whatever the limits were before; those who come are held to the new ones.
func TestApply(t *testing.T) {
	h := openWith(t, logrus.PanicLevel, 3, Options{HandshakeTimeout: patience})
	comes := func(address string, want bool) func() {
		t.Helper()
		nc := h.from(address)
		if got := greeted(t, nc); got != want {
			t.Errorf("%s comes in: %v, want %v", address, got, want)
		}
		return func() { _ = nc.Close(); h.left() }
	}
	for range 4 {
		comes("127.0.0.2", true)
	}
	leave := comes("127.0.0.1", true)

	h.apply(Options{MaxConnections: 5})
	comes("127.0.0.1", false)
	leave()
	comes("127.0.0.1", true)
	h.apply(Options{MaxConnections: 2, MaxPerAddress: 100})
	comes("127.0.0.1", false)
	h.apply(Options{MaxPerAddress: 2})
	comes("127.0.0.1", true)
	comes("127.0.0.1", false)
	comes("127.0.0.2", false)
	comes("127.0.0.3", true)
	h.apply(Options{Deny: prefixes("127.0.0.3/32")})
	comes("127.0.0.3", false)
	h.apply(Options{Allow: prefixes("127.0.0.3/32")})
	comes("127.0.0.1", false)
	comes("127.0.0.3", true)
	h.apply(Options{})
	comes("127.0.0.1", true)
	if n := h.Counts()[EndDenied]; n != 2 {
		t.Errorf("%d were denied", n)
	}
}

// TestApplyCountsWhoIsLeaving: a connection that has ended in the same turn is counted until its handler says so.
func TestApplyCountsWhoIsLeaving(t *testing.T) {
	h := openWith(t, logrus.PanicLevel, 1, Options{HandshakeTimeout: patience})
	if !greeted(t, h.from("127.0.0.1")) {
		t.Fatal("refused")
	}
	h.loop.Post(func() { // what it posts runs in one turn
		h.loop.Post(func() { h.loop.Each(func(c *reactor.Conn) { c.Close(nil) }) })
		h.Apply(Options{MaxConnections: 2}, func(h reactor.Handler) bool { _, ok := h.(*guest); return ok })
	})
	h.left()
	h.apply(Options{MaxConnections: 2})
	done := make(chan int)
	h.loop.Post(func() { done <- h.limits[0].count })
	if n := <-done; n != 0 {
		t.Errorf("%d are in", n)
	}
}

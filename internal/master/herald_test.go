package master

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

// slow is a back-off that no test waits for.
var slow = Backoff{Default: time.Hour, Max: 8 * time.Hour}

// waits says whether a link has h tell it when another one gets through.
func (h *Herald) waits(l *Link) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pausing[l] != nil
}

// pauses waits until the link has failed so often and pauses.
func (r *runner) pauses(t *testing.T, h *Herald, failures int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !h.waits(r.Link) || len(r.lines(logrus.WarnLevel))+len(r.lines(logrus.DebugLevel)) < failures; <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it does not pause")
		}
	}
}

// Links that pause try at once when another one gets through, whatever port that leads to.
func TestHerald(t *testing.T) {
	h := new(Herald)
	away := newPeer(t, "127.0.0.1:0", hangsUp(nil))
	there := newPeer(t, "127.0.0.1:0", good)
	with := func(o *Options) { o.Backoff, o.Herald = slow, h }
	one, other := run(t, away.addr.String(), with), run(t, away.addr.String(), with)
	for round := 1; round <= 2; round++ {
		one.pauses(t, h, round)
		other.pauses(t, h, round)
		run(t, there.addr.String(), with).connection(t)
	}
	for range 6 { // each of the two at first, and twice again
		receive(t, away.accepted)
	}
	one.pauses(t, h, 3)
	for _, e := range one.hook.AllEntries() {
		if pause, ok := e.Data["pause"]; ok && pause != slow.Default.String() {
			t.Errorf("after news it pauses for %v, not as at first", pause)
		}
	}
	if err := one.stop(); err != nil {
		t.Error(err)
	}
	if h.waits(one.Link) {
		t.Error("a link that has ended is still told")
	}
}

// What is heard while an attempt is under way counts: it may have come to a port a moment too soon.
func TestHeraldDuringAnAttempt(t *testing.T) {
	h := new(Herald)
	asked, answer := make(chan struct{}, 2), make(chan struct{})
	p := newPeer(t, "127.0.0.1:0", func(net.Conn) {
		asked <- struct{}{}
		<-answer
	})
	run(t, p.addr.String(), func(o *Options) { o.Backoff, o.Herald = slow, h })
	receive(t, asked)
	h.news(time.Now())
	close(answer)
	receive(t, asked)
}

// A link does not hear itself: a connection that ends at once is followed by a pause.
func TestHeraldIsNotForOneself(t *testing.T) {
	h := new(Herald)
	p := newPeer(t, "127.0.0.1:0", good)
	r := run(t, p.addr.String(), func(o *Options) { o.Backoff, o.Herald = slow, h })
	r.connection(t).end(nil)
	r.pauses(t, h, 1)
	if n := r.State().Attempts; n != 1 {
		t.Errorf("%d attempts", n)
	}
}

// Links of a master that takes connections and ends them again do not have each other dial all the time.
func TestHeraldIsHeardNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(Herald)
		l := NewLink(Options{Address: "127.0.0.1:4505", Backoff: slow, Herald: h})
		l.Apply(Options{Address: "127.0.0.1:4505", Backoff: slow}) // it does not know of the others
		l.renew(func() {})
		sleeps := func(want time.Duration) {
			t.Helper()
			began := time.Now()
			time.Sleep(time.Second)
			h.news(time.Now())
			l.sleep(context.Background(), time.Minute, began) //nolint:usetesting // it does not end
			if took := time.Since(began) - time.Second; took != want {
				t.Errorf("it sleeps for %v, want %v", took, want)
			}
		}
		for range 2 {
			for range mostHeard {
				sleeps(0)
			}
			sleeps(time.Minute)
			sleeps(time.Minute)
			time.Sleep(slow.Max)
		}
	})
}

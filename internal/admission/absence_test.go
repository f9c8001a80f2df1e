package admission

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// attend has the door watch a master that is there or not, as the test says, until the test ends.
func (h *house) attend(over time.Duration) (there *atomic.Bool) {
	h.t.Helper()
	there = new(atomic.Bool)
	there.Store(true)
	began := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := h.Attend(ctx, Absence{
			After: time.Millisecond, Over: over,
			Master: func() (bool, time.Time) { return there.Load(), began },
			Minion: func(h reactor.Handler) bool { _, ok := h.(*guest); return ok },
		}); err != nil {
			h.t.Error(err)
		}
	}()
	h.t.Cleanup(func() {
		cancel()
		<-done
	})
	return there
}

// until waits for the port to be open or shut.
func (h *house) until(open bool) {
	h.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for {
		nc, err := net.Dial("tcp", h.Addr().String())
		if err == nil {
			_ = nc.Close()
			if open {
				return
			}
		} else if !open {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			h.t.Fatalf("the port does not become open=%v", open)
		}
	}
}

func TestMastersAbsenceSendsMinionsAway(t *testing.T) {
	const minions, over = 20, 400 * time.Millisecond
	h := open(t, logrus.InfoLevel, patience)
	for range minions {
		h.visit(hello(zmtp.REQ))
		h.admitted()
	}
	there := h.attend(over)
	began := time.Now()
	there.Store(false)
	for range minions {
		h.left()
	}
	// The last but one pace, and the time until the door looks, which is shorter than over.
	if took := time.Since(began); took < over*9/10 {
		t.Errorf("all were gone within %v, which should take %v", took, over)
	}
	if n := h.Counts()[EndMasterLost]; n != minions {
		t.Errorf("%d sent away, want %d", n, minions)
	}
	h.until(false)
	there.Store(true)
	h.until(true)
	h.visit(hello(zmtp.REQ))
	stays := h.admitted()
	open := make(chan bool)
	h.loop.Post(func() { open <- !stays.Closed() })
	if !<-open {
		t.Error("who comes to the open port is sent away")
	}
	lines := h.log.AllEntries()
	if len(lines) != 2 || lines[0].Level != logrus.WarnLevel || lines[1].Level != logrus.WarnLevel ||
		!strings.Contains(lines[0].Message, "on_master_loss") || !strings.Contains(lines[1].Message, "is back") {
		t.Errorf("%v", lines)
	}
}

// A master that is back in time keeps those who have not been sent away yet.
func TestMasterIsBackBeforeAllHaveGone(t *testing.T) {
	h := open(t, logrus.InfoLevel, patience)
	var guests []*reactor.Conn
	for range 3 {
		h.visit(hello(zmtp.REQ))
		guests = append(guests, h.admitted())
	}
	there := h.attend(time.Hour)
	there.Store(false)
	h.until(false)
	h.left() // the first goes at once
	there.Store(true)
	h.until(true)
	left := make(chan int)
	h.loop.Post(func() {
		n := 0
		for _, c := range guests {
			if c.Closed() {
				n++
			}
		}
		left <- n
	})
	if n := <-left; n > 1 {
		t.Errorf("%d have been sent away within a moment", n)
	}
	for range 3 { // and so on
		there.Store(false)
		h.until(false)
		there.Store(true)
		h.until(true)
	}
}

// A broker that stops while the master is away does not open its port again.
func TestClosedDoorStaysClosed(t *testing.T) {
	h := open(t, logrus.InfoLevel, patience)
	there := h.attend(0)
	there.Store(false)
	h.until(false)
	h.Close()
	if err := h.reopen(t.Context()); err != nil {
		t.Error(err)
	}
	h.until(false)
}

package pubproxy

import (
	"testing"

	"github.com/sirupsen/logrus/hooks/test"

	"salt-broker/internal/buffers"
)

// TestTheRestOfAMessageIsShared: minions that stopped within a large message keep it until they have read it, when the log
// is past it for long. They keep it together.
func TestTheRestOfAMessageIsShared(t *testing.T) {
	const minions, large = 20, 16 << 20
	log, _ := test.NewNullLogger()
	budget := buffers.New(1<<30, log)
	master := newPublisher(t)
	p := start(t, master.address(), func(o *Options) { o.HWM, o.LogBytes, o.Buffers = 10, 1<<20, budget })
	master.expect("link")
	slow := make([]*subscriber, minions)
	for i := range slow {
		slow[i] = stall(t, p, "")
	}
	first := message("", 0, large)
	master.send(first)
	eventually(t, p, "all stopped within it", func(s Stats) bool { return s.Behind == minions })
	for i := range 40 {
		master.send(message("", 1+i, 100<<10))
	}
	eventually(t, p, "all past the mark", func(s Stats) bool { return s.Lost >= minions*20 })
	if used := budget.Used(); used > 1<<20 {
		t.Errorf("%d bytes are counted for %d minions that share one message", used, minions)
	}
	for _, s := range slow {
		s.expect(first)
	}
}

// TestTheRestOfASmallMessageIsCopied, and counted, until it has gone or its minion has.
func TestTheRestOfASmallMessageIsCopied(t *testing.T) {
	log, _ := test.NewNullLogger()
	budget := buffers.New(1<<30, log)
	master := newPublisher(t)
	p := start(t, master.address(), func(o *Options) { o.HWM, o.LogBytes, o.Loops, o.Buffers = 10, 1<<20, 1, budget })
	master.expect("link")
	slow, leaves := stall(t, p, ""), stall(t, p, "")
	const size = 10000
	sent := 0
	f := p.fanouts[0]
	copied := func() (n int64) {
		done := make(chan struct{})
		f.loop.Post(func() { n = f.held; close(done) })
		<-done
		return n
	}
	for s := p.Stats(); s.Behind < 2 || s.Lost < 100; s = p.Stats() {
		for range 100 {
			master.send(message("", sent, size))
			sent++
		}
		eventually(t, p, "all published", func(s Stats) bool { return s.Publishes == uint64(sent) })
	}
	eventually(t, p, "the rests to be kept", func(Stats) bool { n := copied(); return 0 < n && n <= 2*2*size })
	_ = leaves.nc.Close()
	eventually(t, p, "one to leave", func(s Stats) bool { return s.Minions == 1 })
	slow.readMessages("", size, sent-1)
	eventually(t, p, "nothing to be kept", func(Stats) bool { return copied() == 0 })
}

//go:build linux

package pair_test

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"salt-broker/internal/reactor"
	"salt-broker/internal/sim"
)

// minions is how many there are, every other one with a connection for each request.
const minions = 40

// crowd is the minions of a site.
type crowd struct {
	*sim.Minions
	site *site
}

// startCrowd connects the minions to the address that the nodes share, has each ask five times a second, and the master
// publish fifty times a second.
func startCrowd(s *site) *crowd {
	t := s.t
	t.Helper()
	o := sim.MinionsOptions{
		Count: minions, Publish: netip.AddrPortFrom(s.address, 4505), Request: netip.AddrPortFrom(s.address, 4506),
		Shape: sim.Mixed, Interval: 200 * time.Millisecond, Timeout: 500 * time.Millisecond,
		// Salt's own tcp_keepalive_idle is 300 s: contrib/keepalived/README.rst says to have less.
		KeepAlive: reactor.KeepAlive{On: true, Idle: time.Second, Interval: time.Second, Count: 3},
	}
	s.watch.Minions(&o)
	m, err := sim.StartMinions(o)
	must(t, err)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.watch.Published(s.master.PublishJob(nil))
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(done)
		<-ended
		must(t, m.Stop())
	})
	c := &crowd{m, s}
	s.watch.Begin(m)
	c.served()
	return c
}

// served returns when every minion has had a reply and a publish that are newer than this call, and what has been noticed
// since the watch began.
func (c *crowd) served() sim.Notices {
	c.site.t.Helper()
	n, err := c.site.watch.End(within(c.site.t))
	must(c.site.t, err)
	return n
}

// event does what happens, waits until everybody is served by the node that has the address then, and says what it cost.
// Nobody may have waited for a reply for longer than limit, and than the machine has stood still.
func (c *crowd) event(t *testing.T, what string, limit time.Duration, to *node, happens func()) {
	t.Helper()
	c.site.watch.Begin(c.Minions)
	stood, begin := c.site.stood.Sum(), time.Now()
	happens()
	eventually(t, "the address moves: "+what, to.hasAddress)
	moved := time.Since(begin)
	n := c.served()
	line, err := json.Marshal(n)
	must(t, err)
	t.Logf("%-40s gap %.1f s, address moved after %.1f s; of 50 publishes a second a minion missed at most %d\nnotices: %s",
		what, n.ReplyGapLast, moved.Seconds(), n.PublishesLost, line) // `make bench-ha` reads the second line
	if limit += c.site.stood.Sum() - stood; n.ReplyGapLast > limit.Seconds() {
		t.Errorf("%s: a minion got no reply for %.1f s, the limit is %v", what, n.ReplyGapLast, limit)
	}
	if n.PublishesTwice+n.PublishesLate+n.RequestsTwice > 0 {
		t.Errorf("%s: repeated, or out of turn: %+v", what, n)
	}
	if n.Cut != minions && c.site.steady() {
		t.Errorf("%s: %d subscriptions were cut, want each of %d once", what, n.Cut, minions)
	}
	// And then every publish reaches everybody.
	c.site.watch.Begin(c.Minions)
	if n := c.served(); n.PublishesLost > 0 && c.site.steady() {
		t.Errorf("%s: of %d publishes after it a minion missed %d", what, n.Published, n.PublishesLost)
	}
}

//go:build linux

package pair_test

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"salt-broker/internal/reactor"
	"salt-broker/internal/sim"
)

// minions is how many there are, every other one with a connection for each request.
const minions = 40

// crowd is the minions of a site, and what they notice.
type crowd struct {
	*sim.Minions
	site *site

	mu     sync.Mutex
	since  time.Time
	last   [minions]time.Time     // reply of each
	gap    [minions]time.Duration // longest time between two replies of each, that which is going on included
	jobs   [minions]uint64        // the last job of each
	missed [minions]uint64        // between two of them
}

// startCrowd connects the minions to the address that the nodes share, has each ask five times a second, and the master
// publish ten times a second.
func startCrowd(s *site) *crowd {
	t := s.t
	t.Helper()
	c := &crowd{site: s, since: time.Now()}
	m, err := sim.StartMinions(sim.MinionsOptions{
		Count: minions, Publish: netip.AddrPortFrom(s.address, 4505), Request: netip.AddrPortFrom(s.address, 4506),
		Shape: sim.Mixed, Interval: 200 * time.Millisecond, Timeout: 500 * time.Millisecond,
		// Salt's own tcp_keepalive_idle is 300 s: contrib/keepalived/README.rst says to have less.
		KeepAlive: reactor.KeepAlive{On: true, Idle: time.Second, Interval: time.Second, Count: 3},
		OnReply:   c.replied, OnJob: c.heard,
	})
	must(t, err)
	c.Minions = m
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.master.PublishJob(nil)
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
	c.served()
	return c
}

func (c *crowd) replied(minion int, _ time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if last := c.last[minion]; !last.IsZero() {
		c.gap[minion] = max(c.gap[minion], now.Sub(last))
	}
	c.last[minion] = now
}

func (c *crowd) heard(minion int, job sim.Job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := c.jobs[minion]; last > 0 {
		c.missed[minion] += job.Order - last - 1
	}
	c.jobs[minion] = job.Order
}

// served returns when every minion has had a reply and a publish that are newer than this call. Then one publish more
// must reach every one of them.
func (c *crowd) served() {
	t := c.site.t
	t.Helper()
	begin, order := time.Now(), c.site.master.PublishJob(nil).Order
	eventually(t, "every minion is answered and hears", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i := range minions {
			if c.last[i].Before(begin) || c.jobs[i] <= order {
				return false
			}
		}
		return true
	})
	must(t, c.AwaitArrived(within(t), c.site.master.PublishJob(nil).Order, minions))
}

// event does what happens, waits until everybody is served by the node that has the address then, and says what it cost.
// Nobody may have waited for a reply for longer than limit.
func (c *crowd) event(t *testing.T, what string, limit time.Duration, to *node, happens func()) {
	t.Helper()
	before := c.Stats()
	c.mu.Lock()
	c.gap, c.missed = [minions]time.Duration{}, [minions]uint64{}
	c.mu.Unlock()
	begin := time.Now()
	happens()
	eventually(t, "the address moves: "+what, to.hasAddress)
	moved := time.Since(begin)
	c.served()
	c.mu.Lock()
	gap, missed := time.Duration(0), uint64(0)
	for i := range minions {
		gap, missed = max(gap, c.gap[i]), max(missed, c.missed[i])
	}
	c.mu.Unlock()
	t.Logf("%-40s gap %.1f s, address moved after %.1f s; of 10 publishes a second a minion missed at most %d",
		what, gap.Seconds(), moved.Seconds(), missed)
	if gap > limit {
		t.Errorf("%s: a minion got no reply for %v, the limit is %v", what, gap, limit)
	}
	s := c.Stats()
	if s.Faults() != 0 {
		t.Errorf("%s: %v", what, s.FirstFault)
	}
	if s.Cut-before.Cut != minions {
		t.Errorf("%s: %d subscriptions were cut, want each of %d once", what, s.Cut-before.Cut, minions)
	}
}

package outage_test

import (
	"slices"
	"testing"
	"time"

	"salt-broker/internal/merge"
	"salt-broker/internal/sim"
	"salt-broker/pubproxy"
)

const (
	late = 250 * time.Millisecond // the far path
	pace = 4 * time.Millisecond   // of publishes
	hold = time.Second            // for those that are missing
)

// TestRoads: a master that two paths lead to, one late by 250 ms, publishes 250 times a second, and things happen to the
// paths. Every minion gets each publish once and in turn, as soon as the nearest path has it: minions look at the numbers.
func TestRoads(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name      string
		filtering bool // zmq_filtering
		happen    func(s site)
		first     bool // the near path brings nearly all
	}{
		{"one is late", false, func(s site) { s.publish(2 * time.Second) }, true},
		{"the near one is cut and back", false, func(s site) {
			for range 4 {
				s.publish(400 * time.Millisecond)
				s.near.Cut()
				s.publish(300 * time.Millisecond)
				s.near.Open()
			}
			s.publish(time.Second)
		}, false},
		{"the near one is cut for a moment", true, func(s site) {
			for range 12 { // shorter than what the other is late by: it is back before that has brought what was lost
				s.publish(250 * time.Millisecond)
				s.near.Cut()
				s.publish(20 * time.Millisecond)
				s.near.Open()
			}
			s.publish(time.Second)
		}, false},
		{"the far one is cut and back", false, func(s site) {
			for range 4 {
				s.publish(400 * time.Millisecond)
				s.far.Cut()
				s.publish(300 * time.Millisecond)
				s.far.Open()
			}
			s.publish(time.Second)
		}, true},
		{"both are, by turns", true, func(s site) {
			for range 2 {
				s.publish(200 * time.Millisecond)
				s.cut(s.near)
				s.publish(300 * time.Millisecond)
				s.near.Open()
				s.publishUntilBoth()
				s.cut(s.far)
				s.publish(100 * time.Millisecond)
				s.far.Open()
				s.publishUntilBoth()
			}
		}, false},
		{"the near one dies", false, func(s site) {
			s.publish(time.Second)
			s.near.Cut()
			s.publish(2 * time.Second)
		}, false},
		{"the near one dies in silence", true, func(s site) {
			s.publish(time.Second)
			s.near.Silence()
			s.publish(3 * time.Second)
		}, false},
		{"the near one dies in silence, after the far one was cut", false, func(s site) {
			s.publish(time.Second)
			s.cut(s.far)
			s.publish(100 * time.Millisecond)
			s.far.Open()
			s.publishUntilBoth()
			s.near.Silence()
			s.publish(3 * time.Second)
		}, false},
		{"the near one loses packets", false, func(s site) {
			lossy(s.near)
			s.publish(3 * time.Second)
		}, false},
		{"both lose packets, and the near one is cut and back", true, func(s site) {
			lossy(s.near)
			lossy(s.far)
			for range 3 {
				s.publish(400 * time.Millisecond)
				s.cut(s.near)
				s.publish(100 * time.Millisecond)
				s.near.Open()
				s.publishUntilBoth()
			}
		}, false},
		{"the far one dies", false, func(s site) {
			s.publish(time.Second)
			s.far.Cut()
			s.publish(time.Second)
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, test.filtering)
			test.happen(s)
			s.check(test.first)
		})
	}
}

// site is a master, its paths, a broker and minions.
type site struct {
	t         *testing.T
	master    *sim.Master
	near, far *sim.Way
	broker    *broker
	minions   *sim.Minions
	stood     *sim.Standstill
	filtering bool
	last      *sim.Job
}

// lossy has a way lose one packet in 20: what is lost, and all behind it, comes later than by the far way without loss.
func lossy(w *sim.Way) { w.SetLoss(0.05, late*5/4) }

const siteMinions = 20

func newSite(t *testing.T, filtering bool) site {
	t.Helper()
	m := startMaster(t, sim.MasterOptions{})
	s := site{t: t, master: m, stood: watchStandstill(t), near: startWay(t, m.PublishAddr(), time.Millisecond), far: startWay(t, m.PublishAddr(), late)}
	s.filtering, s.last = filtering, &sim.Job{}
	set := defaults()
	set.paths, set.hold = []*sim.Way{s.far, s.near}, hold
	s.broker = startBroker(t, m, set)
	eventually(t, "both paths are connected", func() bool { return connected(s.broker.publish.Stats()) == 2 })
	s.minions = startMinions(t, sim.MinionsOptions{Count: siteMinions, Publish: s.broker.publish.Addr(), Filtering: filtering})
	topic := ""
	if filtering {
		topic = sim.Broadcast
		for i := range siteMinions {
			must(t, m.AwaitSubscribed(within(t), sim.Topic(sim.MinionID(i)), 2))
		}
	}
	must(t, m.AwaitSubscribed(within(t), topic, 2))
	must(t, s.minions.AwaitSubscribed(within(t), siteMinions))
	return s
}

func connected(s pubproxy.Stats) (n int) {
	for _, r := range s.Roads {
		if r.Link.Connected {
			n++
		}
	}
	return n
}

// publish publishes for so long.
func (s site) publish(d time.Duration) {
	end := time.Now().Add(d)
	s.publishUntil(func() bool { return !time.Now().Before(end) })
}

// cut cuts a way, and publishes until the master knows.
func (s site) cut(w *sim.Way) {
	topic := ""
	if s.filtering {
		topic = sim.Broadcast
	}
	w.Cut()
	s.publishUntil(func() bool { return s.master.Subscribed(topic) < 2 })
}

// publishUntilBoth publishes until both paths bring everything: the master has heard of all subscriptions by both, which is a
// second after the far one was opened, and what it published before that has arrived.
func (s site) publishUntilBoth() {
	topics := []string{""}
	if s.filtering {
		topics = []string{sim.Broadcast}
		for i := range siteMinions {
			topics = append(topics, sim.Topic(sim.MinionID(i)))
		}
	}
	end := time.Now().Add(patience)
	s.publishUntil(func() bool {
		return time.Now().After(end) || !slices.ContainsFunc(topics, func(topic string) bool { return s.master.Subscribed(topic) != 2 })
	})
	both := s.last.Order
	s.publishUntil(func() bool {
		arrived, _ := s.minions.Arrived(both)
		return time.Now().After(end) || arrived == siteMinions
	})
}

// publishUntil publishes to all, or now to all and now to one.
func (s site) publishUntil(done func() bool) {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for i := 0; !done(); i++ {
		var topic []byte
		if s.filtering {
			topic = []byte(sim.Broadcast)
			if i%3 > 0 {
				s.master.PublishJob([]byte(sim.Topic(sim.MinionID(i % siteMinions))))
			}
		}
		*s.last = s.master.PublishJob(topic)
		<-tick.C
	}
}

func (s site) check(first bool) {
	t := s.t
	t.Helper()
	must(t, s.minions.AwaitArrived(within(t), s.last.Order, siteMinions))
	got, stood := s.minions.Stats(), s.stood.Sum()
	// In a pause the time runs out for which publishes are held for what is to come before them: that is lost then.
	paused := s.stood.Longest() > hold/2
	if paused {
		got.Missed = 0
	}
	if got.Faults() != 0 || got.MissedAway != 0 || got.Cut != 0 {
		t.Errorf("%d faults, the first: %v; %+v", got.Faults(), got.FirstFault, got)
	}
	stats := s.broker.publish.Stats()
	var all merge.Counts
	for _, r := range stats.Roads {
		all = all.After(r.Publishes)
		t.Logf("%s %+v", r.Link.Master, r.Publishes)
	}
	t.Logf("%d publishes, delivered after %v at most in half of them, %v in 99 of 100; stood still for %v",
		stats.Publishes, got.Delivery.P50, got.Delivery.P99, stood)
	if published := s.master.Stats().Publishes; !paused && (stats.Publishes != published || all.First != published || all.Late+all.Unknown != 0) {
		t.Errorf("%d were published, %d have gone out, of %+v", published, stats.Publishes, all)
	}
	// After a pause that is longer than one path is late by, what came over both is read in any order.
	if near := stats.Roads[1].Publishes.First; first && stood < late/2 && near < stats.Publishes*9/10 {
		t.Errorf("the near path was first with %d of %d", near, stats.Publishes)
	}
	if first && got.Delivery.P50 > late/2+stood {
		t.Errorf("half of the publishes took more than %v", got.Delivery.P50)
	}
}

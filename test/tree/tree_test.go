//go:build linux

package tree_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"salt-broker/config"
	"salt-broker/internal/master"
	"salt-broker/internal/sim"
)

// each is how many minions each broker has.
const each = 20

// grove is a tree with minions at every level, which ask all the time.
type grove struct {
	*tree
	filtering bool
	minions   []*sim.Minions // by broker
}

func startGrove(t *testing.T, c config.Config, filtering bool) *grove {
	t.Helper()
	g := &grove{tree: startTree(t, sim.MasterOptions{ServiceTime: time.Millisecond}, c), filtering: filtering}
	for i, b := range g.brokers {
		g.minions = append(g.minions, startMinions(t, b, sim.MinionsOptions{
			Count: each, First: i * each, Shape: sim.Mixed, Filtering: filtering, Reconnect: 10 * time.Millisecond,
			Interval: 50 * time.Millisecond, Insist: true, Timeout: time.Second, // for what is lost with a link
		}))
	}
	g.whole()
	return g
}

// topics is what the master is asked for.
func (g *grove) topics() []string {
	if !g.filtering {
		return []string{""}
	}
	all := []string{sim.Broadcast}
	for i := range len(g.brokers) * each {
		all = append(all, sim.Topic(sim.MinionID(i)))
	}
	return all
}

// whole waits until everybody is connected and all that minions want has come to the master.
func (g *grove) whole() {
	g.t.Helper()
	eventually(g.t, "all links are there", g.connected)
	for i, m := range g.minions {
		must(g.t, m.AwaitSubscribed(within(g.t), each))
		below := (len(g.minions) - i) * each
		eventually(g.t, "the broker has all subscriptions of those behind it", func() bool {
			s := g.brokers[i].pub.Stats()
			return !g.filtering || s.Subscriptions == below+1
		})
	}
	for _, topic := range g.topics() {
		must(g.t, g.master.AwaitSubscribed(within(g.t), topic, 1))
	}
	// A broker that wants everything for one minion may not have heard of the next one: ask until all have heard.
	var last sim.Job
	eventually(g.t, "a publish reaches everybody", func() bool {
		if time.Since(last.Sent) > 200*time.Millisecond {
			last = g.publish(g.topics()[0])
		}
		return !slices.ContainsFunc(g.minions, func(m *sim.Minions) bool { n, _ := m.Arrived(last.Order); return n < each })
	})
}

func (g *grove) publish(topic string) sim.Job {
	if topic == "" {
		return g.master.PublishJob(nil)
	}
	return g.master.PublishJob([]byte(topic))
}

// works has the master publish to each and all, and sees that everybody hears what is for him and is answered.
func (g *grove) works(when string) {
	g.t.Helper()
	before := make([]sim.MinionsStats, len(g.minions))
	for i, m := range g.minions {
		before[i] = m.Stats()
	}
	for range 20 {
		for _, topic := range g.topics() {
			g.publish(topic)
		}
	}
	jobs := uint64(20 * each)
	if g.filtering {
		jobs *= 2
	}
	for i, m := range g.minions {
		must(g.t, m.Await(within(g.t), func(s sim.MinionsStats) bool {
			return s.Jobs == before[i].Jobs+jobs && s.Replies >= before[i].Replies+2*each
		}))
		// One that was published before all brokers had heard of all minions again (whole) may be missing, none since.
		if s := m.Stats(); s.Faults() > s.Missed || s.Missed > before[i].Missed {
			g.t.Fatalf("%s: minions of %s: %d faults, the first: %v", when, g.brokers[i].name, s.Faults(), s.FirstFault)
		}
	}
}

// TestRestartOfEachLevel: who hangs on a broker that restarts comes back to it; nobody else loses a connection, and
// everybody is served again, with the publishes that are for him and no others.
func TestRestartOfEachLevel(t *testing.T) {
	t.Parallel()
	for _, filtering := range []bool{false, true} {
		t.Run(fmt.Sprint("zmq_filtering ", filtering), func(t *testing.T) {
			t.Parallel()
			g := startGrove(t, config.Default(), filtering)
			g.works("at first")
			const links = 5                                          // of each broker: one for publishes, and two for each loop of the request channel
			for round, level := range []int{-1, 0, 1, 2, 1, 0, -1} { // -1: the master
				var cut, dials [3]uint64
				for i, b := range g.brokers {
					cut[i], dials[i] = g.minions[i].Stats().Cut, b.dials()
				}
				if level < 0 {
					must(t, g.master.Leave())
					must(t, g.master.Start())
				} else {
					g.brokers[level].stop()
					g.brokers[level].start()
					must(t, g.minions[level].Await(within(t), func(s sim.MinionsStats) bool { return s.Cut >= cut[level]+each }))
				}
				if below := level + 1; below < len(g.brokers) {
					eventually(t, "the links that were lost are there again", func() bool {
						return g.brokers[below].dials() >= dials[below]+links
					})
				}
				g.whole()
				g.works(fmt.Sprintf("after restart %d, of level %d", round, level))
				for i, b := range g.brokers {
					if i != level && g.minions[i].Stats().Cut != cut[i] || i != level && i != level+1 && b.dials() != dials[i] {
						t.Errorf("restart %d, of level %d: %s or a minion there has lost a connection", round, level, b.name)
					}
				}
			}
		})
	}
}

// TestHeartbeatsOfATree: each level has its own, so a master that goes silent is lost by the broker that has it and by no
// other.
func TestHeartbeatsOfATree(t *testing.T) {
	t.Parallel()
	c := config.Default()
	c.HeartbeatInterval, c.HeartbeatTimeout = 50*time.Millisecond, 2*time.Second
	stood := watchStandstill(t)
	g := startGrove(t, c, true)
	for _, m := range g.minions {
		m.Rest()
	}
	dials := func(i int) uint64 { return g.brokers[i].dials() }
	before := []uint64{dials(0), dials(1), dials(2)}
	eventually(t, "heartbeats go both ways at each level", func() bool {
		for _, b := range g.brokers {
			ret, pub := b.ret.Stats(), b.pub.Stats()
			if ret.MasterBeats.PingsSent < 40 || ret.MinionBeats.PingsSent < 40 || pub.MasterBeats.PingsSent < 10 || pub.MinionBeats.PingsSent < 40 {
				return false
			}
		}
		return true
	})
	if dials(0) != before[0] && stood.Sum() < c.HeartbeatTimeout/2 {
		t.Error("the top has lost a master that answers")
	}
	before[0] = dials(0)
	g.master.Mute(true)
	eventually(t, "the top gives up its master", func() bool {
		return dials(0) > before[0] && g.brokers[0].pub.Stats().Master.Connections > 1
	})
	g.master.Mute(false)
	// A link that has been asking while the master was mute is given up yet: so many PONGs take longer than its time-out.
	answers := func() uint64 { return g.brokers[0].pub.Stats().MasterBeats.PongsReceived }
	for last := uint64(0); last != dials(0); {
		last = dials(0)
		enough := answers() + 15
		eventually(t, "the master answers", func() bool { return answers() >= enough })
	}
	g.whole()
	for _, m := range g.minions {
		m.Work()
	}
	g.works("after the master was silent")
	if stood.Sum() > c.HeartbeatTimeout/2 {
		return // everybody was silent
	}
	if dials(1) != before[1] || dials(2) != before[2] {
		t.Error("a broker behind another one has lost its links")
	}
	for i, m := range g.minions {
		if s := m.Stats(); s.Cut > 0 {
			t.Errorf("%s has lost %d minions", g.brokers[i].name, s.Cut)
		}
	}
}

// TestOutageOfATree: minions at every level ask while the master is away, give up and ask again. No level keeps what
// nobody waits for, and the master is not given it.
func TestOutageOfATree(t *testing.T) {
	t.Parallel()
	const herd, service, workers = 200, 5 * time.Millisecond, 5 // minions at each level; of the master
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprint("connections are kept ", keep), func(t *testing.T) {
			t.Parallel()
			stood := watchStandstill(t)
			var levels [3]atomic.Pointer[sim.Minions]
			var stale atomic.Uint64
			tr := startTree(t, sim.MasterOptions{Workers: workers, ServiceTime: service, OnRequest: func(minion int, request uint64) {
				if !levels[minion/herd].Load().Waits(minion, request) {
					stale.Add(1)
				}
			}}, config.Default())
			must(t, tr.master.Leave())
			eventually(t, "the top has noticed", func() bool {
				return !slices.ContainsFunc(tr.brokers[0].ret.Stats().Links, func(s master.State) bool { return s.Connected })
			})
			for i, b := range tr.brokers {
				o := sim.MinionsOptions{
					Count: herd, First: i * herd, Request: b.request.Addr(), Timeout: 2 * time.Second, Insist: true, KeepOnTimeout: keep,
					Reconnect: time.Millisecond,
				}
				m, err := sim.StartMinions(o)
				must(t, err)
				t.Cleanup(func() { must(t, m.Stop()) })
				levels[i].Store(m)
				m.AskAll()
			}
			for i := range levels {
				must(t, levels[i].Load().Await(within(t), func(s sim.MinionsStats) bool { return s.TimedOut >= 2*herd }))
			}
			kept := func() (n int) {
				for _, b := range tr.brokers {
					n += b.ret.Stats().Waiting
				}
				return n
			}
			eventually(t, "no level keeps what nobody waits for", func() bool { return kept() <= len(levels)*herd })
			must(t, tr.master.Start())
			for i := range levels {
				must(t, levels[i].Load().Await(within(t), func(s sim.MinionsStats) bool { return s.Replies == herd }))
			}
			all := tr.master.Stats().Requests
			t.Logf("%d requests came to the master, %d of them given up by then, for %d minions; stood still for %v",
				all, stale.Load(), len(levels)*herd, stood.Sum())
			// What the master would have done in a pause may be given up after it.
			if stale.Load() > all/50+uint64(workers*stood.Sum()/service) {
				t.Errorf("%d of %d requests were given up when they came to the master", stale.Load(), all)
			}
			for _, b := range tr.brokers {
				eventually(t, "nothing is left", func() bool { s := b.ret.Stats(); return s.Waiting+s.InFlight == 0 })
				if s := b.ret.Stats(); s.Requests != s.Forgotten+s.LostWithLink+s.Overdue+s.Replies-s.Late {
					t.Errorf("%s: the books do not add up: %+v", b.name, s)
				}
			}
		})
	}
}

// TestBrokerBelowLeavesRoom: the many behind a broker must not keep the few at the broker above from the master, nor be
// kept from it by them. As long as it is first come, first served, they count there as many as their broker has sent up, 32
// to 64: half of the places for each of its two connections, or one. When requests have waited for 2 s, they get as much as
// all the others together: on both loops of the upper broker, or on the one where both connections are.
func TestBrokerBelowLeavesRoom(t *testing.T) {
	t.Parallel()
	const places = 64 // and none for the way, which a busy machine makes longer
	first := func(above float64) [2]float64 {
		return [2]float64{above / (above + places), above / (above + places/2)}
	}
	for name, tt := range map[string]struct {
		above, sent int        // sent: max_in_flight of the brokers below
		share       [2]float64 // of the replies, for those above: from, to
	}{
		"few above":  {10, places, first(10)},
		"more above": {100, places, first(100)},
		// So it has far more than its share at the top.
		"few above, and a broker that sends much": {10, 8192, first(10)},
		"many above": {1000, places, [2]float64{0.5, 0.75}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top, below := config.Default(), config.Default()
			top.MaxInFlight, below.MaxInFlight = places, tt.sent
			tr := startTree(t, sim.MasterOptions{ServiceTime: 20 * time.Millisecond}, top, below) // 250 a second
			crowd := func(b *broker, first, count int) *sim.Minions {
				m, err := sim.StartMinions(sim.MinionsOptions{
					Count: count, First: first, Request: b.request.Addr(), Busy: true, Timeout: patience,
				})
				must(t, err)
				t.Cleanup(func() { must(t, m.Stop()) })
				m.AskAll()
				return m
			}
			many := crowd(tr.brokers[2], 0, 1000)
			must(t, many.Await(within(t), func(s sim.MinionsStats) bool { return s.Replies >= 200 }))
			above := crowd(tr.brokers[0], 1000, tt.above)
			// Between the two orders of service, and while the machine has no time for the brokers, the shares are others: they
			// have to settle there.
			const enough, turns = 1000, 8
			var share float64
			for range turns {
				before, ownBefore := many.Stats().Replies, above.Stats().Replies
				must(t, above.Await(within(t), func(s sim.MinionsStats) bool {
					return s.Replies-ownBefore+many.Stats().Replies-before >= enough
				}))
				own, theirs := above.Stats(), many.Stats()
				got, others := float64(own.Replies-ownBefore), float64(theirs.Replies-before)
				share = got / (got + others)
				t.Logf("%d at the top got %.0f replies, %.1f %% of all, want %.1f to %.1f %%; p50 %v, at most %v; below meanwhile %.0f, p50 %v, at most %v",
					tt.above, got, 100*share, 100*tt.share[0], 100*tt.share[1], own.Latency.P50, own.Latency.Max, others, theirs.Latency.P50, theirs.Latency.Max)
				if share >= tt.share[0]*0.85 && share <= tt.share[1]*1.15 {
					return
				}
			}
			t.Errorf("those at the top get %.1f %% of the replies, want %.1f to %.1f %%", 100*share, 100*tt.share[0], 100*tt.share[1])
		})
	}
}

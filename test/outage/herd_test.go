package outage_test

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"salt-broker/internal/master"
	"salt-broker/internal/sim"
)

// workers of the master: Salt's default of worker_threads.
const workers = 5

// herd is an outage: so many minions, how long each waits for a reply, and how long a worker takes over one.
type herd struct {
	minions  int
	patience time.Duration
	service  time.Duration
	way      time.Duration // from the broker to the master and back
	keep     bool          // over the connection they have, instead of a new one
}

func (h herd) name() string {
	way := "closing"
	if h.keep {
		way = "keeping"
	}
	where := "near"
	if h.way > 0 {
		where = fmt.Sprintf("far, %v", h.way)
	}
	return fmt.Sprintf("%s/%s/patience %v/service %v", where, way, h.patience, h.service)
}

// work is what the workers need for one request of each minion.
func (h herd) work() time.Duration { return time.Duration(h.minions) * h.service / workers }

// startMaster starts the master of an outage. It counts requests that nobody waits for any more when they reach it: of the
// minions that are stored in asking before any of them asks.
func (h herd) startMaster(t *testing.T) (m *sim.Master, asking *atomic.Pointer[sim.Minions], stale *atomic.Uint64) {
	t.Helper()
	asking, stale = new(atomic.Pointer[sim.Minions]), new(atomic.Uint64)
	return startMaster(t, sim.MasterOptions{
		Workers: workers, ServiceTime: h.service,
		OnRequest: func(minion int, request uint64) {
			if !asking.Load().Waits(minion, request) {
				stale.Add(1)
			}
		},
	}), asking, stale
}

func herds() (all []herd) {
	const ms = time.Millisecond
	if !long() {
		const minions, impatient, patient = 1000, 3 * time.Second, 36 * time.Second
		return []herd{
			{minions, impatient, 2 * ms, 0, false},
			{minions, impatient, 2 * ms, 200 * ms, true},
			{minions, impatient, 10 * ms, 0, true},
			{minions, impatient, 20 * ms, 0, false},
			{minions, impatient, 20 * ms, 0, true},
			{minions, patient, 20 * ms, 0, false},
		}
	}
	for _, way := range []time.Duration{0, 200 * ms} {
		for _, keep := range []bool{false, true} {
			for _, patience := range []time.Duration{5 * time.Second, 60 * time.Second} {
				for _, service := range []time.Duration{2 * ms, 20 * ms, 50 * ms} {
					all = append(all, herd{5000, patience, service, way, keep})
				}
			}
		}
	}
	return all
}

// TestMasterComesBack: minions ask while the master is away, give up, and ask again, for ever. When it is back it is to
// do what somebody waits for, and little else, and everybody is to be served.
func TestMasterComesBack(t *testing.T) {
	if !long() {
		t.Parallel() // most of it is waiting
	}
	for _, h := range herds() {
		t.Run(h.name(), func(t *testing.T) {
			if !long() {
				t.Parallel()
			}
			outage(t, h)
		})
	}
}

func outage(t *testing.T, h herd) {
	t.Helper()
	m, asking, stale := h.startMaster(t)
	s := defaults()
	s.way = h.way / 2
	b := startBroker(t, m, s)
	listening := startMinions(t, sim.MinionsOptions{Count: h.minions / 10, Publish: b.publish.Addr()})
	must(t, listening.AwaitSubscribed(within(t), h.minions/10))
	must(t, m.AwaitSubscribed(within(t), "", 1))
	minions := startMinions(t, sim.MinionsOptions{
		Count: h.minions, Request: b.request.Addr(), Timeout: h.patience, Insist: true, KeepOnTimeout: h.keep,
		Reconnect: time.Millisecond,
	})
	asking.Store(minions)
	connected := func(s master.State) bool { return s.Connected }
	away := func(s master.State) bool { return !s.Connected }
	// All of them, or one that is about to be would take requests yet: what the master has said travels on a long way.
	eventually(t, "all links are up", func() bool { return !slices.ContainsFunc(b.request.Stats().Links, away) })
	must(t, m.Leave())
	eventually(t, "the broker has noticed", func() bool { return !slices.ContainsFunc(b.request.Stats().Links, connected) })

	// They do not all begin at once: on a site they would not either.
	spread(t, minions, h.minions, min(h.patience, 5*time.Second))
	eventually(t, "everybody waits", func() bool { return b.request.Stats().Requests >= uint64(h.minions) })
	first := heap()
	giveUp := uint64(h.minions)
	if h.patience > 5*time.Second {
		giveUp = uint64(h.minions) / 2
		if !long() {
			giveUp = 0 // it is about those that have time
		}
	}
	must(t, minions.Await(within(t), func(s sim.MinionsStats) bool {
		// A moment's slack: a minion may have asked anew before the end of its last connection is seen.
		if n := b.request.Stats().Waiting; n > h.minions+h.minions/10 {
			t.Errorf("%d requests are kept of %d minions", n, h.minions)
			return true
		}
		return s.TimedOut >= giveUp
	}))
	eventually(t, "no request is kept that nobody waits for", func() bool {
		s := b.request.Stats()
		return s.Waiting+s.InFlight <= h.minions && s.Requests == s.Forgotten+uint64(s.Waiting)
	})
	if grown := int64(heap()) - int64(first); long() && grown > 16<<20 {
		t.Errorf("the heap has grown by %d bytes while minions asked again", grown)
	}

	must(t, m.Start())
	back, stood := time.Now(), watchStandstill(t)
	before := m.Stats()
	underWay := 0 // at most
	must(t, minions.Await(within(t), func(s sim.MinionsStats) bool {
		underWay = max(underWay, b.request.Stats().InFlight)
		return s.Replies == uint64(h.minions)
	}))
	took := time.Since(back)
	eventually(t, "nothing is left", func() bool {
		s := b.request.Stats()
		return s.Waiting == 0 && s.InFlight == 0 && m.Stats().UnderWay == 0
	})
	after := m.Stats()
	got, kept := minions.Stats(), listening.Stats()
	useful, replies := got.Replies, after.Replies-before.Replies
	reached := float64(useful) / float64(replies)
	t.Logf("%d served in %.2f s, the workers need %.2f s; %d requests and %d given up before; %d stale; %.2f %% of %d replies were waited for; "+
		"%d under way and %d at the master at most", useful, took.Seconds(), h.work().Seconds(), got.Requests, got.TimedOut, stale.Load(),
		100*reached, replies, underWay, after.MostUnderWay)
	mostStale, leastReached, limit := 0.01, 0.95, 2*h.work()
	if !long() { // of so few minions those of the last places are many, and until there are as many as a long way needs is most of it
		mostStale, leastReached, limit = 0.03, 0.90, limit+2*time.Second+5*h.way
	}
	// Where the workers themselves were late, or all stood still, the machine is too busy for these clocks. Then the short form
	// tells a dam and a livelock, which are ten times worse, from what is right, and leaves the rest to the long one.
	done := time.Duration(replies) * h.service / workers
	if busy := took > done+done/2+5*h.way+time.Second || stood.Sum() > 200*time.Millisecond; busy && !long() {
		t.Log("the machine is too busy for narrow bounds")
		mostStale, leastReached, limit = 0.25, 0.5, 10*h.work()+10*time.Second
	}
	if n := stale.Load(); float64(n) > mostStale*float64(useful) {
		t.Errorf("%d stale requests reached the master beside %d useful ones", n, useful)
	}
	if after.MostUnderWay > s.MaxInFlight {
		t.Errorf("%d requests were at the master, %d may be", after.MostUnderWay, s.MaxInFlight)
	}
	if h.way > 0 && h.service < 10*time.Millisecond && underWay < 200 { // or the workers wait for what travels
		t.Errorf("%d requests were under way at most", underWay)
	}
	if reached < leastReached {
		t.Errorf("%.1f %% of the replies reached somebody who waited", 100*reached)
	}
	if took > limit {
		t.Errorf("all were served after %v, the limit is %v", took, limit)
	}
	if kept.Cut != 0 || kept.Subscribed != h.minions/10 {
		t.Errorf("publish connections were cut: %+v", kept)
	}
	if got.Faults()+kept.Faults() != 0 {
		t.Errorf("%v, %v", got.FirstFault, kept.FirstFault)
	}
}

// spread has the minions ask one after the other.
func spread(t *testing.T, m *sim.Minions, n int, over time.Duration) {
	t.Helper()
	begin := time.Now()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for asked := 0; asked < n; {
		<-tick.C
		for due := min(n, int(float64(n)*float64(time.Since(begin))/float64(over))); asked < due; asked++ {
			m.Ask(asked)
		}
	}
}

// heap is what lives on the heap, of the whole process.
func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

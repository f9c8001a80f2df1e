package outage_test

import (
	"sync"
	"testing"
	"time"

	"salt-broker/internal/sim"
	"salt-broker/internal/zmtp"
)

// TestMasterLosesReplies: one request in a hundred is never answered and all links end once. Nobody is left without a
// reply, no place at the master is lost for longer than the deadline, and every request is accounted for.
func TestMasterLosesReplies(t *testing.T) {
	t.Parallel()
	const minions, deadline = 1000, 2 * time.Second
	m := startMaster(t, sim.MasterOptions{
		Workers: workers, ServiceTime: 2 * time.Millisecond,
		Lose: func(request uint64) bool { return request%100 == 0 },
	})
	s := defaults()
	s.RequestDeadline = deadline
	b := startBroker(t, m, s)
	all := startMinions(t, sim.MinionsOptions{
		Count: minions, Request: b.request.Addr(), Shape: sim.Mixed, Timeout: 3 * time.Second, Insist: true, Reconnect: time.Millisecond,
	})
	spread(t, all, minions, time.Second)
	must(t, all.Await(within(t), func(s sim.MinionsStats) bool { return s.Replies >= minions/4 }))
	m.DropConnections()
	must(t, all.Await(within(t), func(s sim.MinionsStats) bool { return s.Replies == minions }))
	served, stood := time.Now(), watchStandstill(t)
	eventually(t, "all places are free", func() bool { return b.request.Stats().InFlight == 0 })
	if d := time.Since(served); d > deadline+time.Second+stood.Sum() {
		t.Errorf("places were lost for %v, the deadline is %v", d, deadline)
	}
	stats, lost := b.request.Stats(), m.Stats().Lost
	if lost == 0 || stats.LostWithLink == 0 || stats.Overdue+stats.LostWithLink < lost {
		t.Errorf("%d requests were swallowed, of %d overdue and %d lost with their link", lost, stats.Overdue, stats.LostWithLink)
	}
	if sum := stats.Forgotten + stats.Replies - stats.Late + stats.Overdue + stats.LostWithLink; sum != stats.Requests || stats.Waiting != 0 {
		t.Errorf("%d requests are accounted for, there were %d: %+v", sum, stats.Requests, stats)
	}
	if got := all.Stats(); got.Faults() != 0 {
		t.Error(got.FirstFault)
	}
}

// TestMasterAnswersLate: a master that answers after the deadline holds up nobody, its replies are passed on to those that
// wait still, and for those that have left they are counted and dropped.
func TestMasterAnswersLate(t *testing.T) {
	t.Parallel()
	const gone, deadline = 10, 300 * time.Millisecond
	s := defaults()
	s.RequestDeadline = deadline
	first := s.MaxInFlight // as many as there are places
	var mu sync.Mutex
	var held []func()
	m := startMaster(t, sim.MasterOptions{Answer: func(request []byte, reply func(body []byte)) {
		body, _, err := zmtp.CutFrame(request)
		if err != nil {
			t.Error(err)
			return
		}
		answer, _ := sim.Answer(nil, body)
		mu.Lock()
		defer mu.Unlock()
		if len(held) < first {
			held = append(held, func() { reply(answer) })
			return
		}
		reply(answer)
	}})
	b := startBroker(t, m, s)
	late := startMinions(t, sim.MinionsOptions{Count: first, Request: b.request.Addr()})
	late.AskAll()
	eventually(t, "all places are taken", func() bool { mu.Lock(); defer mu.Unlock(); return len(held) == first })
	// Who leaves does not give its place back: the master works for it all the same.
	for i := range gone {
		late.Leave(i)
	}
	eventually(t, "some have left", func() bool { return b.request.Stats().Minions == first-gone })

	others := startMinions(t, sim.MinionsOptions{Count: 2 * first, First: first, Request: b.request.Addr()})
	others.AskAll()
	must(t, others.Await(within(t), func(s sim.MinionsStats) bool { return s.Replies == uint64(2*first) }))
	eventually(t, "all places have been given to others", func() bool { return b.request.Stats().Overdue >= uint64(first) })
	if s := b.request.Stats(); s.Late != s.Overdue-uint64(first) { // of those that a busy machine has made late
		t.Errorf("%+v", s)
	}
	late0 := b.request.Stats().Late
	mu.Lock()
	for _, reply := range held {
		reply()
	}
	mu.Unlock()
	must(t, late.Await(within(t), func(s sim.MinionsStats) bool { return s.Replies == uint64(first-gone) }))
	eventually(t, "the others' replies are dropped", func() bool { return b.request.Stats().Unwanted == gone })
	if s := b.request.Stats(); s.Late != late0+uint64(first) || s.InFlight != 0 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
	for _, s := range []sim.MinionsStats{late.Stats(), others.Stats()} {
		if s.Faults() != 0 {
			t.Error(s.FirstFault)
		}
	}
}

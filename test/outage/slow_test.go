package outage_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"salt-broker/internal/sim"
)

// TestSlowMinions publishes to healthy minions alone, to them and to others that do not read, and to them alone again. The healthy
// ones lose nothing and are as quick as before; the others lose whole messages, at no cost of memory, and are cut off.
func TestSlowMinions(t *testing.T) {
	const jobBytes, batch, reading = 50_000, 20, 5
	healthy, slow, total := 200, 50, 50_000_000
	if long() {
		healthy, slow, total = 1000, 200, 200_000_000
	}
	phase := total / 2 / jobBytes // jobs, beside the slow ones
	m := startMaster(t, sim.MasterOptions{JobBytes: jobBytes})
	s := defaults()
	s.HeartbeatInterval = 0 // a minion that does not read does not answer a PING either
	s.PubHWM = 50
	s.MaxLostPublishes = phase / 2
	b := startBroker(t, m, s)
	quick := startMinions(t, sim.MinionsOptions{Count: healthy, Publish: b.publish.Addr()})
	must(t, quick.AwaitSubscribed(within(t), healthy))
	must(t, m.AwaitSubscribed(within(t), "", 1))
	eventually(t, "a job reaches everybody", func() bool {
		// The broker may count somebody in a moment later.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return quick.AwaitArrived(ctx, m.PublishJob(nil).Order, healthy) == nil
	})
	// publish returns how long each batch took to reach all healthy minions.
	publish := func(jobs int) (took []time.Duration) {
		for jobs > 0 {
			begin := time.Now()
			var last sim.Job
			for range min(batch, jobs) {
				last = m.PublishJob(nil)
				jobs--
			}
			must(t, quick.AwaitArrived(within(t), last.Order, healthy))
			took = append(took, time.Since(begin))
		}
		return took
	}
	publish(phase / 10) // what is made once
	stood := watchStandstill(t)
	alone := usual(publish(phase / 4))
	before := heap()

	// They never reconnect: once cut off is enough.
	stuck := startMinions(t, sim.MinionsOptions{Count: slow, First: healthy, Publish: b.publish.Addr(), Reconnect: time.Hour})
	pausing := startMinions(t, sim.MinionsOptions{Count: reading, First: healthy + slow, Publish: b.publish.Addr(), Reconnect: time.Hour})
	must(t, stuck.AwaitSubscribed(within(t), slow))
	must(t, pausing.AwaitSubscribed(within(t), reading))
	for i := range slow {
		stuck.PauseReading(healthy + i)
	}
	for i := range reading {
		pausing.PauseReading(healthy + slow + i)
	}
	eventually(t, "they are there", func() bool { return b.publish.Stats().Minions == healthy+slow+reading })
	publish(1) // they may have read one
	took := publish(phase / 2)
	eventually(t, "the slow ones lose messages", func() bool { return b.publish.Stats().Lost > uint64(slow+reading) })
	if s := b.publish.Stats(); s.Behind != slow+reading || s.Ends["too_slow"] != 0 {
		t.Errorf("half way: %+v", s)
	}
	if grown := int64(heap()) - int64(before); grown > 32<<20 {
		t.Errorf("the heap has grown by %d bytes for %d slow minions", grown, slow+reading)
	}
	// Some begin to read again in time.
	for i := range reading {
		pausing.ResumeReading(healthy + slow + i)
	}
	must(t, pausing.AwaitArrived(within(t), m.PublishJob(nil).Order, reading))
	took = append(took, publish(phase-phase/2)...)
	together := usual(took)
	// The rest have lost too much by then, or soon.
	eventually(t, "they are cut off", func() bool {
		publish(batch)
		return b.publish.Stats().Ends["too_slow"] == uint64(slow)
	})
	// Again, in case that the machine has become slower meanwhile.
	alone = max(alone, usual(publish(phase/4)))

	stats, q, p := b.publish.Stats(), quick.Stats(), pausing.Stats()
	t.Logf("%d kB to %d minions: %v, beside %d slow ones %v (%.2f times); %d messages lost by the slow ones, %d by those that read again",
		batch*jobBytes/1000, healthy, alone, slow+reading, together, float64(together)/float64(alone), stats.Lost, p.Missed)
	if q.Faults() != 0 || q.Cut != 0 || q.Failed != 0 || q.MissedAway != 0 {
		t.Errorf("healthy minions suffered: %v, %+v", q.FirstFault, q)
	}
	most := 1.5
	if stood.Sum() > 200*time.Millisecond { // others want the processors: tell only who waits for the slow from who does not
		most = 4
	}
	if float64(together) > most*float64(alone) {
		t.Errorf("healthy minions needed %v alone and %v beside slow ones", alone, together)
	}
	// What they had lost was missing, and nothing else was wrong.
	if p.Missed == 0 || p.Damaged+p.Doubled+p.Strayed+p.PeerFaults != 0 || p.Cut != 0 {
		t.Errorf("those that read again: %v, %+v", p.FirstFault, p)
	}
	if least := p.Missed + uint64(slow*s.MaxLostPublishes); stats.Lost < least {
		t.Errorf("%d lost messages were counted, there were at least %d", stats.Lost, least)
	}
}

// usual is what a batch takes when nothing else comes between: a quarter of them are quicker. What other programs do on the
// machine only ever adds to it.
func usual(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/4]
}

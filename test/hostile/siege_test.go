package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"salt-broker/internal/sim"
	"salt-broker/internal/zmtp"
)

const (
	// patience is how long a test waits for what must come.
	patience = 10 * time.Second
	// healthy is how many minions work all the time. Every other one makes a new connection for each request.
	healthy = 40
	// answered is how long a healthy minion may wait (p99). Where the machine has more to do than it can, it is longer: by
	// as much as the broker waits for a processor, or so many times what a minion waits without the attack, or what others
	// wait at the same time without the broker.
	answered       = 100 * time.Millisecond
	answeredFactor = 5
	// calm is how long healthy minions are measured without an attack, and the least for which they are with one.
	calm = 250 * time.Millisecond
	// maxGrowth is what the memory of the broker may grow by, at its most, in bytes. Where it waits for a processor
	// longer than it has one, the garbage collector comes late, and it is crowdedGrowth: a flood of requests has come to 137
	// MiB then, and comes to 63 to 82 on a machine that is its own.
	maxGrowth     = 128 << 20
	crowdedGrowth = 192 << 20
	tooCrowded    = 2
	// maxLines is what an attack may write into the log: a burst of 20 for each port, and one a second.
	maxLines = 60
)

// siege is a broker with a master, healthy minions and newcomers, and the means to attack it.
type siege struct {
	*testing.T
	broker  *broker
	master  *sim.Master
	minions *sim.Minions
	stood   *sim.Standstill
	work    sync.WaitGroup
	end     context.CancelFunc
	over    chan struct{} // closed by an attack whose helpers are to end

	mu    sync.Mutex
	waits []time.Duration     // of healthy minions and newcomers, since the last measure
	idle  []time.Duration     // of minions that have a master of their own and no broker: what the machine costs
	ours  map[string]struct{} // addresses that attackers had
	stay  []net.Conn          // attackers' connections that stay till the end
}

// besiege runs an attack while healthy minions work, and checks that they do not notice. The broker has settings beside
// those that all have.
func besiege(t *testing.T, attack func(s *siege), settings ...string) {
	t.Helper()
	s := settle(t, settings...)
	before, _ := s.broker.memory()
	_ = s.measure()
	usual := s.measure(s.after(calm))
	lines := len(s.broker.said())
	stood := s.stood.Sum()
	ran, waited := s.broker.processor()

	done := make(chan struct{})
	go func() {
		defer close(done)
		attack(s)
	}()
	hurt := s.measure(s.after(calm), done)
	crowded := 1.0 // so many times as long it takes what it does
	if r, w := s.broker.processor(); r > ran {
		crowded += float64(w-waited) / float64(r-ran)
	}
	limit := max(time.Duration(float64(answered)*crowded), answeredFactor*usual.p99, answeredFactor*hurt.control)
	stood = s.stood.Sum() - stood
	_, most := s.broker.memory()
	t.Logf("%d waits: p99 %v, at most %v; without the attack p99 %v, without the broker %v; the broker took %.1f times as long as it ran, stood still for %v; memory grew by up to %.1f MiB; %d lines in the log",
		hurt.n, hurt.p99, hurt.most, usual.p99, hurt.control, crowded, stood, float64(most-before)/(1<<20), len(s.broker.said())-lines)
	if hurt.p99 > limit+stood {
		t.Errorf("healthy minions wait %v (p99), the limit is %v", hurt.p99, limit+stood)
	}
	growth := int64(maxGrowth)
	if crowded > tooCrowded {
		growth = crowdedGrowth
	}
	if int64(most-before) > growth {
		t.Errorf("the broker's memory grew by %d bytes, the limit is %d", most-before, growth)
	}
	if n := len(s.broker.said()) - lines; n > maxLines {
		t.Errorf("%d lines in the log, the limit is %d", n, maxLines)
	}
	if !t.Failed() {
		s.unharmed()
	}
	s.broker.stop() // with what attackers have left open
}

// settle starts everything and waits until it works.
func settle(t *testing.T, settings ...string) *siege {
	t.Helper()
	s := &siege{T: t, stood: sim.WatchStandstill(), ours: map[string]struct{}{}, over: make(chan struct{})}
	t.Cleanup(s.stood.Stop)
	var err error
	if s.master, err = sim.StartMaster(sim.MasterOptions{ID: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.master.Stop() })
	s.broker = startBroker(t, s.master, settings...)
	s.minions, err = sim.StartMinions(sim.MinionsOptions{
		Count: healthy, Publish: s.broker.publish, Request: s.broker.request, Filtering: true, Shape: sim.Mixed,
		Interval: 100 * time.Millisecond,
		Identity: func(minion int) []byte { return []byte(sim.MinionID(minion)) },
		OnReply:  func(_ int, latency time.Duration) { s.waited(latency) },
		OnJob:    func(_ int, job sim.Job) { s.waited(time.Since(job.Sent)) },
		OnFault:  func(minion int, err error) { t.Errorf("minion %d: %v", minion, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.minions.Stop() })
	s.beside()
	ctx, cancel := context.WithCancel(t.Context())
	s.end = cancel
	t.Cleanup(func() {
		cancel()
		s.work.Wait()
		for _, nc := range s.stay {
			_ = nc.Close()
		}
	})
	await, done := context.WithTimeout(ctx, patience)
	defer done()
	err = errors.Join(
		s.minions.AwaitSubscribed(await, healthy),
		s.master.AwaitSubscribed(await, sim.Broadcast, 1),
		s.master.AwaitSubscribed(await, sim.Topic(sim.MinionID(healthy-1)), 1),
		s.minions.Await(await, func(m sim.MinionsStats) bool { return m.Replies > healthy }),
	)
	if err != nil {
		t.Fatal(err)
	}
	s.work.Go(func() { s.publish(ctx) })
	s.work.Go(func() { s.newcomers(ctx) })
	return s
}

// beside starts a master and minions of its own, which say what the machine costs at a time.
func (s *siege) beside() {
	s.Helper()
	master, err := sim.StartMaster(sim.MasterOptions{ID: 2})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = master.Stop() })
	minions, err := sim.StartMinions(sim.MinionsOptions{
		Count: 10, Request: master.RequestAddr(), Shape: sim.Mixed, Interval: 50 * time.Millisecond,
		OnReply: func(_ int, latency time.Duration) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.idle = append(s.idle, latency)
		},
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = minions.Stop() })
}

// publish has the master publish to everybody and to single minions, until ctx ends.
func (s *siege) publish(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if i%4 == 0 {
			s.master.PublishJob([]byte(sim.Broadcast))
		} else {
			s.master.PublishJob([]byte(sim.Topic(sim.MinionID(i % healthy))))
		}
	}
}

// newcomers come one after the other to both ports, each with a connection of its own, until ctx ends.
func (s *siege) newcomers(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, visit := range []func() error{s.subscribes, s.asks} {
			began, stood := time.Now(), s.stood.Sum()
			err := visit()
			if err != nil {
				<-tick.C // the end of a pause is seen a moment later
				<-tick.C
			}
			switch {
			case err == nil:
				s.waited(time.Since(began))
			case ctx.Err() != nil:
				return
			case s.stood.Sum()-stood < handshakeTimeout/2: // or it was too late with its handshake
				s.Errorf("a new minion does not get in: %v", err)
				return
			}
		}
	}
}

// subscribes is a newcomer on the publish port, up to the moment when its subscription has been seen.
func (s *siege) subscribes() error {
	says := zmtp.AppendPing(zmtp.AppendSubscribe(hello(zmtp.SUB), []byte("newcomer")), 0, []byte("in"))
	return s.visit(s.broker.publish, says, zmtp.AppendPong(hello(zmtp.PUB), []byte("in")))
}

// asks is a newcomer on the request port. The master does not know its kind of request and says so.
func (s *siege) asks() error {
	return s.visit(s.broker.request, append(hello(zmtp.REQ), request...), router)
}

// visit connects, says something and wants at least these bytes back.
func (s *siege) visit(to netip.AddrPort, says, want []byte) error {
	nc, err := net.DialTimeout("tcp", to.String(), patience)
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := nc.Write(says); err != nil {
		return err
	}
	got := make([]byte, len(want)+1)
	if to == s.broker.publish {
		got = got[:len(want)]
	}
	if _, err := io.ReadFull(nc, got); err != nil {
		return err
	}
	if string(got[:len(want)]) != string(want) {
		return fmt.Errorf("got %q, want %q", got, want)
	}
	return nil
}

func (s *siege) waited(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits = append(s.waits, d)
}

// measured is how long healthy minions and newcomers waited.
type measured struct {
	n                  int
	p99, most, control time.Duration
}

// measure waits for events and returns how long healthy minions waited since the last measure.
func (s *siege) measure(events ...<-chan struct{}) measured {
	s.Helper()
	for _, event := range events {
		select {
		case <-event:
		case <-time.After(3 * patience):
			s.Fatal("the attack does not end")
		}
	}
	if len(events) > 0 { // usually hundreds, but where the machine stands still
		until(s.T, "20 answers and publishes for healthy minions", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.waits) >= 20 && len(s.idle) > 0
		})
	}
	s.mu.Lock()
	waits, idle := s.waits, s.idle
	s.waits, s.idle = nil, nil
	s.mu.Unlock()
	if len(waits) == 0 || len(idle) == 0 {
		return measured{}
	}
	slices.Sort(waits)
	slices.Sort(idle)
	return measured{len(waits), waits[len(waits)*99/100], waits[len(waits)-1], idle[len(idle)*99/100]}
}

// after is an event in d from now.
func (s *siege) after(d time.Duration) <-chan struct{} {
	event := make(chan struct{})
	time.AfterFunc(d, func() { close(event) })
	return event
}

// unharmed checks that healthy minions have had all that was theirs, once, and that new ones still come in.
func (s *siege) unharmed() {
	s.Helper()
	s.end()
	s.work.Wait()
	for _, visit := range []func() error{s.subscribes, s.asks} {
		if err := visit(); err != nil {
			s.Errorf("a new minion does not get in afterwards: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	last := s.master.PublishJob([]byte(sim.Broadcast))
	if err := s.minions.AwaitArrived(ctx, last.Order, healthy); err != nil {
		s.Error(err)
	}
	s.minions.Rest()
	if err := s.minions.Await(ctx, func(m sim.MinionsStats) bool { return m.Waiting == 0 }); err != nil {
		s.Error(err)
	}
	m := s.minions.Stats()
	if s.stood.Longest() > heartbeatTimeout/2 {
		m.Cut, m.MissedAway = 0, 0 // nobody has answered a PING in time
		m.Failed, m.Broken = 0, 0  // or shaken hands
		m.Subscribed, m.Requests = healthy, m.Replies
	}
	if m.Faults()+m.MissedAway+m.Cut+m.Failed+m.Broken+m.TimedOut > 0 || m.Subscribed != healthy || m.Requests != m.Replies {
		s.Errorf("healthy minions were harmed: %+v", m)
	}
	if subs, reqs := s.broker.said("is gone"), s.master.Stats(); len(subs) > 0 || reqs.Refused > 0 || reqs.Malformed > 0 {
		s.Errorf("the master was bothered: %q, %+v", subs, reqs)
	}
	if panics := s.broker.said("panic"); len(panics) > 0 {
		s.Errorf("%q", panics)
	}
}

// named waits for a line of the log that says why attackers' connections ended, with the address of one of them and more.
func (s *siege) named(reason string, words ...string) {
	s.Helper()
	until(s.T, "a line about "+reason, func() bool {
		for _, line := range s.broker.said(append(words, "reason="+reason)...) {
			s.mu.Lock()
			for address := range s.ours {
				if strings.Contains(line, address) {
					s.mu.Unlock()
					return true
				}
			}
			s.mu.Unlock()
		}
		return false
	})
}

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"

	"salt-broker/internal/salt"
	"salt-broker/internal/sim"
	"salt-broker/internal/zmtp"
)

// ha are two masters at the same ports of two addresses, a broker that knows both, and minions behind it.
type ha struct {
	masters []*sim.Master
	change  func(master int, o *sim.MasterOptions) // nil: they are the same
	seen    *seen
	place   *place
	process *process
	minions *sim.Minions
}

// seen are the requests that masters have got: how often each.
type seen struct {
	mu    sync.Mutex
	count map[[2]uint64]int
	most  int // how often one has come
}

func (s *seen) request(minion int, request uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := [2]uint64{uint64(minion), request}
	s.count[key]++
	s.most = max(s.most, s.count[key])
}

// requests is how many different ones have come.
func (s *seen) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.count)
}

// startHA starts them.
func startHA(t *testing.T, minions sim.MinionsOptions, further ...string) *ha {
	t.Helper()
	return startHAOf(t, nil, minions, further...)
}

func startHAOf(t *testing.T, change func(master int, o *sim.MasterOptions), minions sim.MinionsOptions, further ...string) *ha {
	t.Helper()
	h := &ha{change: change, seen: &seen{count: map[[2]uint64]int{}}}
	for range 2 {
		h.addMaster(t)
	}
	h.place, h.process = launchReady(t, []string{"-l", "info"}, append([]string{
		"master: [{name: first, paths: [127.0.0.1]}, {name: second, paths: [127.0.0.2]}]", "master_type: failover",
		fmt.Sprint("master_publish_port: ", h.masters[0].PublishAddr().Port()), fmt.Sprint("master_port: ", h.masters[0].RequestAddr().Port()),
		"max_open_files: 2000", "recon_default: 50", "recon_max: 50",
	}, further...)...)
	h.start(t, minions)
	h.subscribed(t, 0)
	return h
}

// start starts minions, and waits until they have subscribed.
func (h *ha) start(t *testing.T, o sim.MinionsOptions) {
	t.Helper()
	h.minions = minionsOf(t, h.place, o)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.minions.AwaitSubscribed(ctx, o.Count); err != nil {
		t.Fatal(err)
	}
}

// minionsOf starts minions of the broker at a place.
func minionsOf(t *testing.T, l *place, o sim.MinionsOptions) *sim.Minions {
	t.Helper()
	o.Publish = netip.MustParseAddrPort(fmt.Sprint("127.0.0.1:", l.publish))
	o.Request = netip.MustParseAddrPort(fmt.Sprint("127.0.0.1:", l.request))
	m, err := sim.StartMinions(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// addMaster starts one more, on the ports of the first.
func (h *ha) addMaster(t *testing.T) {
	t.Helper()
	for range 20 {
		o := sim.MasterOptions{ID: uint32(len(h.masters) + 1), OnRequest: h.seen.request}
		if len(h.masters) > 0 {
			at := netip.AddrFrom4([4]byte{127, 0, 0, byte(len(h.masters) + 1)})
			o.PublishAddress = netip.AddrPortFrom(at, h.masters[0].PublishAddr().Port()).String()
			o.RequestAddress = netip.AddrPortFrom(at, h.masters[0].RequestAddr().Port()).String()
		}
		if h.change != nil {
			h.change(len(h.masters), &o)
		}
		m, err := sim.StartMaster(o)
		if err != nil {
			continue // somebody has the port at that address
		}
		t.Cleanup(func() {
			if err := m.Stop(); err != nil {
				t.Error(err)
			}
		})
		h.masters = append(h.masters, m)
		return
	}
	t.Fatal("no ports for another master")
}

// subscribed waits until the broker has subscribed at a master, as minions have there.
func (h *ha) subscribed(t *testing.T, master int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.masters[master].AwaitSubscribed(ctx, "", 1); err != nil {
		t.Fatal(err)
	}
}

// publishes has a master publish, and waits until every minion has it.
func (h *ha) publishes(t *testing.T, master int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	job := h.masters[master].PublishJob(nil)
	if err := h.minions.AwaitArrived(ctx, job.Order, h.minions.Stats().Minions); err != nil {
		t.Fatal(err)
	}
}

// answered waits until every minion has got another reply, and returns how long that took.
func (h *ha) answered(t *testing.T) time.Duration {
	t.Helper()
	began, before := time.Now(), h.minions.Stats()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	h.minions.AskAll()
	if err := h.minions.Await(ctx, func(s sim.MinionsStats) bool { return s.Waiting == 0 && s.Replies >= before.Replies+uint64(s.Minions) }); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// rest has minions that ask all the while stop, and waits until everything that they have asked is answered.
func (h *ha) rest(t *testing.T) {
	t.Helper()
	h.minions.Rest()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.minions.Await(ctx, func(s sim.MinionsStats) bool { return s.Waiting == 0 }); err != nil {
		t.Fatalf("a request is never answered: %v", err)
	}
}

// every does something again and again until the test ends.
func every(t *testing.T, interval time.Duration, do func()) {
	t.Helper()
	ended := make(chan struct{})
	var doing sync.WaitGroup
	doing.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				do()
			}
		}
	})
	t.Cleanup(func() {
		close(ended)
		doing.Wait()
	})
}

// unharmed says what must be so whatever has happened to masters: minions are still there, and no request came twice.
// What a master publishes while another one serves is missed.
func (h *ha) unharmed(t *testing.T) {
	t.Helper()
	s := h.minions.Stats()
	if s.Cut != 0 || s.Broken != 0 || s.Faults() != s.Missed || s.Subscribed != s.Minions {
		t.Errorf("minions were cut off, or worse: %+v", s)
	}
	h.seen.mu.Lock()
	defer h.seen.mu.Unlock()
	if h.seen.most > 1 {
		t.Errorf("a request came %d times", h.seen.most)
	}
}

// TestMasterIsKilled: the second one serves within two seconds of the first one's death, for publishes and for
// requests, those that came meanwhile among them. Minions stay connected. When the first one is back it stays a spare.
func TestMasterIsKilled(t *testing.T) {
	t.Parallel()
	h := startHA(t, sim.MinionsOptions{Count: 50})
	h.answered(t)
	h.publishes(t, 0)
	h.process.stderr.expectTimes(t, "a master answers component=masters master=", 2, h.process.ended)

	killed, stood := time.Now(), watchStandstill(t)
	if err := h.masters[0].Leave(); err != nil {
		t.Fatal(err)
	}
	h.answered(t)
	answered := time.Since(killed)
	h.subscribed(t, 1)
	h.publishes(t, 1)
	published := time.Since(killed)
	t.Logf("all are answered %v after the master was killed, a publish reached all after %v", answered, published)
	if published > 2*time.Second+stood.Sum() {
		t.Errorf("all were answered %v after the master was killed, a publish reached all after %v", answered, published)
	}
	h.process.stderr.expect(t, "[INFO    ] another master serves after=", h.process.ended)
	h.process.stderr.expect(t, "[WARNING ] a master does not answer as it should, and counts as down component=masters error=", h.process.ended)

	stdout, _ := untilExit(t, 0, h.place, "status")
	says(t, "status", stdout, "first is down for ", "second is up for ", ", serves\n", "second serves since ", "; 1 failovers\n")
	untilExit(t, 0, h.place, "health", "--master")

	if err := h.masters[0].Start(); err != nil {
		t.Fatal(err)
	}
	before := h.masters[0].Stats().Requests
	h.answered(t)
	if s := h.masters[0].Stats(); s.Subscribers > 1 || s.Requests > before+1 {
		t.Errorf("the first one serves again: %+v", s)
	}
	h.unharmed(t)
}

// TestMasterGoesMute: a master that takes connections and requests, and answers none, is left within its time-outs,
// long before the next probe is due.
func TestMasterGoesMute(t *testing.T) {
	t.Parallel()
	h := startHA(t, sim.MinionsOptions{Count: 50, Timeout: time.Second, Insist: true}, "master_alive_interval: 3600", "master_alive_timeout: 1")
	h.answered(t)
	h.process.stderr.expectTimes(t, "a master answers component=masters master=", 2, h.process.ended)
	stood := watchStandstill(t)
	h.masters[0].Mute(true)
	took := h.answered(t)
	t.Logf("all are answered %v after the master went mute", took)
	// Two seconds at most until it is noticed, three probes of a second each and 0.3 s between, a request that was
	// under way for a second, and more than another one for this machine.
	if took > 8*time.Second+stood.Sum() {
		t.Errorf("all were answered after %v", took)
	}
	h.subscribed(t, 1)
	h.publishes(t, 1)
	h.unharmed(t)
}

// TestFailback: the first one gets the minions back when it has been healthy for a while, and not sooner. What is asked
// all the while is answered by the one or by the other: a master that is well is left when it owes nothing any more.
func TestFailback(t *testing.T) {
	t.Parallel()
	h := startHAOf(t, func(_ int, o *sim.MasterOptions) {
		o.ServiceTime, o.Workers = 100*time.Millisecond, 100
	}, sim.MinionsOptions{Count: 20, Busy: true}, "master_alive_interval: 0.2", "master_failback: True", "master_failback_interval: 2")
	h.process.stderr.expectTimes(t, "a master answers component=masters master=", 2, h.process.ended)
	if err := h.masters[0].Leave(); err != nil {
		t.Fatal(err)
	}
	h.subscribed(t, 1)
	back, stood := time.Now(), watchStandstill(t)
	if err := h.masters[0].Start(); err != nil {
		t.Fatal(err)
	}
	h.minions.AskAll()
	h.subscribed(t, 0)
	if took := time.Since(back); took < 2*time.Second || took > 5*time.Second+stood.Sum() {
		t.Errorf("it serves again after %v", took)
	}
	before := h.minions.Stats().Replies
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.minions.Await(ctx, func(s sim.MinionsStats) bool { return s.Replies > before+40 }); err != nil {
		t.Fatal(err)
	}
	h.rest(t)
	h.publishes(t, 0)
	h.process.stderr.expect(t, fmt.Sprintf("another master serves at=127.0.0.1:%d component=masters from=second master=first reason=failback served=",
		h.masters[0].RequestAddr().Port()), h.process.ended)
	h.unharmed(t)
}

// TestNoMasterAnswers: with none up the last one keeps the minions; whichever comes back first serves.
func TestNoMasterAnswers(t *testing.T) {
	t.Parallel()
	h := startHA(t, sim.MinionsOptions{Count: 20})
	h.process.stderr.expectTimes(t, "a master answers component=masters master=", 2, h.process.ended)
	for _, m := range h.masters {
		if err := m.Leave(); err != nil {
			t.Fatal(err)
		}
	}
	h.process.stderr.expect(t, "[WARNING ] no master answers: the last one keeps the minions", h.process.ended)
	_, stderr := untilExit(t, 1, h.place, "health", "--master")
	says(t, "health --master", stderr, "the master first has not answered as it should since ", "connection refused; nor does another one\n")
	untilExit(t, 0, h.place, "health")
	h.minions.AskAll()
	if err := h.masters[1].Start(); err != nil {
		t.Fatal(err)
	}
	h.subscribed(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.minions.Await(ctx, func(s sim.MinionsStats) bool { return s.Waiting == 0 && s.Replies == 20 }); err != nil {
		t.Fatal(err) // what waited has followed
	}
	h.process.stderr.expect(t, "a master of the list answers again", h.process.ended)
	h.unharmed(t)
}

// TestReloadOfTheList: the master that serves goes on serving as long as the list has it, and is left when it has not.
func TestReloadOfTheList(t *testing.T) {
	t.Parallel()
	h := startHA(t, sim.MinionsOptions{Count: 20})
	h.addMaster(t)
	lines := func(list string) []string {
		return []string{
			"master: " + list, "master_type: failover", "max_open_files: 2000", "recon_default: 50", "recon_max: 50",
			fmt.Sprint("master_publish_port: ", h.masters[0].PublishAddr().Port()), fmt.Sprint("master_port: ", h.masters[0].RequestAddr().Port()),
		}
	}
	h.process.reloads(t, h.place, lines("[127.0.0.3, {name: first, paths: [127.0.0.1]}]")...)
	h.process.stderr.expect(t, "a master answers component=masters master=127.0.0.3", h.process.ended)
	h.answered(t)
	if s := h.masters[2].Stats(); s.Subscribers > 0 {
		t.Errorf("the new one serves although the one that did is in the list: %+v", s)
	}
	h.process.reloads(t, h.place, lines("[127.0.0.2, 127.0.0.3]")...)
	h.subscribed(t, 2)
	h.answered(t)
	h.publishes(t, 2)
	if text := h.process.stderr.String(); !strings.Contains(text, " component=masters from=first master=127.0.0.3 reason=configured") {
		t.Error("the log does not say that another one serves")
	}
	h.unharmed(t)
}

// TestRequestsAtAKilledMaster: what the first one had when it died is not sent to the second. What waited in the broker
// then is, and so is what minions ask again.
func TestRequestsAtAKilledMaster(t *testing.T) {
	t.Parallel()
	const minions, there = 20, 5
	h := startHAOf(t, func(master int, o *sim.MasterOptions) {
		o.Lose = func(uint64) bool { return master == 0 } // the ping as well
	}, sim.MinionsOptions{Count: minions, Timeout: 3 * time.Second, KeepOnTimeout: true, Insist: true},
		fmt.Sprint("max_in_flight: ", there), "loops: 1", "master_alive_timeout: 60")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	h.minions.AskAll()
	if err := h.masters[0].Await(ctx, func(sim.MasterStats) bool { return h.seen.requests() == there }); err != nil {
		t.Fatal(err)
	}
	if err := h.masters[0].Leave(); err != nil {
		t.Fatal(err)
	}
	if err := h.minions.Await(ctx, func(s sim.MinionsStats) bool { return s.Replies == minions }); err != nil {
		t.Fatal(err)
	}
	if s := h.minions.Stats(); s.TimedOut != there {
		t.Errorf("%d minions had to ask again, and %d requests were at the master that died", s.TimedOut, there)
	}
	h.unharmed(t)
}

// TestMasterWithAnotherKey: the log says so when minions authenticate at the second master, with what salt-key shows
// there.
func TestMasterWithAnotherKey(t *testing.T) {
	t.Parallel()
	keys := []string{"-\nfirst\n-\n", "-\nsecond\n-\n"}
	granted := func(master int) string {
		p := salt.AppendRawString(msgp.AppendMapHeader(nil, 1), "pub_key")
		return string(salt.AppendRawString(p, keys[master]))
	}
	h := startHAOf(t, func(master int, o *sim.MasterOptions) {
		o.Answer = func(request []byte, reply func([]byte)) {
			body, _, _ := zmtp.CutFrame(request)
			if string(body) == "_auth" {
				reply([]byte(granted(master)))
				return
			}
			answer, _ := sim.Answer(nil, body)
			reply(answer)
		}
	}, sim.MinionsOptions{Count: 1})
	h.process.stderr.expectTimes(t, "a master answers component=masters master=", 2, h.process.ended)
	m := newScriptedMinion(t, h.place.request)
	m.welcome(t)
	m.ask(t, "_auth")
	m.expect(t, granted(0))
	if err := h.masters[0].Leave(); err != nil {
		t.Fatal(err)
	}
	h.subscribed(t, 1)
	m.ask(t, "_auth")
	m.expect(t, granted(1))
	fingerprint := func(line string) string {
		sum := sha256.Sum256([]byte(line))
		return strings.ReplaceAll(fmt.Sprintf("% x", sum[:]), " ", ":")
	}
	port := h.masters[0].RequestAddr().Port()
	h.process.stderr.expect(t, fmt.Sprintf("[WARNING ] the master has another public key than the one before: minions that know that one refuse this master "+
		"component=masters key=%s key_before=%s master=127.0.0.2:%d master_before=127.0.0.1:%d\n", fingerprint("second\n"), fingerprint("first\n"), port, port), h.process.ended)
}

// TestMastersComeAndGo: under load, with master_failback, each of the two masters is killed in turn and comes back.
// Nothing is doubled, damaged or sent twice, no minion is cut off, and in the end everybody is answered.
func TestMastersComeAndGo(t *testing.T) {
	t.Parallel()
	const minions, rounds = 60, 2
	h := startHA(t, sim.MinionsOptions{Count: minions, Interval: 20 * time.Millisecond, Insist: true, KeepOnTimeout: true, Timeout: time.Second},
		"master_alive_interval: 0.2", "master_failback: True", "master_failback_interval: 0.3")
	h.process.stderr.expectTimes(t, "a master answers component=masters master=", 2, h.process.ended)
	every(t, 5*time.Millisecond, func() {
		for _, m := range h.masters {
			m.PublishJob(nil)
		}
	})
	for range rounds {
		for i, other := range []int{1, 0} { // when the first one is back, it serves; then the second is a spare that goes
			if err := h.masters[i].Leave(); err != nil {
				t.Fatal(err)
			}
			h.subscribed(t, other)
			if err := h.masters[i].Start(); err != nil {
				t.Fatal(err)
			}
			h.subscribed(t, 0)
		}
	}
	h.rest(t)
	h.publishes(t, 0)
	h.unharmed(t)
	s := h.minions.Stats()
	t.Logf("%d replies, %d jobs, %d requests not answered in time", s.Replies, s.Jobs, s.TimedOut)
	if s.Replies < minions*rounds || s.Jobs < minions*rounds {
		t.Errorf("hardly anything has passed: %+v", s)
	}
}

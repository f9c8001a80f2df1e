package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"

	"salt-broker/config"
	"salt-broker/internal/sim"
	"salt-broker/internal/status"
)

// pathOf is the ways of one path to the master: to both of its ports.
type pathOf [2]*sim.Way

func (b pathOf) each(do func(w *sim.Way)) {
	for _, w := range b {
		do(w)
	}
}

// startPaths leads to a master from the same ports of 127.0.0.2 and 127.0.0.3.
func startPaths(t *testing.T, m *sim.Master) (paths [2]pathOf) {
	t.Helper()
	for i := range paths {
		at := netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 2)})
		for j, to := range []netip.AddrPort{m.PublishAddr(), m.RequestAddr()} {
			w, err := sim.StartWay(netip.AddrPortFrom(at, to.Port()).String(), to, time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(w.Stop)
			paths[i][j] = w
		}
	}
	return paths
}

// reportOf is the broker's status.
func reportOf(t *testing.T, l *place) (r status.Report) {
	t.Helper()
	_, text := fetch(t, l, "/status")
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// requests is which path requests take, by the status.
func (h *ha) requests(t *testing.T) string {
	t.Helper()
	for _, p := range reportOf(t, h.place).Masters.List[0].Paths {
		if p.Requests {
			return p.Request[:strings.Index(p.Request, ":")]
		}
	}
	return ""
}

// moved waits until requests take a path, and returns how long that took.
func (h *ha) moved(t *testing.T, to string) time.Duration {
	t.Helper()
	began, tick := time.Now(), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for h.requests(t) != to {
		if time.Since(began) > patience {
			t.Fatalf("requests never take %s", to)
		}
		<-tick.C
	}
	return time.Since(began)
}

// TestPaths: two paths lead to one master. Requests take the quicker one, leave it when it becomes slow, dies or falls
// silent, and lose nothing when it was only slow; of what is published all the time nobody misses anything.
func TestPaths(t *testing.T) {
	t.Parallel()
	h := &ha{seen: &seen{count: map[[2]uint64]int{}}}
	h.addMaster(t)
	m := h.masters[0]
	paths := startPaths(t, m)
	a, b := paths[0], paths[1]
	a.each(func(w *sim.Way) { w.SetDelay(60 * time.Millisecond) })
	h.place, h.process = launchReady(t, []string{"-l", "info"},
		"master: [{name: m1, paths: [127.0.0.2, 127.0.0.3]}]", "master_alive_interval: 1", "master_alive_timeout: 1",
		fmt.Sprint("master_publish_port: ", m.PublishAddr().Port()), fmt.Sprint("master_port: ", m.RequestAddr().Port()),
		"max_open_files: 2000", "recon_default: 50", "recon_max: 50",
	)
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	const minions = 50
	all, err := sim.StartMinions(sim.MinionsOptions{
		Count: minions, Interval: time.Second, Timeout: 5 * time.Second,
		Publish: netip.MustParseAddrPort(fmt.Sprint("127.0.0.1:", h.place.publish)),
		Request: netip.MustParseAddrPort(fmt.Sprint("127.0.0.1:", h.place.request)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := all.Stop(); err != nil {
			t.Error(err)
		}
	})
	h.minions = all
	if err := m.AwaitSubscribed(ctx, "", 2); err != nil { // by both paths
		t.Fatal(err)
	}
	if err := all.AwaitSubscribed(ctx, minions); err != nil {
		t.Fatal(err)
	}
	over, last := make(chan struct{}), make(chan sim.Job, 1)
	go func() {
		for tick := time.Tick(10 * time.Millisecond); ; {
			job := m.PublishJob(nil)
			select {
			case <-over:
				last <- job
				return
			case <-tick:
			}
		}
	}()

	took := h.moved(t, "127.0.0.3")
	t.Logf("the quicker path was found after %v", took.Round(100*time.Millisecond))
	a.each(func(w *sim.Way) { w.SetDelay(time.Millisecond) })
	b.each(func(w *sim.Way) { w.SetDelay(250 * time.Millisecond) }) // so all steps of a probe take longer than its time-out
	took = h.moved(t, "127.0.0.2")
	t.Logf("one that became slow was left after %v", took.Round(100*time.Millisecond))
	if s := all.Stats(); s.TimedOut != 0 || s.Broken != 0 {
		t.Errorf("a path that was only slow was left, and requests were lost: %+v", s)
	}

	stood := watchStandstill(t)
	a.each((*sim.Way).Cut)
	took = h.moved(t, "127.0.0.3")
	t.Logf("one that died was left after %v", took.Round(100*time.Millisecond))
	if took > 2*time.Second+stood.Sum() {
		t.Errorf("a path that was dead was left after %v", took)
	}
	a.each((*sim.Way).Open)
	h.moved(t, "127.0.0.2")
	if err := m.AwaitSubscribed(ctx, "", 2); err != nil {
		t.Fatal(err)
	}
	replies := all.Stats().Replies
	if err := all.Await(ctx, func(s sim.MinionsStats) bool { return s.Replies > replies+minions }); err != nil {
		t.Fatal(err)
	}

	a.each((*sim.Way).Silence)
	took = h.moved(t, "127.0.0.3")
	t.Logf("one that fell silent was left after %v", took.Round(100*time.Millisecond))
	if took > 6*time.Second+stood.Sum() { // two until that is noticed, three probes of one, and 0.3 between
		t.Errorf("a path that was silent was left after %v", took)
	}
	replies = all.Stats().Replies
	if err := all.Await(ctx, func(s sim.MinionsStats) bool { return s.Replies > replies+minions }); err != nil {
		t.Fatal(err)
	}

	close(over)
	if err := all.AwaitArrived(ctx, (<-last).Order, minions); err != nil {
		t.Fatal(err)
	}
	if s := all.Stats(); s.MissedAway != 0 || s.Late != 0 {
		t.Errorf("%+v", s)
	}
	h.unharmed(t)
	_, metrics := fetch(t, h.place, "/metrics")
	for _, want := range []string{`outcome="late",path="127.0.0.2:`, `outcome="unknown_place",path="127.0.0.3:`} {
		i := strings.Index(metrics, want)
		if i < 0 || !strings.HasSuffix(strings.SplitN(metrics[i:], "\n", 2)[0], " 0") {
			t.Errorf("%s: not 0", want)
		}
	}
}

// TestPathsReachTheChannels: the first path is for requests, all are for publishes.
func TestPathsReachTheChannels(t *testing.T) {
	c := config.Default()
	c.Master = "[{name: m1, paths: [a, 'b:1']}]"
	log, _ := logtest.NewNullLogger()
	p := publishOptions(c, servingOf(c), nil, log)
	if r := requestOptions(c, servingOf(c), nil, log); r.Master.Address != "a:4506" || !slices.Equal(p.Paths, []string{"a:4505", "b:4505"}) {
		t.Errorf("%q, %q", r.Master.Address, p.Paths)
	}
}

package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"salt-broker/internal/sim"
)

// TestLinksComeBackTogether: when the master is back, the first link that finds out has all others of both channels try at
// once. By themselves they would come within recon_max, and minions be without publishes, or a part of them without replies,
// for that long.
func TestLinksComeBackTogether(t *testing.T) {
	t.Parallel()
	m := startSimMaster(t)
	const pause = 8 * time.Second // at most: for five at random to be there within a second of the first, once in 900 times
	launchReady(t, nil, "master: 127.0.0.1",
		fmt.Sprint("master_publish_port: ", m.PublishAddr().Port()), fmt.Sprint("master_port: ", m.RequestAddr().Port()),
		"loops: 2", fmt.Sprint("recon_default: ", pause.Milliseconds()), fmt.Sprint("recon_max: ", pause.Milliseconds()),
	)
	links := func(n int) time.Time {
		ctx, cancel := context.WithTimeout(t.Context(), 2*pause)
		defer cancel()
		if err := m.Await(ctx, func(s sim.MasterStats) bool { return s.Subscribers+s.Requesters >= n }); err != nil {
			t.Fatal(err)
		}
		return time.Now()
	}
	const all = 1 + 2*2
	links(all)
	if err := m.Leave(); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	back, stood, first := time.Now(), watchStandstill(t), links(1)
	took := links(all).Sub(first)
	t.Logf("the first was there after %v, all of them %v later", first.Sub(back), took)
	if took > time.Second+stood.Sum() {
		t.Errorf("all links were there %v after the first", took)
	}
}

package main

import (
	"testing"
	"time"

	"salt-broker/internal/master"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

// Systemd gets signs of life when it wants them, more than one.
func TestSignsOfLife(t *testing.T) {
	t.Parallel()
	_, p := launchReadyIn(t, []string{"WATCHDOG_USEC=200000"}, nil)
	p.notified.expectTimes(t, "WATCHDOG=1\n", 3, p.ended)
}

func TestStatusText(t *testing.T) {
	now := time.Now()
	link := func(connected bool, since time.Duration) master.State {
		return master.State{Master: "salt:4505", Connected: connected, Since: now.Add(-since)}
	}
	for _, test := range []struct {
		name    string
		publish master.State
		request []master.State
		want    string
	}{
		{"all links", link(true, time.Hour), []master.State{link(true, 0), link(true, 0)}, "master salt:4505 connected"},
		{"one is missing", link(true, 0), []master.State{link(true, 0), link(false, 3*time.Second)}, "master salt:4505 away for 3s"},
		{"the longest", link(false, time.Minute), []master.State{link(false, time.Second)}, "master salt:4505 away for 1m0s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			last := doing{at: now.Add(-5 * time.Second), publish: pubproxy.Stats{Publishes: 10}, requests: retproxy.Stats{Requests: 100}}
			d := doing{
				at:       now,
				publish:  pubproxy.Stats{Minions: 4, Publishes: 12, Master: test.publish},
				requests: retproxy.Stats{Minions: 3, Requests: 50_100, Links: test.request},
			}
			want := "4 minions wait for publishes, 3 are connected for requests; " + test.want + "; 0.4 publishes/s, 10000.0 requests/s"
			if got := d.text(last); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

package supervise

import (
	"bufio"
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"salt-broker/internal/masters"
	"salt-broker/internal/status"
)

// Counters of /metrics do not go back when a channel fails and starts again, not even between two of its lives.
func TestCountersOutliveAChannel(t *testing.T) {
	r := start(t, Options{})
	r.people(0)
	server, err := status.New(t.Context(), status.Options{
		Listen: "127.0.0.1:0", Publish: r.publish.Stats, Request: r.request.Stats, MaxInFlight: func() int { return 100 },
		Restarts: func() (uint64, uint64) { return r.publish.Restarts(), r.request.Restarts() },
		Buffered: func() (int64, int64) { return 0, 0 }, Masters: func() masters.State { return masters.State{} }, Log: r.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error)
	go func() { ended <- server.Live(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	last := map[string]float64{}
	look := func() {
		now := counters(t, "http://"+server.Addr().String()+"/metrics")
		for name, n := range last {
			if m, there := now[name]; !there || m < n {
				t.Errorf("%s was %v, and is %v (%v)", name, n, m, there)
			}
		}
		last = now
	}
	look()
	for _, channel := range []string{"publish", "request"} {
		r.blow(channel)
		r.await("the channel was started again", func() bool {
			look() // all the way
			return last[`salt_broker_channel_restarts_total{channel="`+channel+`"}`] == 1
		})
		r.served()
		look()
	}
	for _, name := range []string{
		`salt_broker_messages_total{channel="publish",direction="to_minions"}`, `salt_broker_request_master_seconds_count`,
		`salt_broker_master_connections_total{channel="request"}`, `salt_broker_loop_turns_total{channel="publish",loop="1"}`,
	} {
		if last[name] == 0 {
			t.Errorf("%s is not counted: %v", name, last)
		}
	}
}

// counters are what grows only, by Prometheus' text format: counters, and histograms with all that belongs to them.
func counters(t *testing.T, url string) map[string]float64 {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	all, grows := map[string]float64{}, false
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		line := lines.Text()
		if kind, isType := strings.CutPrefix(line, "# TYPE "); isType {
			grows = strings.HasSuffix(kind, " counter") || strings.HasSuffix(kind, " histogram")
		}
		if at := strings.LastIndexByte(line, ' '); grows && !strings.HasPrefix(line, "#") {
			if all[line[:at]], err = strconv.ParseFloat(line[at+1:], 64); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
		}
	}
	return all
}

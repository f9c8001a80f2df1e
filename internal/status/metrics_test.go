package status

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"salt-broker/internal/latency"
	"salt-broker/internal/master"
	"salt-broker/internal/merge"
	"salt-broker/internal/zmtp"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

// Prometheus has nothing to say against any metric, those included that only several paths, or peers of a cluster, have.
func TestLint(t *testing.T) {
	b := healthy()
	b.publish.Roads, b.publish.Peers, b.request.Peers = twoRoads(), twoPublishers(), threePeers()
	o := b.options()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newCollector(&o))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, f := range families {
		there[f.GetName()] = true
	}
	for _, m := range metrics {
		if !there[m.name] {
			t.Errorf("%s has no value, and is not looked at", m.name)
		}
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// samples are the lines of /metrics that are not comments and ours.
func samples(t *testing.T, b *broker) []string {
	t.Helper()
	var all []string
	for line := range strings.Lines(body(t, serve(t, b.options())+"/metrics")) {
		if strings.HasPrefix(line, "salt_broker_") {
			all = append(all, strings.TrimSuffix(line, "\n"))
		}
	}
	return all
}

func TestMetrics(t *testing.T) {
	b := healthy()
	b.publish.Lost, b.publish.LostToLog = 10, 4
	b.publish.MinionBeats = beats{PingsSent: 11, PongsReceived: 12, PingsReceived: 13, Silent: 6}
	b.publish.Loops[0].Busy = 1500e6
	b.request.Links[1].Connected = false
	b.request.QueueTime.Counts[0], b.request.QueueTime.Counts[latency.Bounds], b.request.QueueTime.Nanos = 3, 1, 2e9
	got := samples(t, b)
	for _, want := range []string{
		`salt_broker_build_info{commit="abc",go_version="go1.`,
		`salt_broker_start_time_seconds 1.7952624e+09`,
		`salt_broker_minions{channel="publish"} 3`,
		`salt_broker_buffered_bytes 12345`,
		`salt_broker_buffered_limit_bytes 67890`,
		`salt_broker_publish_dropped_total{reason="pub_hwm"} 6`,
		`salt_broker_publish_dropped_total{reason="pub_log_size"} 4`,
		`salt_broker_heartbeat_pings_sent_total{channel="publish",side="minion"} 11`,
		`salt_broker_heartbeat_pongs_received_total{channel="publish",side="minion"} 12`,
		`salt_broker_heartbeat_pings_received_total{channel="publish",side="minion"} 13`,
		`salt_broker_heartbeat_timeouts_total{channel="publish",side="minion"} 6`,
		`salt_broker_connections_ended_total{channel="publish",reason="left"} 2`,
		`salt_broker_loop_busy_seconds_total{channel="publish",loop="0"} 1.5`,
		`salt_broker_master_links{channel="request"} 2`,
		`salt_broker_master_links_up{channel="request"} 1`,
		`salt_broker_channel_restarts_total{channel="request"} 7`,
		`salt_broker_master_serving{master="m1"} 1`,
		`salt_broker_master_serving{master="m2"} 0`,
		`salt_broker_master_up{master="m1"} 1`,
		`salt_broker_master_probe_seconds{master="m1",path="m1:4506"} 0.001`,
		`salt_broker_master_probes_total{master="m1",path="m1:4506",result="good"} 3`,
		`salt_broker_master_probes_total{master="m1",path="m1:4506",result="failed"} 2`,
		`salt_broker_master_failovers_total{reason="failed"} 1`,
		`salt_broker_master_failovers_total{reason="failback"} 0`,
		`salt_broker_request_queue_seconds_bucket{le="1.6e-05"} 3`,
		`salt_broker_request_queue_seconds_bucket{le="134.217728"} 3`,
		`salt_broker_request_queue_seconds_bucket{le="+Inf"} 4`,
		`salt_broker_request_queue_seconds_count 4`,
		`salt_broker_request_queue_seconds_sum 2`,
		`salt_broker_messages_total{channel="request",direction="to_master"} 4`,
	} {
		if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("no %s in\n%s", want, strings.Join(got, "\n"))
		}
	}
	for _, unknown := range []string{`salt_broker_master_up{master="m2"`, `salt_broker_master_probe_seconds{master="m2"`} {
		if slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, unknown) }) {
			t.Errorf("%s, of which nothing is known", unknown)
		}
	}
}

// four are heartbeats of different numbers.
func four(n uint64) beats {
	return beats{PingsSent: n, PongsReceived: n + 1, PingsReceived: n + 2, Silent: n + 3}
}

// Each number is what it is called, in /metrics and in /status: none has another one's place.
func TestWhatPasses(t *testing.T) {
	b := healthy()
	p, r := &b.publish, &b.request
	p.Publishes, p.Deliveries, r.Requests, r.Replies, r.Answers = 11, 12, 13, 14, 15
	r.QueueTime.Counts[3], r.MasterTime.Counts[4], p.FanOut.Counts[5] = 16, 17, 18
	p.PublishBytes, p.DeliveryBytes, r.RequestBytes, r.SentBytes, r.ReplyBytes, r.AnswerBytes = 21, 22, 23, 24, 25, 26
	p.Minions, r.Minions, p.Accepted, r.Accepted = 31, 32, 33, 34
	p.Behind, p.Lag, p.LagBytes, p.Subscriptions = 41, 42, 43, 44
	r.Waiting, r.InFlight = 51, 52
	p.Lost, p.LostToLog = 61+62, 62
	r.Forgotten, r.TooLarge, r.LostWithLink, r.Overdue, r.Late, r.Unwanted, r.Unroutable = 63, 64, 65, 66, 67, 68, 69
	p.MinionBeats, p.MasterBeats = four(71), four(75)
	r.MinionBeats, r.MasterBeats = four(81), four(85)
	p.Master.Attempts, p.Master.Connections, r.Links[0].Attempts, r.Links[1].Connections = 91, 92, 93, 94
	metrics := samples(t, b)
	report := lookedAt(t, b, 0)
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		metric string
		path   string
		value  int
	}{
		{`messages_total{channel="publish",direction="from_master"}`, "publish.from_master.messages_total", 11},
		{`messages_total{channel="publish",direction="to_minions"}`, "publish.to_minions.messages_total", 12},
		{`messages_total{channel="request",direction="from_minions"}`, "request.from_minions.messages_total", 13},
		{`messages_total{channel="request",direction="to_master"}`, "request.to_master.messages_total", 16},
		{`messages_total{channel="request",direction="from_master"}`, "request.from_master.messages_total", 14},
		{`messages_total{channel="request",direction="to_minions"}`, "request.to_minions.messages_total", 15},
		{`bytes_total{channel="publish",direction="from_master"}`, "publish.from_master.bytes_total", 21},
		{`bytes_total{channel="publish",direction="to_minions"}`, "publish.to_minions.bytes_total", 22},
		{`bytes_total{channel="request",direction="from_minions"}`, "request.from_minions.bytes_total", 23},
		{`bytes_total{channel="request",direction="to_master"}`, "request.to_master.bytes_total", 24},
		{`bytes_total{channel="request",direction="from_master"}`, "request.from_master.bytes_total", 25},
		{`bytes_total{channel="request",direction="to_minions"}`, "request.to_minions.bytes_total", 26},
		{`request_queue_seconds_count`, "request.queue.buckets_total.3", 16},
		{`request_master_seconds_count`, "request.at_master.buckets_total.4", 17},
		{`publish_fanout_seconds_count`, "publish.fanout.buckets_total.5", 18},
		{`minions{channel="publish"}`, "publish.minions", 31},
		{`minions{channel="request"}`, "request.minions", 32},
		{`connections_accepted_total{channel="publish"}`, "publish.accepted_total", 33},
		{`connections_accepted_total{channel="request"}`, "request.accepted_total", 34},
		{`minions_behind`, "publish.behind", 41},
		{`log_lag_messages`, "publish.lag_messages", 42},
		{`log_lag_bytes`, "publish.lag_bytes", 43},
		{`subscriptions`, "publish.subscriptions", 44},
		{`requests_waiting`, "request.waiting", 51},
		{`requests_in_flight`, "request.in_flight", 52},
		{`requests_in_flight_limit`, "request.in_flight_limit", 64},
		{`publish_dropped_total{reason="pub_hwm"}`, "publish.dropped_total.pub_hwm", 61},
		{`publish_dropped_total{reason="pub_log_size"}`, "publish.dropped_total.pub_log_size", 62},
		{`requests_dropped_total{reason="minion_left"}`, "request.requests_dropped_total.minion_left", 63},
		{`requests_dropped_total{reason="too_large"}`, "request.requests_dropped_total.too_large", 64},
		{`requests_dropped_total{reason="link_lost"}`, "request.requests_dropped_total.link_lost", 65},
		{`requests_overdue_total`, "request.overdue_total", 66},
		{`replies_late_total`, "request.late_total", 67},
		{`replies_dropped_total{reason="minion_left"}`, "request.replies_dropped_total.minion_left", 68},
		{`replies_dropped_total{reason="unroutable"}`, "request.replies_dropped_total.unroutable", 69},
		{`heartbeat_pings_sent_total{channel="publish",side="minion"}`, "publish.heartbeats.minion.pings_sent_total", 71},
		{`heartbeat_pongs_received_total{channel="publish",side="minion"}`, "publish.heartbeats.minion.pongs_received_total", 72},
		{`heartbeat_pings_received_total{channel="publish",side="minion"}`, "publish.heartbeats.minion.pings_received_total", 73},
		{`heartbeat_timeouts_total{channel="publish",side="minion"}`, "publish.heartbeats.minion.timeouts_total", 74},
		{`heartbeat_pings_sent_total{channel="publish",side="master"}`, "publish.heartbeats.master.pings_sent_total", 75},
		{`heartbeat_timeouts_total{channel="request",side="minion"}`, "request.heartbeats.minion.timeouts_total", 84},
		{`heartbeat_pongs_received_total{channel="request",side="master"}`, "request.heartbeats.master.pongs_received_total", 86},
		{`master_dials_total{channel="publish"}`, "publish.links.0.dials_total", 91},
		{`master_connections_total{channel="publish"}`, "publish.links.0.connections_total", 92},
		{`master_dials_total{channel="request"}`, "request.links.0.dials_total", 93},
		{`master_connections_total{channel="request"}`, "request.links.1.connections_total", 94},
		{`buffered_bytes`, "buffered.bytes", 12345},
		{`buffered_limit_bytes`, "buffered.limit_bytes", 67890},
		{`channel_restarts_total{channel="publish"}`, "publish.restarts_total", 5},
		{`channel_restarts_total{channel="request"}`, "request.restarts_total", 7},
	} {
		if line := fmt.Sprintf("salt_broker_%s %d", test.metric, test.value); !slices.Contains(metrics, line) {
			t.Errorf("no %s in\n%s", line, strings.Join(metrics, "\n"))
		}
		if got := at(document, test.path); got != float64(test.value) {
			t.Errorf("%s is %v, want %d", test.path, got, test.value)
		}
	}
}

// at is what a document has at a path; a step that is a number is one in a list.
func at(document any, path string) any {
	step, rest, more := strings.Cut(path, ".")
	var there any
	switch d := document.(type) {
	case map[string]any:
		there = d[step]
	case []any:
		if i, err := strconv.Atoi(step); err == nil && i < len(d) {
			there = d[i]
		}
	}
	if more {
		return at(there, rest)
	}
	return there
}

// The process' own numbers are there too.
func TestProcessMetrics(t *testing.T) {
	text := body(t, serve(t, healthy().options())+"/metrics")
	for _, want := range []string{"\ngo_goroutines ", "\nprocess_open_fds ", "\nprocess_cpu_seconds_total ", "\nprocess_resident_memory_bytes "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
}

// Every reason is there before it occurs, so that its rate is known from the first time on.
func TestReasonsFromTheStart(t *testing.T) {
	got := samples(t, realChannels(t))
	reasons := []string{"left", "reset", "heartbeat_timeout", "too_slow", "denied", "other"}
	for _, r := range zmtp.Reasons() {
		reasons = append(reasons, string(r))
	}
	var wants []string
	want := func(format string, args ...any) { wants = append(wants, fmt.Sprintf(format, args...)) }
	for _, channel := range []string{publish, request} {
		for _, reason := range reasons {
			want("salt_broker_connections_ended_total{channel=%q,reason=%q} 0", channel, reason)
		}
		for _, side := range []string{"minion", "master"} {
			for _, heartbeat := range []string{"pings_sent", "pongs_received", "pings_received", "timeouts"} {
				want("salt_broker_heartbeat_%s_total{channel=%q,side=%q} 0", heartbeat, channel, side)
			}
		}
	}
	for metric, reasons := range map[string][]string{
		"publish_dropped":  {"pub_hwm", "pub_log_size"},
		"requests_dropped": {"minion_left", "too_large", "link_lost"},
		"replies_dropped":  {"minion_left", "unroutable"},
	} {
		for _, reason := range reasons {
			want("salt_broker_%s_total{reason=%q} 0", metric, reason)
		}
	}
	for _, line := range wants {
		if !slices.Contains(got, line) {
			t.Errorf("no %s", line)
		}
	}
}

// bounded are the labels that there may be, and what bounds the number of their values. A peer can make up none.
var bounded = map[string]string{
	"channel": "two", "side": "two", "direction": "four", "reason": "constants", "loop": "the key loops",
	"version": "one", "commit": "one", "go_version": "one", "result": "two", "outcome": "five",
	"master": "the key master, 64", "peer": "the key master, 64", "path": "the key master, 16 for each of them",
}

// A label that a peer could fill would take memory of whoever scrapes, without end.
func TestLabelsAreBounded(t *testing.T) {
	for _, m := range metrics {
		for _, label := range m.labels {
			if bounded[label] == "" {
				t.Errorf("%s has a label %s: what bounds the number of its values?", m.name, label)
			}
		}
	}
	// Whatever reasons the channels know, a connection cannot end for one that was not there at the start.
	b := realChannels(t)
	for _, ends := range []map[string]uint64{b.publish.Ends, b.request.Ends} {
		if _, rest := ends["other"]; !rest || len(ends) > 50 {
			t.Errorf("%d reasons: %v", len(ends), ends)
		}
	}
}

// realChannels has the numbers of two proxies that have just been made.
func realChannels(t *testing.T) *broker {
	t.Helper()
	p, err := pubproxy.New(pubproxy.Options{Listen: "127.0.0.1:0", Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	r, err := retproxy.New(retproxy.Options{Listen: "127.0.0.1:0", Loops: 1, MaxInFlight: 1})
	if err != nil {
		t.Fatal(err)
	}
	gone := canceled(t)
	defer func() { _, _ = p.Run(gone), r.Run(gone) }() // which is how they are closed
	b := healthy()
	b.publish, b.request = p.Stats(), r.Stats()
	return b
}

// Each number of the channels changes a metric and the report: nothing is counted that nobody sees.
func TestEveryNumberIsSeen(t *testing.T) {
	for name, stats := range map[string]func(b *broker) reflect.Value{
		"publish": func(b *broker) reflect.Value { return reflect.ValueOf(&b.publish).Elem() },
		"request": func(b *broker) reflect.Value { return reflect.ValueOf(&b.request).Elem() },
	} {
		plain := healthy()
		before, report := seen(t, plain)
		for _, field := range fieldsOf(stats(plain).Type()) {
			b := healthy()
			f := stats(b).FieldByIndex(field.Index)
			switch f.Kind() {
			case reflect.Uint64:
				f.SetUint(1000003)
			case reflect.Int:
				f.SetInt(1000003)
			case reflect.Bool:
				f.SetBool(!f.Bool())
			case reflect.Struct:
				if h, ok := f.Addr().Interface().(*latency.Histogram); ok {
					h.Counts[5], h.Nanos = 1, 1
				} else {
					f.SetZero()
				}
			default: // maps and slices
				f.SetZero()
			}
			if field.Name == "Roads" {
				b.publish.Roads = twoRoads()
			}
			switch {
			case field.Name == "Peers" && name == "publish":
				b.publish.Peers = twoPublishers()
			case field.Name == "Peers":
				b.request.Peers = threePeers()
			case field.Name == "Warm":
				b.publish.Warm.Kept = 1
			}
			if field.Name == "LostToLog" { // of which those are a part
				stats(b).FieldByName("Lost").SetUint(1000003)
			}
			after, reported := seen(t, b)
			if after == before || reported == report {
				t.Errorf("%s: %s changes nothing: metrics %v, report %v", name, field.Name, after != before, reported != report)
			}
		}
	}
}

// twoRoads are paths to a master of which each number is another.
func twoRoads() []pubproxy.RoadStats {
	return []pubproxy.RoadStats{
		{
			Link:      master.State{Master: "a:4505", Connected: true, Attempts: 11},
			Publishes: merge.Counts{First: 1, Repeated: 2, Late: 3, Unknown: 4, Held: 5, Behind: 6},
		},
		{Link: master.State{Master: "b:4505"}, Publishes: merge.Counts{First: 7}},
	}
}

// threePeers are a cluster, of which one is left and back.
func threePeers() []retproxy.PeerStats {
	return []retproxy.PeerStats{
		{Name: "a", Leaving: true, InFlight: 1, Replies: 30},
		{Name: "b", Waiting: 2, InFlight: 3},
		{Name: "a", Serves: true, Waiting: 4, InFlight: 5, Replies: 4},
		{Name: "c", Serves: true, Leaving: true, InFlight: 6},
	}
}

// What a peer of a cluster has to do is seen where there is one, once for each name.
func TestPeers(t *testing.T) {
	b := healthy()
	b.request.Peers = []retproxy.PeerStats{{Serves: true, Waiting: 1}}
	if metrics, _ := seen(t, b); strings.Contains(metrics, "salt_broker_peer_") || len(lookedAt(t, b, 0).Request.Peers) != 0 {
		t.Error("one master is no peer")
	}
	b.request.Peers = threePeers()
	got := samples(t, b)
	for _, want := range []string{
		`salt_broker_peer_serves{peer="a"} 1`, `salt_broker_peer_serves{peer="b"} 0`, `salt_broker_peer_serves{peer="c"} 0`,
		`salt_broker_peer_requests_waiting{peer="a"} 4`, `salt_broker_peer_requests_waiting{peer="b"} 2`,
		`salt_broker_peer_requests_in_flight{peer="a"} 6`, `salt_broker_peer_requests_in_flight{peer="c"} 6`,
		`salt_broker_peer_replies_total{peer="a"} 34`, `salt_broker_peer_replies_total{peer="b"} 0`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
	if p := lookedAt(t, b, 0).Request.Peers; len(p) != 3 || p[0] != (Peer{"a", true, 4, 6, 34}) {
		t.Errorf("%+v", p)
	}
}

// twoPublishers are a cluster of which each number is another.
func twoPublishers() []pubproxy.PeerStats {
	return []pubproxy.PeerStats{
		{Name: "a", Serves: true, Linked: true},
		{Name: "b", Warm: true, Healthy: true, Linked: true, Kept: 2, KeptBytes: 3},
		{Name: "c", Warm: true, Kept: 4},
	}
}

// Which peer's publishes go to minions, and what is kept of the next one's, is seen where there is a cluster.
func TestPublishers(t *testing.T) {
	b := healthy()
	b.publish.Peers = []pubproxy.PeerStats{{Serves: true}}
	if metrics, _ := seen(t, b); strings.Contains(metrics, "salt_broker_publish_peer_serves{") || len(lookedAt(t, b, 0).Publish.Peers) != 0 {
		t.Error("one master is no peer")
	}
	b.publish.Peers, b.publish.Switches = twoPublishers(), 5
	b.publish.Warm = pubproxy.WarmCounts{Kept: 21, Replayed: 1, Passed: 2, Old: 3, Full: 4, Left: 6}
	got := samples(t, b)
	for _, want := range []string{
		`salt_broker_publish_peer_serves{peer="a"} 1`, `salt_broker_publish_peer_serves{peer="b"} 0`,
		`salt_broker_publish_peer_warm{peer="a"} 0`, `salt_broker_publish_peer_warm{peer="b"} 1`, `salt_broker_publish_peer_warm{peer="c"} 0`,
		`salt_broker_publish_peer_kept{peer="b"} 2`, `salt_broker_publish_peer_kept_bytes{peer="b"} 3`,
		`salt_broker_publish_peer_changes_total 5`, `salt_broker_warm_publishes_total 21`,
		`salt_broker_warm_publishes_gone_total{outcome="replayed"} 1`, `salt_broker_warm_publishes_gone_total{outcome="passed"} 2`,
		`salt_broker_warm_publishes_gone_total{outcome="old"} 3`, `salt_broker_warm_publishes_gone_total{outcome="full"} 4`,
		`salt_broker_warm_publishes_gone_total{outcome="left"} 6`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
	p := lookedAt(t, b, 0).Publish
	if len(p.Peers) != 3 || p.Peers[1] != (Publisher{"b", false, true, true, true, 2, 3}) || p.SwitchesTotal != 5 || p.Warm != (Warm{21, 1, 2, 3, 4, 6}) {
		t.Errorf("%+v, %d, %+v", p.Peers, p.SwitchesTotal, p.Warm)
	}
}

// The paths of peers that have one each are none of several.
func TestRoadsOfPeers(t *testing.T) {
	b := healthy()
	b.publish.Roads = twoRoads()
	b.publish.Roads[0].Peer, b.publish.Roads[1].Peer = "a", "b"
	if metrics, _ := seen(t, b); strings.Contains(metrics, "salt_broker_path_") || len(lookedAt(t, b, 0).Publish.Brought) != 0 {
		t.Error("each has one path")
	}
}

// What the paths to a master have brought is seen where there are several, and each is a link.
func TestRoads(t *testing.T) {
	b := healthy()
	b.publish.Roads = twoRoads()[:1]
	if metrics, _ := seen(t, b); strings.Contains(metrics, "salt_broker_path_") || len(lookedAt(t, b, 0).Publish.Links) != 1 {
		t.Error("one path is none of several")
	}
	b.publish.Roads = twoRoads()
	got := samples(t, b)
	for _, want := range []string{
		`salt_broker_path_publishes_total{outcome="first",path="a:4505"} 1`,
		`salt_broker_path_publishes_total{outcome="repeated",path="a:4505"} 2`,
		`salt_broker_path_publishes_total{outcome="late",path="a:4505"} 3`,
		`salt_broker_path_publishes_total{outcome="unknown_place",path="a:4505"} 4`,
		`salt_broker_path_publishes_held{path="a:4505"} 5`,
		`salt_broker_path_publishes_behind{path="a:4505"} 6`,
		`salt_broker_path_publishes_total{outcome="first",path="b:4505"} 7`,
		`salt_broker_master_links{channel="publish"} 2`,
		`salt_broker_master_links_up{channel="publish"} 1`,
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s", want)
		}
	}
	p := lookedAt(t, b, 0).Publish
	if len(p.Links) != 2 || p.Links[0].DialsTotal != 11 || len(p.Brought) != 2 || p.Brought[0] != (Brought{"a:4505", 1, 2, 3, 4, 5, 6}) {
		t.Errorf("%+v, %+v", p.Links, p.Brought)
	}
}

// seen is what can be seen of a broker: its metrics, and its report.
func seen(t *testing.T, b *broker) (metrics, report string) {
	t.Helper()
	s := &Server{options: b.options()}
	text, err := json.Marshal(s.report(t.Context()).Publish)
	if err != nil {
		t.Fatal(err)
	}
	more, err := json.Marshal(s.report(t.Context()).Request)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(&s.options))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(families), string(text) + string(more)
}

// fieldsOf are the fields of a struct; heartbeats are several numbers.
func fieldsOf(of reflect.Type) (all []reflect.StructField) {
	for _, f := range reflect.VisibleFields(of) {
		if f.Type != reflect.TypeFor[beats]() {
			all = append(all, f)
			continue
		}
		for _, inner := range reflect.VisibleFields(f.Type) {
			inner.Name, inner.Index = f.Name+"."+inner.Name, append(f.Index, inner.Index...)
			all = append(all, inner)
		}
	}
	return all
}

// docsRow matches a row of the table of metrics.
var docsRow = regexp.MustCompile("(?m)^   \\* - ``(salt_broker_[a-z_]+)``\n     - (.+)\n     - (.+)\n     - (.+(?:\n       .+)*)$")

// The table has every metric once, none else, in the order of the code, and says of it what Prometheus is told.
func TestDocsTable(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.rst")
	if err != nil {
		t.Fatal(err)
	}
	var names, want []string
	rows := map[string][]string{}
	for _, row := range docsRow.FindAllStringSubmatch(string(text), -1) {
		names = append(names, row[1])
		rows[row[1]] = []string{row[2], row[3], strings.Join(strings.Fields(row[4]), " ")}
	}
	for _, m := range metrics {
		want = append(want, m.name)
		labels := "none"
		if len(m.labels) > 0 {
			labels = "``" + strings.Join(m.labels, "``, ``") + "``"
		}
		if row := []string{m.kind, labels, m.help}; rows[m.name] != nil && !slices.Equal(rows[m.name], row) {
			t.Errorf("%s: %q, want %q", m.name, rows[m.name], row)
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("the table has\n%s\nwant\n%s", strings.Join(names, "\n"), strings.Join(want, "\n"))
	}
}

package status

import (
	"runtime"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"salt-broker/internal/latency"
	"salt-broker/internal/master"
	"salt-broker/internal/masters"
	"salt-broker/internal/merge"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

// Values of labels.
const (
	publish = "publish" // the channel on publish_port
	request = "request" // the channel on ret_port

	fromMaster  = "from_master"
	toMaster    = "to_master"
	fromMinions = "from_minions"
	toMinions   = "to_minions"
)

// numbers are everything that is known at one moment: the metrics of one scrape are of one piece.
type numbers struct {
	options                          *Options
	publish                          pubproxy.Stats
	request                          retproxy.Stats
	publishRestarts, requestRestarts uint64
	buffered, bufferedLimit          int64
	masters                          masters.State
}

func (o *Options) numbers() *numbers {
	n := &numbers{options: o, publish: o.Publish(), request: o.Request(), masters: o.Masters()}
	n.publishRestarts, n.requestRestarts = o.Restarts()
	n.buffered, n.bufferedLimit = o.Buffered()
	if n.masters.Cluster {
		n.masters = publishedBy(n.publish.Peers, n.masters)
	}
	return n
}

// publishedBy has the masters of a cluster say which of them publishes come from.
func publishedBy(peers []pubproxy.PeerStats, all masters.State) masters.State {
	all.Masters = slices.Clone(all.Masters)
	for _, p := range peers {
		if i := slices.IndexFunc(all.Masters, func(m masters.MasterState) bool { return p.Serves && m.Name == p.Name }); i >= 0 {
			all.Serving, all.Masters[i].Serving = p.Name, true
		}
	}
	return all
}

// emit takes one value of a metric with the values of its labels.
type emit func(value float64, labels ...string)

// metric is one metric: what Prometheus is told of it, and where its values come from.
type metric struct {
	name   string
	kind   string // counter, gauge or histogram
	labels []string
	help   string
	values func(n *numbers, emit emit)
	times  func(n *numbers) latency.Histogram // of a histogram
}

// metrics are all of them, in the order of docs/metrics.rst. No label takes values that a peer can make up.
var metrics = []metric{
	{
		name: "salt_broker_build_info", kind: "gauge", labels: []string{"version", "commit", "go_version"},
		help:   "What runs; always 1.",
		values: func(n *numbers, emit emit) { emit(1, n.options.Version, n.options.Commit, runtime.Version()) },
	},
	{
		name: "salt_broker_start_time_seconds", kind: "gauge",
		help:   "When the process began, as Unix time.",
		values: func(n *numbers, emit emit) { emit(float64(n.options.Started.UnixMilli()) / 1000) },
	},
	{
		name: "salt_broker_channel_restarts_total", kind: "counter", labels: []string{"channel"},
		help: "How often a channel has failed and was started again.",
		values: func(n *numbers, emit emit) {
			emit(float64(n.publishRestarts), publish)
			emit(float64(n.requestRestarts), request)
		},
	},

	{
		name: "salt_broker_buffered_bytes", kind: "gauge",
		help:   "Bytes that all connections together have in memory, beside the log of publishes.",
		values: func(n *numbers, emit emit) { emit(float64(n.buffered)) },
	},
	{
		name: "salt_broker_buffered_limit_bytes", kind: "gauge",
		help:   "How many they may have (max_buffered_bytes).",
		values: func(n *numbers, emit emit) { emit(float64(n.bufferedLimit)) },
	},

	// Minions.

	{
		name: "salt_broker_port_open", kind: "gauge", labels: []string{"channel"},
		help: "Whether the port takes connections: 1 or 0.",
		values: func(n *numbers, emit emit) {
			emit(oneIf(n.publish.Open), publish)
			emit(oneIf(n.request.Open), request)
		},
	},
	{
		name: "salt_broker_minions", kind: "gauge", labels: []string{"channel"},
		help: "Connections of minions, and of brokers behind this one, handshakes included.",
		values: func(n *numbers, emit emit) {
			emit(float64(n.publish.Minions), publish)
			emit(float64(n.request.Minions), request)
		},
	},
	{
		name: "salt_broker_connections_accepted_total", kind: "counter", labels: []string{"channel"},
		help: "Connections that came to the port, those that were refused included.",
		values: func(n *numbers, emit emit) {
			emit(float64(n.publish.Accepted), publish)
			emit(float64(n.request.Accepted), request)
		},
	},
	{
		name: "salt_broker_connections_ended_total", kind: "counter", labels: []string{"channel", "reason"},
		help: "Connections that ended, or were refused, and why.",
		values: func(n *numbers, emit emit) {
			for reason, count := range n.publish.Ends {
				emit(float64(count), publish, reason)
			}
			for reason, count := range n.request.Ends {
				emit(float64(count), request, reason)
			}
		},
	},
	{
		name: "salt_broker_heartbeat_pings_sent_total", kind: "counter", labels: []string{"channel", "side"},
		help: "PINGs sent to peers that were silent, minions or the master.",
		values: func(n *numbers, emit emit) {
			eachPeer(n, func(b beats, channel, side string) { emit(float64(b.PingsSent), channel, side) })
		},
	},
	{
		name: "salt_broker_heartbeat_pongs_received_total", kind: "counter", labels: []string{"channel", "side"},
		help: "PONGs that came: answers to these PINGs.",
		values: func(n *numbers, emit emit) {
			eachPeer(n, func(b beats, channel, side string) { emit(float64(b.PongsReceived), channel, side) })
		},
	},
	{
		name: "salt_broker_heartbeat_pings_received_total", kind: "counter", labels: []string{"channel", "side"},
		help: "PINGs that came, each of which was answered: heartbeats of minions or of the master.",
		values: func(n *numbers, emit emit) {
			eachPeer(n, func(b beats, channel, side string) { emit(float64(b.PingsReceived), channel, side) })
		},
	},
	{
		name: "salt_broker_heartbeat_timeouts_total", kind: "counter", labels: []string{"channel", "side"},
		help: "Connections given up since no sign of life followed a PING.",
		values: func(n *numbers, emit emit) {
			eachPeer(n, func(b beats, channel, side string) { emit(float64(b.Silent), channel, side) })
		},
	},

	// The master.

	{
		name: "salt_broker_master_links", kind: "gauge", labels: []string{"channel"},
		help: "Connections to the master that there should be.",
		values: func(n *numbers, emit emit) {
			emit(float64(len(publishLinks(&n.publish))), publish)
			emit(float64(len(n.request.Links)), request)
		},
	},
	{
		name: "salt_broker_master_links_up", kind: "gauge", labels: []string{"channel"},
		help: "Connections to the master that there are.",
		values: func(n *numbers, emit emit) {
			for channel, links := range map[string][]master.State{publish: publishLinks(&n.publish), request: n.request.Links} {
				emit(float64(len(links)-len(downOf(links))), channel)
			}
		},
	},
	{
		name: "salt_broker_master_dials_total", kind: "counter", labels: []string{"channel"},
		help: "Attempts to connect to the master.",
		values: func(n *numbers, emit emit) {
			emit(float64(n.publish.Master.Attempts), publish)
			emit(sumOf(n.request.Links, func(l master.State) uint64 { return l.Attempts }), request)
		},
	},
	{
		name: "salt_broker_master_connections_total", kind: "counter", labels: []string{"channel"},
		help: "Connections to the master that came about.",
		values: func(n *numbers, emit emit) {
			emit(float64(n.publish.Master.Connections), publish)
			emit(sumOf(n.request.Links, func(l master.State) uint64 { return l.Connections }), request)
		},
	},

	{
		name: "salt_broker_master_serving", kind: "gauge", labels: []string{"master"},
		help: "Whether this master of the list serves, or of a cluster publishes come from it: 1 or 0.",
		values: func(n *numbers, emit emit) {
			for _, m := range n.masters.Masters {
				emit(oneIf(m.Serving), m.Name)
			}
		},
	},
	{
		name: "salt_broker_master_up", kind: "gauge", labels: []string{"master"},
		help: "Whether a master answers what it is asked: 1 or 0; nothing where it is not asked (master_alive_interval), or not yet.",
		values: func(n *numbers, emit emit) {
			for _, m := range n.masters.Masters {
				if m.Health != masters.Unknown {
					emit(oneIf(m.Health == masters.Up), m.Name)
				}
			}
		},
	},
	{
		name: "salt_broker_master_probe_seconds", kind: "gauge", labels: []string{"master", "path"},
		help: "How long the last good answer of a master to a ping took, the time-out where it did not come but others' did; nothing where there was none.",
		values: func(n *numbers, emit emit) {
			for _, m := range n.masters.Masters {
				for _, p := range m.Paths {
					if p.Latency > 0 {
						emit(p.Latency.Seconds(), m.Name, p.Request)
					}
				}
			}
		},
	},
	{
		name: "salt_broker_master_probes_total", kind: "counter", labels: []string{"master", "path", "result"},
		help: "How often a master was asked, and what came of it; nothing where it is not asked.",
		values: func(n *numbers, emit emit) {
			if !n.masters.Asked {
				return
			}
			for _, m := range n.masters.Masters {
				for _, p := range m.Paths {
					emit(float64(p.Probes-p.Failures), m.Name, p.Request, "good")
					emit(float64(p.Failures), m.Name, p.Request, "failed")
				}
			}
		},
	},
	{
		name: "salt_broker_master_failovers_total", kind: "counter", labels: []string{"reason"},
		help: "How often another master began to serve, and why: failed, failback, configured.",
		values: func(n *numbers, emit emit) {
			for reason, count := range n.masters.Moves {
				emit(float64(count), string(reason))
			}
		},
	},

	// What passes.

	{
		name: "salt_broker_messages_total", kind: "counter", labels: []string{"channel", "direction"},
		help: "Messages that came or went; a publish goes to each minion once.",
		values: func(n *numbers, emit emit) {
			emit(float64(n.publish.Publishes), publish, fromMaster)
			emit(float64(n.publish.Deliveries), publish, toMinions)
			emit(float64(n.request.Requests), request, fromMinions)
			emit(float64(n.request.QueueTime.Count()), request, toMaster)
			emit(float64(n.request.Replies), request, fromMaster)
			emit(float64(n.request.Answers), request, toMinions)
		},
	},
	{
		name: "salt_broker_bytes_total", kind: "counter", labels: []string{"channel", "direction"},
		help: "Bytes of these messages, without what the broker adds.",
		values: func(n *numbers, emit emit) {
			emit(float64(n.publish.PublishBytes), publish, fromMaster)
			emit(float64(n.publish.DeliveryBytes), publish, toMinions)
			emit(float64(n.request.RequestBytes), request, fromMinions)
			emit(float64(n.request.SentBytes), request, toMaster)
			emit(float64(n.request.ReplyBytes), request, fromMaster)
			emit(float64(n.request.AnswerBytes), request, toMinions)
		},
	},

	// Publishes.

	{
		name: "salt_broker_subscriptions", kind: "gauge",
		help:   "Prefixes that the master has been asked for.",
		values: func(n *numbers, emit emit) { emit(float64(n.publish.Subscriptions)) },
	},
	{
		name: "salt_broker_path_publishes_total", kind: "counter", labels: []string{"path", "outcome"},
		help: "Publishes that a path to the master has brought, and what became of them; nothing where it has one path only.",
		values: func(n *numbers, emit emit) {
			eachRoad(n, func(path string, c merge.Counts) {
				emit(float64(c.First), path, "first")
				emit(float64(c.Repeated), path, "repeated")
				emit(float64(c.Late), path, "late")
				emit(float64(c.Unknown), path, "unknown_place")
			})
		},
	},
	{
		name: "salt_broker_path_publishes_held", kind: "gauge", labels: []string{"path"},
		help: "Publishes of a path that wait for what a slower one may carry (publish_hold).",
		values: func(n *numbers, emit emit) {
			eachRoad(n, func(path string, c merge.Counts) { emit(float64(c.Held), path) })
		},
	},
	{
		name: "salt_broker_path_publishes_behind", kind: "gauge", labels: []string{"path"},
		help: "Publishes that came by another path and not by this one yet, since it was connected.",
		values: func(n *numbers, emit emit) {
			eachRoad(n, func(path string, c merge.Counts) { emit(float64(c.Behind), path) })
		},
	},
	{
		name: "salt_broker_publish_peer_serves", kind: "gauge", labels: []string{"peer"},
		help: "1: the publishes of this peer of the cluster go to minions; 0: another one's do.",
		values: func(n *numbers, emit emit) {
			eachPublisher(n, func(p pubproxy.PeerStats) { emit(oneIf(p.Serves), p.Name) })
		},
	},
	{
		name: "salt_broker_publish_peer_warm", kind: "gauge", labels: []string{"peer"},
		help: "1: there is a link to this peer of the cluster, and its publishes are kept in case the one that serves fails; 0: not so.",
		values: func(n *numbers, emit emit) {
			eachPublisher(n, func(p pubproxy.PeerStats) { emit(oneIf(p.Warm && p.Linked), p.Name) })
		},
	},
	{
		name: "salt_broker_publish_peer_kept", kind: "gauge", labels: []string{"peer"},
		help: "Publishes of this peer of the cluster that are kept for that.",
		values: func(n *numbers, emit emit) {
			eachPublisher(n, func(p pubproxy.PeerStats) { emit(float64(p.Kept), p.Name) })
		},
	},
	{
		name: "salt_broker_publish_peer_kept_bytes", kind: "gauge", labels: []string{"peer"},
		help: "Bytes of these publishes.",
		values: func(n *numbers, emit emit) {
			eachPublisher(n, func(p pubproxy.PeerStats) { emit(float64(p.KeptBytes), p.Name) })
		},
	},
	{
		name: "salt_broker_publish_peer_changes_total", kind: "counter",
		help:   "How often another peer of the cluster began to serve publishes.",
		values: func(n *numbers, emit emit) { emit(float64(n.publish.Switches)) },
	},
	{
		name: "salt_broker_warm_publishes_total", kind: "counter",
		help:   "Publishes that came from the peer of the cluster that is kept warm.",
		values: func(n *numbers, emit emit) { emit(float64(n.publish.Warm.Kept)) },
	},
	{
		name: "salt_broker_warm_publishes_gone_total", kind: "counter", labels: []string{"outcome"},
		help: "Of these: what became of them.",
		values: func(n *numbers, emit emit) {
			w := n.publish.Warm
			emit(float64(w.Replayed), "replayed")
			emit(float64(w.Passed), "passed")
			emit(float64(w.Old), "old")
			emit(float64(w.Full), "full")
			emit(float64(w.Left), "left")
		},
	},
	{
		name: "salt_broker_publish_fanout_seconds", kind: "histogram",
		help:  "Time from a publish's arrival until all minions of a loop have it, but for those that lag; once for each loop.",
		times: func(n *numbers) latency.Histogram { return n.publish.FanOut },
	},
	{
		name: "salt_broker_minions_behind", kind: "gauge",
		help:   "Minions that lag: they do not read as fast as publishes come.",
		values: func(n *numbers, emit emit) { emit(float64(n.publish.Behind)) },
	},
	{
		name: "salt_broker_log_lag_messages", kind: "gauge",
		help:   "Publishes by which the last minion lags, at most a second ago.",
		values: func(n *numbers, emit emit) { emit(float64(n.publish.Lag)) },
	},
	{
		name: "salt_broker_log_lag_bytes", kind: "gauge",
		help:   "Bytes of these publishes, which are kept for it.",
		values: func(n *numbers, emit emit) { emit(float64(n.publish.LagBytes)) },
	},
	{
		name: "salt_broker_publish_dropped_total", kind: "counter", labels: []string{"reason"},
		help: "Publishes that minions lost, and the limit that was passed.",
		values: func(n *numbers, emit emit) {
			emit(float64(n.publish.Lost-min(n.publish.LostToLog, n.publish.Lost)), "pub_hwm")
			emit(float64(n.publish.LostToLog), "pub_log_size")
		},
	},

	// Requests.

	{
		name: "salt_broker_requests_waiting", kind: "gauge",
		help:   "Requests that wait here for a place at the master.",
		values: func(n *numbers, emit emit) { emit(float64(n.request.Waiting)) },
	},
	{
		name: "salt_broker_requests_in_flight", kind: "gauge",
		help:   "Requests at the master.",
		values: func(n *numbers, emit emit) { emit(float64(n.request.InFlight)) },
	},
	{
		name: "salt_broker_requests_in_flight_limit", kind: "gauge",
		help:   "How many may be there (max_in_flight).",
		values: func(n *numbers, emit emit) { emit(float64(n.options.MaxInFlight())) },
	},
	{
		name: "salt_broker_request_queue_seconds", kind: "histogram",
		help:  "Time that requests waited here before they went to the master.",
		times: func(n *numbers) latency.Histogram { return n.request.QueueTime },
	},
	{
		name: "salt_broker_request_master_seconds", kind: "histogram",
		help:  "Time from there until the reply came.",
		times: func(n *numbers) latency.Histogram { return n.request.MasterTime },
	},
	{
		name: "salt_broker_requests_dropped_total", kind: "counter", labels: []string{"reason"},
		help: "Requests without a reply: their minion left or asked anew while they waited here or at a broker above, they were too large, or the link was lost.",
		values: func(n *numbers, emit emit) {
			emit(float64(n.request.Forgotten), "minion_left")
			emit(float64(n.request.TooLarge), "too_large")
			emit(float64(n.request.LostWithLink), "link_lost")
		},
	},
	{
		name: "salt_broker_requests_overdue_total", kind: "counter",
		help:   "Requests whose place at the master was given to another one after request_deadline.",
		values: func(n *numbers, emit emit) { emit(float64(n.request.Overdue)) },
	},
	{
		name: "salt_broker_replies_late_total", kind: "counter",
		help:   "Replies that came after that; minions get them all the same.",
		values: func(n *numbers, emit emit) { emit(float64(n.request.Late)) },
	},
	{
		name: "salt_broker_replies_dropped_total", kind: "counter", labels: []string{"reason"},
		help: "Replies for nobody: their minion had left, or they did not say whose they are.",
		values: func(n *numbers, emit emit) {
			emit(float64(n.request.Unwanted), "minion_left")
			emit(float64(n.request.Unroutable), "unroutable")
		},
	},
	{
		name: "salt_broker_requests_moved_total", kind: "counter",
		help:   "Requests that waited for a peer of the cluster and were given to another one instead.",
		values: func(n *numbers, emit emit) { emit(float64(n.request.Moved)) },
	},
	{
		name: "salt_broker_peer_serves", kind: "gauge", labels: []string{"peer"},
		help: "1: this peer of the cluster gets the requests of its minions; 0: others do.",
		values: func(n *numbers, emit emit) {
			eachOfCluster(n, func(p retproxy.PeerStats) { emit(oneIf(p.Serves && !p.Leaving), p.Name) })
		},
	},
	{
		name: "salt_broker_peer_requests_waiting", kind: "gauge", labels: []string{"peer"},
		help: "Requests that wait here for a place at this peer of the cluster.",
		values: func(n *numbers, emit emit) {
			eachOfCluster(n, func(p retproxy.PeerStats) { emit(float64(p.Waiting), p.Name) })
		},
	},
	{
		name: "salt_broker_peer_requests_in_flight", kind: "gauge", labels: []string{"peer"},
		help: "Requests at this peer of the cluster.",
		values: func(n *numbers, emit emit) {
			eachOfCluster(n, func(p retproxy.PeerStats) { emit(float64(p.InFlight), p.Name) })
		},
	},
	{
		name: "salt_broker_peer_replies_total", kind: "counter", labels: []string{"peer"},
		help: "Replies of this peer of the cluster.",
		values: func(n *numbers, emit emit) {
			eachOfCluster(n, func(p retproxy.PeerStats) { emit(float64(p.Replies), p.Name) })
		},
	},
	{
		name: "salt_broker_traces_ignored_total", kind: "counter",
		help:   "Traces that were not answered: a loop answers 100 in a second.",
		values: func(n *numbers, emit emit) { emit(float64(n.request.TracesIgnored)) },
	},

	// The event loops.

	{
		name: "salt_broker_loop_busy_seconds_total", kind: "counter", labels: []string{"channel", "loop"},
		help: "Time in which an event loop had something to do; its rate is the busy share, 1 at most.",
		values: func(n *numbers, emit emit) {
			eachLoop(n, func(l loop, channel, index string) { emit(l.Busy.Seconds(), channel, index) })
		},
	},
	{
		name: "salt_broker_loop_turns_total", kind: "counter", labels: []string{"channel", "loop"},
		help: "How often an event loop has turned.",
		values: func(n *numbers, emit emit) {
			eachLoop(n, func(l loop, channel, index string) { emit(float64(l.Turns), channel, index) })
		},
	},
	{
		name: "salt_broker_loop_connections", kind: "gauge", labels: []string{"channel", "loop"},
		help: "Connections of an event loop, those to the master included.",
		values: func(n *numbers, emit emit) {
			eachLoop(n, func(l loop, channel, index string) { emit(float64(l.Connections), channel, index) })
		},
	},
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func sumOf(links []master.State, of func(l master.State) uint64) float64 {
	var sum uint64
	for _, l := range links {
		sum += of(l)
	}
	return float64(sum)
}

// publishLinks are the links of the publish channel: one, or one for each path to the master, and to the warm peer.
func publishLinks(p *pubproxy.Stats) []master.State {
	if len(p.Roads) < 2 {
		return []master.State{p.Master}
	}
	var links []master.State
	for _, r := range p.Roads {
		links = append(links, r.Link)
	}
	return links
}

// eachOfCluster calls fn for the peers of a cluster, by name. One that a reload has taken out of the list and put in again may
// be there twice for a while, and is one.
func eachOfCluster(n *numbers, fn func(p retproxy.PeerStats)) {
	var peers []retproxy.PeerStats
	for _, p := range n.request.Peers {
		if p.Name == "" { // the master, where there is no cluster
			continue
		}
		i := slices.IndexFunc(peers, func(other retproxy.PeerStats) bool { return other.Name == p.Name })
		if i < 0 {
			peers = append(peers, p)
			continue
		}
		one := &peers[i]
		if one.Leaving {
			one.Serves, one.Leaving = p.Serves, p.Leaving
		}
		one.Waiting += p.Waiting
		one.InFlight += p.InFlight
		one.Replies += p.Replies
	}
	for _, p := range peers {
		fn(p)
	}
}

// eachPublisher calls fn for the peers of a cluster, as the publish channel has them.
func eachPublisher(n *numbers, fn func(p pubproxy.PeerStats)) {
	for _, p := range n.publish.Peers {
		if p.Name != "" { // else it is the master, and there is no cluster
			fn(p)
		}
	}
}

// eachRoad calls fn for the paths to each master that has several.
func eachRoad(n *numbers, fn func(path string, c merge.Counts)) {
	roads := map[string]int{}
	for _, r := range n.publish.Roads {
		roads[r.Peer]++
	}
	for _, r := range n.publish.Roads {
		if roads[r.Peer] > 1 {
			fn(r.Link.Master, r.Publishes)
		}
	}
}

func eachPeer(n *numbers, fn func(b beats, channel, side string)) {
	fn(n.publish.MinionBeats, publish, "minion")
	fn(n.publish.MasterBeats, publish, "master")
	fn(n.request.MinionBeats, request, "minion")
	fn(n.request.MasterBeats, request, "master")
}

func eachLoop(n *numbers, fn func(l loop, channel, index string)) {
	for i, l := range n.publish.Loops {
		fn(l, publish, strconv.Itoa(i))
	}
	for i, l := range n.request.Loops {
		fn(l, request, strconv.Itoa(i))
	}
}

// collector gives Prometheus the metrics. All of one scrape are from one look at the channels.
type collector struct {
	options *Options
	descs   []*prometheus.Desc // of metrics, in their order
}

func newCollector(o *Options) *collector {
	c := &collector{options: o}
	for _, m := range metrics {
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, m.labels, nil))
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	n := c.options.numbers()
	for i, m := range metrics {
		desc := c.descs[i]
		if m.times != nil {
			ch <- histogram(desc, m.times(n))
			continue
		}
		kind := prometheus.GaugeValue
		if m.kind == "counter" {
			kind = prometheus.CounterValue
		}
		m.values(n, func(value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
		})
	}
}

// histogram is h as Prometheus wants it: seconds, and each bucket with all those before it.
func histogram(desc *prometheus.Desc, h latency.Histogram) prometheus.Metric {
	buckets := make(map[float64]uint64, latency.Bounds)
	var sum uint64
	for i, n := range h.Counts[:latency.Bounds] {
		sum += n
		buckets[latency.Bound(i).Seconds()] = sum
	}
	return prometheus.MustNewConstHistogram(desc, sum+h.Counts[latency.Bounds], float64(h.Nanos)/1e9, buckets)
}

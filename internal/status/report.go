package status

import (
	"context"
	"slices"
	"time"

	"salt-broker/internal/heartbeat"
	"salt-broker/internal/latency"
	"salt-broker/internal/master"
	"salt-broker/internal/masters"
	"salt-broker/internal/merge"
	"salt-broker/internal/reactor"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

// loop is what an event loop has done.
type loop = reactor.LoopStats

// beats are the heartbeats with the peers of one side.
type beats = heartbeat.Counts

// Report is the document at /status. Fields are never renamed or taken away within a major version; further ones may come.
// What ends in _total counts since the process began, times are in seconds. docs/metrics.rst says what each number means:
// they are those of the metrics.
type Report struct {
	Version string    `json:"version"`
	Commit  string    `json:"commit"`
	Started time.Time `json:"started"`
	Now     time.Time `json:"now"`
	// Live and Ready are what /livez and /readyz say.
	Live  Verdict `json:"live"`
	Ready Verdict `json:"ready"`
	// BoundsSeconds are the bounds of the buckets of all Times.
	BoundsSeconds []float64 `json:"bounds_seconds"`
	Buffered      Buffered  `json:"buffered"`
	Masters       Masters   `json:"masters"`
	Publish       Publish   `json:"publish"`
	Request       Request   `json:"request"`
	// Events are the latest ones, the latest first. Reports at /history have null.
	Events []Event `json:"events"`
}

// Buffered is what all connections together have in memory.
type Buffered struct {
	Bytes      int64 `json:"bytes"`
	LimitBytes int64 `json:"limit_bytes"`
}

// Masters are the masters of the list, and which of them serves.
type Masters struct {
	Asked          bool              `json:"asked"`   // whether they are asked if they live
	Cluster        bool              `json:"cluster"` // they are peers of one: requests go to all, and publishes come from Serving
	Serving        string            `json:"serving"`
	Since          time.Time         `json:"since"`           // when that one began to serve
	FailoversTotal map[string]uint64 `json:"failovers_total"` // by reason; those that never occurred are there with 0
	List           []Master          `json:"list"`            // in the order that holds
}

// Master is one of the list.
type Master struct {
	Name    string    `json:"name"`
	Serving bool      `json:"serving"`
	Health  string    `json:"health"`         // up, down, or unknown
	Since   time.Time `json:"since,omitzero"` // when Health became what it is
	Key     string    `json:"key,omitempty"`
	Paths   []Path    `json:"paths"`
}

// Path is a road to a master.
type Path struct {
	Publish        string  `json:"publish"`
	Request        string  `json:"request"`
	Health         string  `json:"health"`
	ProbesTotal    uint64  `json:"probes_total"`
	FailuresTotal  uint64  `json:"failures_total"`
	LatencySeconds float64 `json:"latency_seconds"` // of the last good answer; 0: none
	LastError      string  `json:"last_error,omitempty"`
	Requests       bool    `json:"requests"` // requests take it
}

// Channel is what is the same of both channels.
type Channel struct {
	Address       string            `json:"address"` // for minions
	Open          bool              `json:"open"`
	Minions       int               `json:"minions"`
	AcceptedTotal uint64            `json:"accepted_total"`
	EndedTotal    map[string]uint64 `json:"ended_total"` // by reason; those that never occurred are there with 0
	RestartsTotal uint64            `json:"restarts_total"`
	Heartbeats    Sides             `json:"heartbeats"`
	Links         []Link            `json:"links"` // to the master
	Loops         []Loop            `json:"loops"`
}

// Sides are heartbeats with the peers of each side.
type Sides struct {
	Minion Heartbeats `json:"minion"`
	Master Heartbeats `json:"master"`
}

// Heartbeats are those with the peers of one side.
type Heartbeats struct {
	PingsSent     uint64 `json:"pings_sent_total"`
	PongsReceived uint64 `json:"pongs_received_total"`
	PingsReceived uint64 `json:"pings_received_total"`
	Silent        uint64 `json:"timeouts_total"`
}

// Link is a connection to the master, or the lack of it.
type Link struct {
	Master           string    `json:"master"`            // as it is configured
	Address          string    `json:"address,omitempty"` // where it answers
	Up               bool      `json:"up"`
	Since            time.Time `json:"since"` // when Up became what it is
	LastError        string    `json:"last_error,omitempty"`
	DialsTotal       uint64    `json:"dials_total"`
	ConnectionsTotal uint64    `json:"connections_total"`
}

// Loop is an event loop.
type Loop struct {
	BusySecondsTotal float64 `json:"busy_seconds_total"`
	TurnsTotal       uint64  `json:"turns_total"`
	Connections      int     `json:"connections"`
}

// Flow is what has passed in one direction.
type Flow struct {
	MessagesTotal uint64 `json:"messages_total"`
	BytesTotal    uint64 `json:"bytes_total"`
}

// Times is how long something took. P50 and P99 are the bound of the bucket where they are, 0 where nothing was measured;
// -1 is beyond the last bound.
type Times struct {
	P50     float64                    `json:"p50_seconds"`
	P99     float64                    `json:"p99_seconds"`
	Sum     float64                    `json:"sum_seconds_total"`
	Buckets [latency.Bounds + 1]uint64 `json:"buckets_total"` // the last one has what is above all bounds
}

// Publish is the publish channel.
type Publish struct {
	Channel
	Subscriptions int    `json:"subscriptions"`
	Behind        int    `json:"behind"`
	LagMessages   int    `json:"lag_messages"`
	LagBytes      int    `json:"lag_bytes"`
	FromMaster    Flow   `json:"from_master"`
	ToMinions     Flow   `json:"to_minions"`
	DroppedTotal  Losses `json:"dropped_total"`
	FanOut        Times  `json:"fanout"`
	// Brought is what the paths to the master have brought; empty where it has one path only.
	Brought []Brought `json:"brought"`
	// Peers are those of a cluster; empty where there is none.
	Peers         []Publisher `json:"peers"`
	SwitchesTotal uint64      `json:"switches_total"`
	Warm          Warm        `json:"warm"`
}

// Publisher is what the publish channel has to do with a peer of a cluster.
type Publisher struct {
	Name      string `json:"name"`
	Serves    bool   `json:"serves"`
	Warm      bool   `json:"warm"`
	Healthy   bool   `json:"healthy"`
	Linked    bool   `json:"up"`
	Kept      int    `json:"kept"`
	KeptBytes int64  `json:"kept_bytes"`
}

// Warm is what became of the publishes of the peer of a cluster that is kept warm.
type Warm struct {
	Kept     uint64 `json:"kept_total"`
	Replayed uint64 `json:"replayed_total"`
	Passed   uint64 `json:"passed_total"`
	Old      uint64 `json:"old_total"`
	Full     uint64 `json:"full_total"`
	Left     uint64 `json:"left_total"`
}

// Brought is what became of the publishes that one path to the master has brought.
type Brought struct {
	Path          string `json:"path"` // its publish port
	FirstTotal    uint64 `json:"first_total"`
	RepeatedTotal uint64 `json:"repeated_total"`
	LateTotal     uint64 `json:"late_total"`
	UnknownTotal  uint64 `json:"unknown_place_total"`
	Held          int    `json:"held"`
	Behind        int    `json:"behind"`
}

// Losses are publishes that minions lost, by the limit that was passed.
type Losses struct {
	PubHWM     uint64 `json:"pub_hwm"`
	PubLogSize uint64 `json:"pub_log_size"`
}

// Request is the request channel.
type Request struct {
	Channel
	Waiting              int             `json:"waiting"`
	InFlight             int             `json:"in_flight"`
	InFlightLimit        int             `json:"in_flight_limit"`
	FromMinions          Flow            `json:"from_minions"`
	ToMaster             Flow            `json:"to_master"`
	FromMaster           Flow            `json:"from_master"`
	ToMinions            Flow            `json:"to_minions"`
	RequestsDroppedTotal RequestsDropped `json:"requests_dropped_total"`
	RepliesDroppedTotal  RepliesDropped  `json:"replies_dropped_total"`
	OverdueTotal         uint64          `json:"overdue_total"`
	LateTotal            uint64          `json:"late_total"`
	MovedTotal           uint64          `json:"moved_total"`
	Peers                []Peer          `json:"peers,omitempty"` // of a cluster
	TracesIgnoredTotal   uint64          `json:"traces_ignored_total"`
	Queue                Times           `json:"queue"`
	AtMaster             Times           `json:"at_master"`
}

// Peer is what the request channel has to do with a peer of a cluster.
type Peer struct {
	Name     string `json:"name"`
	Serves   bool   `json:"serves"`
	Waiting  int    `json:"waiting"`
	InFlight int    `json:"in_flight"`
	Replies  uint64 `json:"replies_total"`
}

// RequestsDropped are requests without a reply.
type RequestsDropped struct {
	MinionLeft uint64 `json:"minion_left"`
	TooLarge   uint64 `json:"too_large"`
	LinkLost   uint64 `json:"link_lost"`
}

// RepliesDropped are replies for nobody.
type RepliesDropped struct {
	MinionLeft uint64 `json:"minion_left"`
	Unroutable uint64 `json:"unroutable"`
}

// reported is a report with events.
func (s *Server) reported(ctx context.Context) Report {
	r := s.report(ctx)
	r.Events = s.past.events()
	return r
}

// report is what the broker does now.
func (s *Server) report(ctx context.Context) Report {
	o, live := &s.options, s.live(ctx)
	n := o.numbers()
	p, r := &n.publish, &n.request
	report := Report{
		Version: o.Version, Commit: o.Commit, Started: o.Started.UTC(), Now: time.Now().UTC(), Live: live, Ready: s.serves(live),
		Buffered: Buffered{n.buffered, n.bufferedLimit},
		Masters:  mastersOf(n.masters),
		Publish: Publish{
			Channel: Channel{
				Address: o.PublishAddr.String(), Open: p.Open, Minions: p.Minions, AcceptedTotal: p.Accepted, EndedTotal: p.Ends,
				RestartsTotal: n.publishRestarts,
				Heartbeats:    Sides{Heartbeats(p.MinionBeats), Heartbeats(p.MasterBeats)},
				Links:         linksOf(publishLinks(p)...), Loops: loopsOf(p.Loops),
			},
			Subscriptions: p.Subscriptions, Behind: p.Behind, LagMessages: p.Lag, LagBytes: p.LagBytes,
			FromMaster: Flow{p.Publishes, p.PublishBytes}, ToMinions: Flow{p.Deliveries, p.DeliveryBytes},
			DroppedTotal: Losses{p.Lost - min(p.LostToLog, p.Lost), p.LostToLog},
			FanOut:       TimesOf(p.FanOut),
			Brought:      broughtOf(n),
			Peers:        publishersOf(n), SwitchesTotal: p.Switches, Warm: Warm(p.Warm),
		},
		Request: Request{
			Channel: Channel{
				Address: o.RequestAddr.String(), Open: r.Open, Minions: r.Minions, AcceptedTotal: r.Accepted, EndedTotal: r.Ends,
				RestartsTotal: n.requestRestarts,
				Heartbeats:    Sides{Heartbeats(r.MinionBeats), Heartbeats(r.MasterBeats)},
				Links:         linksOf(r.Links...), Loops: loopsOf(r.Loops),
			},
			Waiting: r.Waiting, InFlight: r.InFlight, InFlightLimit: o.MaxInFlight(),
			FromMinions: Flow{r.Requests, r.RequestBytes}, ToMaster: Flow{r.QueueTime.Count(), r.SentBytes},
			FromMaster: Flow{r.Replies, r.ReplyBytes}, ToMinions: Flow{r.Answers, r.AnswerBytes},
			RequestsDroppedTotal: RequestsDropped{r.Forgotten, r.TooLarge, r.LostWithLink},
			RepliesDroppedTotal:  RepliesDropped{r.Unwanted, r.Unroutable},
			OverdueTotal:         r.Overdue, LateTotal: r.Late, TracesIgnoredTotal: r.TracesIgnored,
			MovedTotal: r.Moved, Peers: peersOf(n),
			Queue: TimesOf(r.QueueTime), AtMaster: TimesOf(r.MasterTime),
		},
	}
	for i := range latency.Bounds {
		report.BoundsSeconds = append(report.BoundsSeconds, latency.Bound(i).Seconds())
	}
	return report
}

func peersOf(n *numbers) (peers []Peer) {
	eachOfCluster(n, func(p retproxy.PeerStats) {
		peers = append(peers, Peer{Name: p.Name, Serves: p.Serves && !p.Leaving, Waiting: p.Waiting, InFlight: p.InFlight, Replies: p.Replies})
	})
	return peers
}

func publishersOf(n *numbers) []Publisher {
	peers := []Publisher{}
	eachPublisher(n, func(p pubproxy.PeerStats) { peers = append(peers, Publisher(p)) })
	return peers
}

func mastersOf(all masters.State) Masters {
	m := Masters{
		Asked: all.Asked, Cluster: all.Cluster, Serving: all.Serving, Since: all.Since.UTC(), FailoversTotal: map[string]uint64{}, List: []Master{},
	}
	for reason, n := range all.Moves {
		m.FailoversTotal[string(reason)] = n
	}
	for _, one := range all.Masters {
		line := Master{Name: one.Name, Serving: one.Serving, Health: one.Health.String(), Since: one.Since.UTC(), Key: one.Key, Paths: []Path{}}
		for _, p := range one.Paths {
			road := Path{
				Publish: p.Publish, Request: p.Request, Health: p.Health.String(), ProbesTotal: p.Probes, FailuresTotal: p.Failures,
				LatencySeconds: p.Latency.Seconds(), Requests: p.Requests,
			}
			if p.LastError != nil {
				road.LastError = p.LastError.Error()
			}
			line.Paths = append(line.Paths, road)
		}
		m.List = append(m.List, line)
	}
	return m
}

func broughtOf(n *numbers) []Brought {
	brought := []Brought{}
	eachRoad(n, func(path string, c merge.Counts) {
		brought = append(brought, Brought{path, c.First, c.Repeated, c.Late, c.Unknown, c.Held, c.Behind})
	})
	return brought
}

func linksOf(states ...master.State) []Link {
	links := make([]Link, 0, len(states))
	for _, s := range states {
		l := Link{Master: s.Master, Up: s.Connected, Since: s.Since.UTC(), DialsTotal: s.Attempts, ConnectionsTotal: s.Connections}
		if s.Address.IsValid() {
			l.Address = s.Address.String()
		}
		if s.LastError != nil {
			l.LastError = s.LastError.Error()
		}
		links = append(links, l)
	}
	return links
}

func loopsOf(stats []loop) []Loop {
	loops := make([]Loop, 0, len(stats))
	for _, s := range stats {
		loops = append(loops, Loop{s.Busy.Seconds(), s.Turns, s.Connections})
	}
	return loops
}

// TimesOf is h as a report has it.
func TimesOf(h latency.Histogram) Times {
	return Times{P50: quantile(h, 0.5), P99: quantile(h, 0.99), Sum: float64(h.Nanos) / 1e9, Buckets: h.Counts}
}

// Histogram is t as it was counted.
func (t Times) Histogram() latency.Histogram {
	return latency.Histogram{Counts: t.Buckets, Nanos: uint64(t.Sum * 1e9)}
}

func quantile(h latency.Histogram, q float64) float64 {
	d := h.Quantile(q)
	if d > latency.Bound(latency.Bounds-1) {
		return -1
	}
	return d.Seconds()
}

// Down are the links that are not connected.
func (c Channel) Down() []Link {
	return slices.DeleteFunc(slices.Clone(c.Links), func(l Link) bool { return l.Up })
}

package pubproxy

import (
	"sync/atomic"
	"time"

	"salt-broker/internal/heartbeat"
	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// upstream is the side of the master: what it publishes, which fills the log, and the union of what the loops' minions
// have subscribed to. It lives on one loop. The master may be the peers of a cluster.
type upstream struct {
	proxy *Proxy
	loop  *reactor.Loop

	// Owned by the loop.
	limits zmtp.Limits
	watch  *heartbeat.Watch
	union  map[string]int // prefixes, and how many loops have minions with them
	feeds  []*feed        // the masters in order; then those that are left, as long as there are links to them
	first  *feed          // it serves: its publishes go into the log
	second *feed          // it is warm: its publishes are kept; nil: there is none
	aging  *reactor.Timer // for what has been kept long enough; nil: nothing ever was
	grown  bool           // the log has, since the loops were told

	ending <-chan struct{} // closed when the proxy is to end; set before the loop runs

	moveAfter, overlap, keepFor time.Duration // see Options
	keepBytes                   int64

	// Shared.
	topics     atomic.Int64
	messages   atomic.Uint64
	bytes      atomic.Uint64
	warmCounts warmCounts
	switches   atomic.Uint64 // of the peer that serves
	shown      atomic.Pointer[[]shown]
}

func newUpstream(p *Proxy, l *reactor.Loop) *upstream {
	return &upstream{
		proxy: p, loop: l, union: make(map[string]int),
		watch: heartbeat.New(l, p.options.HeartbeatInterval, p.options.HeartbeatTimeout),
		limits: zmtp.Limits{
			MaxMessage: p.options.MaxMessage, MaxFrames: maxFrames, MaxCommand: maxTopicBytes + 64, Buffers: l,
		},
	}
}

// maxFrames of one publish. Salt sends one or two.
const maxFrames = 1024

// change counts a loop that has got its first minion with a prefix (+1), or lost its last (-1). The master is told when
// the first loop comes and when the last goes.
func (u *upstream) change(from *reactor.Loop, topic string, by int) {
	if from == u.loop {
		u.count(topic, by)
		return
	}
	u.loop.Post(func() { u.count(topic, by) })
}

func (u *upstream) count(topic string, by int) {
	before := u.union[topic]
	after := before + by
	if after == 0 {
		delete(u.union, topic)
	} else {
		u.union[topic] = after
	}
	u.topics.Store(int64(len(u.union)))
	if (before == 0) == (after == 0) {
		return
	}
	for _, f := range u.feeds {
		for _, r := range f.roads {
			r.changed(topic)
		}
	}
}

// publish takes the next publish of the master. The bytes stay the caller's.
func (u *upstream) publish(msg []byte) {
	u.proxy.log.append(msg)
	u.grown = true
	u.messages.Add(1)
	u.bytes.Add(uint64(len(msg)))
}

// tell has the loops write what is new.
func (u *upstream) tell() {
	if u.grown {
		u.grown = false
		for _, f := range u.proxy.fanouts {
			f.notify(u.loop.Now())
		}
	}
}

package chaos_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/internal/buffers"
	"salt-broker/internal/master"
	"salt-broker/internal/sim"
	"salt-broker/internal/zmtp"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

const (
	minions     = 30 // behind bad wires
	witnesses   = 4  // connected to the broker itself: what it got, they have to get
	maxInFlight = 12
	// firstWitness is the number of the first.
	firstWitness = 1000
)

// site is who stands around the broker. It belongs to the plan.
type site struct {
	filtering, keep bool
	oldMinions      bool // speak ZMTP 3.0
	oldMaster       bool
	sameIdentity    bool // all minions claim the same one
	loops           int
	jobBytes        int
	requestBytes    int
	replyBytes      int
	interval        time.Duration // of each minion's requests
	timeout         time.Duration // of a minion that waits for a reply
	service         time.Duration // of the master
}

func (p plan) site() site {
	r := p.draw(theSite, 0)
	one := func() bool { return r.IntN(3) == 0 }
	s := site{
		filtering: one(), keep: one(), oldMinions: one(), oldMaster: one(), sameIdentity: one(),
		loops: 1 + r.IntN(3), jobBytes: []int{440, 440, 5000, 60_000}[r.IntN(4)], interval: 50 * time.Millisecond,
		service: time.Duration(r.IntN(4)) * time.Millisecond,
	}
	requests, replies := []int{250, 250, 4000, 100_000, 1<<20 + 5000}, []int{250, 250, 4000, 100_000, 300_000}
	s.requestBytes, s.replyBytes = requests[r.IntN(len(requests))], replies[r.IntN(len(replies))]
	// So that a machine with little to spare can carry it in time: too much work is not the subject here.
	s.interval += time.Duration((s.requestBytes + s.replyBytes) * 2000)
	s.timeout = 1500*time.Millisecond + time.Duration((s.requestBytes+s.replyBytes)*4000)
	return s
}

// broker is both channels, as the program runs them, with less patience and less room.
type broker struct {
	publish *pubproxy.Proxy
	request *retproxy.Proxy
	buffers *buffers.Budget
	end     context.CancelFunc
	ended   chan error
}

// maxBuffered is more than all may have in memory at a time in any plan: it must never be needed, and be 0 in the end.
const maxBuffered = 192 << 20

func startBroker(t *testing.T, s site, publish, request *wire) *broker {
	t.Helper()
	silent := logrus.New()
	silent.SetOutput(io.Discard)
	link := master.Options{
		DialTimeout: time.Second, HandshakeTimeout: time.Second, Log: silent,
		Backoff: master.Backoff{Default: 10 * time.Millisecond, Max: 100 * time.Millisecond, Randomize: true},
	}
	const (
		handshake = time.Second
		interval  = 400 * time.Millisecond
		timeout   = 1500 * time.Millisecond
	)
	b := &broker{ended: make(chan error, 2), buffers: buffers.New(maxBuffered, silent)}
	var err error
	link.Address = publish.addr().String()
	b.publish, err = pubproxy.New(pubproxy.Options{
		Listen: "127.0.0.1:0", Backlog: 100, HandshakeTimeout: handshake, HeartbeatInterval: interval, HeartbeatTimeout: timeout,
		Master: link, Loops: s.loops, HWM: 100, LogBytes: 1 << 20, MaxMessage: 16 << 20, MaxSubscriptions: 100, Buffers: b.buffers, Log: silent,
	})
	must(t, err)
	link.Address = request.addr().String()
	b.request, err = retproxy.New(retproxy.Options{
		Listen: "127.0.0.1:0", Backlog: 100, HandshakeTimeout: handshake, HeartbeatInterval: interval, HeartbeatTimeout: timeout,
		Master: link, Loops: s.loops, MaxInFlight: maxInFlight, RequestDeadline: time.Second, MaxMessage: 16 << 20,
		DrainTimeout: 200 * time.Millisecond, Buffers: b.buffers, Log: silent,
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	b.end = cancel
	go func() { b.ended <- b.publish.Run(ctx) }()
	go func() { b.ended <- b.request.Run(ctx) }()
	return b
}

// stop returns when nothing of the broker runs any more.
func (b *broker) stop(t *testing.T) {
	t.Helper()
	b.end()
	for range cap(b.ended) {
		if err := <-b.ended; err != nil {
			t.Error(err)
		}
	}
	if used := b.buffers.Used(); used != 0 {
		t.Errorf("%d bytes are counted as buffered when all is over", used)
	}
}

func version(old bool) zmtp.Version {
	if old {
		return sim.Version30
	}
	return zmtp.Version{}
}

func (s site) minions() sim.MinionsOptions {
	o := sim.MinionsOptions{
		Count: minions, Version: version(s.oldMinions), Filtering: s.filtering, Shape: sim.Mixed, Insist: true,
		Interval: s.interval, Timeout: s.timeout, Reconnect: 20 * time.Millisecond, KeepOnTimeout: s.keep,
		RequestBytes: s.requestBytes, ReplyBytes: s.replyBytes,
	}
	if s.sameIdentity {
		o.Identity = func(int) []byte { return []byte("everybody") }
	}
	return o
}

func (s site) master() sim.MasterOptions {
	return sim.MasterOptions{Version: version(s.oldMaster), JobBytes: s.jobBytes, ServiceTime: s.service}
}

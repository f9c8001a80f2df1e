package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"salt-broker/internal/master"
	"salt-broker/internal/reactor"
	"salt-broker/internal/sim"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

const (
	patience = 30 * time.Second
	minions  = 20
)

// fuse panics on the event loop that logs of a peer that is no ZMTP: a handler that fails, without a way into the proxies
// that nobody else has.
type fuse struct {
	lay   sync.Once
	burnt atomic.Int64
}

func (f *fuse) Levels() []logrus.Level { return logrus.AllLevels }
func (f *fuse) Fire(e *logrus.Entry) error {
	if e.Data["reason"] == "not_zmtp" {
		f.burnt.Add(1)
		panic("a handler fails")
	}
	return nil
}

// relay is both channels, real ones, in a tree, between a master and minions.
type relay struct {
	t       *testing.T
	log     *logrus.Logger
	hook    *logtest.Hook
	fuse    fuse
	traps   map[string]*trap // resolvers, by channel
	publish *Channel[pubproxy.Stats, *pubproxy.Proxy]
	request *Channel[retproxy.Stats, *retproxy.Proxy]
	ports   map[string]netip.AddrPort // of the channels
	lives   map[string]*atomic.Int64
	ended   chan error
	stop    context.CancelFunc
	master  *sim.Master
	minions *sim.Minions
}

func start(t *testing.T, o Options) *relay {
	t.Helper()
	return startClosing(t, o, 0)
}

// startClosing is start with on_master_loss: close; after 0 keeps the minions.
func startClosing(t *testing.T, o Options, after time.Duration) *relay {
	t.Helper()
	r := &relay{
		t: t, ended: make(chan error, 1), lives: map[string]*atomic.Int64{"publish": {}, "request": {}},
		traps: map[string]*trap{"publish": {}, "request": {}},
	}
	log, hook := journal()
	r.log, r.hook, o.Log = log, hook, log
	var err error
	if r.master, err = sim.StartMaster(sim.MasterOptions{}); err != nil {
		t.Fatal(err)
	}
	link := func(channel string, port netip.AddrPort) master.Options {
		return master.Options{Address: fmt.Sprint("master:", port.Port()), Resolver: r.traps[channel], Backoff: master.Backoff{Default: 5 * time.Millisecond, Max: 10 * time.Millisecond}}
	}
	po := pubproxy.Options{
		Listen: "127.0.0.1:0", HandshakeTimeout: patience, Master: link("publish", r.master.PublishAddr()), Loops: 2, HWM: 1000,
		LogBytes: 1 << 20, MaxMessage: 1 << 20, MaxSubscriptions: 100, Log: log, Keep: o.KeepLink,
		CloseOnMasterLoss: after > 0, MasterLossAfter: after,
	}
	publish, err := pubproxy.New(po)
	if err != nil {
		t.Fatal(err)
	}
	po.Listen = publish.Addr().String()
	ro := retproxy.Options{
		Listen: "127.0.0.1:0", HandshakeTimeout: patience, Master: link("request", r.master.RequestAddr()), Loops: 2, MaxInFlight: 100,
		RequestDeadline: patience, MaxMessage: 1 << 20, DrainTimeout: patience, Log: log, Keep: o.KeepLink,
		CloseOnMasterLoss: after > 0, MasterLossAfter: after,
	}
	request, err := retproxy.New(ro)
	if err != nil {
		t.Fatal(err)
	}
	ro.Listen = request.Addr().String()
	r.ports = map[string]netip.AddrPort{"publish": publish.Addr(), "request": request.Addr()}
	r.publish = NewChannel("publish", publish, func() (*pubproxy.Proxy, error) {
		r.lives["publish"].Add(1)
		return pubproxy.New(po)
	})
	r.request = NewChannel("request", request, func() (*retproxy.Proxy, error) {
		r.lives["request"].Add(1)
		return retproxy.New(ro)
	})
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	tree := New(o, r.publish, r.request)
	go func() { r.ended <- tree.Run(ctx) }()
	t.Cleanup(func() { _ = r.close() })
	return r
}

// people has minions connect, which ask all the time, and waits until all have had a reply and a publish. With a time
// limit, they ask again over the same connection when a reply does not come in it.
func (r *relay) people(limit time.Duration) {
	r.t.Helper()
	var err error
	r.minions, err = sim.StartMinions(sim.MinionsOptions{
		Count: minions, Publish: r.ports["publish"], Request: r.ports["request"],
		Interval: 20 * time.Millisecond, Reconnect: 5 * time.Millisecond, Timeout: limit, KeepOnTimeout: limit > 0,
		Filtering: true, // with a topic of its own, it is known of each minion that its subscription is in
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.served()
}

// served waits until everybody gets publishes and replies.
func (r *relay) served() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	r.await("all minions are subscribed", func() bool {
		p := r.publish.Stats()
		return p.Minions == minions && p.Subscriptions == minions+1 && p.Master.Connected && r.minions.Stats().Subscribed == minions
	})
	if err := r.master.AwaitSubscribed(ctx, sim.Broadcast, 1); err != nil {
		r.t.Fatal(err)
	}
	if err := r.minions.AwaitArrived(ctx, r.master.PublishJob([]byte(sim.Broadcast)).Order, minions); err != nil {
		r.t.Fatal(err)
	}
	before := r.minions.Stats().Replies
	r.await("all minions have replies", func() bool {
		return r.request.Stats().Minions == minions && r.minions.Stats().Replies > before+2*minions
	})
}

// blow makes the channel at a port panic, and waits until that has happened.
func (r *relay) blow(channel string) {
	r.t.Helper()
	r.fuse.lay.Do(func() { r.log.AddHook(&r.fuse) })
	before := r.fuse.burnt.Load()
	nc := r.garbage(channel)
	r.await("a handler panics", func() bool { return r.fuse.burnt.Load() > before })
	nc.Close() // descriptors are counted
}

// garbage is what a channel closes a connection for, and logs. It returns our end, which is closed with the test.
func (r *relay) garbage(channel string) net.Conn {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.ports[channel].String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { nc.Close() })
	if _, err := nc.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		r.t.Fatal(err)
	}
	return nc
}

// await polls: what it waits for is seen in snapshots only.
func (r *relay) await(what string, done func() bool) {
	r.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-late:
			r.t.Fatalf("it is not so that %s: %+v, %+v", what, r.publish.Stats(), r.request.Stats())
		}
	}
}

// close ends everything in order, and returns what the tree says.
func (r *relay) close() error {
	r.t.Helper()
	if r.stop == nil {
		return nil
	}
	r.stop()
	r.stop = nil
	err := <-r.ended
	if r.minions != nil {
		if err := r.minions.Stop(); err != nil {
			r.t.Error(err)
		}
	}
	if err := r.master.Stop(); err != nil {
		r.t.Error(err)
	}
	return err
}

// descriptors are what this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestPublishChannelPanics(t *testing.T) {
	atFirst := descriptors(t)
	r := start(t, Options{})
	r.people(0)
	goroutines, files := runtime.NumGoroutine(), descriptors(t)
	connections := r.publish.Stats().Master.Connections

	for round := range uint64(2) {
		r.blow("publish")
		r.await("the channel has a new link", func() bool { return r.publish.Stats().Master.Connections == connections+1+round })
		r.served()
	}

	s := r.minions.Stats()
	// Who comes back before all loops have ended is cut once more.
	if s.Cut < 2*minions || s.Faults() != 0 || s.Jobs != 3*minions {
		t.Errorf("%+v", s)
	}
	if s.Broken+s.TimedOut != 0 {
		t.Errorf("the other channel's minions have noticed it: %+v", s)
	}
	q := r.request.Stats()
	for reason, n := range q.Ends {
		if n > 0 {
			t.Errorf("the other channel has closed %d connections: %s", n, reason)
		}
	}
	if p := r.publish.Stats(); p.Publishes != 3 || p.Deliveries != 3*minions || p.Master.Connections != 3 {
		t.Errorf("the channel forgets: %+v", p)
	}
	r.await("nothing of the old proxies is left", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors(t) <= files
	})
	if err := r.close(); err != nil {
		t.Error(err)
	}
	if n := descriptors(t); n > atFirst {
		t.Errorf("%d descriptors, %d at first", n, atFirst)
	}
}

func TestRequestChannelPanics(t *testing.T) {
	atFirst := descriptors(t)
	r := start(t, Options{})
	r.people(0)
	goroutines, files := runtime.NumGoroutine(), descriptors(t)

	publishing, stopPublishing := context.WithCancel(t.Context())
	published := make(chan sim.Job)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			last := r.master.PublishJob([]byte(sim.Broadcast))
			select {
			case <-tick.C:
			case <-publishing.Done():
				published <- last
				return
			}
		}
	}()
	r.blow("request")
	r.await("the channel has new links", func() bool {
		links := uint64(0)
		for _, l := range r.request.Stats().Links {
			links += l.Connections
		}
		return links == 8 // two loops with two links each, twice
	})
	r.served()
	stopPublishing()
	last := <-published
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.minions.AwaitArrived(ctx, last.Order, minions); err != nil {
		t.Error(err)
	}

	s := r.minions.Stats()
	if s.Cut+s.Missed+s.MissedAway+s.Doubled != 0 || s.Faults() != 0 {
		t.Errorf("the other channel's minions have noticed it: %+v", s)
	}
	if q := r.request.Stats(); q.Requests < s.Replies || q.Replies < s.Replies {
		t.Errorf("the channel forgets: %+v, and its minions have %d replies", q, s.Replies)
	}
	r.await("nothing of the old proxy is left", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors(t) <= files
	})
	if err := r.close(); err != nil {
		t.Error(err)
	}
	if n := descriptors(t); n > atFirst {
		t.Errorf("%d descriptors, %d at first", n, atFirst)
	}
}

func TestPanickingAgainAndAgain(t *testing.T) {
	for _, channel := range []string{"publish", "request"} {
		t.Run(channel, func(t *testing.T) {
			atFirst := descriptors(t)
			r := start(t, Options{Pause: time.Millisecond})
			for life := range 6 {
				r.await("the port is open", func() bool {
					nc, err := net.Dial("tcp", r.ports[channel].String())
					if err == nil {
						nc.Close()
					}
					return err == nil
				})
				r.blow(channel)
				if life == 5 {
					break
				}
				r.await("the channel is in its next life", func() bool { return r.lives[channel].Load() == int64(life+1) })
			}
			select {
			case err := <-r.ended:
				if !errors.As(err, new(*reactor.PanicError)) || !strings.HasPrefix(err.Error(), channel+" channel: failed 6 times") {
					t.Errorf("error %v", err)
				}
				r.ended <- nil
			case <-time.After(patience):
				t.Error("the tree goes on")
			}
			_ = r.close()
			if n := descriptors(t); n > atFirst {
				t.Errorf("%d descriptors, %d at first", n, atFirst)
			}
		})
	}
}

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"

	"salt-broker/config"
	"salt-broker/internal/master"
	"salt-broker/internal/masters"
	"salt-broker/internal/sim"
	"salt-broker/internal/supervise"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

// peersOf are three masters of one cluster, which note whom they have seen, and a broker for them with minions.
type peersOf struct {
	*ha
	mu   sync.Mutex
	seen []map[int]int // by master: by minion, how many requests
}

// startPeers starts them.
func startPeers(t *testing.T, change func(master int, o *sim.MasterOptions), minions sim.MinionsOptions, further ...string) *peersOf {
	t.Helper()
	c := &peersOf{ha: &ha{seen: &seen{count: map[[2]uint64]int{}}}}
	c.change = func(master int, o *sim.MasterOptions) {
		c.seen = append(c.seen, map[int]int{})
		o.OnRequest = func(minion int, request uint64) { c.notes(master, minion, request) }
		if change != nil {
			change(master, o)
		}
	}
	for range 3 {
		c.addMaster(t)
	}
	c.place, c.process = launchReady(t, []string{"-l", "info"}, append(c.lines("[a, b, c]"), further...)...)
	c.start(t, minions)
	c.process.stderr.expectTimes(t, "a master answers component=masters master=", 3, c.process.ended)
	c.peers(t, 3)
	return c
}

// lines are the configuration with some of the peers a, b, c, which are at 127.0.0.1 and so on.
func (c *peersOf) lines(list string) []string {
	for i, name := range []string{"a", "b", "c"} {
		list = strings.Replace(list, name, fmt.Sprintf("{name: %s, paths: [127.0.0.%d]}", strings.ToUpper(name), i+1), 1)
	}
	return []string{
		"master: " + list, "master_type: cluster", "max_open_files: 2000", "recon_default: 50", "recon_max: 50",
		fmt.Sprint("master_publish_port: ", c.masters[0].PublishAddr().Port()), fmt.Sprint("master_port: ", c.masters[0].RequestAddr().Port()),
	}
}

func (c *peersOf) notes(master, minion int, request uint64) {
	c.ha.seen.request(minion, request)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[master][minion]++
}

// homes has all minions ask some times, and says whose each is then: it must be one peer's.
func (c *peersOf) homes(t *testing.T) map[int]int {
	t.Helper()
	c.mu.Lock()
	for i := range c.seen {
		c.seen[i] = map[int]int{}
	}
	c.mu.Unlock()
	for range 3 {
		c.answered(t)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := map[int]int{}
	for master, minions := range c.seen {
		for minion := range minions {
			if other, known := at[minion]; known {
				t.Errorf("minion %d has asked masters %d and %d", minion, other, master)
			}
			at[minion] = master
		}
	}
	if len(at) != c.minions.Stats().Minions {
		t.Errorf("masters have seen %d minions", len(at))
	}
	return at
}

// spread wants these peers, and no others, to have minions.
func spread(t *testing.T, at map[int]int, peers ...int) {
	t.Helper()
	count := map[int]int{}
	for _, master := range at {
		count[master]++
	}
	if got := slices.Sorted(maps.Keys(count)); !slices.Equal(got, peers) {
		t.Errorf("masters %v have minions, want %v", got, peers)
	}
	for master, n := range count {
		if n < len(at)/len(peers)/2 {
			t.Errorf("master %d has %d of %d minions", master, n, len(at))
		}
	}
}

// stayed wants nobody to have moved but the minions of one peer.
func stayed(t *testing.T, before, after map[int]int, but int) {
	t.Helper()
	for minion, master := range before {
		if master != but && after[minion] != master {
			t.Errorf("minion %d was master %d's and is master %d's, which has nothing to do with %d", minion, master, after[minion], but)
		}
	}
}

// peers waits until so many serve, with all links that there should be.
func (c *peersOf) peers(t *testing.T, n int) {
	t.Helper()
	tick, began := time.NewTicker(20*time.Millisecond), time.Now()
	defer tick.Stop()
	for {
		is, serve := reportOf(t, c.place), 0
		for _, p := range is.Request.Peers {
			if p.Serves {
				serve++
			}
		}
		if serve == n && is.Ready.OK {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("%d peers serve, want %d", serve, n)
		}
		<-tick.C
	}
}

// TestCluster: minions are spread over the peers of a cluster and each stays with its own. One that is killed loses its
// minions to the others, and nobody else moves; publishes go on from another one, and whoever asks meanwhile gets an
// answer.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := startPeers(t, nil, sim.MinionsOptions{Count: 90, Timeout: 2 * time.Second, KeepOnTimeout: true, Insist: true})
	c.subscribed(t, 0)
	home := c.homes(t)
	spread(t, home, 0, 1, 2)
	c.publishes(t, 0)

	killed, stood := time.Now(), watchStandstill(t)
	if err := c.masters[0].Leave(); err != nil {
		t.Fatal(err)
	}
	c.answered(t)
	took := time.Since(killed)
	t.Logf("all are answered %v after the peer was killed", took)
	if took > 2*time.Second+stood.Sum() {
		t.Errorf("all were answered %v after a peer was killed", took)
	}
	c.peers(t, 2)
	c.subscribed(t, 1)
	c.publishes(t, 1)
	t.Logf("a publish of another one reached all after %v", time.Since(killed))
	away := c.homes(t)
	spread(t, away, 1, 2)
	stayed(t, home, away, 0)
	stdout, _ := untilExit(t, 0, c.place, "status")
	says(t, "status", stdout, "A is down for ", "B is up for ", "C is up for ")
	untilExit(t, 0, c.place, "health", "--master")
	stdout, _ = untilExit(t, 0, c.place, "trace")
	says(t, "trace", stdout, " Salt master, 2 of 3 serve ")
	c.unharmed(t)
}

// TestPeerIsBack: a peer that was killed gets its minions back when it has been healthy for a while, and not sooner;
// when it was killed again within the hour, after twice that.
func TestPeerIsBack(t *testing.T) {
	t.Parallel()
	c := startPeers(t, nil, sim.MinionsOptions{Count: 90, Timeout: 2 * time.Second, KeepOnTimeout: true, Insist: true},
		"master_alive_interval: 0.2", "master_failback_interval: 3")
	home := c.homes(t)
	spread(t, home, 0, 1, 2)
	for _, hold := range []time.Duration{3 * time.Second, 6 * time.Second} {
		if err := c.masters[2].Leave(); err != nil {
			t.Fatal(err)
		}
		c.peers(t, 2)
		back, stood := time.Now(), watchStandstill(t)
		if err := c.masters[2].Start(); err != nil {
			t.Fatal(err)
		}
		c.process.stderr.expect(t, fmt.Sprint(" held=", hold, " master=C\n"), c.process.ended)
		away := c.homes(t)
		spread(t, away, 0, 1)
		stayed(t, home, away, 2)
		stdout, _ := untilExit(t, 0, c.place, "status")
		says(t, "status", stdout, "C is up for ", ", its minions are with others, ")
		if is := reportOf(t, c.place).Publish.Peers[2]; !is.Healthy {
			t.Errorf("publishes are told that it is away still: %+v", is)
		}
		untilExit(t, 0, c.place, "health", "--master")
		c.peers(t, 3)
		if took := time.Since(back); took < hold || took > hold+3*time.Second+stood.Sum() {
			t.Errorf("it has its minions after %v, want %v", took, hold)
		}
		if back := c.homes(t); !maps.Equal(back, home) {
			t.Error("not everybody is back at the peer of before")
		}
	}
	c.unharmed(t)
}

// TestPublishesOfACluster: all peers publish the same jobs. When the one dies that they come from, minions miss none of
// them: what another one has published meanwhile follows.
func TestPublishesOfACluster(t *testing.T) {
	t.Parallel()
	const count = 30
	watch := sim.NewWatch(count)
	minions := sim.MinionsOptions{Count: count, Interval: 100 * time.Millisecond, Timeout: time.Second, KeepOnTimeout: true, Insist: true}
	watch.Minions(&minions)
	c := startPeers(t, func(_ int, o *sim.MasterOptions) { o.ID, o.OnRequest = 1, watch.Asked }, minions)
	for _, master := range []int{0, 1} {
		c.subscribed(t, master)
	}
	var mu sync.Mutex // a master that has gone must not publish
	away := -1
	every(t, 10*time.Millisecond, func() {
		mu.Lock()
		defer mu.Unlock()
		for i, m := range c.masters {
			if job := m.PublishJob(nil); i == (away+1)%3 {
				watch.Published(job)
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	notices := func() sim.Notices {
		n, err := watch.End(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	watch.Begin(c.minions)
	notices() // all listen
	watch.Begin(c.minions)
	if n := notices(); n.PublishesLost+n.PublishesTwice+n.PublishesLate > 0 {
		t.Errorf("while all is well: %+v", n)
	}
	watch.Begin(c.minions)
	stood := watchStandstill(t)
	mu.Lock()
	away = 0
	err := c.masters[0].Leave()
	mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	n := notices()
	t.Logf("minions were without publishes for %.2f s, and got %d again", n.PublishGapLast, n.PublishesTwice)
	if n.Published < 30 || n.PublishesLost+n.PublishesLate+n.RequestsTwice+n.Cut > 0 || n.PublishesTwice == 0 || n.PublishGapLast > 2+stood.Sum().Seconds() {
		t.Errorf("%+v", n)
	}
	c.process.stderr.expect(t, "[WARNING ] publishes come from another master of the cluster now before=A component=publish master=B reason=no_link replayed=",
		c.process.ended)
	c.peers(t, 2)
	stdout, _ := untilExit(t, 0, c.place, "status")
	says(t, "status", stdout, "B is up for ", ", publishes come from it, ", ", its publishes are kept, ")
}

// TestRequestsAtAKilledPeer: what a peer had when it died is not sent to another one; what waited for it in the broker
// is, and all of that is answered.
func TestRequestsAtAKilledPeer(t *testing.T) {
	t.Parallel()
	const minions, there = 60, 5
	var mute sync.Map // by master
	c := startPeers(t, func(master int, o *sim.MasterOptions) {
		o.Lose = func(uint64) bool { _, is := mute.Load(master); return is }
	}, sim.MinionsOptions{Count: minions, Timeout: 5 * time.Second, KeepOnTimeout: true, Insist: true},
		fmt.Sprint("max_in_flight: ", there), "loops: 1", "master_alive_timeout: 60")
	home := c.homes(t)
	mute.Store(2, true)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	before := c.minions.Stats()
	others := uint64(0)
	for _, master := range home {
		if master != 2 {
			others++
		}
	}
	c.minions.AskAll()
	if err := c.minions.Await(ctx, func(s sim.MinionsStats) bool { return s.Replies == before.Replies+others }); err != nil {
		t.Fatal(err)
	}
	if err := c.masters[2].Leave(); err != nil {
		t.Fatal(err)
	}
	if err := c.minions.Await(ctx, func(s sim.MinionsStats) bool { return s.Replies == before.Replies+minions }); err != nil {
		t.Fatal(err)
	}
	if s := c.minions.Stats(); s.TimedOut != there {
		t.Errorf("%d minions had to ask again, and %d requests were at the peer that died", s.TimedOut, there)
	}
	c.unharmed(t)
}

// TestReloadOfPeers: one that is taken out of the list answers what it has, and loses its minions to the others; one
// that is put in gets its own. Nobody else moves, and no minion is cut off.
func TestReloadOfPeers(t *testing.T) {
	t.Parallel()
	c := startPeers(t, func(master int, o *sim.MasterOptions) {
		o.ServiceTime, o.Workers = 300*time.Millisecond, 100
	}, sim.MinionsOptions{Count: 60, Timeout: patience})
	home := c.homes(t)
	spread(t, home, 0, 1, 2)

	before := c.minions.Stats()
	c.minions.AskAll()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, m := range c.masters {
		if err := m.Await(ctx, func(s sim.MasterStats) bool { return s.UnderWay > 5 }); err != nil {
			t.Fatal(err)
		}
	}
	c.process.reloads(t, c.place, c.lines("[b, c]")...) // the one that publishes came from as well
	if err := c.minions.Await(ctx, func(s sim.MinionsStats) bool { return s.Replies == before.Replies+60 }); err != nil {
		t.Fatalf("a request at the peer that was taken out is never answered: %v", err)
	}
	if err := c.masters[0].Await(ctx, func(s sim.MasterStats) bool { return s.Subscribers+s.Requesters == 0 }); err != nil {
		t.Fatalf("the peer that was taken out has connections still: %v", err)
	}
	without := c.homes(t)
	spread(t, without, 1, 2)
	stayed(t, home, without, 0)
	c.subscribed(t, 1)
	c.publishes(t, 1)

	c.process.reloads(t, c.place, c.lines("[c, a, b]")...)
	c.peers(t, 3)
	if back := c.homes(t); !maps.Equal(back, home) {
		t.Error("the order of the list matters, or the peer that was put in again does not have its minions")
	}
	c.unharmed(t)
	if s := c.minions.Stats(); s.TimedOut != 0 {
		t.Errorf("%d requests were lost", s.TimedOut)
	}
}

// TestPeersOfANewChannel: a request channel that has failed and started again knows which peers are down.
func TestPeersOfANewChannel(t *testing.T) {
	t.Parallel()
	log, _ := logtest.NewNullLogger()
	c := config.Default()
	c.Master, c.MasterType, c.Loops = "[{name: a, paths: [127.0.0.1:1]}, {name: b, paths: [127.0.0.1:2]}]", config.MasterTypeCluster, 1
	c.Interface, c.RetPort, c.ReconDefault = "127.0.0.1", 0, time.Hour
	s := servingOf(c)
	open := func() (*retproxy.Proxy, error) { return retproxy.New(requestOptions(c, s, nil, log)) }
	first, err := open()
	if err != nil {
		t.Fatal(err)
	}
	requests := supervise.NewChannel("request", first, open)
	s.Peers[1].Trusted = false
	heed(requests, func(p *retproxy.Proxy) { p.Apply(requestOptions(c, s, nil, log)) }, s.Peers, trusted)
	for life := range 2 {
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- requests.Live(ctx) }()
		tick, began := time.NewTicker(time.Millisecond), time.Now()
		for {
			peers := requests.Stats().Peers
			if len(peers) == 2 && peers[0].Serves && !peers[1].Serves {
				break
			}
			if time.Since(began) > patience {
				t.Fatalf("life %d: %+v", life, peers)
			}
			<-tick.C
		}
		tick.Stop()
		end()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	if n := requests.Restarts(); n != 1 {
		t.Errorf("the channel has started again %d times", n)
	}
}

// TestTrafficOfPeers: what a peer has answered, and not what others have.
func TestTrafficOfPeers(t *testing.T) {
	t.Parallel()
	up, down := []master.State{{Connected: true}, {Connected: true}}, []master.State{{Connected: true}, {}}
	r := retproxy.Stats{Peers: []retproxy.PeerStats{
		{Name: "a", Leaving: true, Replies: 9, Links: up}, {Name: "a", Replies: 1, InFlight: 2, Links: up}, {Name: "b", Replies: 3, InFlight: 4, Links: down},
	}}
	var p pubproxy.Stats
	for name, want := range map[string]masters.Traffic{
		"a": {Replies: 1, InFlight: 2, Linked: true}, "b": {Replies: 3, InFlight: 4}, "c": {},
	} {
		if got := trafficOf(p, r, name); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	r.Peers = []retproxy.PeerStats{{Replies: 5, InFlight: 6, Links: up}}
	if got := trafficOf(p, r, "salt"); got != (masters.Traffic{Replies: 5, InFlight: 6}) {
		t.Errorf("without a link for publishes: %+v", got)
	}
	p.Master.Connected = true
	if got := trafficOf(p, r, "salt"); !got.Linked {
		t.Errorf("with all links: %+v", got)
	}
}

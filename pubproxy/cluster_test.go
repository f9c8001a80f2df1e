package pubproxy

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

// peersOf makes a list of these publishers, each named after its place among all: a, b and so on.
func peersOf(o Options, all []*publisher, places ...int) (peers []Peer) {
	for _, i := range places {
		to := o.Master
		to.Address = all[i].address()
		peers = append(peers, Peer{Name: string(rune('a' + i)), Master: to})
	}
	return peers
}

// startCluster starts a proxy in front of so many peers, and a minion. Those beyond the second have no link.
func startCluster(t *testing.T, count int, change func(o *Options)) (p *Proxy, all []*publisher, minion *subscriber) {
	t.Helper()
	var places []int
	for i := range count {
		all, places = append(all, newPublisher(t)), append(places, i)
	}
	p = start(t, "", func(o *Options) {
		o.Masters = peersOf(*o, all, places...)
		o.MoveAfter, o.WarmOverlap, o.WarmKeep = time.Hour, time.Hour, time.Hour
		if change != nil {
			change(o)
		}
	})
	all[0].expect("link")
	all[1].expect("link")
	minion = connect(t, p, 1, "")
	all[0].expect("+")
	all[1].expect("+")
	return p, all, minion
}

// by are publishes of a peer, given by its place: jobs have the same numbers everywhere, and no bytes in common.
func by(peer int, jobs ...int) (all []byte) {
	for _, i := range jobs {
		all = append(all, message("", peer*1000+i, 100)...)
	}
	return all
}

// keeps waits until so many publishes of the warm peer are kept.
func keeps(t *testing.T, p *Proxy, n int) {
	t.Helper()
	eventually(t, p, fmt.Sprint(n, " are kept"), func(s Stats) bool {
		i := slices.IndexFunc(s.Peers, func(p PeerStats) bool { return p.Warm })
		return i >= 0 && s.Peers[i].Kept == n && s.Peers[i].KeptBytes == int64(n*len(by(0, 1)))
	})
}

// roles waits until these peers, by name, serve and are warm.
func roles(t *testing.T, p *Proxy, serves, warm string) {
	t.Helper()
	eventually(t, p, serves+" serves and "+warm+" is warm", func(s Stats) bool {
		var first, second string
		for _, p := range s.Peers {
			if p.Serves {
				first += p.Name
			}
			if p.Warm && p.Linked {
				second += p.Name
			}
		}
		return first == serves && second == warm
	})
}

// posted waits until the upstream has done what it was to do before.
func (p *Proxy) posted() {
	done := make(chan struct{})
	p.upstream.loop.Post(func() { close(done) })
	<-done
}

// moveAfter changes that option. It is called when all links are there, or the second might be first.
func (p *Proxy) moveAfter(d time.Duration) {
	o := p.options
	o.MoveAfter = d
	p.Apply(o)
	p.posted()
}

// away has a publisher gone, and nobody gets to it until the test ends.
func (p *publisher) away() {
	_ = p.listener.Close()
	p.drop()
}

// TestCluster: what the second has published follows at once when the first fails, in order, and then it goes on. There
// is no way back.
func TestCluster(t *testing.T) {
	for name, fail := range map[string]func(p *Proxy, first *publisher){
		"no link":   func(_ *Proxy, first *publisher) { first.away() },
		"unhealthy": func(p *Proxy, _ *publisher) { p.SetHealthy("a", false) },
	} {
		t.Run(name, func(t *testing.T) {
			said := &warnings{}
			p, all, minion := startCluster(t, 3, func(o *Options) {
				log := logrus.New()
				log.SetOutput(said)
				o.Log = log
			})
			a, b, c := all[0], all[1], all[2]
			b.send(by(1, 2, 1))
			keeps(t, p, 2)
			a.send(by(0, 1, 2, 3))
			minion.expect(by(0, 1, 2, 3))
			b.send(by(1, 3, 4))
			keeps(t, p, 4)
			if s := p.Stats(); s.Publishes != 3 || s.Switches != 0 || s.Warm != (WarmCounts{Kept: 4}) || !s.Peers[0].Linked || s.Peers[2].Linked {
				t.Errorf("%+v", s)
			}
			if s := p.Stats(); len(s.Roads) != 2 || s.Roads[0].Peer != "a" || s.Master.Master != a.address() {
				t.Errorf("%+v", s)
			}

			fail(p, a)
			minion.expect(by(1, 2, 1, 3, 4))
			b.send(by(1, 5))
			minion.expect(by(1, 5))
			if name == "no link" {
				p.moveAfter(time.Millisecond) // else it is waited for
			}
			c.expect("link", "+")
			roles(t, p, "b", "c")
			s := p.Stats()
			if s.Publishes != 8 || s.Switches != 1 || s.Warm != (WarmCounts{Kept: 4, Replayed: 4}) || s.Master.Master != b.address() || s.Roads[0].Peer != "b" {
				t.Errorf("%+v", s)
			}
			text := said.text(p)
			if !bytes.Contains(text, []byte("another master of the cluster")) || !bytes.Contains(text, []byte("before=a master=b reason="+map[string]string{"no link": "no_link", "unhealthy": "unhealthy"}[name]+" replayed=4")) {
				t.Errorf("the log says %s", text)
			}

			// Whatever the first one does now, it has no link.
			p.SetHealthy("a", true)
			c.send(by(2, 5))
			keeps(t, p, 1)
			b.send(by(1, 6))
			minion.expect(by(1, 6))
			p.SetHealthy("b", false)
			minion.expect(by(2, 5))
			roles(t, p, "c", map[string]string{"no link": "", "unhealthy": "a"}[name])
		})
	}
}

// TestClusterStart: at first the first one is waited for, but not for long.
func TestClusterStart(t *testing.T) {
	for _, comes := range []bool{true, false} {
		t.Run(fmt.Sprint("it comes: ", comes), func(t *testing.T) {
			a, b := newPublisher(t), newPublisher(t)
			a.hold()
			p := start(t, "", func(o *Options) { o.Masters, o.MoveAfter = peersOf(*o, []*publisher{a, b}, 0, 1), time.Hour })
			b.expect("link")
			minion := connect(t, p, 1, "")
			b.expect("+")
			b.send(by(1, 1))
			keeps(t, p, 1)
			if comes {
				a.release()
				a.expect("link", "+")
				a.send(by(0, 2))
				minion.expect(by(0, 2))
				roles(t, p, "a", "b")
				return
			}
			p.moveAfter(time.Millisecond)
			minion.expect(by(1, 1))
			roles(t, p, "b", "")
		})
	}
}

// TestClusterLinkLost: a first one that has lost its links is not waited for, unless the second does not answer. One of
// several links is not all.
func TestClusterLinkLost(t *testing.T) {
	near := newPublisher(t)
	p, all, minion := startCluster(t, 2, func(o *Options) {
		o.Hold, o.Masters[0].Paths = time.Millisecond, []string{o.Masters[0].Master.Address, near.address()}
	})
	a, b := all[0], all[1]
	near.expect("link", "+")
	near.hold()
	eventually(t, p, "one path is gone", func(s Stats) bool { return !s.Roads[1].Link.Connected })
	a.send(by(0, 1))
	minion.expect(by(0, 1))
	p.SetHealthy("b", false)
	a.drop()
	a.expect("link", "+")
	a.send(by(0, 2))
	minion.expect(by(0, 2))
	b.send(by(1, 1, 2))
	keeps(t, p, 2)
	if s := p.Stats(); s.Switches != 0 || !s.Peers[0].Serves {
		t.Errorf("%+v", s)
	}
	p.SetHealthy("b", true)
	a.drop()
	minion.expect(by(1, 1, 2))
	a.expect("link", "+")
	roles(t, p, "b", "a")
	if s := p.Stats(); s.Roads[0].Peer != "b" || s.Master.Master != b.address() {
		t.Errorf("%+v", s)
	}
}

// TestClusterEnds: a broker that is stopped leaves the first one like any other, and says nothing of it.
func TestClusterEnds(t *testing.T) {
	all := []*publisher{newPublisher(t), newPublisher(t)}
	usual := start(t, newPublisher(t).address(), nil).options
	for range 20 { // which link ends first is by chance
		said, log := &bytes.Buffer{}, logrus.New()
		log.SetOutput(said)
		o := usual
		o.Masters, o.Log = peersOf(o, all, 0, 1), log
		p, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- p.Run(ctx) }()
		eventually(t, p, "all links are there", func(s Stats) bool { return len(s.Peers) == 2 && s.Peers[0].Linked && s.Peers[1].Linked })
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if s := p.Stats(); s.Switches > 0 || said.Len() > 0 {
			t.Fatalf("%d switches; the log says %s", s.Switches, said)
		}
	}
}

// TestClusterSecondAbsent: where there is nobody else the first one stays, whatever is said of it.
func TestClusterSecondAbsent(t *testing.T) {
	p, all, minion := startCluster(t, 2, nil)
	p.moveAfter(time.Millisecond)
	a, b := all[0], all[1]
	b.away()
	roles(t, p, "a", "")
	p.SetHealthy("a", false)
	a.send(by(0, 1))
	minion.expect(by(0, 1))
	a.drop()
	a.expect("link", "+")
	a.send(by(0, 2))
	minion.expect(by(0, 2))
	if s := p.Stats(); s.Switches != 0 || !s.Peers[0].Serves || s.Peers[0].Healthy {
		t.Errorf("%+v", s)
	}
}

// TestClusterBothDown: the one that is back first serves, and has kept nothing of before.
func TestClusterBothDown(t *testing.T) {
	p, all, minion := startCluster(t, 2, nil)
	p.moveAfter(time.Millisecond)
	a, b := all[0], all[1]
	b.send(by(1, 1))
	keeps(t, p, 1)
	a.hold()
	minion.expect(by(1, 1))
	b.hold()
	eventually(t, p, "both are away", func(s Stats) bool { return !s.Peers[0].Linked && !s.Peers[1].Linked && !s.Master.Connected })
	b.release()
	b.expect("link", "+")
	b.send(by(1, 2))
	minion.expect(by(1, 2))
	roles(t, p, "b", "")
	a.release()
	a.expect("link", "+")
	roles(t, p, "b", "a")
	a.send(by(0, 2, 3))
	keeps(t, p, 2)
	b.hold()
	minion.expect(by(0, 2, 3))
	roles(t, p, "a", "")
	if s := p.Stats(); s.Switches != 2 || s.Warm != (WarmCounts{Kept: 3, Replayed: 3}) {
		t.Errorf("%+v", s)
	}
}

// TestClusterKeeps: what is kept is bounded, and what falls out is counted by its reason.
func TestClusterKeeps(t *testing.T) {
	one := int64(len(by(0, 1)))
	t.Run("bytes", func(t *testing.T) {
		p, all, minion := startCluster(t, 2, func(o *Options) { o.WarmBytes = 3 * one })
		all[1].send(by(1, 1, 2, 3, 4, 5))
		eventually(t, p, "five came", func(s Stats) bool { return s.Warm == WarmCounts{Kept: 5, Full: 2} })
		keeps(t, p, 3)
		p.SetHealthy("a", false)
		minion.expect(by(1, 3, 4, 5))
	})
	t.Run("age", func(t *testing.T) {
		p, all, minion := startCluster(t, 2, func(o *Options) { o.WarmKeep = 5 * time.Millisecond })
		for i := range 3 { // the clock starts anew each time
			all[1].send(by(1, 1))
			eventually(t, p, "it is there", func(s Stats) bool { return s.Warm.Kept == uint64(2*i+1) })
			all[1].send(by(1, 2)) // is old later
			eventually(t, p, "they are old", func(s Stats) bool { n := uint64(2*i + 2); return s.Warm == WarmCounts{Kept: n, Old: n} })
		}
		keeps(t, p, 0)
		o := p.options
		o.WarmKeep = time.Hour
		p.Apply(o)
		p.posted()
		all[1].send(by(1, 3))
		keeps(t, p, 1)
		o.WarmKeep = time.Millisecond
		p.Apply(o)
		eventually(t, p, "the last one is old", func(s Stats) bool { return s.Warm.Old == 7 })
		all[0].send(by(0, 3))
		minion.expect(by(0, 3))
	})
	t.Run("passed", func(t *testing.T) {
		p, all, minion := startCluster(t, 2, nil)
		all[1].send(by(1, 1, 2))
		keeps(t, p, 2)
		all[0].send(by(0, 1))
		minion.expect(by(0, 1))
		keeps(t, p, 2) // it came less than an hour before
		o := p.options
		o.WarmOverlap = 1
		p.Apply(o)
		p.posted()
		all[0].send(by(0, 2))
		minion.expect(by(0, 2))
		eventually(t, p, "the first has passed them", func(s Stats) bool { return s.Warm == WarmCounts{Kept: 2, Passed: 2} })
		all[1].send(by(1, 3))
		keeps(t, p, 1)
		p.SetHealthy("a", false)
		minion.expect(by(1, 3))
	})
	t.Run("left", func(t *testing.T) {
		p, all, _ := startCluster(t, 3, nil)
		all[1].send(by(1, 1, 2))
		keeps(t, p, 2)
		p.SetHealthy("b", false)
		all[2].expect("link", "+")
		roles(t, p, "a", "c")
		eventually(t, p, "b is left", func(s Stats) bool { return s.Warm == WarmCounts{Kept: 2, Left: 2} && !s.Peers[1].Linked })
	})
}

// peerIs asks the loop what holds of a peer, by its name.
func (p *Proxy) peerIs(name string, what func(f *feed) bool) bool {
	is := make(chan bool)
	p.upstream.loop.Post(func() {
		i := slices.IndexFunc(p.upstream.feeds, func(f *feed) bool { return f.name == name })
		is <- what(p.upstream.feeds[i])
	})
	return <-is
}

// known is how many peers are, those that are left included.
func (p *Proxy) known() int {
	n := make(chan int)
	p.upstream.loop.Post(func() { n <- len(p.upstream.feeds) })
	return <-n
}

// waited has a peer have been waited for.
func (p *Proxy) waited(name string) {
	p.peerIs(name, func(f *feed) bool { f.waited(); return true })
}

func dialed(f *feed) bool { return f.dialed.Load() }

func absent(f *feed) bool { return f.standing.absent }

// TestClusterUnreachable: peers that answer and have no publish port for us are tried one after the other.
func TestClusterUnreachable(t *testing.T) {
	p, all, _ := startCluster(t, 3, nil)
	all[1].hold()
	all[2].hold()
	eventually(t, p, "b is gone", func(s Stats) bool { return !s.Peers[1].Linked })
	tries := func(what, is, not string) {
		t.Helper()
		if !p.peerIs(is, dialed) || p.peerIs(not, dialed) {
			t.Fatalf("%s: %s is not tried, or %s is", what, is, not)
		}
	}
	p.waited("b")
	tries("b has not come", "c", "b")
	p.waited("c")
	tries("nor has c: both are as good", "c", "b")
	p.waited("b")
	tries("b has been left alone for long enough", "b", "c")
	p.waited("b")
	tries("b has not come again: both are as good", "b", "c")
	p.SetHealthy("c", true)
	tries("c answers", "c", "b")
	all[2].release()
	roles(t, p, "a", "c")
}

// TestClusterTriesAgain: so it goes on without a word about them.
func TestClusterTriesAgain(t *testing.T) {
	p, all, _ := startCluster(t, 3, nil)
	all[1].hold()
	all[2].hold()
	p.moveAfter(5 * time.Millisecond)
	for range 3 {
		for _, name := range []string{"c", "b"} {
			eventually(t, p, name+" is tried", func(Stats) bool { return p.peerIs(name, dialed) })
		}
	}
	all[2].release()
	roles(t, p, "a", "c")
}

// TestClusterTriedAnew: a peer that is dialed again is waited for as at first, however long it was to be left alone.
func TestClusterTriedAnew(t *testing.T) {
	p, all, _ := startCluster(t, 3, nil)
	all[1].hold()
	eventually(t, p, "b is gone", func(s Stats) bool { return !s.Peers[1].Linked })
	p.waited("b")
	roles(t, p, "a", "c") // and b is left alone for ten hours
	p.SetHealthy("c", false)
	if !p.peerIs("b", dialed) || p.peerIs("b", absent) {
		t.Fatal("b is not tried, although c does not answer")
	}
	p.SetHealthy("c", true)
	p.waited("b")
	roles(t, p, "a", "c")
	p.moveAfter(5 * time.Millisecond)
	p.SetHealthy("c", false)
	eventually(t, p, "b has not come", func(Stats) bool { return p.peerIs("b", absent) })
}

// TestClusterPeerBackInTheList: one that a reload takes out of the list is not shown any more, and as long as it has a
// link it hears what is subscribed to: the next reload may put it in again.
func TestClusterPeerBackInTheList(t *testing.T) {
	p, all, _ := startCluster(t, 3, nil)
	u, feeds := p.upstream, p.feeds.all
	p.feeds.mu.Lock() // no link is ended or dialed meanwhile
	release := sync.OnceFunc(p.feeds.mu.Unlock)
	defer release()
	follow := func(places ...int) {
		var listed []*feed
		for _, i := range places {
			listed = append(listed, feeds[i])
		}
		u.loop.Post(func() { u.follow(listed, p.options) })
	}
	follow(0, 2)
	u.loop.Post(func() { u.count("new", +1) })
	p.posted()
	if peers := u.peers(); len(peers) != 2 || peers[0].Name != "a" || peers[1].Name != "c" {
		t.Errorf("shown are %+v", peers)
	}
	all[1].send(by(1, 1)) // a publish that nobody needs
	for began := time.Now(); u.warmCounts.load() != (WarmCounts{Kept: 1, Left: 1}); yield() {
		if time.Since(began) > patience {
			t.Fatalf("%+v", u.warmCounts.load())
		}
	}
	follow(0, 1)
	release()
	all[0].expect("+new")
	all[1].expect("+new")
	roles(t, p, "a", "b")
}

// TestClusterReload: peers come and go with the configuration. The one that serves is left for another one that is
// there.
func TestClusterReload(t *testing.T) {
	p, all, minion := startCluster(t, 4, nil)
	a, b, c, d := all[0], all[1], all[2], all[3]
	a.send(by(0, 1))
	minion.expect(by(0, 1))
	b.send(by(1, 1, 2))
	keeps(t, p, 2)
	apply := func(places ...int) {
		o := p.options
		o.Masters = peersOf(o, all, places...)
		p.Apply(o)
	}

	apply(2, 1) // a goes; b is warm and stays so, not c, which is before it
	minion.expect(by(1, 1, 2))
	c.expect("link", "+")
	roles(t, p, "b", "c")
	eventually(t, p, "a is forgotten", func(s Stats) bool { return len(s.Peers) == 2 && len(s.Roads) == 2 && p.known() == 2 })

	d.hold()
	c.send(by(2, 2))
	keeps(t, p, 1)
	apply(3) // both go, and the next one is not there yet
	eventually(t, p, "c is left", func(s Stats) bool { return s.Warm.Left == 1 })
	roles(t, p, "b", "")
	b.send(by(1, 3))
	minion.expect(by(1, 3))
	d.release()
	d.expect("link", "+")
	roles(t, p, "d", "")
	d.send(by(3, 4))
	minion.expect(by(3, 4))

	o := p.options // one master, which has no name
	o.Masters, o.Paths = nil, []string{a.address()}
	p.Apply(o)
	a.expect("link", "+")
	roles(t, p, "", "")
	a.send(by(0, 5))
	minion.expect(by(0, 5))
	apply(1, 0)
	b.expect("link", "+")
	a.expect("link", "+")
	roles(t, p, "b", "a")
	b.send(by(1, 6))
	minion.expect(by(1, 6))
	s := p.Stats()
	if s.Minions != 1 || s.Publishes != 7 || s.Warm != (WarmCounts{Kept: 3, Replayed: 2, Left: 1}) || s.Master.Connections != 7 {
		t.Errorf("%+v", s)
	}
}

// TestClusterSubscriptions: the warm peer is subscribed to what the first is, and so is one that becomes warm later.
func TestClusterSubscriptions(t *testing.T) {
	p, all, minion := startCluster(t, 3, nil)
	minion.subscribe(true, "one")
	all[0].expect("+one")
	all[1].expect("+one")
	other := connect(t, p, 1, "two")
	all[0].expect("+two")
	all[1].expect("+two")
	two := message("two", 1, 100)
	all[1].send(two)
	eventually(t, p, "it is kept", func(s Stats) bool { return s.Warm.Kept == 1 })
	_ = minion.nc.Close()
	for _, peer := range all[:2] {
		got := []string{<-peer.events, <-peer.events}
		if slices.Sort(got); !slices.Equal(got, []string{"-", "-one"}) {
			t.Errorf("it hears %q", got)
		}
	}
	p.SetHealthy("a", false)
	other.expect(two)
	all[2].expect("link", "+two")
}

// TestClusterPaths: each peer may have several paths, and nothing comes twice.
func TestClusterPaths(t *testing.T) {
	near, far := newPublisher(t), newPublisher(t)
	p, all, minion := startCluster(t, 2, func(o *Options) {
		o.Hold = time.Hour
		o.Masters[0].Paths = []string{o.Masters[0].Master.Address, near.address()}
		o.Masters[1].Paths = []string{o.Masters[1].Master.Address, far.address()}
	})
	near.expect("link", "+")
	far.expect("link", "+")
	all[0].send(by(0, 1))
	near.send(by(0, 1, 2))
	minion.expect(by(0, 1, 2))
	all[1].send(by(1, 1))
	far.send(by(1, 1, 2))
	keeps(t, p, 2)
	near.away() // not all
	far.send(by(1, 3))
	keeps(t, p, 3)
	if s := p.Stats(); len(s.Roads) != 4 || s.Roads[0].Publishes.First+s.Roads[1].Publishes.First != 2 {
		t.Errorf("%+v", s)
	}
	p.SetHealthy("a", false)
	minion.expect(by(1, 1, 2, 3))
	far.send(by(1, 4))
	minion.expect(by(1, 4))
}

// TestClusterHeld: what a path of the first one has brought, and what waits for another path, goes out before anything
// of the second when the first fails.
func TestClusterHeld(t *testing.T) {
	p, a, near, b, minion := startHeld(t, time.Hour, time.Hour)
	b.send(by(1, 2, 3))
	keeps(t, p, 2)
	near.send(by(0, 2))
	eventually(t, p, "it is held", func(s Stats) bool { return s.Roads[1].Publishes.Held == 1 })
	p.SetHealthy("a", false)
	minion.expect(append(by(0, 2), by(1, 2, 3)...))
	a.send(by(0, 3))
	b.send(by(1, 4))
	minion.expect(by(1, 4))
	if s := p.Stats(); s.Publishes != 5 || s.Roads[2].Publishes.Held != 0 {
		t.Errorf("%+v", s)
	}
}

// TestClusterHeldIsNoSignOfLife: what waits for nobody any more has the second's publishes kept, which the first may
// never publish. What comes next has them dropped.
func TestClusterHeldIsNoSignOfLife(t *testing.T) {
	p, a, near, b, minion := startHeld(t, 5*time.Millisecond, 1)
	b.send(by(1, 2, 3))
	keeps(t, p, 2)
	near.send(by(0, 2))
	minion.expect(by(0, 2)) // it waited in vain
	keeps(t, p, 2)
	near.send(by(0, 3))
	minion.expect(by(0, 3))
	keeps(t, p, 0)
	a.send(by(0, 2, 3, 4))
	minion.expect(by(0, 4))
}

// startHeld starts a cluster whose first peer has two paths, of which one has returned: what it brings is held.
func startHeld(t *testing.T, hold, overlap time.Duration) (p *Proxy, a, near, b *publisher, minion *subscriber) {
	t.Helper()
	near = newPublisher(t)
	p, all, minion := startCluster(t, 2, func(o *Options) {
		o.Hold, o.WarmOverlap = hold, overlap
		o.Masters[0].Paths = []string{o.Masters[0].Master.Address, near.address()}
	})
	near.expect("link", "+")
	all[0].send(by(0, 1))
	near.send(by(0, 1))
	minion.expect(by(0, 1))
	near.drop()
	near.expect("link", "+")
	return p, all[0], near, all[1], minion
}

// hold has a publisher gone: who connects is turned away until release.
func (p *publisher) hold() {
	p.mu.Lock()
	p.held = true
	p.mu.Unlock()
	p.drop()
}

func (p *publisher) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
}

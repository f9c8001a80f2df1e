package retproxy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"salt-broker/internal/master"
	"salt-broker/internal/reactor"
	"salt-broker/internal/salt"
	"salt-broker/internal/sim"
	"salt-broker/internal/zmtp"
)

// soon is a MoveAfter within which scripted masters are there again.
const soon = 50 * time.Millisecond

// of has a proxy serve a cluster of these masters, which are called a, b and so on.
func of(masters ...*saltMaster) func(*Options) {
	return func(o *Options) {
		o.Masters = nil
		for i, m := range masters {
			o.Masters = append(o.Masters, Peer{Name: nameOf(i), Master: o.Master})
			o.Masters[i].Master.Address = m.addr
		}
		o.MoveAfter = soon
	}
}

func nameOf(i int) string { return string(rune('a' + i)) }

// startCluster runs a proxy towards masters.
func startCluster(tb testing.TB, masters []*saltMaster, change ...func(*Options)) *running {
	tb.Helper()
	r := start(tb, masters[0], slices.Concat([]func(*Options){of(masters...)}, change)...)
	tb.Cleanup(func() {
		for _, m := range masters {
			m.stop()
		}
	})
	return r
}

func newMasters(tb testing.TB, n int) (masters []*saltMaster) {
	tb.Helper()
	for range n {
		masters = append(masters, newMaster(tb))
	}
	return masters
}

// peerOf says which of the peers called a, b and so on, without some of them, is the minion's.
func peerOf(id string, n int, without ...int) (best int) {
	best = -1
	for i := range n {
		if slices.Contains(without, i) {
			continue
		}
		if best < 0 || scoreOf(id, i) > scoreOf(id, best) {
			best = i
		}
	}
	return best
}

func scoreOf(id string, peer int) uint64 {
	return combined(xxhash.Sum64String(id), xxhash.Sum64String(nameOf(peer)))
}

// idsOf are ids of minions that belong to one peer of n.
func idsOf(peer, n, count int) (ids []string) {
	for i := 0; len(ids) < count; i++ {
		if id := fmt.Sprint("minion-", i); peerOf(id, n) == peer {
			ids = append(ids, id)
		}
	}
	return ids
}

// says is a request that a minion makes.
func says(id, text string) []byte { return salt.AppendRequest(nil, []byte(text), 3, []byte(id)) }

// text is what the minion of a request says.
func (a *ask) text() string {
	w, err := salt.ParseWrapper(a.body())
	if err != nil {
		return err.Error()
	}
	return string(w.Load)
}

// TestPeersOfMinions: they are spread evenly, whatever the order of the peers; of one that is left only its own minions
// move, and these are spread evenly as well.
func TestPeersOfMinions(t *testing.T) {
	const n, minions = 3, 30000
	lane := func(order ...int) *lane {
		l := new(lane)
		for _, i := range order {
			w := &way{member: &member{name: nameOf(i), hash: xxhash.Sum64String(nameOf(i))}}
			w.serves.Store(true)
			l.ways = append(l.ways, w)
		}
		return l
	}
	all, turned, two := lane(0, 1, 2), lane(2, 0, 1), lane(0, 1, 2)
	two.ways[1].serves.Store(false)
	left := lane(0, 1, 2)
	left.ways[1].leaving = true
	has, had := map[string]int{}, map[string]int{}
	for i := range minions {
		key := xxhash.Sum64String(fmt.Sprint("minion-", i))
		home := all.bestFor(key).member.name
		has[home]++
		if other := turned.bestFor(key).member.name; other != home {
			t.Fatalf("minion %d is %s's and, in another order, %s's", i, home, other)
		}
		other := two.bestFor(key).member.name
		if home != "b" && other != home {
			t.Fatalf("minion %d is %s's, and %s's when b does not serve", i, home, other)
		}
		if home == "b" {
			had[other]++
		}
		if again := left.bestFor(key).member.name; again != other {
			t.Fatalf("minion %d is %s's when b does not serve and %s's when it is left", i, other, again)
		}
	}
	for _, name := range []string{"a", "b", "c"} {
		if d := has[name] - minions/n; d < -minions/50 || d > minions/50 {
			t.Errorf("%s has %d of %d minions", name, has[name], minions)
		}
	}
	if d := had["a"] - had["c"]; had["b"] != 0 || d < -minions/50 || d > minions/50 {
		t.Errorf("b's minions are %v's", had)
	}
	for _, w := range two.ways {
		w.serves.Store(false)
	}
	for i := range 100 { // nobody serves: as if all did
		key := xxhash.Sum64String(fmt.Sprint("minion-", i))
		if got, want := two.bestFor(key).member.name, all.bestFor(key).member.name; got != want {
			t.Fatalf("minion %d waits for %s, want %s", i, got, want)
		}
	}
	// Brokers of other versions have to find the same.
	for id, want := range map[string]string{"minion-0": "c", "minion-1": "a", "web01.example.com": "b", "db2": "a"} {
		if got := all.bestFor(xxhash.Sum64String(id)).member.name; got != want {
			t.Errorf("%s is %s's, want %s's", id, got, want)
		}
	}
}

// TestKeyOfARequest: what one minion says has one key, whatever brokers it passes.
func TestKeyOfARequest(t *testing.T) {
	m := newMaster(t)
	r := start(t, m)
	p := dial(t, r, as{})
	p.ping("is there")
	frames := func(body []byte, identities ...string) (msg []byte) {
		for _, id := range identities {
			msg = zmtp.AppendFrame(msg, true, []byte(id))
		}
		return zmtp.AppendFrame(zmtp.AppendFrame(msg, true, nil), false, body)
	}
	route := func(minion reactor.Ref, t ticket) string {
		head := route{minion, t}.frame()
		return string(head[2:])
	}
	old := salt.AppendRequest(nil, []byte("load"), 2, nil)
	large := salt.AppendRequest(nil, make([]byte, 50<<10), 3, []byte("m1"))
	r.onLoop(0, func(l *lane) {
		l.loop.Each(eachMinion(func(m *minion) {
			for _, tt := range []struct {
				name     string
				one, two []byte
				same     bool
			}{
				{"one minion, other brokers", frames(says("m1", "a")), frames(says("m1", "b"), "x", "y"), true},
				{"two minions, one broker", frames(says("m1", "a"), "x"), frames(says("m2", "a"), "x"), false},
				{"no id, nobody between", frames(old), frames([]byte("bad load")), true},
				{"no id, two requests over a broker", frames(old, route(7, 1)), frames(old, route(7, 2)), true},
				{"no id, two connections to it", frames(old, route(7, 1)), frames(old, route(8, 1)), false},
				{"no id, another broker between", frames(old, "x", route(7, 1)), frames(old, route(9, 3), route(7, 2)), true},
				{"no id, a broker of libzmq", frames(old, "\x00\x01\x02\x03\x04"), frames(old, "\x00\x01\x02\x03\x05"), false},
			} {
				if got := m.keyOf(message{head: tt.one}) == m.keyOf(message{head: tt.two}); got != tt.same {
					t.Errorf("%s: the same: %v, want %v", tt.name, got, tt.same)
				}
			}
			if m.keyOf(cut(frames(large, "x"))) != m.keyOf(message{head: frames(says("m1", "a"))}) {
				t.Error("a large request has another key")
			}
		}))
	})
}

// TestClaims: there is one for each master at which a minion has anything, and none is lost.
func TestClaims(t *testing.T) {
	a, b, c := new(way), new(way), new(way)
	m := &minion{lane: &lane{claims: map[*minion][]*claim{}}, own: claim{way: a}}
	if m.claim(b) != &m.own || m.claim(a) != &m.own {
		t.Error("nothing is anywhere, and the minion's own claim is not used again")
	}
	m.claim(a).flying = 1
	at := m.claim(b)
	at.beyond = new(request)
	if at == &m.own || m.claim(a).flying != 1 || m.claim(b) != at {
		t.Error("two claims are one")
	}
	third := m.claim(c)
	third.flying, third.queued = 2, 1
	if n := m.flying(); n != 3 {
		t.Errorf("%d are at masters, want 3", n)
	}
	at.beyond, m.own.flying = nil, 0
	if m.claim(c) != third || m.flying() != 2 {
		t.Error("a claim is not found behind one that is free")
	}
	m.claim(a).flying = 1
	m.claim(b).flying = 1
	if n := len(m.lane.claims[m]); n != 2 || m.flying() != 4 {
		t.Errorf("%d claims beside the first, want 2", n)
	}
	at.flying = 0
	if m.claim(new(way)) != at {
		t.Error("a claim that is free is not used again")
	}
}

// crowd is a cluster of stand-in masters, which note whom they have seen.
type crowd struct {
	t       *testing.T
	masters []*sim.Master

	mu   sync.Mutex
	seen []map[int]int              // by master: by minion, how many requests
	at   map[[2]uint64]map[int]bool // by minion and request: masters that have got it
}

func newCrowd(t *testing.T, n int) *crowd {
	t.Helper()
	c := &crowd{t: t, at: map[[2]uint64]map[int]bool{}}
	for range n {
		c.seen = append(c.seen, map[int]int{})
	}
	for i := range n {
		m, err := sim.StartMaster(sim.MasterOptions{ID: uint32(i), OnRequest: func(minion int, request uint64) { c.notes(i, minion, request) }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Stop() })
		c.masters = append(c.masters, m)
	}
	return c
}

func (c *crowd) notes(master, minion int, request uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen[master][minion]++
	key := [2]uint64{uint64(minion), request}
	if c.at[key] == nil {
		c.at[key] = map[int]bool{}
	}
	if c.at[key][master] = true; len(c.at[key]) > 1 {
		c.t.Errorf("request %d of minion %d is at two masters", request, minion)
	}
}

// forget begins the notes anew, and returns those that there were.
func (c *crowd) forget() (seen []map[int]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen = c.seen
	c.seen = nil
	for range seen {
		c.seen = append(c.seen, map[int]int{})
	}
	return seen
}

func (c *crowd) peers(o *Options) {
	for i, m := range c.masters {
		o.Masters = append(o.Masters, Peer{Name: nameOf(i), Master: o.Master})
		o.Masters[i].Master.Address = m.RequestAddr().String()
	}
	o.MoveAfter = soon
}

// askAll has all minions ask until each has been answered so often.
func askAll(t *testing.T, minions *sim.Minions, n int) {
	t.Helper()
	before := minions.Stats()
	for i := range n {
		minions.AskAll()
		until(t, "all to be answered", func() bool {
			s := minions.Stats()
			return s.Waiting == 0 && s.Replies-before.Replies >= uint64((i+1)*s.Minions)
		})
	}
}

// TestMinionsOfACluster: stand-in minions at a broker for three masters. They are spread, each stays with its own; when a
// master dies its own go to the others, who stay, and when it is back they go back; no request is at two masters, and
// whoever asks gets an answer.
func TestMinionsOfACluster(t *testing.T) {
	t.Parallel()
	for name, shape := range map[string]sim.Shape{"a connection each": sim.Kept, "a connection for each request": sim.Short} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const n, count = 3, 150
			c := newCrowd(t, n)
			r := start(t, absentMaster(t), loops(2), c.peers)
			r.connected()
			minions, err := sim.StartMinions(sim.MinionsOptions{
				Count: count, Request: r.Addr(), Shape: shape, Insist: true, Reconnect: 10 * time.Millisecond, Timeout: 2 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = minions.Stop() })
			check := func(when string, without ...int) {
				t.Helper()
				for i, seen := range c.forget() {
					want := 0
					for minion := range count {
						home := peerOf(sim.MinionID(minion), n, without...) == i
						if home {
							want++
						}
						if home != (seen[minion] > 0) {
							t.Errorf("%s: master %d has had %d requests of minion %d", when, i, seen[minion], minion)
						}
					}
					if !slices.Contains(without, i) && want < count/2/n {
						t.Errorf("%s: master %d has %d minions", when, i, want)
					}
				}
			}
			askAll(t, minions, 4)
			check("all are there")

			const dead = 1
			if err := c.masters[dead].Leave(); err != nil {
				t.Fatal(err)
			}
			until(t, "the loss of the links", func() bool { return len(downLinks(r.Stats().Links)) == 4 })
			began := time.Now()
			askAll(t, minions, 1) // those of the dead one wait until they are moved
			if took := time.Since(began); took > soon+time.Second {
				t.Errorf("minions waited for %v", took)
			}
			askAll(t, minions, 2)
			check("one is dead", dead)

			if err := c.masters[dead].Start(); err != nil {
				t.Fatal(err)
			}
			r.connected()
			until(t, "it to serve", func() bool { return r.Stats().Peers[dead].Serves })
			r.turned()
			askAll(t, minions, 2)
			check("it is back")
			if s := minions.Stats(); s.Faults() > 0 {
				t.Error(s.FirstFault)
			}
			r.balanced()
		})
	}
}

func downLinks(links []master.State) (down []master.State) {
	for _, s := range links {
		if !s.Connected {
			down = append(down, s)
		}
	}
	return down
}

// turned waits until each loop has done what was posted to it.
func (r *running) turned() {
	r.t.Helper()
	for i := range r.lanes {
		r.onLoop(i, func(*lane) {})
	}
}

// holds has requests of their own taken by a master until it has no place left. They are answered by answer.
func (r *running) fill(m *saltMaster, ids []string) (held []*ask) {
	r.t.Helper()
	for i := range r.options.MaxInFlight {
		dial(r.t, r, as{}).send(envelope(0, says(ids[i%len(ids)], "holds a place")))
		held = append(held, m.next())
	}
	return held
}

// TestWhatWaitsIsMoved: when a master dies, what waits for it goes to the other one in its order, that of a broker below
// and a large request too; what was sent is not sent again.
func TestWhatWaitsIsMoved(t *testing.T) {
	masters := newMasters(t, 2)
	r := startCluster(t, masters, places(3))
	r.connected()
	ids := idsOf(0, 2, 40)
	held, others := r.fill(masters[0], ids), r.fill(masters[1], idsOf(1, 2, 3))
	var waiting []*peer
	for range 20 {
		waiting = append(waiting, dial(t, r, as{}))
	}
	for i, p := range slices.Backward(waiting) { // not in the order in which they have come
		p.send(envelope(0, says(ids[i], fmt.Sprint("waits ", 19-i))))
		r.waiting(20 - i)
	}
	large := dial(t, r, as{})
	large.send(envelope(0, says(ids[20], string(make([]byte, bulkBytes)))))
	broker := dial(t, r, as{socket: "DEALER"})
	for i := range 10 { // more than its share
		broker.send(envelope(1, says(ids[21+i], "of a broker")))
	}
	broker.send(envelope(1, says(idsOf(1, 2, 1)[0], "of a broker"))) // its share at the other
	r.waiting(32)
	masters[1].nothing()

	masters[0].stop()
	until(t, "all to be moved", func() bool { return r.Stats().Moved == 31 })
	r.consistent()
	r.onLoop(0, func(l *lane) {
		l.loop.Each(eachMinion(func(m *minion) {
			if c := m.claim(l.ways[1]); m.many && (c.queued != 1 || c.beyond == nil) {
				t.Errorf("the broker's share is one place, and its claim is %+v", *c)
			}
		}))
	})
	masters[1].nothing()
	for _, a := range others {
		a.answer([]byte("done"))
	}
	next, got, brokers, larges := 0, 0, 0, 0
	for got < 32 {
		a := masters[1].next()
		switch text := a.text(); {
		case text == "of a broker":
			brokers++
		case len(text) == bulkBytes:
			larges++
		case text == fmt.Sprint("waits ", next):
			next++
		default:
			t.Errorf("the other master gets %.40q, want \"waits %d\"", text, next)
		}
		got++
		a.answer([]byte("done"))
	}
	if next != 20 || brokers != 11 || larges != 1 {
		t.Errorf("%d, %d of a broker and %d large ones were moved", next, brokers, larges)
	}
	for _, p := range append(waiting, large) {
		p.hears("done")
	}
	for range brokers {
		broker.expect(envelope(1, []byte("done")))
	}
	masters[1].nothing()
	r.balanced()
	if s := r.Stats(); s.Moved != 31 || s.LostWithLink != uint64(len(held)) || s.Forgotten != 0 || s.Waiting+s.InFlight != 0 {
		t.Errorf("%+v", s)
	}
	r.consistent()
}

// TestCutIsNoDeath: a master whose links are back within MoveAfter keeps its minions, and what waits for it.
func TestCutIsNoDeath(t *testing.T) {
	masters := newMasters(t, 2)
	r := startCluster(t, masters, func(o *Options) { o.MoveAfter = patience })
	r.connected()
	id := idsOf(0, 2, 1)[0]
	masters[0].stop()
	until(t, "the loss of the links", func() bool { return len(downLinks(r.Stats().Links)) == 2 })
	p := dial(t, r, as{})
	p.send(envelope(0, says(id, "waits")))
	r.waiting(1)
	masters[0].open()
	masters[0].next().answer([]byte("done"))
	p.hears("done")
	masters[1].nothing()
	if s := r.Stats(); s.Moved != 0 {
		t.Errorf("%d requests were moved", s.Moved)
	}
}

// TestUnhealthy: a master of which it is said that it does not answer gets nothing more; replies that it gives all the same
// are passed on, and it gets its minions back when it is healthy.
func TestUnhealthy(t *testing.T) {
	masters := newMasters(t, 2)
	r := startCluster(t, masters, places(1))
	r.connected()
	ids := idsOf(0, 2, 3)
	sent, waits := dial(t, r, as{}), dial(t, r, as{})
	sent.send(envelope(0, says(ids[0], "sent")))
	a := masters[0].next()
	waits.send(envelope(0, says(ids[1], "waits")))
	r.waiting(1)
	r.SetHealthy("nobody", false)
	r.SetHealthy("a", false)
	b := masters[1].next()
	if got := b.text(); got != "waits" {
		t.Errorf("the other master gets %q", got)
	}
	b.answer([]byte("from the other"))
	waits.hears("from the other")
	a.answer([]byte("late"))
	sent.hears("late")
	sent.send(envelope(0, says(ids[0], "again")))
	masters[1].next().answer([]byte("from the other"))
	sent.hears("from the other")

	r.SetHealthy("a", true)
	r.turned()
	sent.send(envelope(0, says(ids[0], "once more")))
	masters[0].next().answer([]byte("here again"))
	sent.hears("here again")
	masters[1].nothing()
	r.balanced()
	checkCredit(t, r)
}

// TestNoneServes: requests wait, and whoever comes first gets them all.
func TestNoneServes(t *testing.T) {
	masters := []*saltMaster{absentMaster(t), absentMaster(t), absentMaster(t)}
	r := startCluster(t, masters)
	const n = 12
	var minions []*peer
	for i := range n {
		p := dial(t, r, as{})
		p.send(envelope(0, says(idsOf(i%3, 3, 1)[0], "waits")))
		minions = append(minions, p)
	}
	r.waiting(n)
	until(t, "all to be given up", func() bool {
		return !slices.ContainsFunc(r.Stats().Peers, func(p PeerStats) bool { return p.Serves })
	})
	r.waiting(n)
	masters[2].script = func(a *ask) { a.answer([]byte("done")) }
	masters[2].open()
	for _, p := range minions {
		p.hears("done")
	}
	r.balanced()
	r.consistent()
}

// TestApplyPeers: a peer that is taken out of the list answers what it has, and nothing new goes there; what waits for it
// is moved. Then its links end, and no counter goes back. One that is added gets its own minions.
func TestApplyPeers(t *testing.T) {
	masters := newMasters(t, 3)
	r := startCluster(t, masters[:2], places(2), loops(2))
	r.connected()
	leaving := idsOf(0, 2, 20)
	held := r.fill(masters[0], leaving)
	waits := dial(t, r, as{})
	waits.send(envelope(0, says(leaving[0], "waits")))
	r.waiting(1)
	before := r.Stats()

	o := r.options
	of(masters...)(&o)
	o.Masters = o.Masters[1:]
	r.Apply(o)
	a := masters[peerOf(leaving[0], 3, 0)].next()
	if got := a.text(); got != "waits" {
		t.Errorf("another master gets %q", got)
	}
	a.answer([]byte("moved"))
	waits.hears("moved")
	masters[0].nothing()
	if peers := r.Stats().Peers; len(peers) != 3 || !peers[0].Leaving || peers[0].InFlight != 2 || peers[1].Leaving || len(peers[2].Links) != 4 {
		t.Errorf("%+v", peers)
	}
	r.connected()
	for _, id := range leaving { // and who comes now
		for _, id := range []string{id, id + "'s neighbor"} {
			p := dial(t, r, as{})
			p.send(envelope(0, says(id, "new")))
			masters[peerOf(id, 3, 0)].next().answer([]byte("done"))
			p.hears("done")
		}
	}
	for _, a := range held {
		a.answer([]byte("what it had"))
	}
	until(t, "it to be left", func() bool { return len(r.Stats().Peers) == 2 })
	until(t, "its links to end", func() bool {
		masters[0].mu.Lock()
		defer masters[0].mu.Unlock()
		return len(masters[0].links) == 0
	})
	masters[0].nothing()
	r.balanced()
	s := r.Stats()
	if s.Answers < 3 || s.Replies != s.Answers || s.Peers[0].Replies+s.Peers[1].Replies+uint64(len(held)) != s.Replies || s.Unwanted != 0 || s.LostWithLink != 0 || len(s.Links) != 8 || s.Moved != 1 {
		t.Errorf("%+v", s)
	}
	if want := connections(before) + 4; connections(s) != want { // those to the peer that has come
		t.Errorf("there were %d connections, want %d", connections(s), want)
	}

	of(masters...)(&o) // and back again
	r.Apply(o)
	until(t, "its links", func() bool { s := r.Stats(); return len(s.Peers) == 3 && len(downLinks(s.Links)) == 0 })
	r.connected()
	id := idsOf(0, 3, 1)[0]
	p := dial(t, r, as{})
	p.send(envelope(0, says(id, "back")))
	masters[0].next().answer([]byte("done"))
	p.hears("done")
	r.balanced()
	r.consistent()
}

func connections(s Stats) (n uint64) {
	for _, l := range s.Links {
		n += l.Connections
	}
	return n
}

// TestFromOneMasterToACluster: by a reload, with requests that wait.
func TestFromOneMasterToACluster(t *testing.T) {
	masters := newMasters(t, 3)
	r := start(t, masters[0], places(1))
	p, q := dial(t, r, as{}), dial(t, r, as{})
	id := idsOf(1, 3, 1)[0]
	p.send(envelope(0, says(id, "sent")))
	a := masters[0].next()
	q.send(envelope(0, says(id, "waits")))
	r.waiting(1)
	o := r.options
	of(masters...)(&o)
	r.Apply(o)
	masters[1].next().answer([]byte("from the cluster"))
	q.hears("from the cluster")
	a.answer([]byte("from the one"))
	p.hears("from the one")
	until(t, "the one to be left", func() bool { return len(r.Stats().Peers) == 3 })
	o.Masters = nil
	o.Master.Address = masters[2].addr
	r.Apply(o)
	r.turned()
	p.send(envelope(0, says(id, "one master again")))
	masters[2].next().answer([]byte("done"))
	p.hears("done")
	until(t, "the others to be left", func() bool { return len(r.Stats().Peers) == 1 })
	r.consistent()
}

// TestOneMasterHangs: a broker below has the requests of minions of all masters, and those of one that hangs do not stop
// the others; FORGET finds them wherever they are.
func TestOneMasterHangs(t *testing.T) {
	masters := newMasters(t, 2)
	masters[1].script = func(a *ask) { a.answer([]byte("done")) }
	top := startCluster(t, masters, places(4))
	top.connected()
	bottom := behind(t, masters[1], top, places(200))
	bottom.connected()
	hang, live := idsOf(0, 2, 20), idsOf(1, 2, 20)
	var hanging []*peer
	for _, id := range hang {
		p := dial(t, bottom, as{minor: 1})
		p.send(envelope(0, says(id, "is not answered")))
		p.ping("and it is next")
		hanging = append(hanging, p)
	}
	top.waiting(18) // the others are its share
	for _, id := range live {
		p := dial(t, bottom, as{})
		p.send(envelope(0, says(id, "is answered")))
		p.hears("done")
	}
	top.consistent()
	for _, p := range hanging[:10] { // two of them are at the master
		p.leave()
	}
	top.waiting(10)
	top.consistent()
	top.SetHealthy("a", false)
	for _, p := range hanging[10:] {
		p.hears("done")
	}
	if _, _, total := masters[0].counts(); total != 2 {
		t.Errorf("the master that hangs has got %d requests", total)
	}
	top.balanced()
	top.consistent()
}

// TestGivenUpAtPeers: what its minion has given up is forgotten at a broker above, whichever of several that is, also when
// the request has come through a broker below.
func TestGivenUpAtPeers(t *testing.T) {
	m := absentMaster(t)
	tops := []*running{start(t, m), start(t, m)}
	peers := []*saltMaster{{addr: tops[0].Addr().String()}, {addr: tops[1].Addr().String()}}
	middle := start(t, m, of(peers...), func(o *Options) { o.MoveAfter = patience })
	middle.connected()
	bottom := behind(t, m, middle)
	bottom.connected()
	for i, top := range tops {
		for _, below := range []*running{middle, bottom} {
			before := top.Stats().Forgotten
			p := dial(t, below, as{})
			p.send(envelope(0, says(idsOf(i, 2, 1)[0], "is given up")))
			top.waiting(1)
			p.leave()
			until(t, "it to be forgotten", func() bool { s := top.Stats(); return s.Forgotten == before+1 && s.Waiting == 0 })
			middle.settled()
			below.settled()
		}
	}
}

// TestAskedAnewAtAnotherPeer: what a minion has asked before is forgotten at a broker above when it asks anew, also where
// that is not the broker at which its first request was.
func TestAskedAnewAtAnotherPeer(t *testing.T) {
	m := absentMaster(t)
	tops := []*running{start(t, m), start(t, m)}
	peers := []*saltMaster{{addr: tops[0].Addr().String()}, {addr: tops[1].Addr().String()}}
	middle := start(t, m, of(peers...), func(o *Options) { o.MoveAfter = patience })
	middle.connected()
	p := dial(t, middle, as{})
	for step, at := range []int{0, 1, 0} {
		p.send(envelope(0, says(idsOf(at, 2, 1)[0], fmt.Sprint("step ", step))))
		tops[at].waiting(1)
		other := tops[1-at]
		until(t, "what was asked before to be forgotten", func() bool {
			return other.Stats().Waiting == 0 && other.Stats().Forgotten == uint64((step+1)/2) && middle.Stats().InFlight == 1
		})
	}
	middle.consistent()
}

// TestTraceOfACluster: a broker says how many peers it has, and how many of them serve; one that is left is none of them.
func TestTraceOfACluster(t *testing.T) {
	masters := newMasters(t, 3)
	r := startCluster(t, masters, places(2))
	r.connected()
	p := dial(t, r, as{minor: 1})
	wants := func(peers, serving int) {
		t.Helper()
		r.turned()
		p.send(AppendTrace(nil))
		if h := p.traced(1)[0]; h.Peers != peers || h.Serving != serving || h.Next != NextMaster {
			t.Errorf("%+v, want %d of %d", h, serving, peers)
		}
	}
	wants(3, 3)
	r.SetHealthy("b", false)
	wants(3, 2)
	r.fill(masters[0], idsOf(0, 3, 1)) // so it is not left at once
	o := r.options
	o.Masters = o.Masters[1:]
	r.Apply(o)
	wants(2, 1)
	o.Masters = o.Masters[1:]
	r.Apply(o)
	wants(0, 0)
}

// TestNobodyIsOvertakenBeyondAShare: with more places what comes now waits behind what has waited beyond the share until now.
func TestNobodyIsOvertakenBeyondAShare(t *testing.T) {
	masters := newMasters(t, 2)
	r := startCluster(t, masters, places(2))
	r.connected()
	broker, id := dial(t, r, as{socket: "DEALER"}), idsOf(0, 2, 1)[0]
	broker.send(envelope(1, says(id, "at the master")))
	first := masters[0].next()
	broker.send(envelope(1, says(id, "beyond its share")))
	r.waiting(1)
	o := r.options
	o.MaxInFlight = 20
	r.Apply(o)
	r.turned()
	broker.send(envelope(1, says(id, "asked later")))
	r.waiting(2)
	first.answer([]byte("done"))
	for _, want := range []string{"beyond its share", "asked later"} {
		a := masters[0].next()
		if got := a.text(); got != want {
			t.Errorf("the master gets %q, want %q", got, want)
		}
		a.answer([]byte("done"))
	}
	r.balanced()
	r.consistent()
}

// TestPeerIsBackBeforeItIsLeft: a peer that a reload puts in again while it answers what it had is another one from then on,
// with links of its own, and does what it is told.
func TestPeerIsBackBeforeItIsLeft(t *testing.T) {
	masters := newMasters(t, 2)
	r := startCluster(t, masters, places(2))
	r.connected()
	ids := idsOf(0, 2, 2)
	held := r.fill(masters[0], ids)
	with := r.options
	without := with
	without.Masters = with.Masters[1:]
	r.Apply(without)
	r.turned()
	r.Apply(with)
	if peers := r.Stats().Peers; len(peers) != 3 || !peers[0].Leaving || peers[0].InFlight != 2 || peers[2].Name != "a" || peers[2].Leaving {
		t.Errorf("%+v", peers)
	}
	until(t, "its links", func() bool { s := r.Stats(); return len(s.Peers) == 3 && len(downLinks(s.Peers[2].Links)) == 0 })
	r.turned()
	p := dial(t, r, as{})
	p.send(envelope(0, says(ids[0], "new"))) // there are places: those of before are the other one's
	masters[0].next().answer([]byte("from it"))
	p.hears("from it")
	r.SetHealthy("a", false)
	r.turned()
	p.send(envelope(0, says(ids[0], "while it is down")))
	masters[1].next().answer([]byte("from the other"))
	p.hears("from the other")
	for _, a := range held {
		a.answer([]byte("what it had"))
	}
	until(t, "it to be left", func() bool { return len(r.Stats().Peers) == 2 })
	if s := r.Stats(); s.LostWithLink != 0 || s.Unwanted != 0 {
		t.Errorf("%+v", s)
	}
	r.consistent()
}

// consistent checks on each loop that what is counted is what there is.
func (r *running) consistent() {
	r.t.Helper()
	for i := range r.lanes {
		r.onLoop(i, func(l *lane) { checkLane(r.t, l) })
	}
}

func checkLane(tb testing.TB, l *lane) {
	tb.Helper()
	type has struct{ waiting, queued, flying int }
	ways := map[*way]has{}
	l.loop.Each(eachMinion(func(m *minion) {
		mine := map[*way]has{}
		first := map[*way]*request{}
		for r := m.first; r != nil; r = r.after {
			if r.link != r.link.way.linkFor(r.size) {
				tb.Errorf("a request of %d bytes is for the wrong link", r.msg.size())
			}
			h := mine[r.link.way]
			h.waiting++
			if r.queued {
				h.queued++
			} else if first[r.link.way] == nil {
				first[r.link.way] = r
			}
			mine[r.link.way] = h
		}
		for _, w := range l.ways {
			for i := range w.flights.table {
				if p := &w.flights.table[i]; p.link != nil && p.minion == m.conn.Ref() {
					h := mine[w]
					h.flying++
					mine[w] = h
				}
			}
			c := m.claim(w)
			if int(c.queued) != mine[w].queued || int(c.flying) != mine[w].flying || c.beyond != first[w] {
				tb.Errorf("a claim is %+v at %s, there are %+v and first beyond is %p", *c, w.member.name, mine[w], first[w])
			}
			if c.beyond != nil && c.queued+c.flying < w.share {
				tb.Errorf("a minion has %d requests in the queue and %d at the master, and others wait for its share of %d", c.queued, c.flying, w.share)
			}
		}
		for w, h := range mine {
			sum := ways[w]
			sum.waiting, sum.queued, sum.flying = sum.waiting+h.waiting, sum.queued+h.queued, sum.flying+h.flying
			ways[w] = sum
			if !slices.Contains(l.ways, w) {
				tb.Errorf("requests are on a way that has been left: %+v", h)
			}
		}
	}))
	for _, w := range l.ways {
		h := ways[w]
		if n := w.ordinary.queue.length + w.bulk.queue.length; n != h.queued || int(w.waiting.Load()) != h.waiting {
			tb.Errorf("%s: %d in the queue and %d wait, the minions have %+v", w.member.name, n, w.waiting.Load(), h)
		}
		if n := w.ordinary.order.length + w.bulk.order.length; n != int(w.inFlight.Load()) {
			tb.Errorf("%s: %d flights, %d counted", w.member.name, n, w.inFlight.Load())
		}
		if w.leaving && h.waiting > 0 {
			tb.Errorf("%d requests wait for %s, which is left", h.waiting, w.member.name)
		}
	}
}

// TestPeersComeAndGo has everything happen in any order: peers are told to be unhealthy, cut, taken out and put in, minions
// of many ids ask and leave. Who stays gets an answer or has been at a peer that was lost; nothing stays behind.
func TestPeersComeAndGo(t *testing.T) {
	t.Parallel()
	const n, steps = 4, 300
	random := rand.New(rand.NewPCG(7, 11))
	masters := newMasters(t, n)
	for _, m := range masters {
		m.script = func(a *ask) { go echo(a) } // in any order
	}
	r := startCluster(t, masters, loops(2), places(6), func(o *Options) { o.MoveAfter = time.Millisecond })
	out := map[int]bool{}
	peers := map[*peer]bool{}
	for step := range steps {
		switch random.IntN(12) {
		case 0:
			r.SetHealthy(nameOf(random.IntN(n)), random.IntN(2) == 0)
		case 1:
			masters[random.IntN(n)].cut()
		case 2:
			i := random.IntN(n)
			if out[i] = !out[i]; out[0] && out[1] && out[2] && out[3] {
				out[i] = false
			}
			o := r.options
			of(masters...)(&o)
			o.MoveAfter = time.Millisecond
			o.Masters = slices.DeleteFunc(o.Masters, func(p Peer) bool { return out[int(p.Name[0]-'a')] })
			r.Apply(o)
		case 3:
			for p := range peers {
				p.leave()
				delete(peers, p)
				break
			}
		default:
			p := dial(t, r, as{socket: []string{"REQ", "DEALER"}[step%2], minor: 1})
			for range 1 + 30*(step%2) {
				p.send(envelope(step%2, says(fmt.Sprint("minion-", random.IntN(1000)), fmt.Sprint("step ", step))))
			}
			peers[p] = true
		}
		if step%10 == 0 {
			r.consistent()
		}
	}
	for i := range n {
		r.SetHealthy(nameOf(i), true)
	}
	until(t, "nothing to be under way", func() bool { s := r.Stats(); return s.Waiting+s.InFlight == 0 })
	r.balanced()
	r.consistent()
	until(t, "those that were left to be gone", func() bool {
		return !slices.ContainsFunc(r.Stats().Peers, func(p PeerStats) bool { return p.Leaving })
	})
	for _, m := range r.members {
		for lane, want := range partsOf(near(r.options.MaxInFlight), len(r.lanes)) {
			until(t, "all credit", func() bool { return m.credit.accounts[lane].free.Load() == want })
		}
	}
	for p := range peers {
		p.leave()
	}
	until(t, "all to leave", func() bool { return r.Stats().Minions == 0 })
	for i := range r.lanes {
		r.onLoop(i, func(l *lane) {
			if len(l.claims) != 0 {
				t.Errorf("%d claims stay", len(l.claims))
			}
		})
	}
}

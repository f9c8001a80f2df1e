package pubproxy

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/internal/merge"
)

// twoRoads starts a proxy with two roads to what is one master for it, and a minion.
func twoRoads(t *testing.T, change func(o *Options)) (p *Proxy, a, b *publisher, minion *subscriber) {
	t.Helper()
	a, b = newPublisher(t), newPublisher(t)
	p = start(t, a.address(), func(o *Options) {
		o.Paths, o.Hold = []string{a.address(), b.address()}, time.Hour
		if change != nil {
			change(o)
		}
	})
	a.expect("link")
	b.expect("link")
	minion = connect(t, p, 1, "")
	a.expect("+")
	b.expect("+")
	return p, a, b, minion
}

// of is a message of the one master, several or none.
func of(n ...int) (all []byte) {
	for _, i := range n {
		all = append(all, message("", i, 100)...)
	}
	return all
}

// became waits until what has become of a road's publishes is what done says.
func became(t *testing.T, p *Proxy, of *publisher, what string, done func(c merge.Counts) bool) {
	t.Helper()
	eventually(t, p, what, func(s Stats) bool {
		i := slices.IndexFunc(s.Roads, func(r RoadStats) bool { return r.Link.Master == of.address() })
		return i >= 0 && done(s.Roads[i].Publishes)
	})
}

func TestRoads(t *testing.T) {
	p, a, b, minion := twoRoads(t, nil)
	a.send(of(1))
	became(t, p, a, "1 waits for b", func(c merge.Counts) bool { return c.Held == 1 })
	b.send(of(1, 2))
	minion.expect(of(1, 2))
	a.send(of(2, 3))
	minion.expect(of(3))
	b.send(of(3))
	became(t, p, b, "all three", func(c merge.Counts) bool { return c.First+c.Repeated == 3 && c.Placed && c.Behind == 0 })

	// Cut, with 4 and 5 lost, and back: 6 must not overtake what b carries.
	a.drop()
	a.expect("link", "+")
	a.send(of(6, 7))
	became(t, p, a, "6 and 7 wait", func(c merge.Counts) bool { return c.Held == 2 && !c.Placed })
	b.send(of(4, 5))
	minion.expect(of(4, 5))
	b.send(of(6, 7, 8))
	minion.expect(of(6, 7, 8))
	a.send(of(8, 9))
	minion.expect(of(9))

	// One goes, and the other goes on.
	_ = b.listener.Close()
	b.drop()
	eventually(t, p, "b is gone", func(s Stats) bool { return !s.Roads[1].Link.Connected })
	a.send(of(10))
	minion.expect(of(10))
	eventually(t, p, "all is counted", func(s Stats) bool { return s.Deliveries == 10 }) // after the minion has it
	s := p.Stats()
	if !s.Master.Connected || s.Master.Master != a.address() || s.Publishes != 10 {
		t.Errorf("%+v", s)
	}
	var all merge.Counts
	for _, r := range s.Roads {
		all = all.After(r.Publishes)
	}
	if want := (merge.Counts{First: 10, Repeated: 6}); all != want {
		t.Errorf("%+v, want %+v", all, want)
	}
	former := Stats{Roads: slices.Clone(s.Roads)}
	if twice := s.After(former); twice.Roads[0].Publishes.First != 2*s.Roads[0].Publishes.First {
		t.Errorf("%+v", twice.Roads)
	}
}

// TestRoadsHold: what waits for a road that says nothing goes out after the hold, and what that brings then is dropped, and
// said.
func TestRoadsHold(t *testing.T) {
	said := &warnings{}
	p, a, b, minion := twoRoads(t, func(o *Options) {
		o.Hold = 20 * time.Millisecond
		log := logrus.New()
		log.SetOutput(said)
		o.Log = log
	})
	a.send(of(1))
	minion.expect(of(1))
	b.send(of(0, 1))
	became(t, p, b, "0 is too late", func(c merge.Counts) bool { return c.Late == 1 && c.Repeated == 1 })
	b.send(of(2))
	minion.expect(of(2))
	if text := said.text(p); !bytes.Contains(text, []byte("came too late over one path")) || !bytes.Contains(text, []byte("late=1")) {
		t.Errorf("the log says %s", text)
	}
	a.send(of(3))
	minion.expect(of(3))
	b.send(of(100, 3))
	became(t, p, b, "the next one is too late", func(c merge.Counts) bool { return c.Late == 2 })
	if text := said.text(p); bytes.Count(text, []byte("came too late")) != 1 {
		t.Errorf("the log says it more than once a minute: %s", text)
	}

	_ = a.listener.Close()
	a.drop()
	eventually(t, p, "b is the one", func(s Stats) bool {
		return !s.Roads[0].Link.Connected && s.Master.Connected && s.Master.Master == b.address()
	})
}

// warnings is where a log goes that belongs to the publish loop.
type warnings struct{ bytes.Buffer }

func (w *warnings) text(p *Proxy) []byte {
	text := make(chan []byte)
	p.upstream.loop.Post(func() { text <- bytes.Clone(w.Bytes()) })
	return <-text
}

// TestRoadsFull: a road is not read from when too much of it waits, and nothing is lost by that.
func TestRoadsFull(t *testing.T) {
	p, a, b, minion := twoRoads(t, func(o *Options) { o.HeartbeatInterval, o.HeartbeatTimeout = time.Hour, time.Hour })
	const size, count = 1 << 20, 24
	var all []byte
	for i := range count {
		all = append(all, message("", i, size)...)
	}
	var sending sync.WaitGroup
	sending.Go(func() { a.send(all) })
	most := merge.HeldBytes/size + 1
	became(t, p, a, "much waits", func(c merge.Counts) bool { return c.Held >= most-1 })
	paused := make(chan bool)
	p.upstream.loop.Post(func() { paused <- p.upstream.first.roads[0].full })
	if held := p.Stats().Roads[0].Publishes.Held; !<-paused || held > most {
		t.Errorf("%d are held", held)
	}
	sending.Go(func() { b.send(all) })
	minion.expect(all)
	sending.Wait()
	a.send(of(99))
	minion.expect(of(99))
}

// TestApplyRoads: roads come and go with the configuration; those that stay keep their links.
func TestApplyRoads(t *testing.T) {
	a, b, c := newPublisher(t), newPublisher(t), newPublisher(t)
	p := start(t, a.address(), nil)
	a.expect("link")
	minion := connect(t, p, 1, "")
	a.expect("+")
	a.send(of(1))
	minion.expect(of(1))
	if s := p.Stats(); len(s.Roads) != 1 || s.Roads[0].Publishes != (merge.Counts{}) {
		t.Errorf("%+v", s.Roads)
	}

	o := p.options
	o.Hold, o.Paths = time.Hour, []string{b.address(), a.address()}
	p.Apply(o)
	b.expect("link", "+")
	a.send(of(2))
	b.send(of(2, 3))
	minion.expect(of(2, 3))

	o.Paths = []string{b.address(), c.address()}
	p.Apply(o)
	c.expect("link", "+")
	b.send(of(4))
	c.send(of(4, 5))
	minion.expect(of(4, 5))

	o.Paths = []string{c.address()}
	p.Apply(o)
	eventually(t, p, "only c", func(s Stats) bool { return len(s.Roads) == 1 && s.Roads[0].Link.Master == c.address() })
	eventually(t, p, "b is left", func(Stats) bool {
		return !p.feeds.all[0].list()[0].link.State().Connected || !p.feeds.all[0].list()[1].link.State().Connected
	})
	c.send(of(6))
	minion.expect(of(6))

	o.Paths = []string{c.address(), a.address()}
	p.Apply(o)
	a.expect("link", "+")
	c.send(of(7, 8))
	minion.expect(of(7, 8))
	o.Paths = []string{c.address(), a.address(), b.address()}
	p.Apply(o)
	b.expect("link", "+")
	a.send(of(7, 8))
	b.send(of(8, 9))
	c.send(of(8, 9))
	minion.expect(of(9))
	for i, publisher := range []*publisher{a, b, c} {
		select {
		case got := <-publisher.events:
			t.Errorf("publisher %d hears %q", i, got)
		default:
		}
	}
	if s := p.Stats(); s.Publishes != 9 || s.Minions != 1 || len(p.feeds.all[0].list()) != 3 {
		t.Errorf("%+v", s)
	}
}

// TestApplyRoadsToAnotherMaster: what a road of the master before has brought and what waits for another road of it goes
// out first, and what the roads of the other one bring does not wait for that.
func TestApplyRoadsToAnotherMaster(t *testing.T) {
	p, a, b, minion := twoRoads(t, nil)
	a.send(of(1))
	b.send(of(1))
	minion.expect(of(1))
	b.drop()
	b.expect("link", "+")
	b.send(of(2))
	became(t, p, b, "it waits", func(c merge.Counts) bool { return c.Held == 1 })

	c, d := newPublisher(t), newPublisher(t)
	o := p.options
	o.Paths = []string{c.address(), d.address()}
	p.Apply(o)
	minion.expect(of(2))
	c.expect("link", "+")
	d.expect("link", "+")
	c.send(of(3, 4))
	d.send(of(3, 4, 5))
	c.send(of(5, 6))
	minion.expect(of(3, 4, 5, 6))
}

// TestRoadsAstray: a road that brings nothing while others bring more than is remembered is dialed anew, and goes on.
func TestRoadsAstray(t *testing.T) {
	p, a, b, minion := twoRoads(t, nil)
	a.send(of(1))
	b.send(of(1))
	minion.expect(of(1))
	const batch = 1 << 10
	var last int
	for n := 2; n < merge.Window+3; n += batch {
		var all []byte
		for i := range batch {
			last = n + i
			all = append(all, of(last)...)
		}
		a.send(all)
		minion.expect(all)
	}
	b.expect("link", "+")
	b.send(of(last + 1))
	became(t, p, b, "the next one waits", func(c merge.Counts) bool { return c.Held == 1 && c.Behind == 0 })
	a.send(of(last+1, last+2))
	minion.expect(of(last+1, last+2))
	eventually(t, p, "b is said to be left", func(s Stats) bool {
		return s.Roads[1].Link.Connections == 2 && errors.Is(s.Roads[1].Link.LastError, errAstray)
	})
}

package retproxy

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"salt-broker/internal/zmtp"
)

func places(n int) func(*Options)               { return func(o *Options) { o.MaxInFlight = n } }
func loops(n int) func(*Options)                { return func(o *Options) { o.Loops = n } }
func deadline(d time.Duration) func(o *Options) { return func(o *Options) { o.RequestDeadline = d } }

func (r *running) waiting(n int) {
	r.t.Helper()
	until(r.t, fmt.Sprintf("%d waiting", n), func() bool { return r.Stats().Waiting == n })
}

func (r *running) inFlight(n int) {
	r.t.Helper()
	until(r.t, fmt.Sprintf("%d at the master", n), func() bool { return r.Stats().InFlight == n })
}

// connected waits until all links are up.
func (r *running) connected() {
	r.t.Helper()
	for i := range r.lanes {
		until(r.t, "links", func() (up bool) {
			r.onLoop(i, func(l *lane) {
				up = true
				for k := range l.links() {
					up = up && k.conn != nil
				}
			})
			return up
		})
	}
}

// TestForgetsWhatNobodyWaitsFor: an outage must not become a flood.
func TestForgetsWhatNobodyWaitsFor(t *testing.T) {
	m := absentMaster(t)
	r := start(t, m, loops(2))
	const n = 500
	var wg sync.WaitGroup
	for worker := range 10 {
		wg.Go(func() {
			for i := range n / 10 {
				p, err := connect(t, r, as{minor: byte(i % 2)})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := p.nc.Write(envelope(0, fmt.Appendf(nil, "stale %d/%d", worker, i))); err != nil {
					t.Error(err)
				}
				// The PONG says that the request has been read.
				if _, err := p.nc.Write(zmtp.AppendPing(nil, 0, nil)); err != nil {
					t.Error(err)
				}
				for len(p.pongs) == 0 {
					if err := p.read(); err != nil {
						t.Error(err)
						return
					}
				}
				p.close()
			}
		})
	}
	patient := dial(t, r, as{})
	patient.asks("still here")
	wg.Wait()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%+v", r.Stats())
		}
	})
	until(t, "them to be forgotten", func() bool { return r.Stats().Forgotten == n })
	r.waiting(1)

	m.open()
	a := m.next()
	if string(a.body()) != "still here" {
		t.Fatalf("the master gets %q", a.body())
	}
	a.answer([]byte("welcome"))
	patient.hears("welcome")
	if _, _, total := m.counts(); total != 1 {
		t.Errorf("the master got %d requests, want 1", total)
	}
	r.balanced()
	checkCredit(t, r)
}

func TestMaxInFlightIsNeverExceeded(t *testing.T) {
	for _, places := range []int{1, 2, 3} {
		for _, loops := range []int{1, 2, 4} {
			t.Run(fmt.Sprintf("%d places, %d loops", places, loops), func(t *testing.T) {
				m := newMaster(t)
				r := start(t, m, func(o *Options) { o.MaxInFlight, o.Loops = places, loops })
				stop := make(chan struct{})
				var workers sync.WaitGroup
				defer workers.Wait()
				defer close(stop)
				workers.Go(func() { // holds as many as it can get before it answers one, or the oldest after a moment
					var held []*ask
					for {
						var idle <-chan time.Time
						if len(held) > 0 {
							idle = time.After(time.Millisecond)
						}
						select {
						case a := <-m.asked:
							held = append(held, a)
							if len(held) < places {
								continue
							}
						case <-idle:
						case <-stop:
							return
						}
						held[0].answer(held[0].body())
						held = held[1:]
					}
				})
				var minions sync.WaitGroup
				for i := range 12 {
					minions.Go(func() {
						p, err := connect(t, r, as{})
						if err != nil {
							t.Error(err)
							return
						}
						defer p.close()
						for n := range 10 {
							msg := envelope(0, fmt.Append(nil, i, n))
							if _, err := p.nc.Write(msg); err != nil {
								t.Error(err)
								return
							}
							if got, err := p.message(); err != nil || !bytes.Equal(got, msg) {
								t.Errorf("minion %d got %q, %v; want %q", i, got, err, msg)
								return
							}
						}
					})
				}
				minions.Wait()
				if _, most, total := m.counts(); most > places || total != 120 {
					t.Errorf("%d of %d at the master at a time, want at most %d of 120", most, total, places)
				}
				r.balanced()
				checkCredit(t, r)
			})
		}
	}
}

// onLane connects a minion that the kernel gives to this lane.
func onLane(t *testing.T, r *running, lane int, who as) *peer {
	t.Helper()
	for {
		before := r.lanes[lane].minions.Load()
		p := dial(t, r, who)
		if r.lanes[lane].minions.Load() > before {
			return p
		}
		all := r.Stats().Minions
		p.leave()
		until(t, "it to leave", func() bool { return r.Stats().Minions == all-1 })
	}
}

// TestCreditBetweenLanes: one lane may have all places, and gives them back when the other wants its own.
func TestCreditBetweenLanes(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, places(4), loops(2))
	var busy []*peer
	for range 6 {
		p := onLane(t, r, 0, as{})
		p.asks("busy")
		busy = append(busy, p)
	}
	var held []*ask
	for range 4 {
		held = append(held, m.next())
	}
	r.waiting(2)
	other := onLane(t, r, 1, as{minor: 1})
	other.asks("other")
	r.waiting(3)

	held[0].answer(nil) // own or borrowed: the busy lane may be served or the other; two at most come before it
	for i := 1; ; i++ {
		a := m.next()
		if string(a.body()) == "other" {
			a.answer([]byte("at last"))
			break
		}
		held = append(held, a)
		if i > 2 {
			t.Fatal("the lane does not get its own credit back")
		}
		held[i].answer(nil)
	}
	other.hears("at last")
	for r.Stats().Replies < 7 {
		for _, a := range held {
			a.answer(nil)
		}
		held = nil
		if r.Stats().InFlight > 0 {
			select {
			case a := <-m.asked:
				held = append(held, a)
			default:
			}
		}
	}
	for _, p := range busy {
		p.hears("")
	}
	r.balanced()
	checkCredit(t, r)
}

// TestLeavingFreesCreditOfOthers: a lane whose waiting minions have left lends again, without anything else happening.
func TestLeavingFreesCreditOfOthers(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, places(2), loops(2))
	holder := onLane(t, r, 0, as{})
	holder.asks("holds the credit of lane 0")
	first := m.next()
	borrower := onLane(t, r, 0, as{})
	borrower.asks("holds the credit of lane 1")
	second := m.next()
	leaver := onLane(t, r, 1, as{})
	leaver.asks("wants it back")
	r.waiting(1)
	leaver.leave()
	until(t, "it to be forgotten", func() bool { return r.Stats().Forgotten == 1 })
	second.answer(nil)
	borrower.hears("")
	borrower.asks("again")
	a := m.next() // lane 1 is not hungry any more
	a.answer(nil)
	borrower.hears("")
	first.answer(nil)
	holder.hears("")
	m.nothing()
	checkCredit(t, r)
}

func TestPlaceIsFreedByTheDeadline(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, places(1), deadline(500*time.Millisecond))
	one, two := dial(t, r, as{}), dial(t, r, as{})
	one.asks("swallowed")
	swallowed := m.next()
	two.asks("after it")
	a := m.next() // only the deadline can have made room
	if s := r.Stats(); s.Overdue != 1 || s.Late != 0 {
		t.Errorf("%+v", s)
	}
	swallowed.answer([]byte("late"))
	one.hears("late")
	a.answer([]byte("in time or not"))
	two.hears("in time or not")
	until(t, "the late one to be counted", func() bool { return r.Stats().Late >= 1 })
	r.balanced()
	checkCredit(t, r)
}

func TestPlaceIsFreedByTheLossOfTheLink(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, places(2))
	one, two := dial(t, r, as{}), dial(t, r, as{})
	one.asks("lost")
	two.asks("lost")
	m.next()
	m.next()
	m.cut()
	until(t, "the loss", func() bool { return r.Stats().LostWithLink == 2 })
	one.asks("again") // its connection is still there
	a := m.next()
	if string(a.body()) != "again" {
		t.Errorf("the broker sends %q again", a.body())
	}
	a.answer([]byte("yes"))
	one.hears("yes")
	r.balanced()
	checkCredit(t, r)
	m.nothing()
}

// TestPlaceIsNotFreedByLeaving: the master works for a minion that has left all the same.
func TestPlaceIsNotFreedByLeaving(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, places(1))
	leaver, other := dial(t, r, as{}), dial(t, r, as{minor: 1})
	leaver.asks("first")
	first := m.next()
	leaver.leave()
	until(t, "it to leave", func() bool { return r.Stats().Minions == 1 })
	other.asks("second")
	other.ping("read")
	r.waiting(1)
	if s := r.Stats(); s.InFlight != 1 {
		t.Errorf("%d at the master, want 1", s.InFlight)
	}
	m.nothing()
	first.answer(nil)
	m.next().answer([]byte("your turn"))
	other.hears("your turn")
	if s := r.Stats(); s.Unwanted != 1 || s.Forgotten != 0 {
		t.Errorf("%+v", s)
	}
	checkCredit(t, r)
}

// TestTurnsOfThoseWhoAskForSeveral: newest first, a broker with its many minions and those who ask for themselves have turns,
// so neither keeps the other waiting for as long as there is too much to do.
func TestTurnsOfThoseWhoAskForSeveral(t *testing.T) {
	m := newMaster(t)
	const all = 8 // a connection may have half of them
	r := start(t, m, places(all))
	var busy []*ask
	for range all {
		dial(t, r, as{}).asks("busy")
		busy = append(busy, m.next())
	}
	broker := dial(t, r, as{socket: "DEALER"})
	for i := range all / 2 {
		broker.send(envelope(0, fmt.Appendf(nil, "broker %d", i)))
	}
	r.waiting(4)
	for i := range 3 {
		dial(t, r, as{}).asks(fmt.Sprint("minion ", i))
		r.waiting(5 + i)
	}
	r.onLoop(0, func(l *lane) {
		q := &l.ways[0].ordinary.queue
		for _, line := range []*line{&q.direct, &q.several} {
			for r := line.oldest; r != nil; r = r.next {
				r.since -= 2 * freshFor
			}
		}
	})
	var got []string
	for _, a := range busy[:7] {
		a.answer([]byte("done"))
		got = append(got, string(m.next().body()))
	}
	if want := "[broker 3 minion 2 broker 2 minion 1 broker 1 minion 0 broker 0]"; fmt.Sprint(got) != want {
		t.Errorf("served %v, want %v", got, want)
	}
}

// TestFloodKeepsNobodyWaiting: one connection has its share and no more.
func TestFloodKeepsNobodyWaiting(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, places(4))
	flood := dial(t, r, as{socket: "DEALER", minor: 1})
	flood.send(bytes.Repeat(envelope(2, []byte("flood")), 300))
	flood.ping("read")
	r.inFlight(2)
	minion := dial(t, r, as{})
	minion.asks("hello")
	for range 2 {
		if a := m.next(); string(a.body()) != "flood" {
			t.Fatalf("the master gets %q", a.body())
		}
	}
	if a := m.next(); string(a.body()) != "hello" {
		t.Fatal("the minion waits although there is a place")
	}
	r.waiting(298)
}

// TestFloodsKeepNobodyWaitingInOverload: two floods have all places and requests waiting when the newest go first.
// Who asks once must be served all the same.
func TestFloodsKeepNobodyWaitingInOverload(t *testing.T) {
	t.Parallel()
	m := newMaster(t)
	r := start(t, m, places(2))
	for range 2 {
		flood := dial(t, r, as{socket: "DEALER", minor: 1})
		flood.send(bytes.Repeat(envelope(2, []byte("flood")), 50))
		flood.ping("read")
	}
	held := []*ask{m.next(), m.next()}
	minion := dial(t, r, as{minor: 1})
	minion.asks("hello")
	minion.ping("read")
	asked := time.Now()
	until(t, "the request to be old", func() bool { return time.Since(asked) > freshFor+100*time.Millisecond })
	for n := 0; ; n++ {
		held[n].answer(nil)
		a := m.next()
		if string(a.body()) == "hello" {
			return
		}
		if held = append(held, a); n == 3 {
			t.Fatal("the floods have every turn")
		}
	}
}

// TestReadingPauses: who sends without end is not read without end, and loses nothing.
func TestReadingPauses(t *testing.T) {
	m := absentMaster(t)
	m.script = echo
	r := start(t, m)
	flood := dial(t, r, as{socket: "DEALER"})
	const n = 5000
	msg := envelope(0, bytes.Repeat([]byte("x"), 400))
	go func() { _, _ = flood.nc.Write(bytes.Repeat(msg, n)) }()
	most := maxHeldRequests + 64<<10/len(msg) + 1
	until(t, "reading to pause", func() bool {
		paused := false
		r.onLoop(0, func(l *lane) {
			l.loop.Each(eachMinion(func(m *minion) { paused = m.paused }))
		})
		return paused
	})
	if s := r.Stats(); s.Waiting < maxHeldRequests || s.Waiting > most {
		t.Errorf("%d wait, want %d to %d", s.Waiting, maxHeldRequests, most)
	}
	m.open()
	for range n {
		flood.expect(msg)
	}
	r.balanced()
	checkCredit(t, r)
}

// TestLargeDoesNotHoldUpSmall: the master does not read on from a link on which a large request is half read.
func TestLargeDoesNotHoldUpSmall(t *testing.T) {
	m := newMaster(t)
	m.script, m.stuck = echo, make(chan struct{})
	release := sync.OnceFunc(func() { close(m.stuck) })
	defer release()
	r := start(t, m)
	large, small := dial(t, r, as{}), dial(t, r, as{})
	msg := envelope(0, make([]byte, 20<<20))
	sent := make(chan error, 1)
	go func() { _, err := large.nc.Write(msg); sent <- err }()
	r.inFlight(1)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		body := fmt.Sprint("small ", i)
		small.asks(body)
		small.hears(body)
	}
	if s := r.Stats(); s.InFlight != 1 {
		t.Fatal("the large one is not stuck")
	}
	release()
	large.expect(msg)
	checkCredit(t, r)
}

// TestLargeAndSmallTakeTurns: when places are scarce, neither kind gets all of them.
func TestLargeAndSmallTakeTurns(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, places(1))
	r.connected()
	for range 10 {
		p := dial(t, r, as{minor: 1})
		p.asks("small")
		p.ping("read")
	}
	large := dial(t, r, as{minor: 1})
	large.asks(string(make([]byte, bulkBytes)))
	large.ping("read")
	r.waiting(10)
	order := ""
	for range 4 {
		a := m.next()
		order += fmt.Sprint(len(a.body()), " ")
		a.answer(nil)
	}
	if want := fmt.Sprintf("5 %d 5 5 ", bulkBytes); order != want {
		t.Errorf("served %s, want %s", order, want)
	}
}

// TestManySmallInOneTurn: more than may wait on a link is sent on although the master has answered nothing yet.
func TestManySmallInOneTurn(t *testing.T) {
	m := absentMaster(t)
	r := start(t, m, places(4000)) // of which one may have 250
	p := dial(t, r, as{socket: "DEALER", minor: 1})
	const n, size = 200, 8 << 10
	p.send(bytes.Repeat(envelope(0, make([]byte, size)), n))
	p.ping("read")
	r.waiting(n)
	m.open()
	for range n {
		m.next()
	}
	r.inFlight(n)
}

// TestLinkFilledTwiceInATurn: the lane looks at it again after the turn, however often it has looked within.
func TestLinkFilledTwiceInATurn(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, places(4000)) // of which one may have 250
	r.connected()
	p := dial(t, r, as{socket: "DEALER", minor: 1})
	p.ping("read") // so is its READY: until then it may be a REQ, which has one request
	const n, size = 200, 8 << 10
	msg := envelope(0, make([]byte, size))
	r.onLoop(0, func(l *lane) {
		l.loop.Post(l.ways[0].dispatch) // in the next turn it fills the link before the lane is woken
		l.loop.Each(eachMinion(func(m *minion) {
			for range n {
				if err := m.Message(msg); err != nil {
					t.Error(err)
				}
			}
		}))
	})
	for range n {
		m.next()
	}
	r.inFlight(n)
}

// TestPeerThatIsNotReadIsNotSilent: while the proxy reads nothing from a peer it hears no PONG either.
func TestPeerThatIsNotReadIsNotSilent(t *testing.T) {
	t.Parallel()
	m := absentMaster(t)
	r := start(t, m, func(o *Options) { o.HeartbeatInterval, o.HeartbeatTimeout = 50*time.Millisecond, time.Second })
	flood := dial(t, r, as{socket: "DEALER", minor: 1})
	const n = 5000
	msg := envelope(0, bytes.Repeat([]byte("x"), 400))
	go func() { _, _ = flood.nc.Write(bytes.Repeat(msg, n)) }()
	until(t, "reading to pause", func() (paused bool) {
		r.onLoop(0, func(l *lane) { l.loop.Each(eachMinion(func(m *minion) { paused = m.paused })) })
		return paused
	})
	dial(t, r, as{minor: 1}) // answers no PING: the measure of time
	until(t, "a silent peer to go", func() bool { return r.Stats().Ends["heartbeat_timeout"] > 0 })
	if s := r.Stats(); s.Minions != 1 || s.Forgotten != 0 {
		t.Fatalf("%d minions, %d requests forgotten", s.Minions, s.Forgotten)
	}
	m.script = echo
	m.open()
	for range n {
		flood.expect(msg)
	}
	until(t, "it to be watched again", func() bool { return r.Stats().Minions == 0 })
}

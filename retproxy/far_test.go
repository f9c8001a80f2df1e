package retproxy

import (
	"bytes"
	"testing"
	"time"
)

func TestNear(t *testing.T) {
	for total, want := range map[int]int{1: 1, 16: 16, 64: 64, 100: 64, 512: 64, 1600: 200} {
		if got := near(total); got != want {
			t.Errorf("of %d places %d are near ones, want %d", total, got, want)
		}
	}
}

// TestFarPlacesFollowWhatIsAnswered: as many as replies in the time of a round trip, and none before that is known.
func TestFarPlacesFollowWhatIsAnswered(t *testing.T) {
	const ms = time.Millisecond
	f := far{most: 448}
	now := time.Duration(0)
	wanted := false
	replies := func(n int, over, took time.Duration) {
		for range n {
			now += over / time.Duration(n)
			f.reply(now, took, wanted)
		}
	}
	want := func(places int) {
		t.Helper()
		if d := f.places - places; d < -places/20 || d > places/20 {
			t.Errorf("%d places, want %d", f.places, places)
		}
	}
	replies(1000, time.Second, 300*ms)
	want(0) // nothing is known of the way
	f.measured(250 * ms)
	f.measured(100 * ms)
	f.measured(300 * ms) // behind something
	f.measured(-time.Hour)
	replies(1000, time.Second, 300*ms)
	want(100)
	replies(1000, time.Second, 110*ms) // the workers are about to be idle, but more are not asked for
	want(100)
	wanted = true
	replies(50, 50*ms, 110*ms)
	want(150)
	replies(1000, time.Second, 110*ms)
	if f.places < 200 || f.places > 300 {
		t.Errorf("%d places, want twice as many as a trip has replies, and one for each that came since", f.places)
	}
	replies(10000, time.Second, 110*ms)
	want(448)
	replies(10, time.Second, 9000*ms) // the master has become slow
	want(1)
	replies(100, time.Second, 300*ms)
	want(10)
	now += time.Second // nothing comes, and then all of it at once
	replies(100, ms, 300*ms)
	for range 15 {
		replies(1, 10*ms, 300*ms)
		if f.places > 20 {
			t.Errorf("%d places because of a pause", f.places)
		}
	}
	for range 448 {
		f.take()
	}
	if f.taken != f.places {
		t.Errorf("%d of %d places taken", f.taken, f.places)
	}
	taken := f.taken
	f.forget(now)
	replies(1000, time.Second, 110*ms)
	if want(0); f.taken != taken {
		t.Error("what is taken is forgotten")
	}
	f.measured(time.Hour)
	replies(400, 2*time.Second, time.Hour)
	want(100) // 200 a second, half a second at most
}

// TestWayBecomesLonger: that is believed when as many PINGs in a row say so as are remembered, and that it has become
// shorter at once.
func TestWayBecomesLonger(t *testing.T) {
	const ms = time.Millisecond
	var f far
	f.measured(20 * ms)
	for i := range 3 * remembered {
		f.measured(200 * ms)
		if i == remembered || i == 2*remembered { // requests before it
			f.measured(300 * ms)
		}
		if want := 20 * ms; i < remembered-1 && f.trip != want {
			t.Fatalf("after %d PINGs the way takes %v, want %v", i+2, f.trip, want)
		}
		if want := 200 * ms; i >= remembered-1 && f.trip != want {
			t.Fatalf("after %d PINGs the way takes %v, want %v", i+2, f.trip, want)
		}
	}
	f.measured(10 * ms)
	if f.trip != 10*ms {
		t.Errorf("it takes %v, and has become shorter", f.trip)
	}
}

// TestMeasuredAgain: on a link that is never quiet, too, but not by who does not know PING.
func TestMeasuredAgain(t *testing.T) {
	var f far
	f.forget(time.Hour)
	if f.due(2 * time.Hour) {
		t.Error("of one whose PONG has never come")
	}
	f.measured(time.Millisecond)
	pings := 0
	for now := time.Hour; now <= time.Hour+time.Minute; now += time.Millisecond {
		if f.due(now) {
			pings++
		}
	}
	if want := int(time.Minute / again); pings != want {
		t.Errorf("%d PINGs in a minute, want %d", pings, want)
	}

	m := newMaster(t)
	m.script = echo
	r := start(t, m)
	p := dial(t, r, as{})
	pongs := func() uint64 { return r.Stats().MasterBeats.PongsReceived }
	until(t, "the way to be known", func() bool { return pongs() == 2 }) // and that of large requests
	ask := func() { p.asks("something"); p.hears("something") }
	ask()
	r.onLoop(0, func(l *lane) { l.ways[0].far().asked -= again })
	ask()
	until(t, "it to be measured again", func() bool { return pongs() == 3 })
	ask()
	if got := r.Stats().MasterBeats.PingsSent; got != 3 {
		t.Errorf("%d PINGs", got)
	}
}

// TestFarCredit: far places come after a lane's own and before those of others, and are lent to nobody.
func TestFarCredit(t *testing.T) {
	c, log := woken(66, 2)
	for i := range c.accounts {
		if f := &c.accounts[i].far; f.most != 1 {
			t.Fatalf("lane %d may have %d far places, want 1", i, f.most)
		}
	}
	c.accounts[0].far.places = 1
	for range 32 {
		mustTake(t, c, 0, 0)
	}
	mustTake(t, c, 0, farOwner)
	for range 32 {
		mustTake(t, c, 0, 1)
	}
	mustNotTake(t, c, 0)
	mustNotTake(t, c, 1)
	c.wait(1)
	c.give(0, farOwner)
	wantWoken(t, log)
	mustNotTake(t, c, 1)
	mustTake(t, c, 0, farOwner)
	c.accounts[0].far.places = 0
	c.give(0, farOwner)
	mustNotTake(t, c, 0)
}

// TestLongWayHasMorePlaces: to a master that is far away more requests are under way, of one connection too, never more
// than max_in_flight, and all places come back.
func TestLongWayHasMorePlaces(t *testing.T) {
	const n, most = 4000, 200
	m := absentMaster(t)
	m.trip = 50 * time.Millisecond
	m.script = func(a *ask) { time.AfterFunc(m.trip, func() { a.answer(a.body()) }) }
	r := start(t, m, places(most))
	p := dial(t, r, as{socket: "DEALER", minor: 1})
	msg := envelope(0, []byte("hello"))
	sent := make(chan error, 1)
	go func() { _, err := p.nc.Write(bytes.Repeat(msg, n)); sent <- err }()
	m.open()
	for range n {
		p.expect(msg)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if _, got, _ := m.counts(); got <= leastNear || got > most {
		t.Errorf("%d requests were at the master at most, want more than %d and no more than %d", got, leastNear, most)
	}
	r.balanced()
	checkCredit(t, r)
	r.onLoop(0, func(l *lane) {
		if taken := l.ways[0].far().taken; taken != 0 {
			t.Errorf("%d far places have not come back", taken)
		}
	})
}

// TestNewLinkMeasuresAnew: what was known of the way is not believed of another connection.
func TestNewLinkMeasuresAnew(t *testing.T) {
	m := newMaster(t)
	m.trip = time.Millisecond
	r := start(t, m)
	trip := func() (d time.Duration) {
		r.onLoop(0, func(l *lane) { d = l.ways[0].far().trip })
		return d
	}
	until(t, "the way to be known", func() bool { return trip() >= m.trip })
	r.onLoop(0, func(l *lane) { l.ways[0].far().trip = 1 })
	m.cut()
	until(t, "it to be known again", func() bool { return trip() >= m.trip })
}

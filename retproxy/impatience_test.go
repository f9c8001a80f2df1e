package retproxy

import (
	"testing"
	"time"

	"salt-broker/internal/zmtp"
)

func TestImpatience(t *testing.T) {
	const ms = time.Millisecond
	for _, tt := range []struct {
		name            string
		seen, age, trip time.Duration
		want            time.Duration
	}{
		{"nobody has given up", 0, 3 * time.Second, 200 * ms, 0},
		{"there is time for the reply", 5 * time.Second, 4749 * ms, 200 * ms, 0},
		{"the reply would be late", 5 * time.Second, 4751 * ms, 200 * ms, 299 * ms},
		{"about to be given up", 5 * time.Second, 5 * time.Second, 200 * ms, 50 * ms},
		{"of a more patient minion", 5 * time.Second, 5050 * ms, 200 * ms, 0},
		{"the way is not known", 5 * time.Second, 5 * time.Second, 0, 0},
	} {
		var p impatience
		p.at(time.Minute)
		p.at(tt.seen)
		if got := p.left(tt.age, tt.trip); got != tt.want {
			t.Errorf("%s: kept for %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestKeepsWhatWouldBeTooLate: in overload a request that will be given up before its reply can be back is not sent, newer
// ones are, and that of a more patient minion goes a moment later.
func TestKeepsWhatWouldBeTooLate(t *testing.T) {
	const patience, trip, age = 5 * time.Second, 400 * time.Millisecond, 4800 * time.Millisecond
	m := newMaster(t)
	m.trip = time.Millisecond // as it is measured; made longer below
	r := start(t, m, places(1))
	busy := dial(t, r, as{})
	busy.asks("busy")
	first := m.next()

	onLoop := func(fn func(l *lane)) { t.Helper(); r.onLoop(0, fn) }
	waits := func(body string) *peer {
		t.Helper()
		p := dial(t, r, as{})
		p.asks(body)
		p.ping(body)
		return p
	}
	until(t, "the way to be known", func() (known bool) {
		onLoop(func(l *lane) { known = l.ways[0].far().trip > 0 })
		return known
	})
	gaveUp := waits("gave up")
	onLoop(func(l *lane) { l.ways[0].ordinary.queue.pick(0).came -= patience })
	gaveUp.leave()
	r.waiting(0) // and the lane has seen at which age

	impatient, patient := waits("impatient"), waits("patient")
	var from time.Duration
	onLoop(func(l *lane) {
		l.ways[0].far().trip = trip
		from = l.loop.Now()
		for q := l.ways[0].ordinary.queue.direct.oldest; q != nil; q = q.next {
			q.came, q.since = from-age, from-age
		}
	})
	newest := waits("newest")
	first.answer(nil)
	a := m.next()
	if string(a.body()) != "newest" {
		t.Fatalf("the master gets %q", a.body())
	}
	a.answer([]byte("welcome"))
	newest.hears("welcome")
	impatient.leave()
	a = m.next()
	if string(a.body()) != "patient" {
		t.Fatalf("the master gets %q", a.body())
	}
	var sent time.Duration
	onLoop(func(l *lane) { sent = l.ways[0].flights.table[l.ways[0].ordinary.order.first].sent })
	if age+sent-from < patience+trip/4 {
		t.Errorf("it was sent at an age of %v already", age+sent-from)
	}
	a.answer([]byte("welcome"))
	patient.hears("welcome")
	r.balanced()
	checkCredit(t, r)
}

// TestGivingUpIsTheMinions: how old a request was says something about patience when the minion ended the connection, with
// or without manners, or asked anew, and nothing when the broker did.
func TestGivingUpIsTheMinions(t *testing.T) {
	r := start(t, absentMaster(t))
	for name, tt := range map[string]struct {
		minor  byte
		end    func(p *peer)
		gaveUp bool
	}{
		"it leaves":           {1, func(p *peer) { _ = p.nc.Close() }, true},
		"it leaves, ZMTP 3.0": {0, func(p *peer) { _ = p.nc.Close() }, true},
		"it resets":           {1, func(p *peer) { p.leave() }, true},
		"it asks anew":        {1, func(p *peer) { p.asks("anew") }, true},
		"it is refused":       {1, func(p *peer) { p.send(zmtp.AppendFrame(nil, false, []byte("no envelope"))) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := dial(t, r, as{minor: tt.minor})
			p.asks("something")
			r.waiting(1)
			r.onLoop(0, func(l *lane) { l.ways[0].givenUp = impatience{} })
			before := r.Stats().Forgotten
			tt.end(p)
			until(t, "it to be forgotten", func() bool { return r.Stats().Forgotten == before+1 })
			r.onLoop(0, func(l *lane) {
				if gaveUp := l.ways[0].givenUp.age > 0; gaveUp != tt.gaveUp {
					t.Errorf("given up: %v, want %v", gaveUp, tt.gaveUp)
				}
			})
			p.leave()
			r.waiting(0)
		})
	}
}

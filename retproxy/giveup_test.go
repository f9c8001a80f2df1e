package retproxy

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"salt-broker/internal/zmtp"
)

// behind starts a proxy behind another one.
func behind(t *testing.T, m *saltMaster, upper *running, change ...func(*Options)) *running {
	t.Helper()
	towards := func(o *Options) { o.Master.Address = upper.Addr().String() }
	return start(t, m, append(change, towards)...)
}

// settled waits until a proxy has nothing of anybody's any more, and its books add up.
func (r *running) settled() {
	r.t.Helper()
	until(r.t, "nothing to be there", func() bool { s := r.Stats(); return s.Waiting+s.InFlight == 0 })
	r.balanced()
}

// TestGivenUpAtTheBottom: what its minion has given up is not kept at any broker, wherever it waits, and the master never
// sees it. Everybody else is served, also those who had to wait for the others' share.
func TestGivenUpAtTheBottom(t *testing.T) {
	m := absentMaster(t)
	top := start(t, m, places(4), loops(2))
	middle := behind(t, m, top, places(30), loops(2))
	bottom := behind(t, m, middle, places(40), loops(2))
	bottom.connected()
	middle.connected()

	const all, patient = 60, 10
	var minions []*peer
	for i := range all {
		p := dial(t, bottom, as{minor: byte(i % 2)})
		p.asks(fmt.Sprint("request ", i))
		minions = append(minions, p)
	}
	waiting := func() (n int, everywhere bool) {
		a, b, c := top.Stats().Waiting, middle.Stats().Waiting, bottom.Stats().Waiting
		return a + b + c, a > 0 && b > 0 && c > 0
	}
	until(t, "them to wait at all three", func() bool { n, everywhere := waiting(); return n == all && everywhere })
	for _, p := range minions[patient/2 : all-patient/2] {
		p.leave()
	}
	until(t, "them to be forgotten everywhere", func() bool {
		n, _ := waiting()
		return n == patient && bottom.Stats().Forgotten == all-patient // and so all the others know
	})
	for _, r := range []*running{top, middle, bottom} {
		if s := r.Stats(); s.Forgotten == 0 {
			t.Errorf("nothing was forgotten: %+v", s)
		}
		r.balanced()
	}
	m.script = echo
	m.open()
	for i, p := range minions {
		if i < patient/2 || i >= all-patient/2 {
			p.hears(fmt.Sprint("request ", i))
		}
	}
	if _, _, total := m.counts(); total != patient {
		t.Errorf("the master got %d requests, want %d", total, patient)
	}
	for _, r := range []*running{bottom, middle, top} {
		r.settled()
	}
}

// TestShareOfTheForgotten: who waits for the share of what is forgotten gets it.
func TestShareOfTheForgotten(t *testing.T) {
	m := absentMaster(t)
	top := start(t, m, places(2)) // so one request of the broker below is in the queue, the others are not
	bottom := behind(t, m, top)
	bottom.connected()
	var minions []*peer
	for i := range 3 {
		p := dial(t, bottom, as{})
		p.asks(fmt.Sprint("request ", i))
		top.waiting(i + 1)
		minions = append(minions, p)
	}
	minions[0].leave()
	top.waiting(2)
	m.script = echo
	m.open()
	minions[1].hears("request 1")
	minions[2].hears("request 2")
}

// TestAskedAgainIsGivenUpAbove: a REQ that keeps its connection gives up by asking again (ZMQ_REQ_RELAXED).
func TestAskedAgainIsGivenUpAbove(t *testing.T) {
	m := absentMaster(t)
	top := start(t, m)
	bottom := behind(t, m, top)
	bottom.connected()
	p := dial(t, bottom, as{})
	for i := range 5 {
		p.asks(fmt.Sprint("request ", i))
		until(t, "the newest alone", func() bool {
			s := top.Stats()
			return s.Requests == uint64(i+1) && s.Forgotten == uint64(i) && s.Waiting == 1
		})
	}
	bottom.inFlight(1)
	m.script = echo
	m.open()
	p.hears("request 4")
	bottom.settled()
	top.settled()
}

// TestAtTheMasterIsLeftAlone: the master works for it in any case, and so its place is not free before the reply.
func TestAtTheMasterIsLeftAlone(t *testing.T) {
	m := newMaster(t)
	top := start(t, m)
	bottom := behind(t, m, top)
	p, other := dial(t, bottom, as{minor: 1}), dial(t, bottom, as{minor: 1})
	p.asks("gone")
	a := m.next()
	p.leave()
	until(t, "the minion to be gone", func() bool { return bottom.Stats().Minions == 1 })
	other.asks("there") // comes to the top behind FORGET
	m.next().answer([]byte("yes"))
	other.hears("yes")
	for _, r := range []*running{top, bottom} {
		if s := r.Stats(); s.InFlight != 1 || s.Forgotten != 0 {
			t.Errorf("%+v", s)
		}
	}
	a.answer([]byte("nobody"))
	bottom.settled()
	top.settled()
	if s := bottom.Stats(); s.Unwanted != 1 {
		t.Errorf("%+v", s)
	}
}

// TestDeadlineIsThatOfTheTop: only there it is known when the master got the request. Those below hear of it.
func TestDeadlineIsThatOfTheTop(t *testing.T) {
	m := newMaster(t)
	top := start(t, m)
	middle := behind(t, m, top, deadline(time.Millisecond))
	bottom := behind(t, m, middle, deadline(time.Millisecond))
	p := dial(t, bottom, as{})
	p.asks("slow")
	a := m.next()
	for _, r := range []*running{middle, bottom} {
		r.Apply(r.options) // has overdue ones looked for
		r.onLoop(0, func(*lane) {})
		if s := r.Stats(); s.Overdue != 0 || s.InFlight != 1 {
			t.Errorf("%+v", s)
		}
	}
	sooner := top.options
	sooner.RequestDeadline = time.Millisecond
	top.Apply(sooner)
	for _, r := range []*running{top, middle, bottom} {
		until(t, "the place to be free", func() bool { return r.Stats().Overdue == 1 })
		if s := r.Stats(); s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
	}
	a.answer([]byte("late"))
	p.hears("late")
	for _, r := range []*running{top, middle, bottom} {
		if s := r.Stats(); s.Late != 1 || s.Overdue != 1 {
			t.Errorf("%+v", s)
		}
	}
}

// TestLinkLostAtTheTop: those below hear of that, too, or their places would not be free before their minions leave.
func TestLinkLostAtTheTop(t *testing.T) {
	m := newMaster(t)
	top := start(t, m)
	middle := behind(t, m, top)
	bottom := behind(t, m, middle)
	p := dial(t, bottom, as{})
	p.asks("lost")
	m.next()
	m.cut()
	for _, r := range []*running{top, middle, bottom} {
		until(t, "the place to be free", func() bool { return r.Stats().LostWithLink == 1 })
		r.settled()
	}
	p.asks("again")
	m.next().answer([]byte("yes"))
	p.hears("yes")
}

// TestBrokerBelowLeaves: with it, all its minions have. What it had at brokers further up is forgotten there.
func TestBrokerBelowLeaves(t *testing.T) {
	m := absentMaster(t)
	top := start(t, m)
	middle := behind(t, m, top)
	bottom := behind(t, m, middle, func(o *Options) { o.DrainTimeout = time.Millisecond })
	for i := range 20 {
		dial(t, bottom, as{}).asks(fmt.Sprint("request ", i))
	}
	top.waiting(20)
	bottom.end()
	bottom.wait()
	until(t, "them to be forgotten", func() bool { return top.Stats().Forgotten == 20 })
	middle.settled()
	top.settled()
}

// TestForgottenIsNotWaitedFor: a broker that is left for another one has nothing due when the last request there is
// forgotten.
func TestForgottenIsNotWaitedFor(t *testing.T) {
	top := start(t, absentMaster(t))
	there := newMaster(t)
	other := start(t, there)
	bottom := behind(t, there, top)
	bottom.connected()
	p, next := dial(t, bottom, as{}), dial(t, bottom, as{})
	p.asks("forgotten")
	top.waiting(1)
	o := bottom.options
	o.Master.Address, o.Spare = other.Addr().String(), time.Hour
	bottom.Apply(o)
	bottom.onLoop(0, func(*lane) {})
	next.asks("for the other one")
	bottom.waiting(1)
	p.leave()
	there.next().answer([]byte("yes"))
	next.hears("yes")
}

// TestBrokerAboveReadsOn: it does not read from who has too much waiting, and FORGET must be read.
func TestBrokerAboveReadsOn(t *testing.T) {
	m := absentMaster(t)
	top := start(t, m)
	bottom := behind(t, m, top, places(16000))
	bottom.connected()
	var brokers []*peer
	for range 2 {
		p := dial(t, bottom, as{socket: "DEALER"})
		for i := range 900 {
			p.send(zmtp.AppendFrame([]byte{1, 0}, false, fmt.Appendf(nil, "request %d", i)))
		}
		brokers = append(brokers, p)
	}
	top.waiting(maxAtBroker)
	bottom.waiting(1800 - maxAtBroker)
	for _, p := range brokers {
		p.leave()
	}
	bottom.settled()
	top.settled()
}

// TestForgetIsChecked: only brokers may have something forgotten, and of their own, and not more than there was.
func TestForgetIsChecked(t *testing.T) {
	m := newMaster(t)
	r := start(t, m, places(2))
	r.connected()
	id := bytes.Repeat([]byte("r"), routeBody)
	hello := zmtp.AppendCommand(nil, zmtp.CommandBroker, nil)
	request := zmtp.AppendFrame(zmtp.AppendFrame(zmtp.AppendFrame(nil, true, id), true, nil), false, []byte("x"))
	forget := func(name []byte) []byte { return zmtp.AppendCommand(nil, zmtp.CommandForget, name) }
	for name, tt := range map[string]struct {
		socket string
		says   [][]byte
	}{
		"a REQ":                        {"REQ", [][]byte{hello, envelope(0, []byte("x")), forget(id)}},
		"not a broker":                 {"DEALER", [][]byte{request, forget(id)}},
		"nothing was asked":            {"DEALER", [][]byte{hello, forget(id)}},
		"more often than it was asked": {"DEALER", [][]byte{hello, request, forget(id), forget(id)}},
		"a name that is too short":     {"DEALER", [][]byte{hello, request, forget(id[1:])}},
		"no name":                      {"DEALER", [][]byte{hello, request, forget(nil)}},
	} {
		t.Run(name, func(t *testing.T) {
			before := r.Stats().Ends["bad_command"]
			p := dial(t, r, as{socket: tt.socket, minor: 1})
			p.send(bytes.Join(tt.says, nil))
			p.gone()
			until(t, "the reason", func() bool { return r.Stats().Ends["bad_command"] == before+1 })
		})
	}

	// What is not here has had its end: who asks is told so, and stays.
	p := dial(t, r, as{socket: "DEALER", minor: 1})
	other := bytes.Repeat([]byte("s"), routeBody)
	p.send(bytes.Join([][]byte{hello, request, forget(other)}, nil))
	p.ping("all read")
	if want := "f" + string(other); len(p.forgot) != 1 || p.forgot[0] != want {
		t.Errorf("got %q, want %q", p.forgot, want)
	}
}
